"""Invariances: the changes of a head under which a similarity, an overlap or a whole report does not change."""

from typing import Final

from lightning_cossim.functional.ladder import LADDERS
from lightning_cossim.functional.links import Link
from lightning_cossim.functional.overlap import OverlapKind
from lightning_cossim.functional.similarities import SIMILARITIES
from lightning_cossim.functional.symmetries import Symmetry

__all__ = ["symmetries_of_ladder", "symmetries_of_overlap", "symmetries_of_weights"]

_OF_PROBABILITIES: Final[frozenset[Symmetry]] = frozenset({"rotation", "embedding_shift", "label_permutation"})
"""The changes under which no probability changes, for every link except "cosine"."""
_OF_COSINES: Final[frozenset[Symmetry]] = frozenset(
    {"rotation", "label_permutation", "bias_shift", "row_scale", "global_scale", "temperature", "embedding_scale"}
)
"""The changes under which a cosine head does not change. It has no bias and ignores the lengths of rows and embeddings."""


def symmetries_of_weights(similarity: str, *, centered: bool = True) -> frozenset[Symmetry]:
    """The changes of a head under which a similarity of its rows does not change.

    Args:
        similarity: its key.
        centered: whether the logit correlation uses centered rows.

    Example:
        >>> sorted(symmetries_of_weights("raw_cosine") - symmetries_of_weights("centered_cosine"))
        ['row_scale']
        >>> sorted(symmetries_of_weights("centered_cosine") - symmetries_of_weights("raw_cosine"))
        ['translation']
    """
    row = SIMILARITIES[similarity]
    return row.unchanged_by | row.unchanged_where_centered if centered else row.unchanged_by


def symmetries_of_overlap(kind: OverlapKind, link: Link) -> frozenset[Symmetry]:
    """The changes of a head under which an overlap does not change.

    They are the changes that change no probability of the link. An overlap of kind "topk" uses ranks only and has more of them.

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
    """The changes of a head under which no statistic of a link's similarities changes.

    Under these changes, each similarity keeps its values or at least their order.
    """
    if link == "cosine":
        return _OF_COSINES
    centered = LADDERS[link].is_centered
    found = symmetries_of_overlap(kind, link)
    for key in LADDERS[link].similarities:
        found &= symmetries_of_weights(key, centered=centered) | SIMILARITIES[key].keeps_order_under
    return found
