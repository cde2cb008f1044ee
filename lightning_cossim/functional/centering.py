"""Centering over labels, and the translations that show why centering is needed.

A softmax uses only differences of logits. A vector that is added to every row of the unembedding changes no probability, but it
changes every raw cosine. Shapes: `W_KD` unembedding, `mean_D` its mean row over live labels, `v_D` a translation. Functions
convert B rows at a time to float64, because a float64 copy of a large unembedding would need too much memory.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

import torch
from torch import Tensor

from lightning_cossim.errors import InputError, expected
from lightning_cossim.functional.inputs import live_labels
from lightning_cossim.functional.precision import resolution, result_dtype, working_dtype

__all__ = ["Origin", "center_labels", "centered_rows", "common_mode_ratio", "origin_of", "witness_translation"]

_CHUNK: Final = 4096


class Origin(NamedTuple):
    """The zero point of centered rows, in the working dtype."""

    mean: Tensor
    """(D,), the mean row over live labels."""
    noise: Tensor
    """(), a centered row that is not longer than this is zero: rounding of the longest row is as large."""

    def center(self, rows: Tensor) -> Tensor:
        """Rows (..., D) minus the mean row. Rows within rounding of zero become zero."""
        centered = rows.detach().to(self.mean) - self.mean
        return centered.masked_fill_(centered.norm(dim=-1, keepdim=True) <= self.noise, 0)


def origin_of(unembedding: Tensor, live: Tensor | None) -> Origin:
    """The origin of an unembedding (K, D). Its mean is NaN if no label is live."""
    live_K = live_labels(unembedding, live)
    dtype = working_dtype(unembedding)
    total_D = unembedding.new_zeros(unembedding.shape[1], dtype=dtype)
    longest = unembedding.new_zeros((), dtype=dtype)
    for _, W_BD in _live_rows(unembedding, live_K):
        total_D += W_BD.sum(dim=0)
        longest = torch.maximum(longest, W_BD.norm(dim=1).max())
    return Origin(total_D / live_K.sum(), resolution(unembedding) * longest)


def _live_rows(unembedding: Tensor, live_K: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Parts of the live mask (B,) with their rows (B, D) in the working dtype. Rows that are not live are zero."""
    for live_B, rows_BD in zip(torch.split(live_K, _CHUNK), torch.split(unembedding.detach(), _CHUNK), strict=True):
        if len(live_B):
            yield live_B, torch.where(live_B[:, None], rows_BD, 0).to(working_dtype(unembedding))


def center_labels(unembedding: Tensor, *, live: Tensor | None = None) -> Tensor:
    r"""The unembedding minus its mean row over live labels: :math:`\tilde g_i = g_i - \frac1K \sum_k g_k`.

    A translation of all rows does not change the result. Under a softmax, the result gives the same probabilities as the
    unembedding.

    Args:
        unembedding: (K, D), one row per label, any floating-point dtype.
        live: boolean (K,), the labels to average over; all by default. Rows that are not finite never count.

    Returns:
        (K, D), float64 for a float64 unembedding, float32 otherwise. Every row is translated, live or not. A row whose length
        after centering is within rounding of zero (16 eps of the longest row) is exactly zero.

    Raises:
        InputError: `unembedding` is not a floating-point (K, D) matrix, or `live` is not a boolean tensor of shape (K,).

    Example:
        >>> import torch
        >>> center_labels(torch.tensor([[2.0, 0.0], [0.0, 4.0]]))
        tensor([[ 1., -2.],
                [-1.,  2.]])

    Source: Nielsen, arXiv 2603.29488, section 3; common in compositional data analysis (Aitchison).
    """
    return centered_rows(unembedding, live).to(result_dtype(unembedding))


def centered_rows(unembedding: Tensor, live: Tensor | None) -> Tensor:
    """`center_labels` in the working dtype, for further computation."""
    return origin_of(unembedding, live).center(unembedding)


def common_mode_ratio(unembedding: Tensor, *, live: Tensor | None = None) -> Tensor:
    r"""The length of the mean row, relative to the spread of the rows.

    :math:`\|\bar g\| \,/\, \sqrt{\tfrac1K \sum_i \|g_i - \bar g\|^2}` over live labels.

    At 0, the rows are already centered. Far above 1, every raw cosine is near 1, independent of what the model does.

    Args:
        unembedding: (K, D), one row per label, any floating-point dtype.
        live: boolean (K,), the labels that count; all by default. Rows that are not finite never count.

    Returns:
        A scalar, at least 0. NaN if all rows are equal or no label is live.

    Raises:
        InputError: `unembedding` is not a floating-point (K, D) matrix, or `live` is not a boolean tensor of shape (K,).

    Example:
        >>> import torch
        >>> common_mode_ratio(torch.tensor([[3.0, 1.0], [3.0, -1.0]])).item()
        3.0
    """
    live_K = live_labels(unembedding, live)
    origin = origin_of(unembedding, live)
    squares = origin.mean.new_zeros(())
    for live_B, W_BD in _live_rows(unembedding, live_K):
        squares += torch.where(live_B, origin.center(W_BD).square().sum(dim=1), 0).sum()
    spread = squares.div(live_K.sum()).sqrt()
    return torch.where(spread > 0, origin.mean.norm() / spread, torch.nan).to(result_dtype(unembedding))


def witness_translation(unembedding: Tensor, i: int, j: int, *, cosine: int) -> Tensor:
    r"""A vector that makes the raw cosine of labels i and j exactly -1 or +1 if you add it to every row.

    :math:`v_\mp = -g_i \mp \tfrac12 (g_j - g_i)`. With :math:`d = g_j - g_i`, the two rows become :math:`\mp\tfrac12 d` and
    :math:`d \mp \tfrac12 d`. No probability of a softmax head changes. This proves that its raw cosine is arbitrary.

    Args:
        unembedding: (K, D), one row per label, any floating-point dtype.
        i: a label, from 0 to K - 1.
        j: another label, whose row differs from the row of i.
        cosine: the raw cosine to reach, 1 or -1.

    Returns:
        (D,), float64 for a float64 unembedding, float32 otherwise.

    Raises:
        InputError: `unembedding` is not a floating-point (K, D) matrix, `i` or `j` is out of range, their rows are equal or not
            finite, or `cosine` is neither 1 nor -1.

    Example:
        >>> import torch
        >>> W = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> W + witness_translation(W, 0, 1, cosine=-1)
        tensor([[ 0.5000, -0.5000],
                [-0.5000,  0.5000]])

    Source: Nielsen, arXiv 2603.29488, Lemmas 2.2 (-1) and 2.3 (+1).
    """
    num_labels = len(live_labels(unembedding, None))
    for argument, label in (("i", i), ("j", j)):
        if not 0 <= label < num_labels:
            raise InputError(expected(argument, f"to be a label from 0 to {num_labels - 1}", label))
    if cosine not in (-1, 1):
        raise InputError(expected("cosine", "to be 1 or -1", cosine, "The formula gives these two cosines only."))
    g_i, g_j = unembedding.detach()[[i, j]].to(working_dtype(unembedding))
    for label, row in ((i, g_i), (j, g_j)):
        if not row.isfinite().all():
            raise InputError(expected("unembedding", f"to have a finite row {label}", row.tolist()))
    if torch.equal(g_i, g_j):
        raise InputError(expected("j", f"to be a label whose row differs from that of label {i}", f"{j} with an equal row"))
    v_D: Tensor = -g_i + cosine * (g_j - g_i) / 2
    return v_D.to(result_dtype(unembedding))
