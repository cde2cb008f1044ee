"""Probability overlap: how far two labels are probable for the same inputs.

Functions of the probabilities alone, so nothing that the model cannot see can move them; sums over inputs, so they add over
batches and processes. Every kind is one: each label has a *profile* over the inputs, products of profiles are summed, and the
sums are normalised. Shapes: K labels, L of them looked at; `p_NK` probabilities, `h_NL` profiles, `S_LL` sums of their products.
"""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from lightning_cossim.errors import InputError, expected
from lightning_cossim.functional.inputs import check_matrix, check_one_of
from lightning_cossim.functional.precision import full_precision, result_dtype

__all__ = ["Link", "Overlap", "OverlapKind", "OverlapSums", "log_probabilities", "probability_overlap"]

OverlapKind = Literal["bhattacharyya", "product", "coactivation", "topk"]
Link = Literal["softmax", "sigmoid"]

_COUNTED: Final = frozenset({"coactivation", "topk"})
"""Kinds whose profiles are 0 or 1: their sums are counts, which float32 could not hold beyond 2**24."""
_THRESHOLD: Final = 0.1
_CHUNK: Final = 1024


class OverlapSums(NamedTuple):
    """What a batch adds to an overlap: sums over its inputs."""

    joint: Tensor
    """(L, L), sums of products of profiles; int64 for the kinds that count."""
    probs: Tensor
    """(K,), sums of the probabilities of all labels."""
    num_inputs: Tensor
    """(), how many inputs counted."""


def probability_overlap(
    probs: Tensor, *, kind: OverlapKind = "bhattacharyya", threshold: float | None = None, k: int | None = None
) -> Tensor:
    r"""Overlap of the input profiles of every pair of labels.

    - `"bhattacharyya"`: :math:`S_{ij} / \sqrt{S_{ii} S_{jj}}` with :math:`S_{ij} = \sum_x \sqrt{p_i(x)\, p_j(x)}`. Each
      profile is normalised by its own mass, so a rare label can overlap a common one fully. It brackets the overlap
      coefficient of the two profiles: :math:`1 - \sqrt{1 - BC^2} \le OVL \le BC`.
    - `"product"`: the same with :math:`S_{ij} = \sum_x p_i(x)\, p_j(x)`; confident inputs dominate.
    - `"coactivation"`: inputs where both probabilities are above `threshold`, over inputs where one is.
    - `"topk"`: inputs where both labels are among the `k` most likely, over inputs where one is. Labels that tie with the last of
      them are among them too. Ranks only: no temperature moves it.

    Args:
        probs: (N, K) in [0, 1], one row an input, any floating dtype. Rows with a NaN are left out.
        kind: which overlap.
        threshold: for "coactivation", in (0, 1); default 0.1.
        k: for "topk", from 2 to K - 1; default max(2, min(5, K // 5)).

    Returns:
        (K, K) in [0, 1], float32 or, for float64 probabilities, float64: 1 on the diagonal, NaN for a label without mass (of two
        labels that are never active or never among the top, too).

    Raises:
        InputError: `probs` is not a floating (N, K) matrix with entries in [0, 1], or an argument is unknown or out of range.

    Example:
        >>> import torch
        >>> probability_overlap(torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.0, 0.5]]))
        tensor([[1.0000, 0.7071, 0.7071],
                [0.7071, 1.0000, 0.0000],
                [0.7071, 0.0000, 1.0000]])

    Source: Bhattacharyya (1943); Jaccard (1901); THEORY §4.
    """
    check_matrix(probs, "probs", "(N, K)", "Pass probabilities, one row an input.")
    # Where the probabilities come from is not known here: a sigmoid's may both be above any threshold.
    overlap = Overlap.of(probs.shape[1], kind=kind, link="sigmoid", threshold=threshold, k=k)
    if ((probs < 0) | (probs > 1)).any():
        known = probs[~probs.isnan()]
        got = f"values from {known.min().item():.9g} to {known.max().item():.9g}"
        raise InputError(expected("probs", "in [0, 1]", got, "Pass probabilities, for example `logits.softmax(-1)`."))
    return overlap.finish(overlap.sums(probs.detach().to(result_dtype(probs)).log()).joint).to(result_dtype(probs))


def log_probabilities(logits: Tensor, link: Link = "softmax") -> Tensor:
    """The log-probabilities (N, K) of all labels, float32 or better; NaN stays NaN, and under a softmax +inf becomes NaN."""
    z_NK = logits.detach().to(result_dtype(logits))
    return z_NK.log_softmax(dim=1) if link == "softmax" else logsigmoid(z_NK)


@dataclass(frozen=True)
class Overlap:
    """A probability overlap, decided upon: what is summed over inputs, and what is made of the sums."""

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
    ) -> "Overlap":
        """The overlap of `num_labels` labels, defaults filled in. Raises `InputError` on what is unknown or out of range."""
        check_one_of(kind, "kind", get_args(OverlapKind))
        check_one_of(link, "link", get_args(Link))
        for argument, value, its_kind in (("threshold", threshold, "coactivation"), ("k", k, "topk")):
            if value is not None and kind != its_kind:
                raise InputError(expected(argument, f"only with kind {its_kind!r}", f"{value} with {kind!r}"))
        if kind == "coactivation":
            threshold = _THRESHOLD if threshold is None else threshold
            highest, why = (0.5, "Two probabilities of a softmax cannot both be above it.") if link == "softmax" else (1, "")
            if not 0 < threshold < highest:
                raise InputError(expected("threshold", f"to be above 0 and below {highest}", threshold, why))
        if kind == "topk":
            if num_labels < 3:
                raise InputError(expected("kind", "to be another than 'topk' for fewer than 3 labels", f"{num_labels} labels"))
            k = max(2, min(5, num_labels // 5)) if k is None else k
            if not 2 <= k < num_labels:
                raise InputError(expected("k", f"to be from 2 to {num_labels - 1}", k, "Fewer than all labels, more than one."))
        return cls(kind, link, threshold, k)

    @property
    def joint_dtype(self) -> torch.dtype:
        """The dtype in which sums are kept."""
        return torch.int64 if self.kind in _COUNTED else torch.float32

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """`log_probabilities` under this overlap's link."""
        return log_probabilities(logits, self.link)

    def sums(self, log_probs: Tensor, *, labels: Tensor | None = None) -> OverlapSums:
        """The sums of one batch.

        Args:
            log_probs: (N, K), at most 0, minus infinity allowed; inputs with a NaN do not count.
            labels: (L,), the labels whose pairs are looked at; default all.
        """
        seen_N = ~log_probs.isnan().any(dim=1)
        log_p_NK = log_probs.masked_fill(~seen_N[:, None], -torch.inf)
        h_NL = self._profiles(log_p_NK).masked_fill(~seen_N[:, None], 0)
        h_NL = h_NL if labels is None else h_NL[:, labels]
        joint_LL = h_NL.new_zeros(h_NL.shape[1], h_NL.shape[1]).to(torch.int64 if self.kind in _COUNTED else h_NL.dtype)
        with full_precision(h_NL):
            # In chunks: one long product in float32 would lose digits, and counts, that many short ones keep.
            for start in range(0, len(h_NL), _CHUNK):
                chunk_NL = h_NL[start : start + _CHUNK]
                joint_LL += (chunk_NL.T @ chunk_NL).to(joint_LL.dtype)
        return OverlapSums(joint_LL, log_p_NK.exp().sum(dim=0), seen_N.sum())

    def finish(self, joint: Tensor) -> Tensor:
        """Sums (L, L) to overlaps in [0, 1], NaN where there is nothing to compare."""
        diagonal_L = joint.diagonal()
        if self.kind in _COUNTED:
            return joint / (diagonal_L[:, None] + diagonal_L - joint)
        root_L = diagonal_L.sqrt()
        overlap_LL = (joint / root_L[:, None] / root_L).clamp(0, 1)
        overlap_LL.fill_diagonal_(1)
        massless_L = root_L == 0
        return overlap_LL.masked_fill(massless_L[:, None] | massless_L, torch.nan)

    def _profiles(self, log_p_NK: Tensor) -> Tensor:
        if self.kind == "bhattacharyya":
            return log_p_NK.div(2).exp()  # the root of p, also where p itself underflows
        if self.kind == "product":
            return log_p_NK.exp()
        if self.threshold is not None:
            return (log_p_NK.exp() > self.threshold).to(log_p_NK.dtype)
        assert self.k is not None, "topk has a k"  # `of` filled it in
        last_N1 = log_p_NK.topk(self.k, dim=1).values[:, -1:]
        return ((log_p_NK >= last_N1) & (log_p_NK > -torch.inf)).to(log_p_NK.dtype)
