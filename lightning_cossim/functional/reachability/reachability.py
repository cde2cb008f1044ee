r"""Reachability: which labels and pairs of labels some embedding can rank strictly first.

The answer depends only on the weights and the bias of the head. Label i is reachable if some embedding f makes its logit strictly
the largest. A pair is jointly reachable if some f ranks both labels strictly above all others. "No" is final. "Yes" does not
guarantee that the network below the head can produce such an embedding.

Shapes: K labels, D embedding dimensions, N inputs; P questions.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from lightning_cossim.errors import InputError, expected
from lightning_cossim.functional.inputs import check_pairs
from lightning_cossim.functional.pairs import inverse_index
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
from lightning_cossim.functional.reachability.certificates import Certificate
from lightning_cossim.functional.reachability.rankings import Rankings
from lightning_cossim.functional.reachability.scaled_head import ScaledHead
from lightning_cossim.functional.reachability.stages import decide

__all__ = ["Certificate", "Reachability", "label_reachability", "pair_reachability"]


@dataclass(frozen=True, eq=False)
class Reachability:
    """A verdict for each label or pair, with its proof: a witness for "yes", a certificate for "no"."""

    verdicts: list[Verdict]
    """(P,), each "yes", "no" or "undecided"."""
    margins: Tensor
    """(P,), for each "yes" the lowest score of the asked labels minus the highest other score, NaN elsewhere.

    Always above 1e-6; a lower bound of the largest possible margin. Infinite if no other live label exists. The unit is the rms
    length of the centered rows, for a direction with the largest entry 1. The exception is a bias that is not constant: if the
    witness needs it, or `means` is "inputs", the unit is the rms of the centered bias.
    """
    witnesses: Tensor
    """(P, D), for each "yes" an embedding for which the head ranks the asked labels first, NaN elsewhere."""
    certificates: list[Certificate | None]
    """(P,), for each "no" a mixture of rivals that equals the row of the label, or a mixture of the pair's rows; None elsewhere.

    The tensors of a certificate are on the CPU.
    """
    means: list[Means | None]
    """(P,), the method that decided: the "rank" of the head, "inputs" of the head, a guessed "direction", "ascent" of the margin,
    a "mixture" of rivals, or the "solver". None if undecided."""
    labels: Tensor
    """Integer (P,) or (P, 2), the labels or pairs that were asked for."""


def label_reachability(
    unembedding: Tensor,
    *,
    bias: Tensor | None = None,
    label_subset: Tensor | None = None,
    embeddings: Tensor | None = None,
    time_limit: float | None = None,
    progress: Callable[[float], None] | None = None,
) -> Reachability:
    r"""Whether each label is the strict arg-max of :math:`f W^\top + b` for some embedding f.

    Label i is unreachable if and only if its row equals a mixture of rival rows: :math:`g_i = \sum_k y_k g_k` with
    :math:`y \ge 0`, :math:`\sum_k y_k = 1` and, if the head has a bias, :math:`b_i \le \sum_k y_k b_k`. Rivals are all other live
    labels. A label is live if its row and its bias are finite. Each "yes" has an embedding as its proof, each "no" a mixture.

    The computation runs in float64 on the CPU, on centered rows with an rms length of 1. Cheap checks run first, then matrix
    products for many labels at once, then the HiGHS solver. A verdict is "undecided" in three cases:

    - The margin is at most 1e-6 and no mixture has a residual of at most 1e-9.
    - Rounding hides the answer, because row lengths differ by a factor of 1e12 or biases by a factor of 1e6. Labels that a large
      negative bias masks are an example: remove them from the head first.
    - The time limit has passed.

    The verdicts do not change under a translation of all rows or biases, a positive scale of all rows or of all biases, or an
    invertible linear map of the embeddings. For a sigmoid head, they describe only the ranking of the logits. For a cosine head,
    pass the normalized rows.

    Args:
        unembedding: (K, D), one row per label, any floating dtype, D at least 1.
        bias: (K,), any floating dtype; default no bias.
        label_subset: integer (P,), the live labels to decide; default all of them.
        embeddings: (N, D), any floating dtype, inputs of the head. A label that one of them ranks first is reachable. Rows that
            are not finite are ignored.
        time_limit: seconds, at least 0; default no limit. A step that has started still finishes.
        progress: a function that receives the share of decided labels, in [0, 1]; it receives 1 at the end.

    Returns:
        `Reachability` with P verdicts. Margins and witnesses are float64 (float32 on a device without float64), on the device of
        the unembedding.

    Raises:
        InputError: a tensor has the wrong shape or dtype, a label is out of range or not live, or `time_limit` is negative or
            NaN.

    Example:
        >>> import torch
        >>> W = torch.tensor([[1.0, 0.0], [-1.0, 1.0], [-1.0, -1.0], [0.0, 0.0]])
        >>> label_reachability(W).verdicts
        ['yes', 'yes', 'yes', 'no']
        >>> label_reachability(W, bias=torch.tensor([0.0, 0.0, 0.0, 1.0])).verdicts
        ['yes', 'yes', 'yes', 'yes']

    Source: Grivas, Bogoychev, Lopez, Low-rank softmax can have unargmaxable classes (2022).
    """
    live_K = finite_labels(unembedding, bias)
    if label_subset is None:
        label_subset = live_K.nonzero().flatten()
    elif label_subset.ndim != 1 or not is_whole(label_subset):
        got = f"{label_subset.dtype} of shape {tuple(label_subset.shape)}"
        raise InputError(expected("label_subset", "to be an integer tensor of shape (P,)", got))
    check_live("label_subset", label_subset, live_K)
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
    r"""Whether both labels of each pair are strictly above all others in :math:`f W^\top + b` for some embedding f.

    Pair (i, j) is not jointly reachable if and only if a mixture of its two rows equals a mixture of rival rows:
    :math:`a_i g_i + a_j g_j = \sum_k y_k g_k` and, if the head has a bias, :math:`a_i b_i + a_j b_j \le \sum_k y_k b_k`. The
    weights a and the weights y are at least 0, and each set sums to 1. The cosine between the two labels does not decide it. A
    pair can be jointly reachable although neither of its labels is reachable, for example if their rows and biases are equal.

    Everything else is as in `label_reachability`.

    Args:
        unembedding: (K, D), one row per label, any floating dtype, D at least 1.
        pairs: integer (P, 2), two different live labels per row.
        bias: (K,), any floating dtype; default no bias.
        embeddings: (N, D), any floating dtype, inputs of the head. The two labels that one of them ranks first and second are a
            reachable pair. Rows that are not finite are ignored.
        time_limit: seconds, at least 0; default no limit. A step that has started still finishes.
        progress: a function that receives the share of decided pairs, in [0, 1]; it receives 1 at the end.

    Returns:
        `Reachability` with P verdicts. Margins and witnesses are float64 (float32 on a device without float64), on the device of
        the unembedding.

    Raises:
        InputError: a tensor has the wrong shape or dtype, a label is out of range or not live, the labels of a pair are equal, or
            `time_limit` is negative or NaN.

    Example:
        >>> import torch
        >>> W = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        >>> pair_reachability(W, pairs=torch.tensor([[0, 1], [0, 3]])).verdicts
        ['yes', 'no']

    Source: Nielsen and Grivas, arXiv 2603.29488.
    """
    live_K = finite_labels(unembedding, bias)
    check_pairs(pairs, len(live_K))
    same = (pairs[:, 0] == pairs[:, 1]).nonzero().flatten()
    if len(same):
        got = tuple(pairs[same[0]].tolist())
        remedy = "For one label, call `label_reachability`."
        raise InputError(expected("pairs", "to hold two different labels per row", got, remedy))
    check_live("pairs", pairs, live_K)
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
    embeddings = finite_embeddings(embeddings, unembedding.shape[1])
    check_time_limit(time_limit)
    index = live_K.nonzero().flatten().cpu()
    W_KD, b_K = live_head(unembedding, bias, index)
    place_K = inverse_index(index, len(live_K))
    own_PT = place_K[labels.cpu()].reshape(len(labels), 1 if labels.ndim == 1 else 2)
    with full_precision(W_KD):
        rankings = Rankings(ScaledHead.of(W_KD, b_K), own_PT)
        answers = Answers(rankings, time_limit=time_limit, progress=progress)
        if len(own_PT):
            decide(answers, rankings, embeddings)
    device, dtype = unembedding.device, working_dtype(unembedding)
    return Reachability(
        answers.verdicts,
        answers.margins.to(device, dtype),
        answers.witnesses.to(device, dtype),
        [None if one is None else one._replace(rivals=index[one.rivals]) for one in answers.certificates],
        answers.means,
        labels.to(device),
    )
