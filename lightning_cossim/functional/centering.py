"""Centering over labels, and the translations that show why it is needed.

A softmax sees only differences of logits, so one vector added to every row of the unembedding changes no probability. Yet it
changes every raw cosine. Shapes: `W_KD` unembedding, `mean_D` its mean row over live labels, `v_D` a translation.
"""

import torch
from torch import Tensor

from lightning_cossim.errors import InputError, expected
from lightning_cossim.functional.inputs import live_labels
from lightning_cossim.functional.precision import resolution, result_dtype, working_dtype

__all__ = ["center_labels", "centered_rows", "common_mode_ratio", "witness_translation"]


def center_labels(unembedding: Tensor, *, live: Tensor | None = None) -> Tensor:
    r"""The unembedding minus its mean row over live labels: :math:`\tilde g_i = g_i - \frac1K \sum_k g_k`.

    A translation of all rows leaves the result unchanged, and the result gives the same probabilities as the unembedding.

    Args:
        unembedding: (K, D), one row a label, any floating dtype.
        live: boolean (K,), the labels that the mean is taken over; default all. Rows that are not finite never count.

    Returns:
        (K, D), float32 or, for a float64 unembedding, float64. Every row is translated, live or not. A row whose length after
        centering is within rounding of zero (16 eps of the longest row) is exactly zero.

    Raises:
        InputError: `unembedding` is not a floating (K, D) matrix, or `live` not a boolean (K,).

    Example:
        >>> import torch
        >>> center_labels(torch.tensor([[2.0, 0.0], [0.0, 4.0]]))
        tensor([[ 1., -2.],
                [-1.,  2.]])

    Source: Nielsen, arXiv 2603.29488, section 3; common in compositional data analysis (Aitchison).
    """
    return centered_rows(unembedding, live).to(result_dtype(unembedding))


def centered_rows(unembedding: Tensor, live: Tensor | None) -> Tensor:
    """`center_labels` in the working dtype, for what is computed from it."""
    live_K = live_labels(unembedding, live)
    W_KD = unembedding.detach().to(working_dtype(unembedding))
    centered_KD = W_KD - _mean_row(W_KD, live_K)
    longest = torch.where(live_K, W_KD.norm(dim=1), 0).max() if len(W_KD) else W_KD.new_zeros(())
    noise_K = centered_KD.norm(dim=1) <= resolution(unembedding) * longest
    return centered_KD.masked_fill(noise_K[:, None], 0)


def common_mode_ratio(unembedding: Tensor, *, live: Tensor | None = None) -> Tensor:
    r"""How far the origin lies off the labels: :math:`\|\bar g\| \,/\, \sqrt{\tfrac1K \sum_i \|g_i - \bar g\|^2}`.

    At 0 the rows are centered already; far above 1 every raw cosine is near 1, whatever the model does.

    Args:
        unembedding: (K, D), one row a label, any floating dtype.
        live: boolean (K,), the labels that count; default all. Rows that are not finite never count.

    Returns:
        A scalar, at least 0; NaN where all rows are equal or none is live.

    Raises:
        InputError: as `center_labels`.

    Example:
        >>> import torch
        >>> common_mode_ratio(torch.tensor([[3.0, 1.0], [3.0, -1.0]])).item()
        3.0
    """
    live_K = live_labels(unembedding, live)
    mean_D = _mean_row(unembedding.detach().to(working_dtype(unembedding)), live_K)
    centered_KD = centered_rows(unembedding, live)
    spread = torch.where(live_K, centered_KD.square().sum(dim=1), 0).sum().div(live_K.sum()).sqrt()
    return torch.where(spread > 0, mean_D.norm() / spread, torch.nan).to(result_dtype(unembedding))


def witness_translation(unembedding: Tensor, i: int, j: int, *, cosine: int) -> Tensor:
    r"""A vector which, added to every row, makes the raw cosine of labels i and j exactly -1 or +1.

    :math:`v_\mp = -g_i \mp \tfrac12 (g_j - g_i)`: the two rows become :math:`\mp\tfrac12 d` and :math:`d \mp \tfrac12 d`
    with :math:`d = g_j - g_i`. No probability of a softmax head changes: the witness that its raw cosine is arbitrary.

    Args:
        unembedding: (K, D), one row a label, any floating dtype.
        i: a label.
        j: another label, whose row differs from that of i.
        cosine: 1 or -1, the raw cosine wanted.

    Returns:
        (D,), float32 or, for a float64 unembedding, float64.

    Raises:
        InputError: wrong shape, labels out of range or equal, equal rows, or another cosine.

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
        raise InputError(expected("cosine", "to be 1 or -1", cosine, "A translation reaches these two exactly."))
    g_i, g_j = unembedding.detach()[[i, j]].to(working_dtype(unembedding))
    for label, row in ((i, g_i), (j, g_j)):
        if not row.isfinite().all():
            raise InputError(expected("unembedding", f"to have a finite row {label}", row.tolist()))
    if torch.equal(g_i, g_j):
        raise InputError(expected("j", f"to be a label whose row differs from that of label {i}", f"{j} with an equal row"))
    v_D: Tensor = -g_i + cosine * (g_j - g_i) / 2
    return v_D.to(result_dtype(unembedding))


def _mean_row(W_KD: Tensor, live_K: Tensor) -> Tensor:
    return torch.where(live_K[:, None], W_KD, 0).sum(dim=0) / live_K.sum()
