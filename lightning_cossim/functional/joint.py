"""Joint inputs: the number of inputs on which two labels are both likely. Shapes: N inputs, K labels, L of them compared."""

import math
from typing import Final

import torch
from torch import Tensor

from lightning_cossim.functional.inputs import check_one_of, check_probs
from lightning_cossim.functional.links import Link
from lightning_cossim.functional.pairs import Pairs
from lightning_cossim.functional.precision import result_dtype

__all__ = ["NUM_LIKELY", "add_joint_inputs", "joint_inputs", "joint_inputs_of_pairs", "likely_labels", "pairs_of_likely"]

NUM_LIKELY: Final = 8
"""The largest number of likely labels per input: 28 pairs at most."""
_SHARE: Final = 0.1
"""A likely label has at least this share of the largest probability of the input. For a sigmoid: at least this probability."""
_ROUNDING: Final = 1e-5
"""Tolerance of the limit, in log-probability: float32 cannot separate .1 from .099999."""


def joint_inputs(probs: Tensor, *, link: Link = "softmax") -> Tensor:
    """The number of inputs on which two labels are both likely.

    A label is *likely* on an input if it is among the eight most likely labels and has at least a tenth of the probability of the
    most likely label. For a sigmoid, it needs a probability of at least .1 instead. A pair without joint inputs can still
    overlap, through small probabilities on many inputs. Then you cannot say that the model confuses the two labels.

    Args:
        probs: (N, K) in [0, 1], any floating-point dtype. Rows with a NaN are skipped.
        link: "softmax", "softcap" or "cosine" (same result), or "sigmoid" for labels that do not exclude one another.

    Returns:
        (K, K), int64, symmetric, at least 0. On the diagonal: the number of inputs on which a label is likely.

    Raises:
        InputError: `probs` is not a floating-point (N, K) matrix with entries in [0, 1], or `link` is unknown.

    Example:
        >>> import torch
        >>> joint_inputs(torch.tensor([[0.6, 0.4, 0.0], [0.9, 0.05, 0.05], [0.2, 0.4, 0.4]]))
        tensor([[3, 2, 1],
                [2, 2, 1],
                [1, 1, 1]])

    Source: `docs/numbers.md`, "When a pair is flagged".
    """
    check_probs(probs)
    check_one_of(link, "link", ("softmax", "softcap", "cosine", "sigmoid"))
    total = torch.zeros(probs.shape[1], probs.shape[1], dtype=torch.int64, device=probs.device)
    add_joint_inputs(total, likely_labels(probs.detach().to(result_dtype(probs)).log(), link))
    return total.triu() + total.triu(diagonal=1).T


def likely_labels(log_probs: Tensor, link: Link) -> Tensor:
    """The likely labels of every input, padded with -1.

    Args:
        log_probs: (N, K), at most 0. An input with a NaN has no likely label.
        link: the link from logits to probabilities.

    Returns:
        (N, w), int64. w is the largest number of likely labels of an input, at most 8.
    """
    lowest = torch.finfo(log_probs.dtype).min  # if all probabilities are 0, no label is likely
    most_N = log_probs.amax(dim=1).clamp(min=lowest)  # NaN if the input has a NaN: no label reaches it
    bar_N = (most_N if link != "sigmoid" else most_N.where(most_N.isnan(), 0)) + math.log(_SHARE) - _ROUNDING
    input_E, label_E = (log_probs >= bar_N[:, None]).nonzero(as_tuple=True)
    count_N = input_E.bincount(minlength=len(log_probs))
    many_N = count_N > NUM_LIKELY
    width = min(NUM_LIKELY, int(count_N.max()) if len(count_N) else 0)
    found_Nw = torch.full((len(log_probs), width), -1, dtype=torch.int64, device=log_probs.device)
    position_E = torch.arange(len(input_E), device=input_E.device) - (count_N.cumsum(0) - count_N)[input_E]
    fits_E = position_E < width
    found_Nw[input_E[fits_E], position_E[fits_E]] = label_E[fits_E]
    if many_N.any():  # at the start of training, nearly all labels are likely
        found_Nw[many_N] = log_probs[many_N].topk(NUM_LIKELY, dim=1).indices
    return found_Nw


def pairs_of_likely(likely: Tensor) -> tuple[Tensor, Tensor]:
    """The pairs of likely labels of all inputs, including a label with itself: two tensors (Q,), the smaller label first."""
    one, other = torch.triu_indices(likely.shape[1], likely.shape[1], device=likely.device)
    one_Q, other_Q = likely[:, one].flatten(), likely[:, other].flatten()
    there_Q = (one_Q >= 0) & (other_Q >= 0)
    one_Q, other_Q = one_Q[there_Q], other_Q[there_Q]
    return torch.minimum(one_Q, other_Q), torch.maximum(one_Q, other_Q)


def joint_inputs_of_pairs(likely: Tensor, pairs: Pairs, num_labels: int) -> Tensor:
    """The joint inputs of chosen pairs, int64 (P,), without a (K, K) matrix.

    Args:
        likely: (N, w), from `likely_labels`.
        pairs: (P,), by their rows in the head.
        num_labels: K.
    """
    one_Q, other_Q = pairs_of_likely(likely.long())
    found, counts = torch.unique(one_Q * num_labels + other_Q, return_counts=True)
    wanted_P = torch.minimum(pairs.row, pairs.column) * num_labels + torch.maximum(pairs.row, pairs.column)
    if not len(found):
        return torch.zeros_like(wanted_P)
    place_P = torch.searchsorted(found, wanted_P).clamp(max=len(found) - 1)
    return torch.where(found[place_P] == wanted_P, counts[place_P], 0)


def add_joint_inputs(total: Tensor, likely: Tensor, place: Tensor | None = None) -> None:
    """Add the joint inputs of a batch to a total (L, L), in place, on and above the diagonal.

    Args:
        total: int64 (L, L).
        likely: (N, w), from `likely_labels`.
        place: (K,), the position of every label among the L compared labels, -1 if it is not compared. By default, all labels are
            compared, in order.
    """
    if place is not None:
        likely = torch.where(likely >= 0, place[likely.clamp(min=0)], -1)
    row_Q, column_Q = pairs_of_likely(likely)
    index_Q = row_Q * len(total) + column_Q
    total.view(-1).index_add_(0, index_Q, torch.ones_like(index_Q))
