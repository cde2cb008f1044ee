"""The monitor's settings: frozen dataclasses, checked when they are made."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Literal

from lightning_cossim.config.checks import Restriction, check_number
from lightning_cossim.config.types import (
    NonNegative,
    ReadableFile,
    UnitInterval,
    Whole,
    WholeFrom0,
    WholeFrom1,
    WholeFrom1To64,
    WholeFrom2,
    check_fields,
)
from lightning_cossim.errors import ConfigError, expected

__all__ = ["Display", "LabelSelection", "Schedule"]


@dataclass(frozen=True)
class Schedule:
    """When the monitor looks, and how much it looks at.

    Args:
        train_every_n_steps: optimizer steps from the start of one training window to the start of the next, at least 1.
        train_batches: batches of a training window, 1 to 64, its report comes with the last of them; more where
            `Thresholds.min_inputs` wants more. The last window closes with the fit, and may be shorter where nobody knew how long
            the fit would be.
        max_inputs_per_batch: inputs of a batch that are looked at, at least 1; of a larger batch a random sample.
        validation: whether to report on every validation run.
        test: whether to report on every test run.
        neighbors: of more than `max_tracked` labels, when to look for those whose rows are most alike, which takes some twelve
            seconds for fifty thousand on two cores: "never", at the end of a fit ("fit_end") and of runs of their own, or with
            every "validation" too. Fewer labels are all compared in any case.
        reachability: when to decide which labels, and which flagged pairs, any input can make the most likely ones: "never", at
            the end of a fit ("fit_end") and of runs of their own, or with every "validation" too. A second for a thousand labels,
            at most some four minutes for very many; what is not decided by then is said to be undecided.

    Raises:
        ConfigError: a value is of the wrong type or out of range.
    """

    train_every_n_steps: WholeFrom1 = 200
    train_batches: WholeFrom1To64 = 8
    max_inputs_per_batch: WholeFrom1 = 1024
    validation: bool = True
    test: bool = True
    neighbors: Literal["never", "fit_end", "validation"] = "fit_end"
    reachability: Literal["never", "fit_end", "validation"] = "never"

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Display:
    """What is shown beside curves, and what all of it may cost.

    Args:
        max_overhead: share of the time that the monitor may take, from 0 to 1: a quarter of it for pictures and the tab, a
            quarter for training reports and the hooks of every step, half for what it cannot time. What does not fit is left
            out. Pictures and the last step of the tab come once at the end of the fit in any case, and validation scalars, on
            top, at every validation. Default 2 %; null: nothing is left out.
        max_pairs: rows of a table of pairs, either way, at least 1.
        heatmaps: whether to draw cosine, overlap and gap of all pairs.
        scatter: whether to draw the cosine of all pairs against their overlap.
        tables: whether to write the pairs furthest from what their cosine suggests, by name.
        histograms: whether to draw, from 15 labels on, how cosines, overlaps and gaps are distributed.
        tab: whether to write reports for TensorBoard's tab "Label similarity", where all pairs of a step are looked at together,
            and at the end of a run the last one of each stage as CSV and JSON beside the events.
        projector: whether to write the rows of the head for TensorBoard's projector at the end of the fit: some ten megabytes
            for a thousand labels.
        per_dataloader: whether each of several validation or test loaders has reports of its own, whose tags end in
            `/dataloader_idx_n`; default all inputs of a run together.

    Raises:
        ConfigError: a value is of the wrong type or out of range.
    """

    max_overhead: UnitInterval | None = 0.02
    max_pairs: WholeFrom1 = 12
    heatmaps: bool = True
    scatter: bool = True
    tables: bool = True
    histograms: bool = True
    tab: bool = True
    projector: bool = False
    per_dataloader: bool = False

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class LabelSelection:
    """Which labels are looked at, and what they are called.

    Args:
        names: a name for every row of the head, in order: a list, or the path of a UTF-8 text file with one name a line.
        ignore: rows of the head that do not count at all, padding for example: neither for the mean row nor in pairs.
        max_tracked: labels all of whose pairs are looked at, at least 2. Of more labels, as in a language model, a sample of the
            pairs is: those that overlap most, those whose rows are most alike, and others drawn at random, the more likely the
            more two labels overlap or are alike. Labels whose probabilities sum to less than 5 over the inputs are then left out.
        labels_per_input: where there are more labels than that, those of each input that are kept, the most likely ones, at
            least 2. Overlaps are then a little too small; reports say by how much at the most.
        min_probability: labels with a smaller mean probability, as a share of 1/K, are left out of pairs; at least 0. Fits,
            flags and scalars are all over the pairs of the labels that are left.
        ignore_index: inputs with this target are left out where `targets_key` tells the targets: the padding of sequences for
            example.
        targets_key: the key of the targets in a batch, a place for a tuple; there has to be one target an input. Reports then
            count for every pair how many inputs of one label were predicted as the other, unless a sigmoid may put several
            labels on an input. Default: all inputs count.
        shift_targets: whether a position learns the next position's target, as in a causal language model. If True, a position
            counts if the next position's target is not `ignore_index`, and the last position never counts. Targets have to be
            (B, T). Default: True where targets equal the input ids, False where they equal those of the next position; else the
            class of the model decides (True for most `…ForCausalLM` of transformers). The log says which.

    Raises:
        ConfigError: a value is of the wrong type or out of range.
    """

    names: Sequence[str] | ReadableFile | None = None
    ignore: Sequence[WholeFrom0] = ()
    max_tracked: WholeFrom2 = 512
    labels_per_input: WholeFrom2 = 64
    min_probability: NonNegative = 0.1
    ignore_index: Whole = -100
    targets_key: int | str | None = None
    shift_targets: bool | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if isinstance(self.targets_key, bool) or not isinstance(self.targets_key, str | int | None):
            wanted = "to be a key of the batch, a place in it or None"
            raise ConfigError(expected("targets_key", wanted, repr(self.targets_key)))
        for field in ("names", "ignore"):  # an array of them does as well
            value = getattr(self, field)
            object.__setattr__(self, field, value.tolist() if hasattr(value, "tolist") else value)
        if isinstance(self.ignore, str) or not isinstance(self.ignore, Sequence):
            raise ConfigError(expected("ignore", "to be a list of labels", repr(self.ignore)))
        for label in self.ignore:
            check_number(label, "ignore", Restriction(int, 0))
        names = [] if self.names is None or isinstance(self.names, str | PathLike) else self.names
        if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
            raise ConfigError(expected("names", "to be a list of texts or the path of a file", repr(names)))

    def check_labels(self, num_labels: int) -> None:
        """Raise `ConfigError` unless the labels to ignore are rows of the head."""
        for label in self.ignore:
            if label >= num_labels:
                raise ConfigError(
                    expected("ignore", f"to hold labels from 0 to {num_labels - 1}", label, "They are rows of the head.")
                )

    def read_names(self, num_labels: int) -> tuple[str, ...]:
        """A name for each of `num_labels` rows: those given, or the rows' numbers.

        Raises:
            ConfigError: the file cannot be read, or there are more or fewer names than rows.
        """
        if self.names is None:
            return tuple(map(str, range(num_labels)))
        is_file = isinstance(self.names, str | PathLike)
        names = _lines(Path(self.names)) if isinstance(self.names, str | PathLike) else list(self.names)
        if len(names) != num_labels:
            got = f"{len(names)} names" + (f" in {self.names}, one a line" if is_file else "")
            raise ConfigError(expected("names", f"to name the {num_labels} rows of the head", got))
        return tuple(names)

    def resized(self, names: Sequence[str], num_labels: int) -> "LabelSelection":
        """The same for a head that has other rows now: rows that are new have their numbers as names.

        Args:
            names: of the rows that there were.
            num_labels: rows that there are now. Of fewer than before, nobody knows which ones they are: all have numbers.
        """
        kept = list(names) if len(names) <= num_labels else []
        known = [*kept, *map(str, range(len(kept), num_labels))]
        return replace(self, names=known, ignore=[label for label in self.ignore if label < num_labels])


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or no path at all
        raise ConfigError(expected("names", "to be a list or a readable UTF-8 file", f"{path}: {_reason(error)}")) from None
    return text.removesuffix("\n").split("\n") if text else []


def _reason(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error)
