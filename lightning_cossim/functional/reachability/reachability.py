r"""What can happen at all: which labels some input could bring out on top, and which no input ever will.

A question of the weights alone. Label i is reachable if some embedding f makes its logit strictly the largest, a pair if some f
puts both strictly above all others. "No" is final; "yes" does not promise that the network below can produce that embedding.

Shapes: K labels, D embedding dimensions, N inputs; P questions.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_cossim.errors import InputError, expected
from lightning_cossim.functional.inputs import check_matrix, check_pairs, live_labels
from lightning_cossim.functional.pairs import inverse_index
from lightning_cossim.functional.precision import full_precision, working_dtype
from lightning_cossim.functional.reachability.answers import Answers, Means, Verdict
from lightning_cossim.functional.reachability.certificates import Certificate
from lightning_cossim.functional.reachability.scaled_head import ScaledHead
from lightning_cossim.functional.reachability.stages import decide

__all__ = ["Certificate", "Reachability", "label_reachability", "pair_reachability"]


@dataclass(frozen=True, eq=False)
class Reachability:
    """Verdicts on labels or pairs, and what proves each."""

    verdicts: list[Verdict]
    """(P,), "yes", "no" or "undecided"."""
    margins: Tensor
    """(P,), of each "yes" by how much its witness puts the labels above all others, NaN elsewhere. Units: the rms length of the
    centered rows, for a direction whose largest entry is 1, if that is enough whatever the bias; else the rms of the centered
    bias. Above 1e-6, and at most what would be possible."""
    witnesses: Tensor
    """(P, D), of each "yes" an embedding for which the head ranks the labels first, NaN elsewhere."""
    certificates: list[Certificate | None]
    """(P,), of each "no" the mixture of rivals that stands where the label does."""
    means: list[Means | None]
    """(P,), how it was decided: by the "rank" of the head, "inputs" that were seen, a "direction" that was guessed, "ascent" of
    the margin, a "mixture" of rivals, or the "solver"; None where it is undecided."""
    labels: Tensor
    """(P,) or (P, 2), what was asked for."""


def label_reachability(
    unembedding: Tensor,
    *,
    bias: Tensor | None = None,
    label_subset: Tensor | None = None,
    embeddings: Tensor | None = None,
    time_limit: float | None = None,
    progress: Callable[[float], None] | None = None,
) -> Reachability:
    r"""Whether labels can be the strict arg-max of :math:`f W^\top + b` for any embedding f.

    Label i is reachable if and only if no mixture of its rivals stands where it stands: :math:`y \ge 0`, :math:`\sum_k y_k = 1`,
    :math:`g_i = \sum_k y_k g_k`, with a bias :math:`b_i \le \sum_k y_k b_k` too. Each "yes" comes with an embedding, each "no"
    with the mixture. Decided in float64, centered rows at an rms length of 1: by what is free, then for many labels at once by
    matrix products, the rest by HiGHS. What is between a margin of 1e-6 and a residual of 1e-9 is undecided, and so is what rows
    whose lengths are a factor of 1e12 apart leave to rounding, or biases a factor of 1e6, as those of labels that are ruled out:
    leave these out of the head.

    Unchanged by a translation of all rows or biases, by one scale for all, and by every invertible linear map of the embeddings.
    For a sigmoid head it speaks of the ranking only; for a cosine head pass the normalized rows.

    Args:
        unembedding: (K, D), one row a label, any floating dtype.
        bias: (K,), floating; default none.
        label_subset: (P,), integer, the labels to decide; default all live ones. A label whose row or bias is not finite does not
            count: it is nobody's rival and cannot be asked for.
        embeddings: (N, D), inputs of the head that were seen: what they rank first is reachable.
        time_limit: in seconds; what is not decided then is undecided. Steps that have begun are ended first.
        progress: is told the share that is decided, from 0 to 1.

    Returns:
        `Reachability`, its tensors in float64 on the unembedding's device.

    Raises:
        InputError: wrong shapes or dtypes, labels out of range or not live, or a negative `time_limit`.

    Example:
        >>> import torch
        >>> W = torch.tensor([[1.0, 0.0], [-1.0, 1.0], [-1.0, -1.0], [0.0, 0.0]])
        >>> label_reachability(W).verdicts
        ['yes', 'yes', 'yes', 'no']
        >>> label_reachability(W, bias=torch.tensor([0.0, 0.0, 0.0, 1.0])).verdicts
        ['yes', 'yes', 'yes', 'yes']

    Source: Grivas, Bogoychev, Lopez, Low-rank softmax can have unargmaxable classes (2022); THEORY §6.
    """
    live_K = _live(unembedding, bias)
    if label_subset is None:
        label_subset = live_K.nonzero().flatten()
    elif label_subset.ndim != 1 or not _is_whole(label_subset):
        got = f"{label_subset.dtype} of shape {tuple(label_subset.shape)}"
        raise InputError(expected("label_subset", "to be an integer tensor of shape (P,)", got))
    _check_live("label_subset", label_subset, live_K)
    return _reachability(unembedding, bias, live_K, label_subset, embeddings, time_limit, progress)


def pair_reachability(
    unembedding: Tensor,
    *,
    pairs: Tensor,
    bias: Tensor | None = None,
    embeddings: Tensor | None = None,
    time_limit: float | None = None,
    progress: Callable[[float], None] | None = None,
) -> Reachability:
    r"""Whether both labels of a pair can be strictly above all others in :math:`f W^\top + b`, for any embedding f.

    Pair (i, j) is jointly reachable if and only if no mixture of the two stands where a mixture of their rivals stands:
    :math:`a_i g_i + a_j g_j = \sum_k y_k g_k`, with a bias :math:`a_i b_i + a_j b_j \le \sum_k y_k b_k` too. The cosine between
    the two does not tell. A pair may be reachable although one of its labels is not: of two equal rows neither is, alone.

    All else is as for `label_reachability`.

    Args:
        unembedding: (K, D), one row a label, any floating dtype.
        pairs: (P, 2), integer: two different labels each.
        bias: (K,), floating; default none.
        embeddings: (N, D), inputs of the head that were seen: the two labels that each ranks first are a reachable pair.
        time_limit: in seconds; what is not decided then is undecided.
        progress: is told the share that is decided, from 0 to 1.

    Returns:
        `Reachability`, its tensors in float64 on the unembedding's device.

    Raises:
        InputError: wrong shapes or dtypes, labels out of range, not live or equal, or a negative `time_limit`.

    Example:
        >>> import torch
        >>> W = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        >>> pair_reachability(W, pairs=torch.tensor([[0, 1], [0, 3]])).verdicts
        ['yes', 'no']

    Source: Nielsen and Grivas, arXiv 2603.29488; THEORY §6.
    """
    live_K = _live(unembedding, bias)
    check_pairs(pairs, len(live_K))
    same = (pairs[:, 0] == pairs[:, 1]).nonzero().flatten()
    if len(same):
        got = tuple(pairs[same[0]].tolist())
        raise InputError(expected("pairs", "to hold two different labels each", got, "Of one label ask `label_reachability`."))
    _check_live("pairs", pairs, live_K)
    return _reachability(unembedding, bias, live_K, pairs, embeddings, time_limit, progress)


def _reachability(
    unembedding: Tensor,
    bias: Tensor | None,
    live_K: Tensor,
    labels: Tensor,
    embeddings: Tensor | None,
    time_limit: float | None,
    progress: Callable[[float], None] | None,
) -> Reachability:
    if embeddings is not None:
        check_matrix(embeddings, "embeddings", f"(N, {unembedding.shape[1]})")
        if embeddings.shape[1] != unembedding.shape[1]:
            remedy = "Pass what goes into the head."
            got = tuple(embeddings.shape)
            raise InputError(expected("embeddings", f"of shape (N, {unembedding.shape[1]})", got, remedy))
        embeddings = embeddings.detach().cpu().double()
        embeddings = embeddings[embeddings.isfinite().all(dim=1)]
    if time_limit is not None and not time_limit >= 0:
        raise InputError(expected("time_limit", "to be at least 0", time_limit, "It is in seconds."))
    index = live_K.nonzero().flatten().cpu()
    W_KD = unembedding.detach().cpu()[index].double()
    b_K = torch.zeros(len(index), dtype=torch.float64) if bias is None else bias.detach().cpu()[index].double()
    place_K = inverse_index(index, len(live_K))
    own_PT = place_K[labels.cpu()].reshape(len(labels), 1 if labels.ndim == 1 else 2)
    with full_precision(W_KD):
        answers = Answers(ScaledHead.of(W_KD, b_K), own_PT, time_limit=time_limit, progress=progress)
        if len(own_PT):
            decide(answers, embeddings)
    device, dtype = unembedding.device, working_dtype(unembedding)
    return Reachability(
        answers.verdicts,
        answers.margins.to(device, dtype),
        answers.witnesses.to(device, dtype),
        [None if one is None else one._replace(rivals=index[one.rivals]) for one in answers.certificates],
        answers.means,
        labels.to(device),
    )


def _live(unembedding: Tensor, bias: Tensor | None) -> Tensor:
    """(K,), the labels whose row and bias are finite."""
    live_K = live_labels(unembedding, None)
    if not unembedding.shape[1]:
        raise InputError(
            expected("unembedding", "to have dimensions", tuple(unembedding.shape), "Without any, no input tells labels apart.")
        )
    if bias is None:
        return live_K
    if bias.shape != live_K.shape or not bias.is_floating_point():
        got = f"{bias.dtype} of shape {tuple(bias.shape)}"
        raise InputError(expected("bias", f"to be a floating-point tensor of shape ({len(live_K)},)", got, "One entry a label."))
    return live_K & bias.isfinite().to(live_K.device)


def _is_whole(labels: Tensor) -> bool:
    return not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)


def _check_live(argument: str, labels: Tensor, live_K: Tensor) -> None:
    if not labels.numel():
        return
    if not 0 <= int(labels.min()) <= int(labels.max()) < len(live_K):
        got = f"{int(labels.min())} to {int(labels.max())}"
        raise InputError(expected(argument, f"to hold labels from 0 to {len(live_K) - 1}", got))
    dead = labels[~live_K[labels.to(live_K.device)].to(labels.device)]
    if len(dead):
        got = f"label {int(dead[0])}, whose row or bias is not finite"
        raise InputError(expected(argument, "to hold live labels", got, "No probability is defined with it."))
