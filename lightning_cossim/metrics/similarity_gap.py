"""SimilarityGap: the ladder, the gaps and the shares explained of one window."""

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from typing_extensions import override

from lightning_cossim.errors import InputError, expected
from lightning_cossim.functional.centering import common_mode_ratio
from lightning_cossim.functional.halves import split_halves
from lightning_cossim.functional.inputs import check_groups, check_rows, label_index, live_labels
from lightning_cossim.functional.invariances import symmetries_of_ladder
from lightning_cossim.functional.ladder import weight_rungs
from lightning_cossim.functional.links import Link, Response
from lightning_cossim.functional.overlap import OVERLAP_ARGUMENTS, Overlap, OverlapKind, add_products
from lightning_cossim.functional.pairs import Pairs
from lightning_cossim.functional.rankings import rankings_of
from lightning_cossim.functional.symmetries import Symmetry
from lightning_cossim.metrics.logit_geometry import EmbeddingGeometry
from lightning_cossim.metrics.snapshot import why_cut
from lightning_cossim.metrics.state import add_to, writable
from lightning_cossim.report import GapReport, Statistics
from lightning_cossim.report.pair_table import PairTable, kept_labels
from lightning_cossim.report.plots import axes_for, draw_bars, draw_curves, series
from lightning_cossim.report.remarks import remarks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["SimilarityGap"]

Plotted = Mapping[str, Tensor] | Tensor | float
"""Scalars by name, or one scalar."""


class SimilarityGap(EmbeddingGeometry):
    r"""How far similarities between label representations account for the overlap of the labels' probabilities.

    Five rungs between every two labels (raw cosine, centered cosine, logit correlation, log-odds variance, overlap), and over the
    pairs of *kept* labels, those with mean probability of at least `min_probability` / K_live:

    - `explained_<rung>`: the adjusted share of the overlap's variance that the rung accounts for, at most 1;
    - `gap_translation`: mean \|raw - centered cosine\|, what the arbitrary origin did, in [0, 2];
    - `gap_geometry`: mean \|centered cosine - logit correlation\|, what the anisotropy of the embeddings did, in [0, 2];
    - `gap_behavior`: 1 - `explained_centered_cosine`, what the centered cosine does not account for;
    - `reliability`: how far the overlaps would come out the same with other inputs, in [0, 1], from two halves of them;
    - `overlap_mean`, in [0, 1], and `common_mode_ratio`, at least 0, to read them by.

    Under any other link than "softmax" the origin is not arbitrary and centering would throw something away: there is no centered
    cosine, no `gap_translation` and no `common_mode_ratio`, and the raw cosine takes the place of the centered one. Correlation
    and variance are those of the head's own logits: of a soft-capped model before the cap. Of a cosine head, rows and embeddings
    are taken at length 1, times its scale.

    `update(unembedding, logits, embedding, groups)` takes (K, D), (N, K) and (N, D), of any floating dtype: inputs add up, the
    last unembedding wins. Logits are the model's final ones, after a soft cap or a scale and without any margin. An input that is
    not finite is left out of everything. Logits or embeddings may be None where they cannot be had: the rungs that need them are
    then NaN. `groups` (N,) says which inputs belong together, the positions of a
    sequence for example, and are not to be torn into different halves; ids are compared within one update. `compute()` returns
    a dict of scalars, NaN where undefined; `report()` the `GapReport` with the matrices, the pairs and the reasons.

    Args:
        num_labels: K, at least 1.
        embedding_dim: D, at least 1.
        overlap: which overlap: "bhattacharyya", "product", "coactivation" or "topk".
        link: from the head to probabilities: "softmax", "softcap" (logits bent by a tanh), "cosine" (ArcFace and its like), or
            "sigmoid" for labels that do not exclude one another.
        label_subset: (L,), the rows of the head whose pairs are compared; default all. Softmax and mean row still run over all.
        ignore: labels that do not count at all: neither for the mean row nor in pairs.
        min_probability: share of 1/K_live from which labels are kept, at least 0.
        overlap_threshold: for "coactivation", above 0 and, unless under a sigmoid, below 0.5; default 0.1.
        overlap_k: for "topk", from 2 to K - 1; default max(2, min(5, K // 5)).
        link_scale: of a cosine head, what its cosines are multiplied with; needed with embeddings.
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
    num_groups: Tensor
    num_skipped: Tensor

    def __init__(
        self,
        num_labels: int,
        embedding_dim: int,
        overlap: OverlapKind = "bhattacharyya",
        link: Link = "softmax",
        label_subset: Sequence[int] | Tensor | None = None,
        ignore: Sequence[int] = (),
        min_probability: float = 0.01,
        overlap_threshold: float | None = None,
        overlap_k: int | None = None,
        link_scale: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_labels, embedding_dim, **kwargs)
        self.overlap = Overlap.of(
            num_labels, kind=overlap, link=link, threshold=overlap_threshold, k=overlap_k, arguments=OVERLAP_ARGUMENTS
        )
        self.response = Response.of(link, link_scale=link_scale)
        """From embeddings and rows to logits; a scale that is learned may be replaced by that of another moment."""
        self.min_probability = min_probability
        if not min_probability >= 0:
            raise InputError(expected("min_probability", "to be at least 0", min_probability, "It is a share of 1/K_live."))
        self.labels, self._looks_at_all = label_index(label_subset, num_labels), label_subset is None
        self.counted = torch.ones(num_labels, dtype=torch.bool, device="cpu")
        if ignore:
            self.counted[label_index(sorted(set(ignore)), num_labels, "ignore")] = False
        joint = torch.zeros(2, len(self.labels), len(self.labels), dtype=self.overlap.joint_dtype)
        self.add_state("joint", joint, dist_reduce_fx="sum")  # of the two halves
        self.add_state("prob_sum", torch.zeros(num_labels, dtype=torch.float64), dist_reduce_fx="sum")
        for count in ("num_inputs", "num_groups", "num_skipped"):
            self.add_state(count, torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_settings(self.overlap, self.response, self.labels.tolist(), self.counted.tolist(), float(min_probability))

    @property
    @override
    def invariances(self) -> frozenset[Symmetry]:
        """What leaves every rung unchanged: the raw cosine is one of them, so not even translations."""
        return symmetries_of_ladder(self.overlap.kind, self.overlap.link)

    @override
    def update(
        self,
        unembedding: Tensor,
        logits: Tensor | None = None,
        embedding: Tensor | None = None,
        groups: Tensor | None = None,
    ) -> None:
        """Add a batch of logits (N, K) and embeddings (N, D), and take the unembedding (K, D) of the same moment."""
        why = why_cut()
        if why is not None:  # nothing is known then, and what is not known is NaN
            warnings.warn(f"SimilarityGap leaves the batch out, its scalars stay NaN. {why}", stacklevel=2)
            return
        check_rows(unembedding, "unembedding", "(K, D)", (self.num_labels, self.embedding_dim))
        seen_N, log_p_NK = None, None
        if embedding is not None:
            self._check_scale()
            check_rows(embedding, "embedding", "(N, D)", (None if logits is None else len(logits), self.embedding_dim))
            seen_N = embedding.isfinite().all(dim=1)
        if logits is not None:
            check_rows(logits, "logits", "(N, K)", (None, self.num_labels))
            check_groups(groups, len(logits))
            log_p_NK = self.overlap.log_probabilities(logits)
            known_N = ~log_p_NK.sum(dim=1).isnan()
            seen_N = known_N if seen_N is None else known_N & seen_N
        self._take_snapshot(unembedding)
        if seen_N is not None:
            self.num_skipped = add_to(self.num_skipped, (~seen_N).sum())
        if log_p_NK is not None and seen_N is not None:
            self._add_overlaps(log_p_NK, seen_N, groups)
        if embedding is not None:
            self._add_moments(self.response.inputs(embedding), seen=seen_N)

    def use_response(self, response: Response | None) -> None:
        """Go on with another scale, where that is learned; None: the same. The link stays."""
        self.response = response or self.response

    def load_sums(self, states: Mapping[str, Tensor]) -> None:
        """Take sums over several processes in place of this one's."""
        for name, state in states.items():
            setattr(self, name, state.to(self.device))

    def _check_scale(self) -> None:
        """Log-odds are of logits, which are scaled; a soft-capped head's are taken before the cap."""
        if self.response.lacks == "link_scale":
            self.response.check_complete("and embeddings")

    def _add_overlaps(self, log_p_NK: Tensor, seen_N: Tensor, groups_N: Tensor | None) -> None:
        start, labels = self.num_groups.to(seen_N.device), self.labels.to(seen_N.device)
        groups_N = None if groups_N is None else groups_N.to(seen_N.device)
        half_N, num_groups = split_halves(seen_N, start=start, groups=groups_N)
        h_NK, probs_K, counts_N = self.overlap.profiles(log_p_NK.masked_fill_(~seen_N[:, None], torch.nan))
        h_NL = h_NK if self._looks_at_all else h_NK[:, labels]
        self.joint = writable(self.joint)
        for half, joint_LL in enumerate(self.joint):
            add_products(joint_LL, h_NL[half_N == half])
        self.prob_sum = add_to(self.prob_sum, probs_K)
        self.num_inputs = add_to(self.num_inputs, counts_N.sum())
        self.num_groups = add_to(self.num_groups, num_groups)

    @override
    def compute(self) -> dict[str, Tensor]:
        """Scalars by tag, NaN where undefined (`report().undefined` says why)."""
        self._statistics = self._measured()
        dtype = torch.promote_types(torch.get_default_dtype(), torch.float32)  # a default of half would round them
        scalars = self._statistics.numbers.scalars
        return {tag: torch.tensor(value, dtype=dtype, device=self.device) for tag, value in scalars.items()}

    @override
    def plot(
        self, val: Plotted | Sequence[Plotted] | None = None, ax: "Axes | None" = None, names: Sequence[str] | None = None
    ) -> tuple["Figure", "Axes"]:
        """Bars of the shares of the overlap that each similarity explains; of several steps a curve for each.

        Args:
            val: scalars as `compute` or `forward` return them; default what `compute` returns now. A sequence of such, one a
                step, or a dict of (S,) as `MetricTracker.compute_all` returns it, gives curves over the steps. Of a dict without
                shares explained every scalar is drawn; one scalar, or a sequence of scalars, is drawn as well.
            ax: what to draw on; default a new figure of pyplot.
            names: what bars or curves are called; default what the similarities are called in tags.

        Raises:
            InputError: `val` holds no scalars, or there are more or fewer names than bars or curves.
        """
        drawn = series(self.compute() if val is None else val)
        shares = {tag.removeprefix("explained_"): values for tag, values in drawn.items() if tag.startswith("explained_")}
        title = "Share of the probability overlap that each similarity explains" if shares else type(self).__name__
        drawn = shares or drawn
        shown = list(drawn) if names is None else list(names)
        is_one_step = all(len(values) == 1 for values in drawn.values())
        if len(shown) != len(drawn):
            what = "bars" if is_one_step else "curves"
            raise InputError(expected("names", f"to name the {len(drawn)} {what}", f"{len(shown)} names"))
        drawn = dict(zip(shown, drawn.values(), strict=True))
        figure, ax = axes_for(ax)
        if is_one_step:
            draw_bars(ax, {name: value for name, (value,) in drawn.items()}, title=title)
        else:
            draw_curves(ax, drawn, title=title)
        return figure, ax

    def statistics(self) -> Statistics:
        """What `compute` returns and all it comes from: the table of pairs, the numbers and the reasons."""
        self.compute()
        return self._statistics

    def report(self) -> GapReport:
        """The `GapReport` of what `compute` returns: with the matrices, the pairs and the reasons."""
        return GapReport(self.statistics())

    def _measured(self) -> Statistics:
        W_KD, link = self.response.rows(self.unembedding), self.overlap.link
        labels, counted_K = self.labels.to(W_KD.device), self.counted.to(W_KD.device)
        live_K = live_labels(W_KD, counted_K)
        rungs = weight_rungs(W_KD, label_subset=labels, embedding_covariance=self._covariance(), live=live_K, link=link)
        joint_LL = self.joint.sum(dim=0)
        rungs["overlap"] = self.overlap.finish(joint_LL)
        num_inputs, num_skipped = int(self.num_inputs), int(self.num_skipped)
        mean_probs_K = (self.prob_sum / self.num_inputs).cpu()
        kept_K = kept_labels(mean_probs_K, live=live_K.cpu(), num_inputs=num_inputs, min_probability=self.min_probability)
        pairs = Pairs.of_all(len(self.labels))
        first, second = (pairs.values(self.overlap.finish(half_LL)).cpu() for half_LL in self.joint)
        table = PairTable.of(
            {key: pairs.values(similarity_LL).cpu() for key, similarity_LL in rungs.items()},
            link=link,
            pairs=pairs,
            labels=self.labels,
            live=live_K.cpu(),
            kept=kept_K,
            mean_probs=mean_probs_K,
            sums=pairs.values(joint_LL).cpu(),
            num_inputs=num_inputs,
            num_skipped=num_skipped,
        )
        return Statistics.of(
            table,
            (first, second),
            common_mode_ratio=common_mode_ratio(W_KD, live=live_K).item(),
            remarks=self._remarks(live_K, num_inputs, num_skipped),
            rankings=rankings_of(W_KD, mean_probs_K, kept_K),
        )

    def _remarks(self, live_K: Tensor, num_inputs: int, num_skipped: int) -> dict[str, str]:
        if not self.update_count and self.unembedding.isnan().all():  # nothing was ever seen, here or on another process
            return {}
        return remarks(
            self.unembedding,
            labels=self.labels.to(live_K.device),
            counted=self.counted.to(live_K.device),
            live=live_K,
            link=self.overlap.link,
            num_inputs=num_inputs,
            num_skipped=num_skipped,
        )
