"""Invariances: which changes of a head leave a similarity, an overlap or a whole report unchanged (THEORY §2-3)."""

from typing import Final

from lightning_cossim.functional.ladder import LADDERS
from lightning_cossim.functional.links import Link
from lightning_cossim.functional.overlap import OverlapKind
from lightning_cossim.functional.similarities import SIMILARITIES
from lightning_cossim.functional.symmetries import Symmetry

__all__ = ["symmetries_of_ladder", "symmetries_of_overlap", "symmetries_of_weights"]

_OF_PROBABILITIES: Final[frozenset[Symmetry]] = frozenset({"rotation", "embedding_shift", "label_permutation"})
"""What no probability of any link but "cosine" shows."""
_OF_COSINES: Final[frozenset[Symmetry]] = frozenset(
    {"rotation", "label_permutation", "bias_shift", "row_scale", "global_scale", "temperature", "embedding_scale"}
)
"""What a cosine head, which has no bias, does not show: lengths, and no more."""


def symmetries_of_weights(similarity: str, *, centered: bool = True) -> frozenset[Symmetry]:
    """What leaves a similarity of the rows unchanged.

    Args:
        similarity: its key.
        centered: whether the logit correlation is taken after subtracting the mean row.

    Example:
        >>> sorted(symmetries_of_weights("raw_cosine") - symmetries_of_weights("centered_cosine"))
        ['row_scale']
        >>> sorted(symmetries_of_weights("centered_cosine") - symmetries_of_weights("raw_cosine"))
        ['translation']
    """
    row = SIMILARITIES[similarity]
    return row.unchanged_by | row.unchanged_where_centered if centered else row.unchanged_by


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
    found: frozenset[Symmetry] = _OF_PROBABILITIES | {"linear_map"}
    if link == "softmax" or kind == "topk":
        found |= {"translation", "bias_shift"}
    return found | {"temperature"} if kind == "topk" else found


def symmetries_of_ladder(kind: OverlapKind, link: Link) -> frozenset[Symmetry]:
    """What leaves every statistic about the similarities of a link unchanged: their values stay, or at least their order."""
    if link == "cosine":
        return _OF_COSINES
    centered = LADDERS[link].is_centered
    found = symmetries_of_overlap(kind, link)
    for key in LADDERS[link].similarities:
        found &= symmetries_of_weights(key, centered=centered) | SIMILARITIES[key].keeps_order_under
    return found
