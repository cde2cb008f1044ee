"""Checks of the arguments that all questions about reachability share. Shapes: K labels, D embedding dimensions, N inputs."""

import torch
from torch import Tensor

from lightning_cossim.errors import InputError, expected
from lightning_cossim.functional.inputs import check_matrix, live_labels

__all__ = ["check_live", "check_time_limit", "finite_embeddings", "finite_labels", "is_whole", "live_head"]


def finite_labels(unembedding: Tensor, bias: Tensor | None) -> Tensor:
    """Boolean (K,), the labels whose row and bias are finite.

    Raises:
        InputError: `unembedding` is not a floating-point (K, D) matrix with D at least 1, or `bias` not a floating (K,) vector.
    """
    live_K = live_labels(unembedding, None)
    if not unembedding.shape[1]:
        remedy = "Pass the head's weight, for example `model.head.weight`."
        raise InputError(expected("unembedding", "of shape (K, D) with D at least 1", tuple(unembedding.shape), remedy))
    if bias is None:
        return live_K
    if bias.shape != live_K.shape or not bias.is_floating_point():
        got = f"{bias.dtype} of shape {tuple(bias.shape)}"
        wanted = f"to be a floating-point tensor of shape ({len(live_K)},)"
        raise InputError(expected("bias", wanted, got, "Pass one entry per label."))
    return live_K & bias.isfinite().to(live_K.device)


def finite_embeddings(embeddings: Tensor | None, dim: int) -> Tensor | None:
    """The finite embeddings, float64 on the CPU; None if none are given.

    Raises:
        InputError: `embeddings` is not a floating-point (N, D) matrix.
    """
    if embeddings is None:
        return None
    check_matrix(embeddings, "embeddings", f"(N, {dim})")
    if embeddings.shape[1] != dim:
        remedy = "Pass the inputs of the head."
        raise InputError(expected("embeddings", f"of shape (N, {dim})", tuple(embeddings.shape), remedy))
    embeddings = embeddings.detach().cpu().double()
    return embeddings[embeddings.isfinite().all(dim=1)]


def live_head(unembedding: Tensor, bias: Tensor | None, index: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (L, D) and biases (L,) of the labels `index`, float64 on the CPU; zero biases if there are none."""
    W_LD = unembedding.detach().cpu()[index].double()
    b_L = torch.zeros(len(index), dtype=torch.float64) if bias is None else bias.detach().cpu()[index].double()
    return W_LD, b_L


def check_time_limit(time_limit: float | None) -> None:
    """Raise `InputError` unless a time limit, if given, is at least 0."""
    if time_limit is not None and not time_limit >= 0:
        raise InputError(expected("time_limit", "to be at least 0", time_limit, "Pass seconds, or None for no limit."))


def is_whole(labels: Tensor) -> bool:
    """Whether a tensor has an integer dtype."""
    return not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)


def check_live(argument: str, labels: Tensor, live_K: Tensor) -> None:
    """Raise `InputError` unless all labels are in range and live."""
    if not labels.numel():
        return
    if not 0 <= int(labels.min()) <= int(labels.max()) < len(live_K):
        got = f"{int(labels.min())} to {int(labels.max())}"
        raise InputError(expected(argument, f"to hold labels from 0 to {len(live_K) - 1}", got))
    dead = labels[~live_K[labels.to(live_K.device)].to(labels.device)]
    if len(dead):
        got = f"label {int(dead[0])}, whose row or bias is not finite"
        raise InputError(expected(argument, "to hold live labels", got, f"Remove it from `{argument}`."))
