"""The monitor's settings: frozen dataclasses, checked when they are made."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_cossim.checks import check_bool, check_number, check_whole
from lightning_cossim.errors import ConfigError, expected

__all__ = ["MAX_WINDOW", "LabelSelection", "Schedule"]

MAX_WINDOW = 64
"""Batches of a training window, at the most."""


@dataclass(frozen=True)
class Schedule:
    """When the monitor looks, and how much it looks at.

    Raises:
        ConfigError: a value is of the wrong type or out of range.
    """

    train_every_n_steps: int = 200
    """Optimizer steps from the start of one training window to the start of the next, at least 1."""
    train_batches: int = 8
    """Batches of a training window, 1 to 64; its report comes with the last of them."""
    max_inputs_per_batch: int = 1024
    """Inputs of a batch that are looked at, at least 1; of a larger batch a random sample."""
    validation: bool = True
    """Whether to report on every validation run."""
    test: bool = True
    """Whether to report on every test run."""

    def __post_init__(self) -> None:
        check_whole(self.train_every_n_steps, "train_every_n_steps", 1)
        check_whole(self.train_batches, "train_batches", 1, MAX_WINDOW)
        check_whole(self.max_inputs_per_batch, "max_inputs_per_batch", 1)
        for name in ("validation", "test"):
            check_bool(getattr(self, name), name)


@dataclass(frozen=True)
class LabelSelection:
    """Which labels are looked at, and what they are called.

    Raises:
        ConfigError: a value is of the wrong type or out of range.
    """

    names: Sequence[str] | str | os.PathLike[str] | None = None
    """A name for every row of the head, in order: a list, or the path of a UTF-8 text file with one name a line."""
    ignore: Sequence[int] = ()
    """Rows of the head that do not count at all, padding for example: neither for the mean row nor in pairs."""
    max_tracked: int = 512
    """Labels whose pairs are looked at, at least 2; of more, those with the largest probability mass in the first window."""
    min_probability: float = 0.01
    """Labels with a smaller mean probability, as a share of 1/K, are left out of pairs; at least 0."""
    ignore_index: int = -100
    """Inputs with this target are left out where `targets_key` tells the targets: the padding of sequences for example."""
    targets_key: str | int | None = None
    """The key of the targets in a batch, a place for a tuple; there has to be one target an input. Default: all inputs count."""

    def __post_init__(self) -> None:
        check_whole(self.max_tracked, "max_tracked", 2)
        check_number(self.min_probability, "min_probability", 0)
        check_whole(self.ignore_index, "ignore_index")
        if isinstance(self.targets_key, bool) or not isinstance(self.targets_key, str | int | None):
            wanted = "to be a key of the batch, a place in it or None"
            raise ConfigError(expected("targets_key", wanted, repr(self.targets_key)))
        if isinstance(self.ignore, str) or not isinstance(self.ignore, Sequence):
            raise ConfigError(expected("ignore", "to be a list of labels", repr(self.ignore)))
        for label in self.ignore:
            check_whole(label, "ignore", 0)
        names = [] if self.names is None or isinstance(self.names, str | os.PathLike) else self.names
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
        names = _lines(Path(self.names)) if isinstance(self.names, str | os.PathLike) else list(self.names)
        if len(names) != num_labels:
            raise ConfigError(expected("names", f"to name the {num_labels} rows of the head", f"{len(names)} names"))
        return tuple(names)


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or no path at all
        raise ConfigError(expected("names", "to be a list or a readable UTF-8 file", f"{path}: {error}")) from None
    return text.removesuffix("\n").split("\n") if text else []
