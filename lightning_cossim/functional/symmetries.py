"""Symmetries: the changes of a head that may leave a similarity unchanged.

A head has rows `W_KD`, a bias `b_K` and embeddings `f_ND`; its logits are `f W^T + b`. A translation and a linear map change no
probability of a softmax. A quantity that one of them changes is not a function of what the model does.
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
        "translation": "W + 1 v^T: adds one vector to all rows",
        "rotation": "W Q and f Q, Q orthogonal",
        "linear_map": "W A and f A^-T, A invertible",
        "global_scale": "c W, c > 0: does not change the bias",
        "row_scale": "diag(s) W, s > 0: changes the lengths of rows",
        "temperature": "c W and c b, c > 0: multiplies all logits by c",
        "embedding_shift": "f + c and b - W c",
        "bias_shift": "b + c 1: adds one number to all biases",
        "embedding_scale": "diag(s) f, s > 0: changes the lengths of embeddings",
        "label_permutation": "permutes the labels; the results are permuted in the same way",
    }
)
"""Each change with its formula."""

ALWAYS_UNSEEN: Final[frozenset[Symmetry]] = frozenset({"rotation", "embedding_shift", "label_permutation", "bias_shift"})
"""The changes under which no similarity of the rows changes."""
