"""The ladder: five similarities between labels, each removing one ambiguity of the one before (THEORY §3).

Shapes: K labels of the head, L of them looked at, D embedding dimensions; `W_KD` unembedding, `W_LD` the rows looked at.
"""

from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor

from lightning_cossim.functional.centering import center_labels
from lightning_cossim.functional.cosine import label_cosine_similarity
from lightning_cossim.functional.logit_geometry import log_odds_variance, logit_correlation

__all__ = ["RUNGS", "SIMILARITIES", "TOWARDS_ALIKE", "mean_gap", "weight_rungs"]

TOWARDS_ALIKE: Final = MappingProxyType({"raw_cosine": 1, "centered_cosine": 1, "logit_correlation": 1, "log_odds_variance": -1})
"""The similarities below the overlap, and the sign that makes larger mean more alike."""
SIMILARITIES: Final = tuple(TOWARDS_ALIKE)
RUNGS: Final = (*SIMILARITIES, "overlap")


def weight_rungs(unembedding: Tensor, *, labels: Tensor, embedding_covariance: Tensor, live: Tensor) -> dict[str, Tensor]:
    """Rungs 1 to 3': the similarities that need no probabilities, between chosen labels.

    Args:
        unembedding: (K, D), one row a label.
        labels: (L,), the rows to compare; the mean row is still taken over all live labels.
        embedding_covariance: (D, D), NaN where no embeddings are known: rungs 3 and 3' are then NaN.
        live: boolean (K,).

    Returns:
        `SIMILARITIES` to (L, L), NaN where a label is not live.
    """
    W_LD, live_L = unembedding[labels], live[labels]
    centered_LD = center_labels(unembedding, live=live)[labels]
    variance_LL = log_odds_variance(W_LD, embedding_covariance=embedding_covariance)
    return {
        "raw_cosine": label_cosine_similarity(W_LD, centered=False, live=live_L),
        "centered_cosine": label_cosine_similarity(centered_LD, centered=False, live=live_L),
        "logit_correlation": logit_correlation(
            centered_LD, embedding_covariance=embedding_covariance, centered=False, live=live_L
        ),
        "log_odds_variance": variance_LL.masked_fill(~(live_L[:, None] & live_L), torch.nan),
    }


def mean_gap(similarity: Tensor, other: Tensor) -> Tensor:
    r"""Mean over pairs :math:`i<j` of :math:`|s_{ij} - s'_{ij}|`, in the units of the similarities; NaN without pairs.

    Pairs where either is NaN do not count. Raw against centered cosine this is the *translation gap*: what the arbitrary
    origin did. Centered cosine against logit correlation it is the *geometry gap*: what the anisotropy of the embeddings did.
    """
    row, column = torch.triu_indices(len(similarity), len(similarity), offset=1, device=similarity.device)
    return (similarity - other).abs()[row, column].nanmean()
