"""Saved inputs: which rows of a file of embeddings or logits make a pair of labels overlap, by their numbers and identifiers."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from typing import Final

from lightning_cossim.capture.distributed import ALONE
from lightning_cossim.capture.evidence.dataset_order import DatasetOrder
from lightning_cossim.capture.evidence.keeper import EvidenceKeeper
from lightning_cossim.capture.evidence.place import Place
from lightning_cossim.capture.head import Observation
from lightning_cossim.config.evidence import Evidence
from lightning_cossim.config.text_files import MOST_OF_NAMES, read_text
from lightning_cossim.errors import CheckpointError, expected
from lightning_cossim.functional.links import Link
from lightning_cossim.report import GapReport, WindowKey
from lightning_cossim.report.evidence import Example, InputReference, PairEvidence, PairsWithEvidence
from lightning_cossim.report.wanted_pairs import WantedPairs

__all__ = ["SavedRows", "read_inputs"]

_ALL: Final = WindowKey()
_LONGEST: Final = 1000
"""Largest number of characters of an identifier."""


class SavedRows:
    """Keeps the rows that make pairs of labels overlap, as the monitor does while a model runs.

    Args:
        num_labels: K.
        link: from logits to probabilities.
        ids: (N,), an identifier of each row; None: rows have their numbers only.
        warn: warns the user.
        is_vocabulary: whether the head has so many labels that the report compares a sample of the pairs.
    """

    def __init__(
        self, num_labels: int, link: Link, ids: Sequence[str] | None, warn: Callable[[str], None], *, is_vocabulary: bool
    ) -> None:
        self._ids, self._num_rows = ids, 0
        self._keeper = EvidenceKeeper(Evidence(), num_labels, link, None, warn, is_vocabulary=is_vocabulary)
        self._keeper.open(_ALL)

    def add(self, seen: Observation) -> None:
        """Add the next rows."""
        if seen.logits is None:
            return
        num, first = len(seen.logits), self._num_rows
        self._num_rows += num
        place = Place(None, 0, DatasetOrder.of_rows(first, num))
        self._keeper.add(_ALL, dataclasses.replace(seen, shape=(num,)), seen.logits, place)

    def with_evidence(self, report: GapReport) -> GapReport:
        """The report with the rows behind its pairs."""
        found = self._keeper.close(_ALL, WantedPairs.of(report), report.context.names, ALONE)
        return report.with_evidence(PairsWithEvidence(map(self._with_ids, found.pairs)))

    def _with_ids(self, pair: PairEvidence) -> PairEvidence:
        examples = {ranking: tuple(map(self._with_id, some)) for ranking, some in pair.examples.items()}
        return dataclasses.replace(pair, examples=examples)

    def _with_id(self, example: Example) -> Example:
        """The example with the number of its row as its index, and its identifier. A file has no batches."""
        index = example.reference.index
        identifier = None if self._ids is None or index is None else self._ids[index][:_LONGEST]
        return dataclasses.replace(example, reference=InputReference(index=index, id=identifier))


def read_inputs(given: str | PathLike[str] | Sequence[str], num_inputs: int) -> list[str]:
    """The identifiers of N inputs.

    Args:
        given: identifiers, paths or texts; or a UTF-8 text file with one on each line.
        num_inputs: N.

    Returns:
        (N,).

    Raises:
        CheckpointError: the file cannot be read, or the number of identifiers is not N.
    """
    if isinstance(given, str | PathLike):
        where = f"{given}: "
        try:
            text = read_text(given, MOST_OF_NAMES)
        except ValueError as error:
            why = "it is no UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
            raise CheckpointError(f"{given}: expected a text file with one input on each line, got an error: {why}.") from None
        lines = text.removesuffix("\n")
        found = lines.split("\n", num_inputs + 1) if text else []
        num_found = lines.count("\n") + 1 if text else 0
    elif not isinstance(given, Iterable):
        remedy = "Pass an identifier, a path or a text for each input."
        raise CheckpointError(expected("inputs", "to be a file or a list of strings", type(given).__name__, remedy))
    else:
        where, found = "", list(given)
        num_found = len(found)
        if not all(isinstance(one, str) for one in found):
            kind = next(type(one).__name__ for one in found if not isinstance(one, str))
            remedy = "Pass an identifier, a path or a text for each input."
            raise CheckpointError(expected("inputs", "to be a file or a list of strings", f"a list with a {kind}", remedy))
    if num_found != num_inputs:
        remedy = "One for each row of the embeddings or logits is needed."
        raise CheckpointError(f"{where}expected {num_inputs} inputs, got {num_found}. {remedy}")
    return found
