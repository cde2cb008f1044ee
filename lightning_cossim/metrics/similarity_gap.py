"""SimilarityGap: the ladder, the gaps and the shares explained of one window."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from typing_extensions import override

from lightning_cossim.errors import InputError, expected
from lightning_cossim.functional.centering import common_mode_ratio
from lightning_cossim.functional.inputs import check_one_of, live_labels
from lightning_cossim.functional.ladder import weight_rungs
from lightning_cossim.functional.overlap import Overlap, OverlapKind
from lightning_cossim.metrics.arguments import check_rows, label_index
from lightning_cossim.metrics.logit_geometry import EmbeddingGeometry
from lightning_cossim.report import GapReport

__all__ = ["SimilarityGap"]


class SimilarityGap(EmbeddingGeometry):
    r"""How far similarities between label representations account for the overlap of the labels' probabilities.

    Five rungs between every two labels (raw cosine, centered cosine, logit correlation, log-odds variance, overlap), and over the
    pairs of *kept* labels, those with mean probability of at least `min_probability` / K_live:

    - `explained_<rung>`: the adjusted share of the overlap's variance that the rung accounts for, at most 1;
    - `gap_translation`: mean \|raw - centered cosine\|, what the arbitrary origin did, in [0, 2];
    - `gap_geometry`: mean \|centered cosine - logit correlation\|, what the anisotropy of the embeddings did, in [0, 2];
    - `gap_behaviour`: 1 - `explained_centered_cosine`, what the centered cosine does not account for;
    - `overlap_mean`, in [0, 1], and `common_mode_ratio`, at least 0, to read them by.

    `update(unembedding, logits, embedding)` takes (K, D), (N, K) and (N, D), of any floating dtype: inputs add up, the last
    unembedding wins; an input with a NaN is left out of everything. Logits or embeddings may be None where they cannot be
    had: the rungs that need them are then NaN. `compute()` returns a dict of scalars, NaN where undefined; `report()` the
    `GapReport` with the matrices, the pairs and the reasons.

    Args:
        num_labels: K, at least 1.
        embedding_dim: D, at least 1.
        kind: which overlap: "bhattacharyya", "product", "coactivation" or "topk".
        link: from logits to probabilities; "softmax".
        labels: (L,), the labels whose pairs are looked at; default all. Softmax and mean row still run over all.
        ignore: labels that do not count at all: neither for the mean row nor in pairs.
        min_probability: share of 1/K_live from which labels are kept, at least 0.
        threshold: for "coactivation", above 0 and below 0.5; default 0.1.
        k: for "topk", from 2 to K - 1; default max(2, min(5, K // 5)).
        kwargs: as for every `torchmetrics.Metric`.

    Raises:
        InputError: arguments out of range, or tensors that do not have the sizes the metric was built for.

    Example:
        >>> import torch
        >>> generator = torch.Generator().manual_seed(0)
        >>> W, f = torch.randn(6, 4, generator=generator), torch.randn(100, 4, generator=generator)
        >>> metric = SimilarityGap(num_labels=6, embedding_dim=4)
        >>> metric.update(W, f @ W.T, f)
        >>> scalars = metric.compute()
        >>> bool(scalars["explained_log_odds_variance"] > scalars["explained_raw_cosine"])
        True
        >>> metric.report().num_pairs
        15

    Source: THEORY §3 and §5; Nielsen, arXiv 2603.29488.
    """

    joint: Tensor
    prob_sum: Tensor
    num_inputs: Tensor

    def __init__(
        self,
        num_labels: int,
        embedding_dim: int,
        kind: OverlapKind = "bhattacharyya",
        link: Literal["softmax"] = "softmax",
        labels: Sequence[int] | Tensor | None = None,
        ignore: Sequence[int] = (),
        min_probability: float = 0.01,
        threshold: float | None = None,
        k: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_labels, embedding_dim, **kwargs)
        check_one_of(link, "link", ("softmax",))
        self.overlap = Overlap.of(num_labels, kind=kind, link=link, threshold=threshold, k=k)
        self.min_probability = min_probability
        if not min_probability >= 0:
            raise InputError(expected("min_probability", "to be at least 0", min_probability, "It is a share of 1/K_live."))
        self.labels = label_index(labels, num_labels)
        self.counted = torch.ones(num_labels, dtype=torch.bool)
        if ignore:
            self.counted[label_index(sorted(set(ignore)), num_labels, "ignore")] = False
        joint = torch.zeros(len(self.labels), len(self.labels), dtype=self.overlap.joint_dtype)
        self.add_state("joint", joint, dist_reduce_fx="sum")
        self.add_state("prob_sum", torch.zeros(num_labels, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("num_inputs", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    @override
    def update(self, unembedding: Tensor, logits: Tensor | None = None, embedding: Tensor | None = None) -> None:
        """Add a batch of logits (N, K) and embeddings (N, D), and take the unembedding (K, D) of the same moment."""
        self._take_snapshot(unembedding)
        seen_N = None
        if embedding is not None:
            check_rows(embedding, "embedding", "(N, D)", (None if logits is None else len(logits), self.embedding_dim))
            seen_N = embedding.isfinite().all(dim=1)
        if logits is not None:
            check_rows(logits, "logits", "(N, K)", (None, self.num_labels))
            log_p_NK = self.overlap.log_probabilities(logits)
            known_N = ~log_p_NK.isnan().any(dim=1)
            seen_N = known_N if seen_N is None else known_N & seen_N
            batch = self.overlap.sums(log_p_NK, labels=self.labels.to(logits.device), seen=seen_N)
            self.joint = self.joint + batch.joint.to(self.joint.dtype)
            self.prob_sum = self.prob_sum + batch.probs
            self.num_inputs = self.num_inputs + batch.num_inputs
        if embedding is not None:
            self._add_moments(embedding, seen=seen_N)

    @override
    def compute(self) -> dict[str, Tensor]:
        """Scalars by tag, NaN where undefined (`report().undefined` says why)."""
        self._report = self._build_report()
        return {tag: torch.tensor(value, device=self.device) for tag, value in self._report.scalars.items()}

    def report(self) -> GapReport:
        """The `GapReport` of what `compute` returns: with the matrices, the pairs and the reasons."""
        self.compute()
        return self._report

    def _build_report(self) -> GapReport:
        labels = self.labels.to(self.unembedding.device)
        live_K = live_labels(self.unembedding, self.counted)
        rungs = weight_rungs(self.unembedding, labels=labels, embedding_covariance=self._covariance(), live=live_K)
        rungs["overlap"] = self.overlap.finish(self.joint)
        return GapReport.from_rungs(
            {rung: similarity_LL.cpu() for rung, similarity_LL in rungs.items()},
            labels=self.labels,
            live=live_K.cpu(),
            mean_probs=(self.prob_sum / self.num_inputs).cpu(),
            mass=(self.joint / self.num_inputs).cpu(),
            num_inputs=int(self.num_inputs),
            common_mode_ratio=common_mode_ratio(self.unembedding, live=live_K).item(),
            min_probability=self.min_probability,
        )
