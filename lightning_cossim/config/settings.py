"""The monitor's settings: frozen dataclasses that check their values when you create them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Literal

from lightning_cossim.config.checks import Restriction, check_number
from lightning_cossim.config.text_files import MOST_OF_NAMES, read_text
from lightning_cossim.config.types import (
    NonNegative,
    ReadableFile,
    SwitchOrReferences,
    UnitInterval,
    Whole,
    WholeFrom0,
    WholeFrom1,
    WholeFrom1To64,
    WholeFrom2,
    check_fields,
)
from lightning_cossim.errors import ConfigError, as_value, expected

__all__ = ["Display", "LabelSelection", "Schedule"]


@dataclass(frozen=True)
class Schedule:
    """When the monitor makes reports, and how many inputs it compares.

    Args:
        train_every_n_steps: optimizer steps from the start of one training window to the start of the next, at least 1.
        train_batches: batches of a training window, 1 to 64. The report comes with the last batch. A window has more batches, up
            to 64, if `Thresholds.min_inputs` needs more inputs. The last window ends with the fit; it can be shorter if the
            length of the fit was unknown.
        max_inputs_per_batch: inputs of a batch that the monitor compares, at least 1. It takes a random sample of a larger batch.
        validation: whether to report on every validation run.
        test: whether to report on every test run.
        neighbors: when to search for the labels with the most similar rows, if there are more than `max_tracked` labels. "never";
            "fit_end": at the end of a fit, and of a validation or test run outside a fit; "validation": also after every
            validation. The search takes about 12 s for 50 000 labels on two cores. With up to `max_tracked` labels there is no
            search, because the monitor compares all pairs.
        reachability: when to decide whether some input can make a label, or both labels of a flagged pair, most likely; under a
            sigmoid also whether each label and each pair can be on with all others off. "never"; "fit_end": at the end of a fit,
            and of a validation or test run outside a fit; "validation": also after every validation. This takes about 1 s for
            1000 labels, and stops after about four minutes; the report marks the rest as undecided.

    Raises:
        ConfigError: a value has the wrong type or is out of range.

    Example:
        >>> Schedule(train_every_n_steps=500).train_batches
        8
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
    """What the monitor shows beside the curves, and how much time it can take.

    Args:
        max_overhead: share of the time that the monitor can take, from 0 to 1: a quarter for pictures and the tab, a quarter for
            training reports and the hooks of every step, and half for costs that it cannot measure. It skips work that does not
            fit. Two things come in any case: pictures and the last step of the tab at the end of the fit, and scalars at every
            validation. Validation scalars do not count against the share. Default: 0.02. With None (null in YAML) it skips
            nothing.
        max_pairs: rows of the table of strangers and of the table of look-alikes, at least 1.
        heatmaps: whether to draw heatmaps of the cosine, overlap and gap of all pairs.
        scatter: whether to draw a scatter plot of the cosine and the overlap of all pairs.
        tables: whether to write tables of the pairs with the largest gaps, with names.
        histograms: whether to draw histograms of cosines, overlaps and gaps, for 15 labels or more.
        tab: whether to write reports for TensorBoard's tab "Label similarity", which shows all pairs of a step. At the end of a
            run, the last report of each stage is also written as CSV and JSON, next to the event files.
        evidence: what to show of the inputs behind flagged pairs. True: a contact sheet of their pictures, or a table of their
            texts; "references": only a table that says where to find them, so that no picture or text of an input enters the
            event files; False: nothing. Unless it is False, the references of all pairs with evidence are also written as
            `cossim_val_evidence.csv`, next to the event files, at the end of a run.
        projector: whether to write the rows of the head for TensorBoard's projector at the end of the fit, about 10 MB for 1000
            labels.
        per_dataloader: whether each of several validation or test dataloaders gets its own reports, with tags that end in
            `/dataloader_idx_n`. Default: one report on all inputs of a run.

    Raises:
        ConfigError: a value has the wrong type or is out of range.

    Example:
        >>> Display(max_overhead=0.05, max_pairs=20).heatmaps
        True
    """

    max_overhead: UnitInterval | None = 0.02
    max_pairs: WholeFrom1 = 12
    heatmaps: bool = True
    scatter: bool = True
    tables: bool = True
    histograms: bool = True
    tab: bool = True
    evidence: SwitchOrReferences = True
    projector: bool = False
    per_dataloader: bool = False

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class LabelSelection:
    """Which labels and inputs the monitor compares, and the names of the labels.

    Args:
        names: a name for every row of the head, in order: a list, or the path of a UTF-8 text file with one name per line. By
            default a row has its number as its name.
        ignore: rows of the head to leave out everywhere, from the mean row and from all pairs; for example padding.
        max_tracked: compare all pairs of up to this many labels, at least 2. With more labels, as in a language model, compare a
            sample of the pairs: the pairs with the largest overlaps, the pairs with the most similar rows, and random pairs. A
            random pair is more likely to be drawn if its overlap or similarity is larger. Labels whose probabilities sum to less
            than 5 over the inputs are then left out.
        labels_per_input: if there are more labels than `max_tracked`, keep this many of the most likely labels of each input, at
            least 2. Overlaps are then slightly too small; reports give a bound for the error.
        min_probability: leave out the pairs of labels with a smaller mean probability, in units of 1/K; at least 0. Expected
            overlaps, flags and scalars use the pairs of the other labels only.
        ignore_index: leave out inputs with this target, for example the padding of sequences. Needs `targets_key`.
        targets_key: key of the targets in a batch that is a mapping, or their index in a batch that is a tuple. There must be one
            target per input. Reports then count, for every pair, how many inputs of one label were predicted as the other, except
            with a sigmoid, where an input can have several labels. Default: all inputs count.
        shift_targets: whether a position predicts the target of the next position, as in a causal language model. If True, a
            position counts if the target of the next position is not `ignore_index`; the last position never counts. Targets must
            have shape (B, T). Default: True if targets equal the input ids, False if targets equal the input ids of the next
            position; otherwise the class of the model decides (True for most `…ForCausalLM` of transformers). The log names the
            choice.

    Raises:
        ConfigError: a value has the wrong type or is out of range.

    Example:
        >>> LabelSelection(names=["cat", "dog", "horse"], ignore=[2]).read_names(3)
        ('cat', 'dog', 'horse')
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
            wanted = "to be a key of the batch, an index in it or None"
            raise ConfigError(expected("targets_key", wanted, as_value(self.targets_key)))
        for field in ("names", "ignore"):  # users may pass arrays
            value = getattr(self, field)
            object.__setattr__(self, field, value.tolist() if hasattr(value, "tolist") else value)
        if isinstance(self.ignore, str) or not isinstance(self.ignore, Sequence):
            raise ConfigError(expected("ignore", "to be a list of labels", as_value(self.ignore)))
        for label in self.ignore:
            check_number(label, "ignore", Restriction(int, 0))
        names = [] if self.names is None or isinstance(self.names, str | PathLike) else self.names
        if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
            raise ConfigError(expected("names", "to be a list of strings or the path of a file", as_value(names)))

    def check_labels(self, num_labels: int) -> None:
        """Raise `ConfigError` unless all labels in `ignore` are rows of the head, from 0 to `num_labels` - 1."""
        for label in self.ignore:
            if label >= num_labels:
                raise ConfigError(
                    expected("ignore", f"to hold labels from 0 to {num_labels - 1}", label, "Each number is a row of the head.")
                )

    def read_names(self, num_labels: int) -> tuple[str, ...]:
        """A name for each of `num_labels` rows: the given names, or the numbers of the rows.

        Args:
            num_labels: rows of the head, K.

        Returns:
            (K,).

        Raises:
            ConfigError: the file is not readable, or the number of names differs from the number of rows.
        """
        if self.names is None:
            return tuple(map(str, range(num_labels)))
        where, names = "", self.names
        if isinstance(names, str | PathLike):
            where, text = f" in {names}, one per line", _text(Path(names))
            num_names = text.count("\n") + 1 if text else 0
            names = text.split("\n") if num_names == num_labels else []
        else:
            num_names = len(names)
        if num_names != num_labels:
            raise ConfigError(expected("names", f"to name the {num_labels} rows of the head", f"{num_names} names{where}"))
        return tuple(names)

    def resized(self, names: Sequence[str], num_labels: int) -> "LabelSelection":
        """The same selection for a head whose number of rows changed. New rows get their numbers as names.

        Args:
            names: names of the rows before the change.
            num_labels: number of rows now. If it is smaller than before, it is unknown which rows are left, so all get numbers.
        """
        kept = list(names) if len(names) <= num_labels else []
        known = [*kept, *map(str, range(len(kept), num_labels))]
        return replace(self, names=known, ignore=[label for label in self.ignore if label < num_labels])


def _text(path: Path) -> str:
    """The lines of a file, without the line end of the last one."""
    try:
        text = read_text(path, MOST_OF_NAMES)
    except ValueError as error:
        raise ConfigError(expected("names", "to be a list or a readable UTF-8 file", f"{path}: {error}")) from None
    return text.removesuffix("\n")
