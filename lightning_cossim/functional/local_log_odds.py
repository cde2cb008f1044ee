r"""Local log-odds: a distance between labels that proves how much they overlap at least.

Shapes: N inputs, K labels, L of them compared; `p_NL` probabilities, `l_NL` their logarithms.
"""

from typing import Final, NamedTuple

import torch
from torch import Tensor

from lightning_cossim.functional.inputs import check_probs
from lightning_cossim.functional.precision import full_precision, result_dtype, working_dtype

__all__ = ["LogOddsSums", "local_log_odds", "log_odds_sums"]

_CHUNK: Final = 1024
"""Inputs per product. It limits the memory of the float64 copies."""


class LogOddsSums(NamedTuple):
    """Sums over inputs from which the local log-odds follow. They add over batches and processes."""

    probs: Tensor
    r"""(L,), :math:`\sum_x p_i`."""
    logs: Tensor
    r"""(L, L), :math:`\sum_x p_i \log p_j`."""
    products: Tensor
    r"""(L, L), :math:`\sum_x p_i \log p_i \log p_j`."""
    squares: Tensor
    r"""(L, L), :math:`\sum_x p_i \log^2 p_j`; infinite if :math:`p_j` is zero on an input where :math:`p_i` is not."""

    def finish(self) -> Tensor:
        """The local log-odds (L, L), at least 0 and symmetric. NaN if one of the labels has no mass."""
        apart_LL = self.probs.log()[:, None] - self.probs.log()
        own_square_LL = self.squares.diagonal()[:, None] - 2 * self.products + self.squares
        own_first_LL = self.logs.diagonal()[:, None] - self.logs
        mean_LL = (own_square_LL - 2 * apart_LL * own_first_LL) / self.probs[:, None] + apart_LL.square()
        found_LL = ((mean_LL + mean_LL.T) / 2).clamp(min=0)
        has_mass_L = self.probs > 0
        found_LL.diagonal().zero_()
        return found_LL.masked_fill(~(has_mass_L[:, None] & has_mass_L), torch.nan)


def local_log_odds(probs: Tensor) -> Tensor:
    r"""The mean squared log-odds of two input profiles. A small value proves a large overlap; no cosine proves one.

    Each label has a profile over the inputs, :math:`\hat p_i(x) = p_i(x) / \sum_x p_i(x)`. With
    :math:`\delta = \log \hat p_i / \hat p_j` and the mixture :math:`m = (\hat p_i + \hat p_j) / 2` of the pair, this is
    :math:`\mathbb{E}_m[\delta^2]`, in squared nats. The Bhattacharyya coefficient of the two profiles is
    :math:`\mathbb{E}_m[1 / \cosh(\delta / 2)]`. Because :math:`1 / \cosh u \ge \exp(-u^2 / 2)`, Jensen's inequality gives

    .. math:: \text{overlap}_{ij} \ge \exp(-\mathbb{E}_m[\delta^2] / 8) \quad \text{on these inputs.}

    It is a function of the probabilities. So a translation of the rows of a softmax head does not change it, nor does an
    invertible linear map of the embeddings with its inverse on the rows. The bound also holds for a sigmoid head; there, a
    translation changes probabilities.

    Args:
        probs: (N, K) in [0, 1], one row per input, any floating-point dtype. Rows with a NaN are skipped. The sums are float64.

    Returns:
        (K, K), at least 0 and symmetric, 0 on the diagonal, float64 for float64 probabilities, float32 otherwise. Infinite if
        one of the two probabilities is 0 on an input where the other is not: then the bound is 0. Probabilities that underflow
        to 0 have this effect too, so prefer `LocalLogOdds`, which takes logits. NaN if one of the labels has no mass.

    Raises:
        InputError: `probs` is not a floating-point (N, K) matrix with entries in [0, 1].

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.6, 0.3, 0.1], [0.4, 0.3, 0.3], [0.3, 0.3, 0.4]])
        >>> proven = (-local_log_odds(probs) / 8).exp()
        >>> proven
        tensor([[1.0000, 0.9898, 0.9125],
                [0.9898, 1.0000, 0.9639],
                [0.9125, 0.9639, 1.0000]])

    Source: Jensen (1906); Bhattacharyya (1943); `docs/numbers.md`, "An overlap that is proven".
    """
    check_probs(probs)
    return log_odds_sums(probs.detach().to(working_dtype(probs)).log()).finish().to(result_dtype(probs))


def log_odds_sums(log_probs: Tensor) -> LogOddsSums:
    """The sums of one batch.

    Args:
        log_probs: (N, L), at most 0; minus infinity is allowed. Inputs with a NaN do not count.

    Returns:
        `LogOddsSums`, float64, or float32 on a device without float64.
    """
    l_NL = log_probs.detach()
    l_NL = l_NL[~l_NL.isnan().any(dim=1)]
    dtype, num_labels = working_dtype(l_NL), l_NL.shape[1]
    probs_L, logs_LL, products_LL, squares_LL = (
        torch.zeros(*shape, dtype=dtype, device=l_NL.device) for shape in ((num_labels,), *[(num_labels, num_labels)] * 3)
    )
    with full_precision(l_NL):
        for chunk_NL in torch.split(l_NL, _CHUNK):
            l_BL = chunk_NL.to(dtype)
            p_BL, is_zero_BL = l_BL.exp(), l_BL == -torch.inf
            if is_zero_BL.any():
                l_BL = l_BL.masked_fill(is_zero_BL, 0)
                alone_LL = (p_BL > 0).to(dtype).T @ is_zero_BL.to(dtype)
                squares_LL[alone_LL > 0] = torch.inf
            probs_L += p_BL.sum(dim=0)
            logs_LL.addmm_(p_BL.T, l_BL)
            products_LL.addmm_((p_BL * l_BL).T, l_BL)
            squares_LL.addmm_(p_BL.T, l_BL.square())
    return LogOddsSums(probs_L, logs_LL, products_LL, squares_LL)
