"""Rankings: the cosines between differences of rows, and how they drift. They decide which orders of labels a head can produce.

Shapes: K labels, D embedding dimensions, L labels compared, P = L (L - 1) / 2 differences between them.
"""

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import torch
from torch import Tensor

from lightning_cossim.functional.cosine import difference_cosine_similarity

__all__ = ["Rankings", "ranking_drift", "rankings_of"]

MOST_LABELS: Final = 16


@dataclass(frozen=True, eq=False)
class Rankings:
    """The cosines between the differences of rows of some labels."""

    labels: tuple[int, ...]
    """(L,), rows of the head, ascending."""
    cosines: Tensor
    """(P, P) in [-1, 1], of the differences in the order of `itertools.combinations`."""


def rankings_of(unembedding: Tensor, mean_probs: Tensor, kept: Tensor) -> Rankings:
    """The rankings of the kept labels with the largest mean probabilities, at most 16 labels.

    Args:
        unembedding: (K, D).
        mean_probs: (K,), in [0, 1], NaN without inputs.
        kept: boolean (K,), the labels that count.
    """
    probable = mean_probs.nan_to_num(0).where(kept, -1).argsort(descending=True, stable=True)[: min(MOST_LABELS, int(kept.sum()))]
    labels = sorted(probable.tolist())
    pairs = torch.tensor(list(combinations(range(len(labels)), 2)), dtype=torch.int64).reshape(-1, 2)
    return Rankings(tuple(labels), difference_cosine_similarity(unembedding[labels], pairs=pairs).cpu())


def ranking_drift(before: Rankings, after: Rankings) -> float:
    r"""How far the differences have rotated relative to one another, in [0, 2].

    The mean :math:`|\cos' - \cos|` over pairs of differences. It uses the labels that both rankings contain, and is NaN if these
    are fewer than three. It does not change under a
    translation of all rows, one scale for all rows, or a rotation, on either side.

    Example:
        >>> mean_probs, kept = torch.full((3,), 1 / 3), torch.ones(3, dtype=torch.bool)
        >>> one = rankings_of(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), mean_probs, kept)
        >>> moved = rankings_of(torch.tensor([[7.0, 6.0], [5.0, 4.0], [7.0, 4.0]]), mean_probs, kept)  # rotated and scaled too
        >>> swapped = rankings_of(torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]), mean_probs, kept)
        >>> round(ranking_drift(one, moved), 4), round(ranking_drift(one, swapped), 4)
        (0.0, 0.4714)
    """
    common = sorted({*before.labels} & {*after.labels})
    if len(common) < 3:
        return math.nan
    one, other = (_among(rankings, common) for rankings in (before, after))
    upper = torch.triu_indices(len(one), len(one), offset=1)
    change = (one - other)[upper[0], upper[1]].abs()
    known = change[change.isfinite()]
    return float(known.mean()) if len(known) else math.nan


def _among(rankings: Rankings, labels: list[int]) -> Tensor:
    """The cosines of the differences between the given labels only."""
    wanted = {*labels}
    places = [at for at, pair in enumerate(combinations(rankings.labels, 2)) if wanted.issuperset(pair)]
    return rankings.cosines[places][:, places]
