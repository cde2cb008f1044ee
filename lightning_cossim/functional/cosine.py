"""Cosine similarities between label representations: functions of the weights alone.

Shapes: `W_KD` unembedding, `u_KD` its rows at length 1, `cos_KK` their inner products.
"""

import torch
from torch import Tensor

from lightning_cossim.functional.centering import centered_rows
from lightning_cossim.functional.inputs import live_labels
from lightning_cossim.functional.precision import full_precision, result_dtype, working_dtype

__all__ = ["label_cosine_similarity"]


def label_cosine_similarity(unembedding: Tensor, *, centered: bool = True, live: Tensor | None = None) -> Tensor:
    r"""Cosines between the rows of an unembedding, label-centered or raw.

    :math:`\cos(i, j) = \tilde g_i^\top \tilde g_j / (\|\tilde g_i\| \|\tilde g_j\|)`, with :math:`\tilde g_i` the row minus the
    mean row over live labels (`centered=True`) or the row itself.

    The centered cosine is unchanged by a translation of all rows, by one scale for all rows and by rotations: not by row
    lengths before centering, nor by a general linear map, which a softmax model cannot see either. The raw cosine changes
    under translation, although no probability does: it is an arbitrary number (`witness_translation`).

    Args:
        unembedding: (K, D), one row a label, any floating dtype.
        centered: whether to subtract the mean row first.
        live: boolean (K,), the labels that count; default all. Rows that are not finite never count.

    Returns:
        (K, K) in [-1, 1], float32 or, for a float64 unembedding, float64. NaN where a label is not live or its row is zero
        (after centering: zero within rounding). With two live labels the centered cosine is always -1.

    Raises:
        InputError: `unembedding` is not a floating (K, D) matrix, or `live` not a boolean (K,).

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
    length_K = W_KD.norm(dim=1)
    known_K = live_K & (length_K > 0)
    u_KD = torch.where(known_K[:, None], W_KD / length_K[:, None], 0)
    with full_precision(u_KD):
        cos_KK = (u_KD @ u_KD.T).clamp_(-1, 1)
    return cos_KK.masked_fill_(~(known_K[:, None] & known_K), torch.nan).to(result_dtype(unembedding))
