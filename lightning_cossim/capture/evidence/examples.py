"""Examples: the kept inputs of all processes as the evidence of a report."""

from collections.abc import Iterator, Sequence

from lightning_cossim.capture.evidence.selection import KeptInputs, Selection
from lightning_cossim.report.evidence import RANKINGS, Example, InputReference, PairEvidence, View

__all__ = ["pairs_with"]


def pairs_with(
    selection: Selection, details: Sequence[tuple[dict[int, str], dict[int, View]]], names: Sequence[str]
) -> Iterator[PairEvidence]:
    """The evidence of every pair of a selection.

    Args:
        selection: what all processes kept.
        details: for every process, the identifiers and the views of its inputs, by their numbers.
        names: (K,), the names of the labels.
    """
    for place, pair in enumerate(selection.pairs):
        examples = {ranking: tuple(_examples(selection.of(place, ranking), details)) for ranking in RANKINGS}
        yield PairEvidence(
            labels=pair,
            names=(names[pair[0]], names[pair[1]]),
            examples={ranking: found for ranking, found in examples.items() if found},
            is_complete=bool(selection.is_complete[place]),
        )


def _examples(inputs: KeptInputs, details: Sequence[tuple[dict[int, str], dict[int, View]]]) -> Iterator[Example]:
    for place in range(len(inputs.number)):
        one = {name: column[place].item() for name, column in zip(KeptInputs._fields, inputs, strict=True)}
        known = {name: None if one[name] < 0 else one[name] for name in ("loader", "batch", "row", "position", "index", "target")}
        ids, views = details[one["process"]]
        target, number = known.pop("target"), one["number"]
        yield Example(
            reference=InputReference(**known, id=ids.get(number), process=one["process"]),
            probabilities=(one["first_prob"], one["second_prob"]),
            predicted=one["predicted"],
            target=target,
            view=views.get(number),
        )
