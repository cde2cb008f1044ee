"""The ladder: the similarities that mean something under a link, each removing one ambiguity of the one before (THEORY §3).

Shapes: K labels of the head, L of them compared, D embedding dimensions, P pairs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, get_args

import torch
from torch import Tensor

from lightning_cossim.functional.links import Link
from lightning_cossim.functional.pairs import Pairs
from lightning_cossim.functional.precision import full_precision, resolution, result_dtype
from lightning_cossim.functional.similarities import SIMILARITIES, HeadRows, PairRows

__all__ = ["LADDERS", "RUNGS", "Ladder", "pair_rungs", "weight_rungs"]

RUNGS: Final = (*SIMILARITIES, "overlap")
"""The keys of all similarities, and of the overlap."""

_CHUNK: Final = 4096
"""Pairs that are worked on at a time."""
_UNCENTERED_COSINE, _CENTERED_COSINE, _CORRELATION = "raw_cosine", "centered_cosine", "logit_correlation"


@dataclass(frozen=True)
class Ladder:
    """The similarities that mean something under a link, and the gaps between them."""

    similarities: tuple[str, ...]
    """Their keys, in order."""
    cosine: str
    """The cosine that the overlap is held against, label by label and as a whole."""
    gaps: Mapping[str, tuple[str, str]]
    """Gap to the two similarities whose mean difference it is."""
    why_uncentered: str = ""
    """Why rows are not centered, if so: their origin is not arbitrary, and centering would throw something away."""
    note: str = ""
    """What else a reader should know of its similarities, as a sentence."""

    @property
    def is_centered(self) -> bool:
        """Whether rows are centered."""
        return not self.why_uncentered

    @property
    def absent(self) -> tuple[str, ...]:
        """The similarities and scalars that mean nothing under the link, for the reason that `why_uncentered` gives."""
        if self.is_centered:
            return ()
        absent = [key for key in SIMILARITIES if key not in self.similarities]
        return (*absent, *(f"explained_{key}" for key in absent), "gap_translation", "common_mode_ratio")

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
    "sigmoid": ("a sigmoid sees every logit by itself, so one vector added to all rows changes probabilities", ""),
    "softcap": (
        "a soft cap bends every logit by itself, so one vector added to all rows changes probabilities",
        "Logit correlation and log-odds variance are those before the cap",
    ),
    "cosine": ("a cosine head sees rows at length 1 from zero, so one vector added to all rows changes probabilities", ""),
}
LADDERS: Final[Mapping[Link, Ladder]] = MappingProxyType({link: _ladder(link, *_WHY_UNCENTERED[link]) for link in get_args(Link)})


def weight_rungs(
    unembedding: Tensor, *, label_subset: Tensor, embedding_covariance: Tensor, live: Tensor, link: Link = "softmax"
) -> dict[str, Tensor]:
    """The similarities that need no probabilities, between chosen labels.

    Args:
        unembedding: (K, D), one row a label.
        label_subset: (L,), the rows to compare; the mean row is still taken over all live labels.
        embedding_covariance: (D, D), NaN where no embeddings are known: similarities that need them are then NaN.
        live: boolean (K,).
        link: under all but "softmax" rows are not centered; of a cosine head, pass the rows at the length of its scale.

    Returns:
        The link's similarities to (L, L), NaN where a label is not live.
    """
    ladder = LADDERS[link]
    head = HeadRows(unembedding, label_subset, embedding_covariance, live, ladder.is_centered)
    return {key: SIMILARITIES[key].matrix(head) for key in ladder.similarities}


def pair_rungs(
    unembedding: Tensor, *, pairs: Pairs, embedding_covariance: Tensor, live: Tensor, link: Link = "softmax"
) -> dict[str, Tensor]:
    """The same of some pairs of labels: what `weight_rungs` holds for them, without its matrices.

    Args:
        unembedding: (K, D), one row a label.
        pairs: (P,), by their rows in the unembedding.
        embedding_covariance: (D, D), NaN where no embeddings are known: similarities that need them are then NaN.
        live: boolean (K,).
        link: under all but "softmax" rows are not centered; of a cosine head, pass the rows at the length of its scale.

    Returns:
        The link's similarities to (P,), float32 or, for a float64 unembedding, float64; NaN where a label is not live.
    """
    ladder = LADDERS[link]
    head = HeadRows(unembedding, torch.arange(0, device=live.device), embedding_covariance, live, ladder.is_centered)
    labels = pairs.labels
    W_LD = unembedding.detach()[labels.to(unembedding.device)].to(head.origin.mean)
    covariance_DD = embedding_covariance.to(W_LD)
    with full_precision(W_LD):  # once for every label, which is in many pairs
        along_LD = (head.origin.center(W_LD) if ladder.is_centered else W_LD) @ covariance_DD
    parts = []
    for first in range(0, max(1, len(pairs)), _CHUNK):
        some = Pairs(pairs.row[first : first + _CHUNK], pairs.column[first : first + _CHUNK])
        among = some.among(labels)
        row, column = among.row.to(W_LD.device), among.column.to(W_LD.device)
        rows = PairRows(
            W_LD[row],
            W_LD[column],
            (along_LD[row], along_LD[column]),
            head.origin,
            covariance_DD,
            resolution(unembedding),
            ladder.is_centered,
        )
        counts_P = live[some.row.to(live.device)] & live[some.column.to(live.device)]
        of_pairs = {key: SIMILARITIES[key].of_pairs(rows, head, some) for key in ladder.similarities}
        parts.append({key: values_P.masked_fill(~counts_P, torch.nan) for key, values_P in of_pairs.items()})
    return {key: torch.cat([part[key] for part in parts]).to(result_dtype(unembedding)) for key in parts[0]}
