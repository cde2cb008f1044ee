"""Remarks: warnings about a head and its inputs that a reader needs before trusting the numbers of a report."""

from torch import Tensor

from lightning_cossim.functional.ladder import LADDERS
from lightning_cossim.functional.links import Link
from lightning_cossim.functional.padding import equal_rows, median_shift

__all__ = ["remarks"]

_MOVES = 0.05
"""A group of equal rows causes a remark if the median centered cosine of other labels changes by more without it."""
_MAX_GROUPS = 8
"""Maximum number of groups of equal rows that are checked, the largest first."""
_MAX_SHOWN = 8
"""Maximum number of runs of rows that a remark lists."""


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
    """Problems of a head and its inputs that affect the numbers of a report.

    Args:
        unembedding: (K, D), one row a label.
        labels: (L,), the labels compared.
        counted: boolean (K,), the labels that the user does not ignore.
        live: boolean (K,), the counted labels whose rows are finite.
        link: the function from logits to probabilities. If the link does not center rows, padding changes no cosine.
        num_inputs: number of inputs seen.
        num_skipped: number of inputs left out because they are not finite.
        num_targets: number of inputs with a known target; 0: errors are not counted.

    Returns:
        One text for each problem, keyed by its kind; empty if there are none.
    """
    found = {}
    if link != "sigmoid" and len(unembedding) == 1:
        found["one_logit"] = "the softmax of one logit is 1 for every input; pass link='sigmoid'"
    if num_skipped:
        total = num_inputs + num_skipped
        found["inputs"] = f"{num_skipped} of {total} inputs are left out: their logits or embeddings are not finite"
    if 0 < num_targets < num_inputs:
        without = f"{num_inputs - num_targets} of {num_inputs} inputs have no target that is a label of the head"
        found["targets"] = f"{without}: errors do not count them, and their joint mass counts as mass on inputs of neither label"
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
            found[f"padding_{int(rows[0])}"] = f"{what}{moved}; if they are padding, add them to `ignore`"
    return found


def _suspects(unembedding: Tensor, zero_K: Tensor, live: Tensor) -> list[Tensor]:
    """Groups of equal rows, and a single zero row. A group of all live rows is not padding and is left out."""
    groups = equal_rows(unembedding, live=live)[:_MAX_GROUPS]
    zeros = zero_K.nonzero().flatten()
    if len(zeros) and not any(zero_K[rows[0]] for rows in groups):
        groups.append(zeros)
    num_live = int(live.sum())
    return [rows for rows in groups if len(rows) < num_live]


def _listed(rows: Tensor) -> str:
    """Rows as text, such as `3, 5 to 9`."""
    row_R = rows.flatten().cpu()
    runs = row_R.tensor_split((row_R.diff() != 1).nonzero().flatten() + 1)
    shown = [str(int(run[0])) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs[:_MAX_SHOWN]]
    more = f" and {sum(map(len, runs[_MAX_SHOWN:]))} more" if len(runs) > _MAX_SHOWN else ""
    return ", ".join(shown) + more
