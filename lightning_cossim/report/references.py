"""References in words: where an input comes from."""

import math
from collections.abc import Iterable
from typing import Final

from lightning_cossim.report.evidence import RANKINGS, Example, InputReference, PairEvidence, PairsWithEvidence, Ranking
from lightning_cossim.report.tables import printable, shortened

__all__ = ["foremost", "has_loaders", "in_words", "listed", "rankings_of"]


_LONGEST: Final = 200
"""Largest number of characters of an identifier."""


def in_words(reference: InputReference, *, with_loader: bool = False) -> str:
    """Where an input comes from: its identifier, else its index in the dataset, else its batch and row.

    Args:
        reference: where the input comes from.
        with_loader: whether an index needs its data loader, because there are several.

    Example:
        >>> in_words(InputReference(loader=0, batch=12, row=5, position=3, index=4031))
        'index 4031, position 3'
        >>> in_words(InputReference(loader=0, batch=12, row=5, position=3))
        'loader 0, batch 12, row 5, position 3'
    """
    before, value, after = _parts(reference, with_loader=with_loader)
    return f"{before}{value}{after}"


def listed(examples: Iterable[Example], *, with_loader: bool = False) -> str:
    """Several references in words; empty if there are none.

    Example:
        >>> listed(Example(InputReference(index=index), (0.5, 0.4), 0) for index in (12, 907, 44))
        'index 12, 907, 44'
    """
    parts = [_parts(example.reference, with_loader=with_loader) for example in examples]
    starts = {before for before, _, _ in parts}
    if len(starts) == 1 and "" not in starts and not any(after for _, _, after in parts):
        return f"{starts.pop()}{', '.join(value for _, value, _ in parts)}"
    return "; ".join(map("".join, parts))


def _parts(reference: InputReference, *, with_loader: bool) -> tuple[str, str, str]:
    """The words before the number or name of an input, that number or name, and the words after it."""
    position = "" if reference.position is None else f", position {reference.position}"
    if reference.id is not None:
        return "id ", shortened(printable(reference.id), _LONGEST) or "''", position
    loader = "" if reference.loader is None else f"loader {reference.loader}, "
    if reference.index is not None:
        return f"{loader if with_loader else ''}index ", str(reference.index), position
    process = f", process {reference.process}" if reference.process else ""
    known = {"loader": reference.loader, "batch": reference.batch, "row": reference.row}
    words = ", ".join(f"{name} {number}" for name, number in known.items() if number is not None)
    return "", f"{words}{position}{process}".removeprefix(", ") or "unknown", ""


def has_loaders(found: PairsWithEvidence) -> bool:
    """Whether inputs come from more than one data loader."""
    references = (example.reference for pair in found.pairs for some in pair.examples.values() for example in some)
    return any(reference.loader for reference in references)  # the first loader may have no input among them


def rankings_of(pair: PairEvidence) -> dict[Ranking, tuple[Example, ...]]:
    """The rankings that explain a pair, each with at least one input; if they have none, all rankings that have some.

    A look-alike is explained by its confident inputs, every other pair by the inputs with most overlap and by suspect labels.
    """
    having = {ranking: pair.examples[ranking] for ranking in RANKINGS if pair.examples.get(ranking)}
    explaining = ("confident",) if pair.flag == "look-alike" else ("overlap", "suspect_label")
    return {ranking: some for ranking, some in having.items() if ranking in explaining} or having


def foremost(pair: PairEvidence, most: int) -> tuple[Example, ...]:
    """The first inputs of the first ranking that explains a pair; of confident inputs, as many of either label if possible.

    Args:
        pair: the evidence of the pair.
        most: maximum number of inputs.

    Returns:
        At most `most` inputs, in the order of the ranking; none if the pair has no inputs.
    """
    ranking, examples = next(iter(rankings_of(pair).items()), ("overlap", ()))
    if ranking != "confident" or len(examples) <= most:
        return examples[:most]
    probs = [[0.0 if math.isnan(one) else one for one in example.probabilities] for example in examples]
    is_of_other = [of_second > of_first for of_first, of_second in probs]
    of_label, of_other = ([place for place, of in enumerate(is_of_other) if of == other] for other in (False, True))
    num_of_other = min(len(of_other), max(most // 2, most - len(of_label)))
    return tuple(examples[place] for place in sorted([*of_label[: most - num_of_other], *of_other[:num_of_other]]))
