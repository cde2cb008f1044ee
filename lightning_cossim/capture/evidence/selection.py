"""Selection: the kept inputs of some pairs of labels, apart from the store they came from. It can be pickled."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_cossim.capture.evidence.entries import rank_in_group
from lightning_cossim.capture.evidence.suspects import NUM_SUSPECTS
from lightning_cossim.report.evidence import Ranking

__all__ = ["CONFIDENT_FIRST", "CONFIDENT_SECOND", "OVERLAP", "SUSPECT_LABEL", "KeptInputs", "Selection", "merged"]

OVERLAP: Final = 0
CONFIDENT_FIRST: Final = 1
CONFIDENT_SECOND: Final = 2
SUSPECT_LABEL: Final = 3
"""The lists of inputs of a pair; the ranking "confident" has one for each of its labels."""
_LISTS: Final[dict[Ranking, tuple[int, ...]]] = {
    "overlap": (OVERLAP,),
    "confident": (CONFIDENT_FIRST, CONFIDENT_SECOND),
    "suspect_label": (SUSPECT_LABEL,),
}


Array = NDArray[Any]


class KeptInputs(NamedTuple):
    """Kept inputs, as columns of equal lengths, float32 or whole numbers. An input stands once in every list that has it."""

    pair: Array
    """The place of the pair in `Selection.pairs`."""
    which: Array
    """The list, `OVERLAP` to `SUSPECT_LABEL`."""
    value: Array
    """What the list is sorted by: the largest √(p_i p_j) or p_i first, or the smallest probability of the target."""
    first_prob: Array
    """Probability of the first label of the pair; NaN if the label is neither among the likely ones nor the target."""
    second_prob: Array
    predicted: Array
    target: Array
    """The target; -1 if it is unknown, as in the next fields."""
    loader: Array
    batch: Array
    row: Array
    position: Array
    index: Array  # type: ignore[assignment]  # it hides `tuple.index`, which nobody calls
    order: Array
    """The number that breaks ties."""
    number: Array
    """The number of inputs that its process added before it."""
    process: Array
    """Rank of the process that saw the input."""

    def at(self, places: NDArray[Any]) -> "KeptInputs":
        """The inputs at some places, or those with a mark."""
        return KeptInputs(*(column[places] for column in self))


@dataclass(frozen=True, eq=False)
class Selection:
    """The kept inputs of some pairs of labels."""

    pairs: tuple[tuple[int, int], ...]
    """Rows of the head, the smaller one first."""
    is_complete: NDArray[np.bool_]
    """For each pair: False if inputs may be missing, because the store was full and dropped some of them for a while."""
    inputs: KeptInputs
    """The inputs of all lists, sorted by pair, list and rank."""

    def with_inputs(self, more: KeptInputs) -> "Selection":
        """The selection with more inputs. Only `merged` puts them in order."""
        columns = zip(self.inputs, more, strict=True)
        return replace(self, inputs=KeptInputs(*(np.concatenate(pair) for pair in columns)))

    def without_rows(self) -> "Selection":
        """The same inputs without their rows, positions and indices, for a model whose rows are not those of the batch."""
        unknown = np.full_like(self.inputs.row, -1)
        return replace(self, inputs=self.inputs._replace(row=unknown, position=unknown, index=unknown))

    def without_positions(self) -> "Selection":
        """The same inputs without their positions, for a model whose head may see a part of each sequence."""
        return replace(self, inputs=self.inputs._replace(position=np.full_like(self.inputs.position, -1)))

    def of(self, pair: int, ranking: Ranking) -> KeptInputs:
        """The inputs of a pair in a ranking, the first one first.

        Args:
            pair: its place in `pairs`.
            ranking: which ranking. "confident" has the inputs of the first label, then those of the second.
        """
        return self.inputs.at((self.inputs.pair == pair) & np.isin(self.inputs.which, _LISTS[ranking]))


def merged(selections: Sequence[Selection], per_pair: int) -> Selection:
    """The selections of all processes as one.

    An input that several processes saw, with the same loader, index and position, stands once in each list. A distributed sampler
    pads its last batch with such inputs.

    Args:
        selections: at least one, in the order of the ranks, each of the same pairs.
        per_pair: inputs for each pair and list; suspects are up to 100.

    Returns:
        A selection whose inputs have the ranks of their processes.
    """
    assert selections
    assert all(one.pairs == selections[0].pairs for one in selections)
    parts = [one.inputs._replace(process=np.full_like(one.inputs.process, rank)) for rank, one in enumerate(selections)]
    inputs = KeptInputs(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    value = np.where(inputs.which == SUSPECT_LABEL, inputs.value, -inputs.value)
    inputs = inputs.at(np.lexsort((inputs.number, inputs.process, inputs.order, value, inputs.which, inputs.pair)))
    inputs = inputs.at(~_is_repeated(inputs))
    rank = rank_in_group(inputs.pair.astype(np.int64) * 4 + inputs.which)
    is_kept = rank < np.where(inputs.which == SUSPECT_LABEL, NUM_SUSPECTS, per_pair)
    is_complete = np.logical_and.reduce([one.is_complete for one in selections])
    return Selection(selections[0].pairs, is_complete, inputs.at(is_kept))


def _is_repeated(inputs: KeptInputs) -> NDArray[np.bool_]:
    """Whether the same list has the same input before."""
    order = np.lexsort((inputs.position, inputs.index, inputs.loader, inputs.which, inputs.pair))  # stable: the best one is first
    columns = np.stack([column[order] for column in (inputs.pair, inputs.which, inputs.loader, inputs.index, inputs.position)])
    repeated = np.zeros(len(order), dtype=bool)
    repeated[order[1:]] = (columns[:, 1:] == columns[:, :-1]).all(axis=0)
    return repeated & (inputs.index >= 0)
