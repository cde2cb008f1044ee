r"""Combinations: which sets of labels a sigmoid head can switch on together.

Under a sigmoid, the origin of the rows is not arbitrary, and the rows and the bias decide which combinations can happen. "No" is
final. "Yes" does not guarantee that the network below the head can produce such an embedding.

Shapes: K labels, D embedding dimensions, N inputs; P combinations.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_cossim.errors import InputError, expected
from lightning_cossim.functional.precision import full_precision, working_dtype
from lightning_cossim.functional.reachability.answers import Answers, Means, Verdict
from lightning_cossim.functional.reachability.arguments import (
    check_live,
    check_time_limit,
    finite_embeddings,
    finite_labels,
    is_whole,
    live_head,
)
from lightning_cossim.functional.reachability.combination_stages import decide_combinations
from lightning_cossim.functional.reachability.patterns import Patterns, SignCertificate
from lightning_cossim.functional.reachability.scaled_head import ScaledHead

__all__ = ["CombinationReachability", "SignCertificate", "combination_reachability"]


@dataclass(frozen=True, eq=False)
class CombinationReachability:
    """A verdict for each combination, with its proof: a witness for "yes", a certificate for "no"."""

    verdicts: list[Verdict]
    """(P,), each "yes", "no" or "undecided"."""
    margins: Tensor
    """(P,), for each "yes" the smallest logit that is to be on, or minus the largest that is to be off, NaN elsewhere.

    Always above 1e-6; a lower bound of the largest possible margin. Infinite if the combination asks for no label. The unit is
    the rms length of the rows, for a direction with the largest entry 1. If the witness needs the bias, or if `means` is "inputs"
    and the head has a bias, the unit is the rms of the bias.
    """
    witnesses: Tensor
    """(P, D), for each "yes" an embedding that shows the combination, NaN elsewhere."""
    certificates: list[SignCertificate | None]
    """(P,), for each "no" weights of labels that prove it; None elsewhere. Their tensors are on the CPU."""
    means: list[Means | None]
    """(P,), the method that decided: "inputs" of the head, a guessed "direction", "ascent" of the margin, a "mixture" of rows, or
    the "solver". None if undecided."""
    on: Tensor
    """Boolean (P, K), the labels that are to be on."""
    off: Tensor
    """Boolean (P, K), the labels that are to be off."""


def combination_reachability(
    unembedding: Tensor,
    *,
    on: Tensor,
    off: Tensor,
    bias: Tensor | None = None,
    embeddings: Tensor | None = None,
    time_limit: float | None = None,
    progress: Callable[[float], None] | None = None,
) -> CombinationReachability:
    r"""Whether some embedding switches given labels of a sigmoid head on, and others off.

    A label is on if its probability is above .5, so if its logit :math:`g_k \cdot f + b_k` is above 0, and off if it is below 0.
    For another threshold :math:`\tau`, subtract :math:`\log(\tau / (1 - \tau))` from the bias. A combination cannot happen if and
    only if weights exist, positive for labels to be on and negative for labels to be off, with :math:`\sum_k w_k g_k = 0` and
    :math:`\sum_k w_k b_k \le 0`. Each "yes" has an embedding as its proof, each "no" such weights.

    Two labels with nonzero rows and no bias can be on together if and only if their raw cosine is above -1, and either can be on
    without the other if and only if it is below 1. So for two labels alone, the answer is nearly always "yes". Exact patterns,
    with all other labels off, are more informative.

    The computation runs in float64 on the CPU, on rows with an rms length of 1. A verdict is "undecided" if the margin is at most
    1e-6 and no weights have a residual of at most 1e-9, or if the time limit has passed. One positive scale for all rows, one for
    all biases if the other is kept, and an invertible linear map of the embeddings with its inverse on the rows change no verdict
    that has a wide margin. A translation of the rows changes verdicts: it changes the probabilities of a sigmoid.

    Args:
        unembedding: (K, D), one row per label, any floating dtype, D at least 1.
        on: the labels that are to be on: boolean (P, K), one combination per row; or integer (T,), the labels of one combination.
        off: the labels that are to be off, in the form of `on`. Labels in neither may be on or off.
        bias: (K,), any floating dtype; default no bias.
        embeddings: (N, D), any floating dtype, inputs of the head. A combination that one of them shows can happen. Rows that are
            not finite are ignored.
        time_limit: seconds, at least 0; default no limit. A step that has started still finishes.
        progress: a function that receives the share of decided combinations, in [0, 1]; it receives 1 at the end.

    Returns:
        `CombinationReachability` with P verdicts. Margins and witnesses are float64 (float32 on a device without float64), on the
        device of the unembedding.

    Raises:
        InputError: a tensor has the wrong shape or dtype, a label is out of range, not live, or both in `on` and in `off`, or
            `time_limit` is negative or NaN.

    Example:
        >>> import torch
        >>> W = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> none = torch.tensor([], dtype=torch.int64)
        >>> combination_reachability(W, on=torch.tensor([0, 1]), off=none).verdicts
        ['yes']
        >>> combination_reachability(W, on=torch.tensor([0, 1]), off=torch.tensor([2])).verdicts
        ['no']

    Source: Nielsen and Grivas, arXiv 2603.29488v2; Gordan (1873).
    """
    live_K = finite_labels(unembedding, bias)
    on_PK, off_PK = (_as_masks(argument, given, live_K) for argument, given in (("on", on), ("off", off)))
    if len(on_PK) != len(off_PK):
        got = f"{len(on_PK)} and {len(off_PK)}"
        raise InputError(expected("off", "to have as many combinations as `on`", got, "Pass one row per combination."))
    both = (on_PK & off_PK).nonzero()
    if len(both):
        got = f"label {int(both[0, 1])} in both"
        raise InputError(expected("off", "to have no label of `on`", got, "A label cannot be on and off."))
    embeddings = finite_embeddings(embeddings, unembedding.shape[1])
    check_time_limit(time_limit)
    index = (on_PK | off_PK).any(dim=0).nonzero().flatten().cpu()
    W_LD, b_L = live_head(unembedding, bias, index)
    signs_PL = on_PK[:, index.to(on_PK.device)].cpu().to(torch.int8) - off_PK[:, index.to(off_PK.device)].cpu().to(torch.int8)
    with full_precision(W_LD):
        patterns = Patterns(ScaledHead.of(W_LD, b_L, centered=False), signs_PL)
        answers = Answers(patterns, time_limit=time_limit, progress=progress)
        if len(patterns):
            decide_combinations(answers, patterns, embeddings)
    device, dtype = unembedding.device, working_dtype(unembedding)
    return CombinationReachability(
        answers.verdicts,
        answers.margins.to(device, dtype),
        answers.witnesses.to(device, dtype),
        [None if one is None else one._replace(labels=index[one.labels]) for one in answers.certificates],
        answers.means,
        on_PK.to(device),
        off_PK.to(device),
    )


def _as_masks(argument: str, given: Tensor, live_K: Tensor) -> Tensor:
    """Combinations as a boolean mask (P, K)."""
    num_labels = len(live_K)
    if given.ndim == 1 and is_whole(given):
        check_live(argument, given, live_K)
        mask_1K = torch.zeros(1, num_labels, dtype=torch.bool, device=given.device)
        mask_1K[0, given.long()] = True
        return mask_1K
    if given.ndim != 2 or given.shape[1] != num_labels or given.dtype != torch.bool:
        got = f"{given.dtype} of shape {tuple(given.shape)}"
        wanted = f"to be a boolean tensor of shape (P, {num_labels}) or an integer tensor of shape (T,)"
        raise InputError(expected(argument, wanted, got, "Pass one row per combination, or the labels of one."))
    check_live(argument, given.any(dim=0).nonzero().flatten(), live_K)
    return given
