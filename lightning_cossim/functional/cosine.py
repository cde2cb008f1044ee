"""Cosine similarities of label representations, computed from the weights alone.

Shapes: K labels, D embedding dimensions; `W_KD` unembedding, `U_KR` its left singular vectors, `i_P` and `j_P` pairs of labels.
"""

import warnings

import torch
from torch import Tensor

from lightning_cossim.errors import InputError, expected
from lightning_cossim.functional.centering import centered_rows
from lightning_cossim.functional.inputs import check_pairs, live_labels
from lightning_cossim.functional.precision import full_precision, resolution, result_dtype, working_dtype

__all__ = ["causal_cosine_similarity", "difference_cosine_similarity", "label_cosine_similarity"]


def label_cosine_similarity(unembedding: Tensor, *, centered: bool = True, live: Tensor | None = None) -> Tensor:
    r"""Cosines between the rows of an unembedding, label-centered or raw.

    :math:`\cos(i, j) = \tilde g_i^\top \tilde g_j / (\|\tilde g_i\| \|\tilde g_j\|)`. With `centered=True`, :math:`\tilde g_i` is
    the row minus the mean row over live labels. Otherwise it is the row itself.

    The label-centered cosine does not change under a translation of all rows, one scale for all rows, or a rotation. It does
    change if rows get other lengths before centering. It also changes under a general linear map, although such a map, with its
    inverse on the embeddings, changes no logit. The raw cosine changes under translation, although no probability of a softmax
    changes. So it is arbitrary (`witness_translation`).

    Args:
        unembedding: (K, D), one row per label, any floating-point dtype.
        centered: whether to subtract the mean row first.
        live: boolean (K,), the labels that count; all by default. Rows that are not finite never count.

    Returns:
        (K, K) in [-1, 1], float64 for a float64 unembedding, float32 otherwise. NaN if a label is not live or its row is zero
        (after
        centering: zero within rounding). For two live labels, the label-centered cosine is always -1.

    Raises:
        InputError: `unembedding` is not a floating-point (K, D) matrix, or `live` is not a boolean tensor of shape (K,).

    Example:
        >>> import torch
        >>> W = torch.tensor([[1.0, 0.5], [0.5, 1.0], [-1.0, 0.4], [-0.8, -0.8], [0.9, -1.2]])
        >>> round(label_cosine_similarity(W, centered=False)[0, 1].item(), 4)
        0.8
        >>> round(label_cosine_similarity(W)[0, 1].item(), 4)
        0.7773

    Source: Nielsen, arXiv 2603.29488, section 3.
    """
    live_K = live_labels(unembedding, live)
    W_KD = centered_rows(unembedding, live) if centered else unembedding.detach().to(working_dtype(unembedding))
    return _cosines(W_KD, live_K & (W_KD.norm(dim=1) > 0)).to(result_dtype(unembedding))


def causal_cosine_similarity(unembedding: Tensor, *, live: Tensor | None = None) -> Tensor:
    r"""Cosines under the causal inner product: centered rows, whitened by their own covariance.

    With :math:`C = \frac1K \tilde W^\top \tilde W` and its pseudo-inverse, the cosine of :math:`C^{-1/2} \tilde g_i` and
    :math:`C^{-1/2} \tilde g_j`. It does not change under a translation of all rows or under any invertible linear map. It needs
    many labels: if the centered rows have rank K - 1, every pair gets the constant -1/(K - 1).

    Args:
        unembedding: (K, D), one row per label, any floating-point dtype.
        live: boolean (K,), the labels that count; all by default. Rows that are not finite never count.

    Returns:
        (K, K) in [-1, 1], float64 for a float64 unembedding, float32 otherwise. NaN if a label is not live or its row is zero
        after centering.

    Raises:
        InputError: `unembedding` is not a floating-point (K, D) matrix, `live` is not a boolean tensor of shape (K,), or the rank
            of the centered rows is K_live - 1.

    Warns:
        UserWarning: there are fewer than four live labels per dimension of the centered rows, so the result is mostly noise.

    Source: Park, Choe, Veitch, arXiv 2311.03658.
    """
    live_K = live_labels(unembedding, live)
    W_KD = torch.where(live_K[:, None], centered_rows(unembedding, live), 0)
    # W = U S Vᵀ, so the whitened rows are the rows of U, up to a factor and a rotation.
    U_KR, S_R, _ = torch.linalg.svd(W_KD, full_matrices=False)
    U_KR = U_KR[:, resolution(unembedding) * S_R[:1] < S_R]
    num_live, rank = int(live_K.sum()), U_KR.shape[1]
    if rank >= num_live - 1:
        got = f"{num_live} live labels with centered rows of rank {rank}"
        remedy = "Every pair would get the same value; use `label_cosine_similarity`."
        raise InputError(expected("unembedding", "with more live labels than the rank of its centered rows + 1", got, remedy))
    if num_live < 4 * rank:
        text = f"`causal_cosine_similarity` of {num_live} labels in {rank} dimensions is mostly noise"
        warnings.warn(f"{text}: at least {4 * rank} labels are needed.", stacklevel=2)
    return _cosines(U_KR, live_K & (W_KD.norm(dim=1) > 0)).to(result_dtype(unembedding))


def difference_cosine_similarity(unembedding: Tensor, *, pairs: Tensor) -> Tensor:
    """Cosines between differences of rows, :math:`g_i - g_j` and :math:`g_k - g_l`.

    They decide which rankings of labels a softmax head can produce. A translation of all rows changes no difference, so it does
    not change the result.

    Args:
        unembedding: (K, D), one row per label, any floating-point dtype.
        pairs: integer (P, 2), the labels i and j of each difference, from 0 to K - 1.

    Returns:
        (P, P) in [-1, 1], float64 for a float64 unembedding, float32 otherwise. NaN if the two rows of a pair are equal or not
        finite.

    Raises:
        InputError: `unembedding` is not a floating-point (K, D) matrix, or `pairs` is not an integer tensor of shape (P, 2) with
            labels in range.

    Example:
        >>> import torch
        >>> W = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
        >>> difference_cosine_similarity(W, pairs=torch.tensor([[0, 2], [1, 2]]))
        tensor([[1., 0.],
                [0., 1.]])

    Source: Nielsen and Grivas, arXiv 2603.29488 (v2).
    """
    finite_K = live_labels(unembedding, None)
    check_pairs(pairs, len(finite_K))
    W_KD = torch.where(finite_K[:, None], unembedding.detach(), 0).to(working_dtype(unembedding))
    i_P, j_P = pairs.to(W_KD.device).unbind(dim=1)
    difference_PD = W_KD[i_P] - W_KD[j_P]
    known_P = finite_K[i_P] & finite_K[j_P] & (difference_PD.norm(dim=1) > 0)
    return _cosines(difference_PD, known_P).to(result_dtype(unembedding))


def _cosines(rows: Tensor, known: Tensor) -> Tensor:
    """Inner products of the rows after normalization to length 1. NaN for rows that are not `known`."""
    unit = torch.where(known[:, None], rows / rows.norm(dim=1, keepdim=True), 0)
    with full_precision(unit):
        cosines = (unit @ unit.T).clamp_(-1, 1)
    return cosines.masked_fill_(~(known[:, None] & known), torch.nan)
