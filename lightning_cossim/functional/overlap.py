"""Probability overlap: how far two labels are probable on the same inputs.

Overlaps depend on probabilities only, so a change of the head that changes no probability changes no overlap. They are computed
from sums over inputs, so they add over batches and processes. All kinds work in the same way: each label has a *profile* over the
inputs, products of profiles are summed, and the sums are normalized. Shapes: K labels, L of them compared; `p_NK` probabilities,
`h_NL` profiles, `S_LL` sums of their products.

The sums are symmetric. Only the entries on and above the diagonal are computed; `Overlap.finish` fills the others.
"""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from lightning_cossim.errors import InputError, expected
from lightning_cossim.functional.inputs import check_one_of, check_probs
from lightning_cossim.functional.links import Link
from lightning_cossim.functional.pairs import Pairs
from lightning_cossim.functional.precision import full_precision, result_dtype

__all__ = ["OVERLAP_ARGUMENTS", "Overlap", "OverlapKind", "Profiles", "add_products", "log_probabilities", "probability_overlap"]

OverlapKind = Literal["bhattacharyya", "product", "coactivation", "topk"]

_COUNTED: Final = frozenset({"coactivation", "topk"})
"""Kinds whose profiles are 0 or 1. Their sums are counts, and float32 cannot represent all counts above 2**24."""
_THRESHOLD: Final = 0.1
_CHUNK: Final = 1024
"""Inputs per product. Many short products lose fewer digits in float32 than one long product, and no counts."""
_HALVED_FROM, _NUM_PANELS, _MIN_PANEL, _MIN_IN_PLACE = 512, 8, 64, 32
"""Sizes of the products of a triangle: it is halved above `_HALVED_FROM` labels and split into `_NUM_PANELS` panels otherwise.

A panel has at least `_MIN_PANEL` labels. A product in place has at least `_MIN_IN_PLACE` labels.
"""
_NUM_SQUARES: Final = 2**17


class Profiles(NamedTuple):
    """The profiles of all labels on one batch, and sums of their probabilities."""

    values: Tensor
    """(N, K), at least 0; 0 if an input does not count."""
    probs: Tensor
    """(K,), sums of the probabilities over inputs."""
    counts: Tensor
    """Boolean (N,), whether an input counts."""
    prob_squares: Tensor
    """(K,), sums of the squared probabilities over inputs."""


def probability_overlap(
    probs: Tensor, *, kind: OverlapKind = "bhattacharyya", threshold: float | None = None, k: int | None = None
) -> Tensor:
    r"""Overlap of the input profiles of every pair of labels.

    - `"bhattacharyya"`: :math:`S_{ij} / \sqrt{S_{ii} S_{jj}}` with :math:`S_{ij} = \sum_x \sqrt{p_i(x)\, p_j(x)}`. Each profile
      is normalized by its own mass, so a rare label can overlap fully with a common one. It gives bounds on the overlap
      coefficient of the two profiles: :math:`1 - \sqrt{1 - BC^2} \le OVL \le BC`.
    - `"product"`: the same with :math:`S_{ij} = \sum_x p_i(x)\, p_j(x)`. Confident inputs dominate it.
    - `"coactivation"`: the number of inputs where both probabilities are above `threshold`, divided by the number of inputs where
      at least one is.
    - `"topk"`: the number of inputs where both labels are among the `k` most likely, divided by the number of inputs where at
      least one is. Labels that tie with the last of them also count. It uses ranks only, so a temperature does not change it.

    Args:
        probs: (N, K) in [0, 1], one row per input, any floating-point dtype. Rows with a NaN are skipped.
        kind: "bhattacharyya", "product", "coactivation" or "topk".
        threshold: only for "coactivation", in (0, 1); default 0.1.
        k: only for "topk", from 2 to K - 1; default max(2, min(5, K // 5)).

    Returns:
        (K, K) in [0, 1], float64 for float64 probabilities, float32 otherwise; 1 on the diagonal. NaN if one of the labels has no
        mass ("bhattacharyya", "product"), or if neither label is ever above the threshold or among the most likely
        ("coactivation", "topk").

    Raises:
        InputError: `probs` is not a floating-point (N, K) matrix with entries in [0, 1], or an argument is unknown or out of
            range.

    Example:
        >>> import torch
        >>> probability_overlap(torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.0, 0.5]]))
        tensor([[1.0000, 0.7071, 0.7071],
                [0.7071, 1.0000, 0.0000],
                [0.7071, 0.0000, 1.0000]])

    Source: Bhattacharyya (1943); Jaccard (1901).
    """
    check_probs(probs)
    # The link is unknown here. "sigmoid" allows every threshold below 1, because two of its probabilities can both be above it.
    overlap = Overlap.of(probs.shape[1], kind=kind, link="sigmoid", threshold=threshold, k=k)
    h_NK = overlap.profiles(probs.detach().to(result_dtype(probs)).log()).values
    joint_KK = h_NK.new_zeros(h_NK.shape[1], h_NK.shape[1], dtype=torch.int64 if overlap.counts_inputs else h_NK.dtype)
    add_products(joint_KK, h_NK)
    return overlap.finish(joint_KK).to(result_dtype(probs))


def log_probabilities(logits: Tensor, link: Link = "softmax") -> Tensor:
    """The log-probabilities (N, K) of all labels, float32 or better.

    Pass the model's final logits: capped for "softcap", scaled for "cosine". NaN stays NaN. Under a softmax, +inf gives NaN.
    """
    z_NK = logits.detach().to(result_dtype(logits))
    return logsigmoid(z_NK) if link == "sigmoid" else z_NK.log_softmax(dim=1)


def add_products(total: Tensor, profiles: Tensor) -> None:
    """Add the products of profiles (N, L), summed over inputs, to a total (L, L), in place.

    Only entries on and above the diagonal are computed, in panels that extend a little below it. This takes half of the work of
    the full product, and no temporary tensor is as large as the total.
    """
    with full_precision(profiles):
        for chunk_NL in torch.split(profiles, _CHUNK):
            _add_triangle(total, chunk_NL)


def _add_triangle(total: Tensor, profiles: Tensor) -> None:
    """Add one product of `add_products`: the block above both halves of the diagonal, then each half recursively.

    A small half is computed in panels, each from the diagonal to the right.
    """
    num_labels = len(total)
    if num_labels <= _HALVED_FROM:
        size = max(_MIN_PANEL, -(-num_labels // _NUM_PANELS))
        for start in range(0, num_labels, size):
            panel = slice(start, start + size)
            _add_product(total[panel, start:], profiles[:, panel], profiles[:, start:])
        return
    first, rest = slice(0, num_labels // 2), slice(num_labels // 2, None)
    _add_product(total[first, rest], profiles[:, first], profiles[:, rest])
    for half in (first, rest):
        _add_triangle(total[half, half], profiles[:, half])


def _add_product(total: Tensor, rows: Tensor, columns: Tensor) -> None:
    """Add `rows.T @ columns` to the total, in place if that is exact.

    For few labels, the kernels round the total at every input. The product is then computed first and added afterwards.
    """
    if total.dtype == rows.dtype and min(total.shape) >= _MIN_IN_PLACE:
        total.addmm_(rows.T, columns)
        return
    for start in range(0, len(total), _HALVED_FROM):
        part = slice(start, start + _HALVED_FROM)
        total[part] += (rows[:, part].T @ columns).to(total.dtype)


def _without_others(values: Tensor, counts: Tensor) -> Tensor:
    """Values (N, K) with 0 for inputs that do not count, in place. Nothing is written if all inputs count."""
    return values if counts.all() else values.masked_fill_(~counts[:, None], 0)


def _sums_of_powers(values: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of squares and of fourth powers over inputs (K,).

    Computed for a few inputs at a time, which fit in the processor's cache.
    """
    squares_K, fourths_K = values.new_zeros(2, values.shape[1])
    for part_BK in torch.split(values, max(1, _NUM_SQUARES // max(1, values.shape[1]))):
        square_BK = part_BK.square()
        squares_K += square_BK.sum(dim=0)
        fourths_K += square_BK.square_().sum(dim=0)
    return squares_K, fourths_K


OVERLAP_ARGUMENTS: Final = ("overlap", "overlap_threshold", "overlap_k")
"""The names of an overlap's kind, threshold and k in interfaces that also have other thresholds."""


@dataclass(frozen=True)
class Overlap:
    """A probability overlap with all settings fixed: which sums over inputs it needs, and how the overlap follows from them."""

    kind: OverlapKind
    link: Link
    threshold: float | None
    k: int | None

    @classmethod
    def of(
        cls,
        num_labels: int,
        *,
        kind: OverlapKind = "bhattacharyya",
        link: Link = "softmax",
        threshold: float | None = None,
        k: int | None = None,
        arguments: tuple[str, str, str] = ("kind", "threshold", "k"),
    ) -> "Overlap":
        """The overlap for `num_labels` labels, with defaults filled in.

        Args:
            num_labels: K.
            kind: "bhattacharyya", "product", "coactivation" or "topk".
            link: the link from logits to probabilities.
            threshold: only for "coactivation", above 0 and below 1 (sigmoid) or 0.5 (all other links); default 0.1.
            k: only for "topk", from 2 to K - 1; default max(2, min(5, K // 5)).
            arguments: the caller's names of kind, threshold and k, for errors.

        Raises:
            InputError: an argument is unknown or out of range, or it belongs to another kind.
        """
        of_kind, of_threshold, of_k = arguments
        check_one_of(kind, of_kind, get_args(OverlapKind))
        check_one_of(link, "link", get_args(Link))
        for argument, value, its_kind in ((of_threshold, threshold, "coactivation"), (of_k, k, "topk")):
            if value is not None and kind != its_kind:
                raise InputError(expected(argument, f"only with {of_kind} {its_kind!r}", f"{value} with {kind!r}"))
        if kind == "coactivation":
            threshold = _THRESHOLD if threshold is None else threshold
            highest, why = (1, "") if link == "sigmoid" else (0.5, "Two probabilities of a softmax cannot both be above it.")
            if not 0 < threshold < highest:
                raise InputError(expected(of_threshold, f"to be above 0 and below {highest}", threshold, why))
        if kind == "topk":
            if num_labels < 3:
                raise InputError(
                    expected(of_kind, "to be a kind other than 'topk' for fewer than 3 labels", f"{num_labels} labels")
                )
            k = max(2, min(5, num_labels // 5)) if k is None else k
            if not 2 <= k < num_labels:
                raise InputError(
                    expected(of_k, f"to be from 2 to {num_labels - 1}", k, "It counts the most likely labels of an input.")
                )
        return cls(kind, link, threshold, k)

    @property
    def counts_inputs(self) -> bool:
        """Whether profiles are 0 or 1, so that sums of products are integers."""
        return self.kind in _COUNTED

    @property
    def joint_dtype(self) -> torch.dtype:
        """The dtype of the sums."""
        return torch.int64 if self.counts_inputs else torch.float32

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """`log_probabilities` under this overlap's link."""
        return log_probabilities(logits, self.link)

    def profiles(self, log_probs: Tensor) -> Profiles:
        """The profiles of one batch.

        Args:
            log_probs: (N, K), at most 0; minus infinity is allowed. Inputs with a NaN do not count. The tensor is overwritten.
        """
        counts_N = ~log_probs.sum(dim=1).isnan()
        if self.kind == "bhattacharyya":
            # The square root of p, accurate even if p itself underflows.
            h_NK = _without_others(log_probs.mul_(0.5).exp_(), counts_N)
            probs_K, squares_K = _sums_of_powers(h_NK)
            return Profiles(h_NK, probs_K, counts_N, squares_K)
        is_top_NK = None if self.k is None else self._is_top(log_probs)
        p_NK = _without_others(log_probs.exp_(), counts_N)
        probs_K, squares_K = p_NK.sum(dim=0), _sums_of_powers(p_NK)[0]
        if self.threshold is not None:
            return Profiles((p_NK > self.threshold).to(p_NK.dtype), probs_K, counts_N, squares_K)
        return Profiles(p_NK if is_top_NK is None else is_top_NK.to(p_NK.dtype), probs_K, counts_N, squares_K)

    def _is_top(self, log_p_NK: Tensor) -> Tensor:
        """Whether a label is among the k most likely labels of an input. False for all labels of an input with a NaN."""
        assert self.k is not None, "topk has a k"  # `of` filled it in
        last_N1 = log_p_NK.topk(self.k, dim=1).values[:, -1:]
        return (log_p_NK >= last_N1) & (log_p_NK > -torch.inf)

    def finish(self, joint: Tensor) -> Tensor:
        """The overlaps (L, L) in [0, 1] from the sums (L, L). It uses the entries on and above the diagonal.

        NaN if there is nothing to compare.
        """
        joint = joint.triu() + joint.triu(diagonal=1).T
        diagonal_L = joint.diagonal()
        overlap_LL = self.overlap_of(joint, diagonal_L[:, None], diagonal_L)
        if not self.counts_inputs:
            overlap_LL.diagonal().masked_fill_(diagonal_L > 0, 1)
        return overlap_LL

    def overlap_of_pairs(self, pairs: Pairs, joint: Tensor, own: Tensor) -> Tensor:
        """The overlaps of pairs (..., P).

        Args:
            pairs: (P,), by the positions of their labels.
            joint: (..., P), the sums of the products of both profiles.
            own: (..., L), the sums of the squared profiles.
        """
        if self.counts_inputs:
            return self.overlap_of(joint, own[..., pairs.row], own[..., pairs.column])
        # One root per label, because a label is in many pairs. NaN if the label has no mass.
        scale = own.rsqrt().masked_fill(own == 0, torch.nan)
        return (joint * scale[..., pairs.row]).mul_(scale[..., pairs.column]).clamp_(0, 1)

    def overlap_of(self, joint: Tensor, own: Tensor, others_own: Tensor) -> Tensor:
        """The overlap of two labels from the sum of the products of their profiles and the sums of their squared profiles."""
        if self.counts_inputs:
            return joint.float() / (own + others_own - joint)  # a quotient of integers would have torch's default dtype
        overlap = (joint / own.sqrt() / others_own.sqrt()).clamp(0, 1)
        return overlap.masked_fill((own == 0) | (others_own == 0), torch.nan)
