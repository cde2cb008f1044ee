"""The ladder: similarities between labels, each removing one ambiguity of the one before (THEORY §3).

Shapes: K labels of the head, L of them looked at, D embedding dimensions; `W_KD` unembedding, `W_LD` the rows looked at.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor

from lightning_cossim.functional.centering import Origin, origin_of
from lightning_cossim.functional.cosine import label_cosine_similarity
from lightning_cossim.functional.links import Link
from lightning_cossim.functional.logit_geometry import log_odds_variance, logit_correlation, logit_geometry_of
from lightning_cossim.functional.pairs import Pairs
from lightning_cossim.functional.precision import resolution, result_dtype

__all__ = ["LADDERS", "RUNGS", "SIMILARITIES", "TOWARDS_ALIKE", "Ladder", "pair_rungs", "weight_rungs"]

TOWARDS_ALIKE: Final = MappingProxyType({"raw_cosine": 1, "centered_cosine": 1, "logit_correlation": 1, "log_odds_variance": -1})
"""The similarities below the overlap, and the sign that makes larger mean more alike."""
SIMILARITIES: Final = tuple(TOWARDS_ALIKE)
RUNGS: Final = (*SIMILARITIES, "overlap")

_OF_CENTERING: Final = ("centered_cosine", "explained_centered_cosine", "gap_translation", "common_mode_ratio")
_CHUNK: Final = 4096
"""Pairs that are worked on at a time."""


@dataclass(frozen=True)
class Ladder:
    """The rungs that mean something under a link, and the gaps between them."""

    similarities: tuple[str, ...]
    """Those of `SIMILARITIES` that it has."""
    cosine: str
    """The cosine that the overlap is held against, label by label and as a whole."""
    gaps: Mapping[str, tuple[str, str]]
    """Gap to the two similarities whose mean difference it is."""
    why_uncentered: str = ""
    """Why nothing is centered, if so: the origin is not arbitrary, and to center would be to throw something away."""
    note: str = ""
    """What else there is to know of its rungs, as a sentence."""

    @property
    def absent(self) -> tuple[str, ...]:
        """The rungs and scalars that mean nothing under the link, for the reason that `why_uncentered` gives."""
        return _OF_CENTERING if self.why_uncentered else ()

    @property
    def rungs(self) -> tuple[str, ...]:
        """The similarities and the overlap."""
        return (*self.similarities, "overlap")


def _uncentered(why: str, note: str = "") -> Ladder:
    gaps = {"gap_geometry": ("raw_cosine", "logit_correlation")}
    return Ladder(("raw_cosine", "logit_correlation", "log_odds_variance"), "raw_cosine", MappingProxyType(gaps), why, note)


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
        "sigmoid": _uncentered("a sigmoid sees every logit by itself, so one vector added to all rows changes probabilities"),
        "softcap": _uncentered(
            "a soft cap bends every logit by itself, so one vector added to all rows changes probabilities",
            "Logit correlation and log-odds variance are those before the cap",
        ),
        "cosine": _uncentered(
            "a cosine head sees rows at length 1 from zero, so one vector added to all rows changes probabilities"
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
        link: under all but "softmax" no rung is centered; of a cosine head, the rows at the length of its scale are meant.

    Returns:
        The link's similarities to (L, L), NaN where a label is not live.
    """
    W_LD, live_L = unembedding[labels], live[labels]
    rungs = {"raw_cosine": label_cosine_similarity(W_LD, centered=False, live=live_L)}
    if "centered_cosine" in LADDERS[link].similarities:
        rows_LD = origin_of(unembedding, live).center(W_LD).to(result_dtype(unembedding))
        rungs["centered_cosine"] = label_cosine_similarity(rows_LD, centered=False, live=live_L)
    else:
        rows_LD = W_LD
    correlation_LL = logit_correlation(rows_LD, embedding_covariance=embedding_covariance, centered=False, live=live_L)
    variance_LL = log_odds_variance(W_LD, embedding_covariance=embedding_covariance)
    rungs["logit_correlation"] = correlation_LL
    rungs["log_odds_variance"] = variance_LL.masked_fill(~(live_L[:, None] & live_L), torch.nan)
    return rungs


def pair_rungs(
    unembedding: Tensor, *, pairs: Pairs, embedding_covariance: Tensor, live: Tensor, link: Link = "softmax"
) -> dict[str, Tensor]:
    """Rungs 1 to 3' of some pairs of labels: what `weight_rungs` holds for them, without its matrices.

    Args:
        unembedding: (K, D), one row a label.
        pairs: (P,), by their rows in the unembedding.
        embedding_covariance: (D, D), NaN where no embeddings are known: rungs 3 and 3' are then NaN.
        live: boolean (K,).
        link: under all but "softmax" no rung is centered; of a cosine head, the rows at the length of its scale are meant.

    Returns:
        The link's similarities to (P,), float32 or, for a float64 unembedding, float64; NaN where a label is not live.
    """
    is_centered = "centered_cosine" in LADDERS[link].similarities
    origin = origin_of(unembedding, live)
    parts = [
        _rungs_of(unembedding, row, column, origin, embedding_covariance.to(origin.mean), live, is_centered=is_centered)
        for row, column in zip(torch.split(pairs.row, _CHUNK), torch.split(pairs.column, _CHUNK), strict=True)
    ]
    return {rung: torch.cat([part[rung] for part in parts]).to(result_dtype(unembedding)) for rung in parts[0]}


def _rungs_of(
    W_KD: Tensor, row: Tensor, column: Tensor, origin: Origin, S_DD: Tensor, live_K: Tensor, *, is_centered: bool
) -> dict[str, Tensor]:
    row, column = row.to(W_KD.device), column.to(W_KD.device)
    g_PD, h_PD = (W_KD.detach()[labels].to(origin.mean) for labels in (row, column))
    rungs = {"raw_cosine": _cosine(g_PD, h_PD)}
    if is_centered:
        g_PD, h_PD = origin.center(g_PD), origin.center(h_PD)
        rungs["centered_cosine"] = _cosine(g_PD, h_PD)
    rungs["logit_correlation"], rungs["log_odds_variance"] = logit_geometry_of(
        g_PD, h_PD, embedding_covariance=S_DD, resolution=resolution(W_KD)
    )
    counts_P = live_K[row] & live_K[column]
    return {rung: similarity_P.masked_fill(~counts_P, torch.nan) for rung, similarity_P in rungs.items()}


def _cosine(g_PD: Tensor, h_PD: Tensor) -> Tensor:
    """Of two rows each, NaN where one is zero."""
    lengths_P = g_PD.norm(dim=1) * h_PD.norm(dim=1)
    cosine_P: Tensor = (g_PD * h_PD).sum(dim=1) / lengths_P
    return cosine_P.clamp(-1, 1)
