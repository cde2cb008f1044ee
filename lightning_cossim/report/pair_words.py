"""A pair of labels in words: its flag, its overlap, its errors, and what to do."""

import math
from collections.abc import Mapping
from typing import Final

from lightning_cossim.functional.ladder import Ladder
from lightning_cossim.functional.similarities import QUANTITIES
from lightning_cossim.report.pair import Flag, Pair
from lightning_cossim.report.tables import shortened

__all__ = ["FLAGS_IN_WORDS", "name_in_words", "number_in_words", "pair_in_words", "title_in_words", "to_do_in_words"]

FLAGS_IN_WORDS: Final[Mapping[Flag, str]] = {
    "stranger": "stranger, overlaps more than expected",
    "look-alike": "look-alike, overlaps less than expected",
}
_TO_DO: Final[Mapping[Flag, str]] = {
    "stranger": (
        "compare the inputs of both labels. If a person confuses them too, the labels are ambiguous: merge them, or use a metric "
        "that forgives the mistake. If not, it is an error: check the targets, and collect more inputs of both labels."
    ),
    "look-alike": (
        "in most cases, nothing. Do not merge the labels, remove one, or explain a prediction because their rows are alike: the "
        "model keeps their inputs apart."
    ),
}
_LONGEST: Final = 40
"""Maximum number of characters of a name."""
_ON_OTHERS: Final = " Both labels are likely mostly on inputs of other labels."


def title_in_words(pair: Pair) -> str:
    """The names of a pair, and its flag or the reason why it has none."""
    why = f"not flagged ({pair.why_unflagged or 'no thresholds were applied'})"
    words = FLAGS_IN_WORDS[pair.flag] if pair.flag else why
    return f"{name_in_words(pair.label)} / {name_in_words(pair.other)}: {words}"


def pair_in_words(pair: Pair, ladder: Ladder) -> list[str]:
    """The overlap and the cosine of a pair and, if targets are known, its errors and the split of its joint mass: sentences."""
    return [_overlap(pair, ladder), *_errors(pair)]


def to_do_in_words(pair: Pair) -> str:
    """What to do about a pair, in one line."""
    return f"What to do: {_TO_DO[pair.flag] if pair.flag else 'the gap of this pair needs no action.'}"


def name_in_words(name: str) -> str:
    """The name of a label on one line, cut to 40 characters; two apostrophes if it is empty."""
    return shortened(name, _LONGEST) or "''"


def number_in_words(value: float) -> str:
    """Three decimals, or a hyphen if the number is NaN."""
    return "-" if math.isnan(value) else f"{value:.3f}"


def _overlap(pair: Pair, ladder: Ladder) -> str:
    error = "" if math.isnan(pair.overlap_error) else f" ± {pair.overlap_error:.3f}"
    expected = f"expected {pair.expected_overlap:.3f}"
    if math.isnan(pair.expected_overlap):
        expected = "the expected overlap is unknown"
    cosine = f"{QUANTITIES[ladder.cosine].title.lower()} {number_in_words(pair.similarities[ladder.cosine])}"
    joint = f"{pair.joint_inputs} joint input{'' if pair.joint_inputs == 1 else 's'}"
    return f"Overlap {number_in_words(pair.overlap)}{error}, {expected}; {cosine}; {joint}."


def _errors(pair: Pair) -> list[str]:
    """Errors either way, and how the joint mass splits; empty if targets are unknown."""
    if pair.errors is None:
        return []
    label, other = name_in_words(pair.label), name_in_words(pair.other)
    there, back = pair.errors
    inputs = f"{there} input{'' if there == 1 else 's'}"
    lines = [f"Errors: {inputs} of {label} predicted as {other}, {back} of {other} as {label}."]
    if pair.joint_shares is not None and not any(map(math.isnan, pair.joint_shares)):
        of_label, of_other, neither = pair.joint_shares
        split = f"{of_label:.0%} on inputs of {label}, {of_other:.0%} of {other}, {neither:.0%} of other labels"
        lines.append(f"Joint mass: {split}.{_ON_OTHERS if neither > 0.5 else ''}")
    return lines
