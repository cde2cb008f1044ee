"""The ladder: the similarities that are meaningful under a link. Each removes one ambiguity of the one before.

Shapes: K labels of the head, L of them compared, D embedding dimensions, P pairs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, get_args

import torch
from torch import Tensor

from lightning_cossim.functional.links import Link
from lightning_cossim.functional.logit_covariance import LogitCovariance
from lightning_cossim.functional.pairs import Pairs
from lightning_cossim.functional.precision import full_precision, resolution, result_dtype
from lightning_cossim.functional.similarities import SIMILARITIES, HeadRows, PairRows

__all__ = ["LADDERS", "MEASURES", "RUNGS", "Ladder", "pair_rungs", "weight_rungs"]

RUNGS: Final = (*SIMILARITIES, "overlap")
"""The keys of all similarities, and of the overlap."""
MEASURES: Final = ("rank_agreement", "explained")
"""Measures of agreement with the overlap, as scalars `<measure>_<similarity>`. The first is the headline."""

_CHUNK: Final = 4096
"""Pairs per chunk."""
_UNCENTERED_COSINE, _CENTERED_COSINE, _CORRELATION = "raw_cosine", "centered_cosine", "logit_correlation"


@dataclass(frozen=True)
class Ladder:
    """The similarities that are meaningful under a link, and the gaps between them."""

    similarities: tuple[str, ...]
    """Their keys, in order."""
    cosine: str
    """The cosine that the overlap is compared with: pair gaps and the behavior gap use it."""
    gaps: Mapping[str, tuple[str, str]]
    """Each gap with the two similarities whose mean absolute difference it is."""
    why_uncentered: str = ""
    """Why rows are not centered; empty if they are. Their origin is then not arbitrary, and centering would lose information."""
    note: str = ""
    """A further sentence about the similarities, without a final period."""

    @property
    def is_centered(self) -> bool:
        """Whether rows are centered."""
        return not self.why_uncentered

    @property
    def absent(self) -> tuple[str, ...]:
        """The similarities and scalars that are not meaningful under the link. `why_uncentered` gives the reason."""
        if self.is_centered:
            return ()
        absent = [key for key in SIMILARITIES if key not in self.similarities]
        measured = (f"{measure}_{key}" for measure in MEASURES for key in absent)
        return (*absent, *measured, "gap_translation", "common_mode_ratio")

    @property
    def rungs(self) -> tuple[str, ...]:
        """The similarities and the overlap."""
        return (*self.similarities, "overlap")


def _ladder(link: Link, why_uncentered: str = "", note: str = "") -> Ladder:
    cosine = _UNCENTERED_COSINE if why_uncentered else _CENTERED_COSINE
    gaps = {} if why_uncentered else {"gap_translation": (_UNCENTERED_COSINE, _CENTERED_COSINE)}
    gaps["gap_geometry"] = (cosine, _CORRELATION)
    keys = tuple(key for key, row in SIMILARITIES.items() if link in row.links)
    return Ladder(keys, cosine, MappingProxyType(gaps), why_uncentered, note)


_WHY_UNCENTERED: Final[Mapping[Link, tuple[str, str]]] = {
    "softmax": ("", ""),
    "sigmoid": ("a sigmoid uses each logit alone, so adding one vector to all rows changes probabilities", ""),
    "softcap": (
        "a soft cap bounds each logit alone, so adding one vector to all rows changes probabilities",
        "Logit correlation and log-odds variance use the logits before the cap",
    ),
    "cosine": ("a cosine head uses the directions of the rows, so adding one vector to all rows changes probabilities", ""),
}
LADDERS: Final[Mapping[Link, Ladder]] = MappingProxyType({link: _ladder(link, *_WHY_UNCENTERED[link]) for link in get_args(Link)})


def weight_rungs(
    unembedding: Tensor, *, label_subset: Tensor, covariance: Tensor | LogitCovariance, live: Tensor, link: Link = "softmax"
) -> dict[str, Tensor]:
    """The similarities that need no probabilities, between chosen labels.

    Args:
        unembedding: (K, D), one row per label.
        label_subset: (L,), the rows to compare. The mean row is still that of all live labels.
        covariance: (D, D), the covariance of the embeddings, or the `LogitCovariance` of all labels. NaN if no embeddings are
            known: similarities that need them are then NaN.
        live: boolean (K,), the labels that count.
        link: under "softmax", rows are centered; under all other links, they are not. For a cosine head, pass rows whose length
            is its scale.

    Returns:
        Each similarity of the link, by key, as (L, L). NaN if a label is not live.
    """
    ladder = LADDERS[link]
    head = HeadRows(unembedding, label_subset, covariance, live, ladder.is_centered)
    return {key: SIMILARITIES[key].matrix(head) for key in ladder.similarities}


def pair_rungs(
    unembedding: Tensor, *, pairs: Pairs, embedding_covariance: Tensor, live: Tensor, link: Link = "softmax"
) -> dict[str, Tensor]:
    """The similarities that need no probabilities, for some pairs: the entries of `weight_rungs`, without its matrices.

    Args:
        unembedding: (K, D), one row per label.
        pairs: (P,), by their rows in the unembedding.
        embedding_covariance: (D, D). NaN if no embeddings are known: similarities that need them are then NaN.
        live: boolean (K,), the labels that count.
        link: under "softmax", rows are centered; under all other links, they are not. For a cosine head, pass rows whose length
            is its scale.

    Returns:
        Each similarity of the link, by key, as (P,), float64 for a float64 unembedding, float32 otherwise. NaN if a label is not
        live.
    """
    ladder = LADDERS[link]
    head = HeadRows(unembedding, torch.arange(0, device=live.device), embedding_covariance, live, ladder.is_centered)
    labels = pairs.labels.to(unembedding.device)
    W_LD = unembedding.detach()[labels].to(head.origin.mean)
    with full_precision(W_LD):  # once per label, because a label is in many pairs
        along_LD = (head.origin.center(W_LD) if ladder.is_centered else W_LD) @ embedding_covariance.to(W_LD)
    chunks = zip(torch.split(pairs.row, _CHUNK), torch.split(pairs.column, _CHUNK), strict=True)
    parts = [_rungs_of(head, Pairs(row, column), ladder, labels, along_LD, embedding_covariance) for row, column in chunks]
    return {key: torch.cat([part[key] for part in parts]).to(result_dtype(unembedding)) for key in parts[0]}


def _rungs_of(
    head: HeadRows, pairs: Pairs, ladder: Ladder, labels: Tensor, along_LD: Tensor, embedding_covariance: Tensor
) -> dict[str, Tensor]:
    """The similarities of some pairs of the labels (L,). `along_LD` holds the rows of these labels times the covariance."""
    W_KD, origin, among = head.unembedding, head.origin, pairs.among(labels.cpu())
    row, column = pairs.row.to(W_KD.device), pairs.column.to(W_KD.device)
    g_PD, h_PD = (W_KD.detach()[one].to(origin.mean) for one in (row, column))
    along = (along_LD[among.row.to(W_KD.device)], along_LD[among.column.to(W_KD.device)])
    rows = PairRows(g_PD, h_PD, along, origin, embedding_covariance.to(origin.mean), resolution(W_KD), ladder.is_centered)
    counts_P = head.live[row] & head.live[column]
    of_pairs = {key: SIMILARITIES[key].of_pairs(rows, head, pairs) for key in ladder.similarities}
    return {key: values_P.masked_fill(~counts_P, torch.nan) for key, values_P in of_pairs.items()}
