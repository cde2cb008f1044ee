"""Evidence: the inputs behind the numbers of a pair, with references that find them again.

A reference says where an input came from. An example is an input as one ranking shows it: its reference, its probabilities and,
if it was kept, a thumbnail or a text.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from lightning_cossim.report.pair import Flag

__all__ = ["RANKINGS", "Example", "InputReference", "PairEvidence", "PairsWithEvidence", "Ranking", "View"]

Ranking = Literal["overlap", "confident", "suspect_label"]
RANKINGS: Final[tuple[Ranking, ...]] = ("overlap", "confident", "suspect_label")
"""The order of the inputs of a pair (i, j): largest √(p_i p_j) first; largest p_i, or p_j, first; target i predicted as j or the
reverse, smallest probability of the target first."""


class InputReference(NamedTuple):
    """Where an input comes from. A field is None if it is not known."""

    loader: int | None = None
    """Index of the data loader."""
    batch: int | None = None
    """Index of the batch in its epoch, on its process."""
    row: int | None = None
    """Index of the input in its batch."""
    position: int | None = None
    """Index in the sequence, or in the flattened image for a model with an output for each pixel."""
    index: int | None = None
    """Index of the input in the dataset; known only if the loader reads the dataset in a known order."""
    id: str | None = None
    """The user's identifier (`Evidence.ids_key`)."""
    process: int = 0
    """Rank of the process that saw the input."""


@dataclass(frozen=True, eq=False)
class View:
    """What an input looks like. At most one of picture and text is present."""

    picture: np.ndarray[Any, np.dtype[np.uint8]] | None = None
    """(H, W, 3), 8 bit, H and W at most 64."""
    text: str | None = None
    """One line of printable characters, at most 200."""


@dataclass(frozen=True, eq=False)
class Example:
    """One input of a pair."""

    reference: InputReference
    probabilities: tuple[float, float]
    """Probabilities of the pair's two labels, in [0, 1]; NaN if a label was not among the eight most likely ones."""
    predicted: int
    """The most likely label, as row of the head."""
    target: int | None = None
    """The target, as row of the head; None if it is not known."""
    view: View | None = None
    """What the input looks like; None if nothing was kept."""


@dataclass(frozen=True, eq=False)
class PairEvidence:
    """The inputs behind one pair of labels."""

    labels: tuple[int, int]
    """Rows of the head, the smaller one first."""
    names: tuple[str, str]
    flag: Flag | None = None
    examples: Mapping[Ranking, tuple[Example, ...]] = field(default_factory=dict)
    """The inputs in each ranking, the first one first. "confident" has those of the first label, then those of the second."""
    is_complete: bool = True
    """False if inputs of the pair may be missing, because the store was full and dropped the pair for a while."""


class PairsWithEvidence(Mapping[tuple[str, str], PairEvidence]):
    """The evidence of the pairs that have some, by the names of two labels in either order. Flagged pairs come first."""

    def __init__(self, pairs: tuple[PairEvidence, ...] = ()) -> None:
        self._pairs = {one.names: one for one in pairs}

    def __getitem__(self, pair: tuple[str, str]) -> PairEvidence:
        raise NotImplementedError

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)
