"""Checks of arguments that several functions share.

K labels, D embedding dimensions, N inputs; `live_K` is a boolean mask over labels.
"""

from collections.abc import Sequence
from numbers import Real
from typing import TypeGuard

import torch
from torch import Tensor

from lightning_cossim.errors import InputError, expected, wrong_choice

__all__ = [
    "check_groups",
    "check_matrix",
    "check_one_of",
    "check_pairs",
    "check_probs",
    "check_rows",
    "check_same_labels",
    "check_targets",
    "check_unembedding",
    "check_width",
    "is_number",
    "label_index",
    "live_labels",
]


def check_matrix(tensor: Tensor, argument: str, shape: str, remedy: str = "") -> None:
    """Raise `InputError` unless `tensor` is a floating-point matrix."""
    if tensor.ndim != 2:
        raise InputError(expected(argument, f"of shape {shape}", tuple(tensor.shape), remedy))
    if not tensor.is_floating_point():
        raise InputError(expected(argument, "with a floating-point dtype", tensor.dtype, "Convert it with `.float()`."))


def check_unembedding(unembedding: Tensor) -> None:
    """Raise `InputError` unless `unembedding` is a floating-point (K, D) matrix."""
    check_matrix(unembedding, "unembedding", "(K, D)", "Pass the head's weight, for example `model.head.weight`.")


def live_labels(unembedding: Tensor, live: Tensor | None) -> Tensor:
    """The mask (K,) of rows that are finite and, if `live` is given, live.

    Raises:
        InputError: `unembedding` is not a floating-point (K, D) matrix, or `live` is not a boolean tensor of shape (K,).
    """
    check_unembedding(unembedding)
    finite_K = unembedding.isfinite().all(dim=1)
    if live is None:
        return finite_K
    if live.shape != finite_K.shape or live.dtype != torch.bool:
        got = f"{live.dtype} of shape {tuple(live.shape)}"
        raise InputError(expected("live", f"to be a boolean mask of shape ({len(finite_K)},)", got, "Pass one entry per label."))
    return finite_K & live.to(finite_K.device)


def check_pairs(pairs: Tensor, num_labels: int) -> None:
    """Raise `InputError` unless `pairs` is an integer tensor of shape (P, 2) with labels from 0 to K - 1."""
    whole = not (pairs.is_floating_point() or pairs.is_complex() or pairs.dtype == torch.bool)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not whole:
        got = f"{pairs.dtype} of shape {tuple(pairs.shape)}"
        raise InputError(expected("pairs", "to be an integer tensor of shape (P, 2)", got, "Pass one row (i, j) per pair."))
    if len(pairs) and not 0 <= int(pairs.min()) <= int(pairs.max()) < num_labels:
        got = f"{int(pairs.min())} to {int(pairs.max())}"
        raise InputError(expected("pairs", f"to hold labels from 0 to {num_labels - 1}", got))


def check_width(unembedding: Tensor, covariance: Tensor) -> None:
    """Raise `InputError` unless the embedding covariance is of shape (D, D)."""
    wanted = (unembedding.shape[1], unembedding.shape[1])
    if tuple(covariance.shape) != wanted:
        remedy = "Pass the (D, D) covariance of the embeddings that enter the head."
        raise InputError(expected("embedding_covariance", f"of shape {wanted}", tuple(covariance.shape), remedy))


def check_same_labels(similarity: Tensor, overlap: Tensor) -> None:
    """Raise `InputError` unless both arguments are (K, K) matrices over the same labels."""
    for argument, matrix in (("similarity", similarity), ("overlap", overlap)):
        check_matrix(matrix, argument, "(K, K)")
        if matrix.shape[0] != matrix.shape[1]:
            raise InputError(expected(argument, "of shape (K, K)", tuple(matrix.shape), "Pass one row and one column per label."))
    if similarity.shape != overlap.shape:
        remedy = "Compare matrices over the same labels."
        raise InputError(expected("overlap", f"of shape {tuple(similarity.shape)}", tuple(overlap.shape), remedy))


def check_one_of(value: str, argument: str, known: tuple[str, ...]) -> None:
    """Raise `InputError` unless `value` is one of the known words."""
    if value not in known:
        raise InputError(wrong_choice(argument, value, known))


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a real number. A boolean is not.

    Example:
        >>> is_number(0.5), is_number(True)
        (True, False)
    """
    return isinstance(value, Real) and not isinstance(value, bool)


def check_rows(tensor: Tensor, argument: str, shape: str, wanted: tuple[int | None, int | None]) -> None:
    """Raise `InputError` unless `tensor` is a floating-point matrix of the wanted numbers of rows and columns (None: any)."""
    remedy = "The metric was built for these sizes."
    rows = f"Pass one row per input: `{argument}.flatten(0, -2)`." if shape.startswith("(N") and tensor.ndim > 2 else remedy
    check_matrix(tensor, argument, shape, rows)
    if any(want is not None and want != got for want, got in zip(wanted, tensor.shape, strict=True)):
        sizes = ", ".join("any" if want is None else str(want) for want in wanted)
        raise InputError(expected(argument, f"of shape {shape} = ({sizes})", tuple(tensor.shape), remedy))


def check_probs(probs: Tensor) -> None:
    """Raise `InputError` unless `probs` is a floating-point (N, K) matrix with entries in [0, 1]. NaN entries are allowed."""
    check_matrix(probs, "probs", "(N, K)", "Pass probabilities, one row per input.")
    if ((probs < 0) | (probs > 1)).any():
        known = probs[~probs.isnan()]
        got = f"values from {known.min().item():.9g} to {known.max().item():.9g}"
        raise InputError(expected("probs", "in [0, 1]", got, "Pass probabilities, for example `logits.softmax(-1)`."))


def check_groups(groups: Tensor | None, num_inputs: int) -> None:
    """Raise `InputError` unless `groups`, if given, holds one integer per input."""
    if groups is not None and (groups.shape != (num_inputs,) or groups.is_floating_point() or groups.is_complex()):
        got = f"{groups.dtype} of shape {tuple(groups.shape)}"
        raise InputError(expected("groups", f"to be an integer tensor of shape ({num_inputs},)", got, "Pass one id per input."))


def check_targets(targets: Tensor | None, num_inputs: int) -> None:
    """Raise `InputError` unless `targets`, if given, holds one integer per input."""
    if targets is None:
        return
    whole = not (targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool)
    if targets.shape != (num_inputs,) or not whole:
        got = f"{targets.dtype} of shape {tuple(targets.shape)}"
        raise InputError(
            expected("targets", f"to be an integer tensor of shape ({num_inputs},)", got, "Pass one label per input.")
        )


def label_index(labels: Sequence[int] | Tensor | None, num_labels: int, argument: str = "label_subset") -> Tensor:
    """Labels as an index (L,) on the CPU; all labels by default.

    Raises:
        InputError: a label is out of range or repeated, there are none, or `num_labels` is below 1.
    """
    if num_labels < 1:
        raise InputError(expected("num_labels", "to be at least 1", num_labels, "Pass the number of rows of the head's weight."))
    given = range(num_labels) if labels is None else labels
    index = torch.as_tensor(given, dtype=torch.int64, device="cpu")
    if index.ndim != 1 or len(index) == 0 or index.min() < 0 or index.max() >= num_labels or index.bincount().max() > 1:
        wanted = f"to be different labels from 0 to {num_labels - 1}"
        raise InputError(expected(argument, wanted, index.tolist(), "Pass the indices of rows of the head's weight."))
    return index
