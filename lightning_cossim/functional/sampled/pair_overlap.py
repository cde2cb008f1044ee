"""Exact overlap sums of chosen pairs in a large vocabulary. Only the logits of the labels in these pairs are computed.

Shapes: K labels, L of them in a pair, D embedding dimensions, N inputs, B of them at a time, P pairs.
"""

from typing import Final

import torch
from torch import Tensor, nn

from lightning_cossim.functional.blocks import NUM_BLOCKS
from lightning_cossim.functional.links import Response
from lightning_cossim.functional.overlap import Overlap
from lightning_cossim.functional.pairs import Pairs
from lightning_cossim.functional.precision import result_dtype

__all__ = ["sums_of_pairs"]

_NUM_PRODUCTS: Final = 2**23
"""Products in memory at a time."""


def sums_of_pairs(
    overlap: Overlap,
    pairs: Pairs,
    *,
    response: Response,
    unembedding: Tensor,
    bias: Tensor | None,
    embedding: Tensor,
    normalizer: Tensor,
    block: Tensor,
) -> tuple[Tensor, Tensor]:
    """Sums of profile products over the inputs of each block: of the two labels of each pair, and of each label with itself.

    Args:
        overlap: the kind of overlap; not "topk", because it depends on all labels of an input.
        pairs: (P,), with labels as rows of the unembedding.
        response: the function from embeddings to logits.
        unembedding: (K, D), any floating dtype.
        bias: (K,), or None.
        embedding: (N, D), the inputs of the head.
        normalizer: (N,), the log-sum-exp of all K logits of each input; ignored under a sigmoid.
        block: integer (N,), the block of each input, from 0 to 7, or -1 for inputs that do not count.

    Returns:
        Two tensors, float64 on the CPU, at least 0: (8, P), the sums of each pair, and (8, L), the sums of each label with
        itself. The L labels of the pairs are in ascending order.
    """
    labels, device = pairs.labels, unembedding.device
    among = pairs.among(labels)
    row, column, labels = (index.to(device) for index in (among.row, among.column, labels))
    W_LD = unembedding[labels].to(result_dtype(unembedding))
    b_L = None if bias is None else bias[labels].to(W_LD)
    sums_GP, own_GL = (torch.zeros(NUM_BLOCKS, num, dtype=torch.float64) for num in (len(pairs), len(labels)))
    size = max(1, _NUM_PRODUCTS // max(1, len(pairs)))
    for which in range(NUM_BLOCKS):
        index = (block == which).nonzero().flatten()
        for rows in torch.split(index, size):
            f_BD = embedding[rows.to(embedding.device)].to(W_LD)
            z_BL = response.logits(f_BD, W_LD, b_L)
            normalizer_B1 = normalizer[rows.to(normalizer.device)].to(z_BL)[:, None]
            # Rounding must not make a probability larger than 1.
            log_p_BL = nn.functional.logsigmoid(z_BL) if overlap.link == "sigmoid" else (z_BL - normalizer_B1).clamp_(max=0)
            h_BL = overlap.profiles(log_p_BL).values
            sums_GP[which] += (h_BL[:, row] * h_BL[:, column]).sum(dim=0).cpu().double()
            own_GL[which] += h_BL.square_().sum(dim=0).cpu().double()
    return sums_GP, own_GL
