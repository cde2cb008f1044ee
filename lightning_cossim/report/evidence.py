"""Evidence: the inputs behind the numbers of a pair, with references that find them again.

A reference says where an input came from. An example is an input as one ranking shows it: its reference, its probabilities and,
if it was kept, a thumbnail or a text.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import Any, Final, Literal, NamedTuple, TypeGuard

import numpy as np
from typing_extensions import override

from lightning_cossim.errors import expected, near_names
from lightning_cossim.report.pair import Flag
from lightning_cossim.report.tables import shortened

__all__ = ["RANKINGS", "Example", "InputReference", "PairEvidence", "PairsWithEvidence", "Ranking", "View"]

Ranking = Literal["overlap", "confident", "suspect_label"]
RANKINGS: Final[tuple[Ranking, ...]] = ("overlap", "confident", "suspect_label")
"""The order of the inputs of a pair (i, j): largest √(p_i p_j) first; largest p_i, or p_j, first; target i predicted as j or the
reverse, smallest probability of the target first."""
_LISTED: Final = 5
"""Maximum number of pairs that an error names."""
_LONGEST: Final = 40
"""Maximum number of characters of a name in an error."""


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
    index: int | None = None  # type: ignore[assignment] # it hides `tuple.index`, which nobody needs here
    """Index of the input in the dataset; known only if the loader reads the dataset in a known order."""
    id: str | None = None
    """The user's identifier (`Evidence.ids_key`)."""
    process: int = 0
    """Rank of the process that saw the input."""


@dataclass(frozen=True, eq=False, repr=False)
class View:
    """What an input looks like. At most one of picture and text is present."""

    picture: np.ndarray[Any, np.dtype[np.uint8]] | None = None
    """(H, W, 3), 8 bit, H and W at most 64."""
    text: str | None = None
    """One line of printable characters, at most 200."""

    @override
    def __repr__(self) -> str:
        """The text, or the size of the picture instead of its pixels."""
        if self.picture is not None:
            height, width = self.picture.shape[:2]
            return f"View(picture of {width} x {height} pixels)"
        return f"View(text={self.text!r})"


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
    """The evidence of the pairs that have some, by the names of two labels in either order. Flagged pairs come first.

    Two rows of the head find a pair too. If several pairs have the same two names, the names find the first one of them.

    Args:
        pairs: the evidence, at most one for each pair of rows.

    Example:
        >>> found = PairsWithEvidence((PairEvidence((4, 6), ("Coat", "Shirt")),))
        >>> found["Shirt", "Coat"].labels, found[6, 4].names
        ((4, 6), ('Coat', 'Shirt'))
    """

    def __init__(self, pairs: Iterable[PairEvidence] = ()) -> None:
        self._given: Final = tuple(pairs)
        self.pairs: Final = tuple(sorted(self._given, key=lambda one: one.flag is None))
        """All of them, the flagged ones first, otherwise as they were given."""
        self._keys: dict[tuple[str, str], PairEvidence] = {}
        self._found: dict[frozenset[str | int], PairEvidence] = {}
        for one in self.pairs:
            if frozenset(one.names) not in self._found:
                self._keys[one.names] = one
            for key in (frozenset[str | int](one.names), frozenset[str | int](one.labels)):
                self._found.setdefault(key, one)

    def with_flags(self, flags: Mapping[tuple[int, int], Flag]) -> "PairsWithEvidence":
        """The same evidence with other flags, by rows of the head, the smaller one first. Other pairs have no flag."""
        return PairsWithEvidence(replace(one, flag=flags.get(one.labels)) for one in self._given)

    def by_rows(self, rows: tuple[int, int]) -> PairEvidence | None:
        """The evidence of two rows of the head, in either order; None if they have none."""
        return self._found.get(frozenset[str | int](rows))

    @override
    def __getitem__(self, pair: tuple[str, str] | tuple[int, int]) -> PairEvidence:
        found = self._found.get(frozenset(pair)) if _is_pair(pair) else None
        if found is None:
            raise KeyError(self._why_missing(pair))
        return found

    @override
    def __repr__(self) -> str:
        """The number of pairs, and the names of the first ones."""
        some = ", ".join(f"{shortened(one)} / {shortened(other)}" for one, other in list(self)[:_LISTED])
        more = ", ..." if len(self) > _LISTED else ""
        num = len(self.pairs)
        return f"PairsWithEvidence({num} pair{'' if num == 1 else 's'}{f': {some}{more}' if some else ''})"

    @override
    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._keys)

    @override
    def __len__(self) -> int:
        return len(self._keys)

    def _why_missing(self, pair: object) -> str:
        """One line: which pairs have evidence, which one has similar names, and why others have none."""
        if not self:
            return expected("pair", "to be one with evidence", repr(pair), "No pair has some: the report kept no inputs.")
        first = ", ".join(map(_in_short, list(self)[:_LISTED]))
        first += f" and {len(self) - _LISTED} more" if len(self) > _LISTED else ""
        if not _is_pair(pair):
            return expected("pair", f"to be two names or two rows of the head, for example {first}", repr(pair))
        orders = {" / ".join(order): one for one in self for order in (one, one[::-1])}
        near = near_names(" / ".join(map(str, pair)), orders, most=1)
        similar = f"Similar: {_in_short(orders[near[0]])}. " if near else ""
        why = "Only flagged pairs and those with the largest gaps or joint masses have some."
        return expected("pair", f"to be one with evidence ({first})", repr(pair), f"{similar}{why}")


def _in_short(names: tuple[str, str]) -> str:
    """Two names as Python writes them, each cut after 40 characters."""
    return repr(tuple(shortened(name, _LONGEST) for name in names))


def _is_pair(pair: object) -> TypeGuard[tuple[str | int, str | int]]:
    """Whether an object is a tuple of two different names, or of two different rows."""
    if not isinstance(pair, tuple) or len(pair) != 2:
        return False
    alike = any(all(isinstance(one, kind) and not isinstance(one, bool) for one in pair) for kind in (str, Integral))
    return alike and pair[0] != pair[1]
