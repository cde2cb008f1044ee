"""What the reader of a report should know about the head and its inputs before believing a number."""

from torch import Tensor

from lightning_cossim.functional.ladder import LADDERS
from lightning_cossim.functional.links import Link
from lightning_cossim.functional.padding import equal_rows, median_shift

__all__ = ["remarks"]

_MOVES = 0.05
"""A group of equal rows is named if the median centered cosine of the others moves by more without it."""
_MAX_GROUPS = 8
"""Groups of equal rows that are looked at, the largest first."""
_MAX_SHOWN = 8
"""Runs of rows that are listed."""


def remarks(
    unembedding: Tensor,
    *,
    labels: Tensor,
    counted: Tensor,
    live: Tensor,
    link: Link,
    num_inputs: int,
    num_skipped: int,
    num_targets: int = 0,
) -> dict[str, str]:
    """What is odd about a head and its inputs, kind to text.

    Args:
        unembedding: (K, D).
        labels: (L,), the labels whose pairs are looked at.
        counted: boolean (K,), the labels that the user does not ignore.
        live: boolean (K,), those of them whose rows are finite.
        link: where nothing is centered, padding moves no cosine.
        num_inputs: how many inputs counted.
        num_skipped: how many did not, since they are not finite.
        num_targets: how many have a target that is known; 0: errors are not counted.
    """
    found = {}
    if link != "sigmoid" and len(unembedding) == 1:
        found["one_logit"] = "the softmax of one logit is 1 for every input; pass link='sigmoid'"
    if num_skipped:
        total = num_inputs + num_skipped
        found["inputs"] = f"{num_skipped} of {total} inputs are left out: their logits or embeddings are not finite"
    if 0 < num_targets < num_inputs:
        without = f"{num_inputs - num_targets} of {num_inputs} inputs have no target that is a label of the head"
        found["targets"] = f"{without}: errors leave them out, and their joint mass counts as that of inputs of neither label"
    strange_K = counted & ~live
    if strange_K.any():
        found["not_finite"] = f"rows of the head that are not finite are left out: {_listed(strange_K.nonzero())}"
    zero_K = live & ~unembedding.any(dim=1)
    centered = "centered_cosine" in LADDERS[link].similarities
    for rows in _suspects(unembedding, zero_K, live):
        zero = bool(zero_K[rows[0]])
        shift = median_shift(unembedding, rows, labels=labels, live=live) if centered else 0.0
        if zero or shift > _MOVES:
            what = f"rows of the head that are {'zero' if zero else 'equal to one another'}: {_listed(rows)}"
            moved = f"; without them the median centered cosine moves by {shift:.2f}" if shift > _MOVES else ""
            found[f"padding_{int(rows[0])}"] = f"{what}{moved}; padding? Add them to `ignore`"
    return found


def _suspects(unembedding: Tensor, zero_K: Tensor, live: Tensor) -> list[Tensor]:
    """Groups of equal rows, and the zero row that equals no other; where all are equal, none is padding beside the others."""
    groups = equal_rows(unembedding, live=live)[:_MAX_GROUPS]
    zeros = zero_K.nonzero().flatten()
    if len(zeros) and not any(zero_K[rows[0]] for rows in groups):
        groups.append(zeros)
    num_live = int(live.sum())
    return [rows for rows in groups if len(rows) < num_live]


def _listed(rows: Tensor) -> str:
    """Rows as text: `3, 5 to 9`."""
    row_R = rows.flatten().cpu()
    runs = row_R.tensor_split((row_R.diff() != 1).nonzero().flatten() + 1)
    shown = [str(int(run[0])) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs[:_MAX_SHOWN]]
    more = f" and {sum(map(len, runs[_MAX_SHOWN:]))} more" if len(runs) > _MAX_SHOWN else ""
    return ", ".join(shown) + more
