"""The ladder: similarities between labels, each removing one ambiguity of the one before (THEORY §3).

Shapes: K labels of the head, L of them looked at, D embedding dimensions; `W_KD` unembedding, `W_LD` the rows looked at.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor

from lightning_cossim.functional.centering import center_labels
from lightning_cossim.functional.cosine import label_cosine_similarity
from lightning_cossim.functional.logit_geometry import log_odds_variance, logit_correlation
from lightning_cossim.functional.overlap import Link

__all__ = ["LADDERS", "RUNGS", "SIMILARITIES", "TOWARDS_ALIKE", "Ladder", "mean_gap", "weight_rungs"]

TOWARDS_ALIKE: Final = MappingProxyType({"raw_cosine": 1, "centered_cosine": 1, "logit_correlation": 1, "log_odds_variance": -1})
"""The similarities below the overlap, and the sign that makes larger mean more alike."""
SIMILARITIES: Final = tuple(TOWARDS_ALIKE)
RUNGS: Final = (*SIMILARITIES, "overlap")


@dataclass(frozen=True)
class Ladder:
    """The rungs that mean something under a link, and the gaps between them."""

    similarities: tuple[str, ...]
    """Those of `SIMILARITIES` that it has."""
    cosine: str
    """The cosine that the overlap is held against, label by label and as a whole."""
    gaps: Mapping[str, tuple[str, str]]
    """Gap to the two similarities whose mean difference it is."""

    @property
    def rungs(self) -> tuple[str, ...]:
        """The similarities and the overlap."""
        return (*self.similarities, "overlap")


LADDERS: Final[Mapping[Link, Ladder]] = MappingProxyType(
    {
        "softmax": Ladder(
            SIMILARITIES,
            "centered_cosine",
            MappingProxyType(
                {
                    "gap_translation": ("raw_cosine", "centered_cosine"),
                    "gap_geometry": ("centered_cosine", "logit_correlation"),
                }
            ),
        ),
        # A sigmoid sees every logit by itself: the origin is not arbitrary, and to center would be to throw something away.
        "sigmoid": Ladder(
            ("raw_cosine", "logit_correlation", "log_odds_variance"),
            "raw_cosine",
            MappingProxyType({"gap_geometry": ("raw_cosine", "logit_correlation")}),
        ),
    }
)


def weight_rungs(
    unembedding: Tensor, *, labels: Tensor, embedding_covariance: Tensor, live: Tensor, link: Link = "softmax"
) -> dict[str, Tensor]:
    """Rungs 1 to 3': the similarities that need no probabilities, between chosen labels.

    Args:
        unembedding: (K, D), one row a label.
        labels: (L,), the rows to compare; the mean row is still taken over all live labels.
        embedding_covariance: (D, D), NaN where no embeddings are known: rungs 3 and 3' are then NaN.
        live: boolean (K,).
        link: under "sigmoid" no rung is centered.

    Returns:
        The link's similarities to (L, L), NaN where a label is not live.
    """
    W_LD, live_L = unembedding[labels], live[labels]
    rungs = {"raw_cosine": label_cosine_similarity(W_LD, centered=False, live=live_L)}
    if "centered_cosine" in LADDERS[link].similarities:
        rows_LD = center_labels(unembedding, live=live)[labels]
        rungs["centered_cosine"] = label_cosine_similarity(rows_LD, centered=False, live=live_L)
    else:
        rows_LD = W_LD
    correlation_LL = logit_correlation(rows_LD, embedding_covariance=embedding_covariance, centered=False, live=live_L)
    variance_LL = log_odds_variance(W_LD, embedding_covariance=embedding_covariance)
    rungs["logit_correlation"] = correlation_LL
    rungs["log_odds_variance"] = variance_LL.masked_fill(~(live_L[:, None] & live_L), torch.nan)
    return rungs


def mean_gap(similarity: Tensor, other: Tensor) -> Tensor:
    r"""Mean over pairs :math:`i<j` of :math:`|s_{ij} - s'_{ij}|`, in the units of the similarities; NaN without pairs.

    Pairs where either is NaN do not count. Raw against centered cosine this is the *translation gap*: what the arbitrary
    origin did. Centered cosine against logit correlation it is the *geometry gap*: what the anisotropy of the embeddings did.
    """
    row, column = torch.triu_indices(len(similarity), len(similarity), offset=1, device=similarity.device)
    return (similarity - other).abs()[row, column].nanmean()
