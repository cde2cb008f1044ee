"""Symmetries: the changes of a head that leave a similarity unchanged, stated for every rung of the ladder (THEORY §2-3).

A head is `W_KD`, `b_K` and embeddings `f_ND`, its logits `f W^T + b`. A translation and a linear map change no probability of a
softmax; what one of them moves is no function of what the model does.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from lightning_cossim.functional.ladder import LADDERS
from lightning_cossim.functional.links import Link
from lightning_cossim.functional.overlap import OverlapKind

__all__ = ["SYMMETRIES", "Symmetry", "symmetries_of_ladder", "symmetries_of_overlap", "symmetries_of_weights"]

Symmetry = Literal[
    "translation",
    "rotation",
    "linear_map",
    "global_scale",
    "row_scale",
    "temperature",
    "embedding_shift",
    "bias_shift",
    "embedding_scale",
    "label_permutation",
]

SYMMETRIES: Final[Mapping[Symmetry, str]] = MappingProxyType(
    {
        "translation": "W + 1 v^T: one vector is added to all rows",
        "rotation": "W Q and f Q, Q orthogonal",
        "linear_map": "W A and f A^-T, A invertible",
        "global_scale": "c W, c > 0: the bias stays",
        "row_scale": "diag(s) W, s > 0: rows get other lengths",
        "temperature": "c W and c b, c > 0: all logits times c",
        "embedding_shift": "f + c and b - W c",
        "bias_shift": "b + c 1: one number is added to all biases",
        "embedding_scale": "diag(s) f, s > 0: embeddings get other lengths",
        "label_permutation": "labels are renamed; results are renamed with them",
    }
)
"""Each with its formula."""

_ALWAYS: Final[frozenset[Symmetry]] = frozenset({"rotation", "embedding_shift", "label_permutation"})
_OF_WEIGHTS: Final[frozenset[Symmetry]] = _ALWAYS | {"bias_shift"}
_OF_COSINES: Final[frozenset[Symmetry]] = frozenset(
    {"rotation", "label_permutation", "bias_shift", "row_scale", "global_scale", "temperature", "embedding_scale"}
)
"""What a cosine head, which has no bias, does not show: lengths, and no more."""


def symmetries_of_weights(rung: str, *, centered: bool = True) -> frozenset[Symmetry]:
    """What leaves a similarity of the rows unchanged.

    Args:
        rung: one of the ladder's below the overlap.
        centered: whether the logit correlation is taken after subtracting the mean row.

    Example:
        >>> sorted(symmetries_of_weights("raw_cosine") - symmetries_of_weights("centered_cosine"))
        ['row_scale']
        >>> sorted(symmetries_of_weights("centered_cosine") - symmetries_of_weights("raw_cosine"))
        ['translation']
    """
    origin: frozenset[Symmetry] = frozenset({"translation"} if centered else ())
    extra: dict[str, frozenset[Symmetry]] = {
        "raw_cosine": frozenset({"row_scale", "global_scale", "temperature", "embedding_scale"}),
        "centered_cosine": frozenset({"translation", "global_scale", "temperature", "embedding_scale"}),
        "logit_correlation": origin | {"linear_map", "global_scale", "temperature"},
        "log_odds_variance": frozenset({"translation", "linear_map"}),
    }
    return _OF_WEIGHTS | extra[rung]


def symmetries_of_overlap(kind: OverlapKind, link: Link) -> frozenset[Symmetry]:
    """What leaves an overlap unchanged: all that no probability of the link shows. Ranks are blind to more.

    Example:
        >>> sorted(symmetries_of_overlap("bhattacharyya", "softmax") - symmetries_of_overlap("bhattacharyya", "sigmoid"))
        ['bias_shift', 'translation']
        >>> sorted(symmetries_of_overlap("bhattacharyya", "cosine") - symmetries_of_overlap("bhattacharyya", "softcap"))
        ['bias_shift', 'embedding_scale', 'global_scale', 'row_scale', 'temperature']
    """
    if link == "cosine":
        return _OF_COSINES
    found: frozenset[Symmetry] = _ALWAYS | {"linear_map"}
    if link == "softmax" or kind == "topk":
        found |= {"translation", "bias_shift"}
    return found | {"temperature"} if kind == "topk" else found


def symmetries_of_ladder(kind: OverlapKind, link: Link) -> frozenset[Symmetry]:
    """What leaves every statistic about the rungs of a link unchanged: rungs stay, and variances at least keep their order."""
    if link == "cosine":
        return _OF_COSINES
    centered = "centered_cosine" in LADDERS[link].similarities
    found = symmetries_of_overlap(kind, link)
    for rung in LADDERS[link].similarities:
        of_rung = symmetries_of_weights(rung, centered=centered)
        found &= of_rung | {"global_scale", "temperature"} if rung == "log_odds_variance" else of_rung
    return found
