"""Symmetries: the changes of a head that may leave a similarity unchanged (THEORY §2).

A head is `W_KD`, `b_K` and embeddings `f_ND`, its logits `f W^T + b`. A translation and a linear map change no probability of a
softmax; what one of them moves is no function of what the model does.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

__all__ = ["ALWAYS_UNSEEN", "SYMMETRIES", "Symmetry"]

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

ALWAYS_UNSEEN: Final[frozenset[Symmetry]] = frozenset({"rotation", "embedding_shift", "label_permutation", "bias_shift"})
"""What no similarity of the rows sees."""
