"""SimilarityGap: the similarities of one window of inputs, their agreement with the overlap, and the gaps.

Shapes: K labels, L of them compared, D embedding dimensions, N inputs, G blocks, P pairs.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor
from typing_extensions import override

from lightning_cossim.errors import InputError, expected
from lightning_cossim.functional.blocks import NUM_BLOCKS, BlockAssignment, rows_of_blocks
from lightning_cossim.functional.centering import common_mode_ratio
from lightning_cossim.functional.confusion import Confusion, add_confusion, add_products_by_target, known_targets, labels_at
from lightning_cossim.functional.inputs import check_groups, check_rows, check_targets, label_index, live_labels
from lightning_cossim.functional.invariances import symmetries_of_ladder
from lightning_cossim.functional.joint import add_joint_inputs, likely_labels
from lightning_cossim.functional.ladder import LADDERS, weight_rungs
from lightning_cossim.functional.links import Link, Response
from lightning_cossim.functional.overlap import OVERLAP_ARGUMENTS, Overlap, OverlapKind, add_products
from lightning_cossim.functional.pairs import Pairs, inverse_index
from lightning_cossim.functional.rankings import rankings_of
from lightning_cossim.functional.replicates import BlockSums
from lightning_cossim.functional.symmetries import Symmetry
from lightning_cossim.metrics.logit_geometry import BlockMoments, EmbeddingGeometry
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

_MAX_BLOCK_SIZE: Final = 1024
"""Largest min(K, D) for which covariances are kept per block; above it, they are kept only in total."""
Plotted = Mapping[str, Tensor] | Tensor | float
"""Scalars by name, or one scalar."""


class SimilarityGap(EmbeddingGeometry):
    r"""How well similarities between label representations agree with the overlap of the labels' probabilities.

    The metric compares every two labels by four similarities (raw cosine, centered cosine, logit correlation, log-odds variance)
    and by their overlap. Its scalars are over the pairs of *kept* labels: labels with a mean probability of at least
    `min_probability` / K_live, where K_live is the number of live labels (finite rows, not in `ignore`). The scalars are:

    - `rank_agreement_<similarity>`: how well the similarity orders pairs by their overlap (rho_a), in [-1, 1]; the main result;
    - `explained_<similarity>`: the adjusted share of the overlap's variance that the similarity explains, at most 1;
    - `gap_translation`: the mean of \|raw cosine - centered cosine\|, the effect of the arbitrary origin, in [0, 2];
    - `gap_geometry`: the mean of \|centered cosine - logit correlation\|, the effect of the embeddings' anisotropy, in [0, 2];
    - `gap_behavior`: 1 - max(0, `rank_agreement_centered_cosine`), how much the order of the overlaps differs from the order of
      the centered cosines, in [0, 1];
    - `reliability`: how well the overlaps would repeat on other inputs, in [0, 1], estimated from two halves of the inputs;
    - `residual_scale`: 1.4826 times the median of \|overlap - expected overlap\|, the typical gap of a pair, at least 0;
    - `overlap_mean`, in [0, 1], and `common_mode_ratio`, at least 0, as context for the others.

    These scalars describe a model. Do not select a checkpoint by any of them: a model with a smaller gap is not a better model.

    Under a link other than "softmax", the origin is not arbitrary, so centering would lose information. Then `centered_cosine`,
    `gap_translation` and `common_mode_ratio` do not exist, and the raw cosine takes the place of the centered cosine. The logit
    correlation and the log-odds variance use the linear logits of the head: under "softcap", the logits before the cap. Under
    "cosine", they use rows and embeddings of length 1, and `link_scale`.

    `update` takes the unembedding and, if you have them, logits, embeddings, groups and targets. The inputs of all updates add
    up; the last unembedding replaces earlier ones. `compute()` returns a dict of scalars, NaN where a scalar is undefined.
    `report()` returns the `GapReport` with the matrices, the pairs, the standard errors and the reasons for NaN.

    Sums are kept for eight blocks of inputs, and the standard errors come from these blocks. A run of up to 32 consecutive inputs
    of one update goes to one block, unless you pass `groups`. If min(K, D) is above 1024, the standard errors treat the logit
    correlation and the log-odds variance as fixed.

    Args:
        num_labels: K, at least 1.
        embedding_dim: D, at least 1.
        overlap: the kind of overlap: "bhattacharyya", "product", "coactivation" or "topk".
        link: the function from the head to probabilities: "softmax", "softcap" (a tanh bounds the logits), "cosine" (for example
            ArcFace), or "sigmoid" for labels that do not exclude one another.
        label_subset: (L,), the rows of the head whose pairs are compared; default all. The softmax and the mean row still include
            all labels.
        ignore: labels to leave out of the mean row and of all pairs.
        min_probability: the lowest mean probability of a kept label, as a multiple of 1/K_live; at least 0.
        overlap_threshold: for "coactivation", above 0 and below 0.5, or below 1 under a sigmoid; default 0.1.
        overlap_k: for "topk", from 2 to K - 1; default max(2, min(5, K // 5)).
        link_scale: for "cosine", the positive factor between cosines and logits. Required if you pass embeddings.
        seed: the seed of the assignment of inputs to blocks; must be equal on all processes.
        kwargs: the arguments of every `torchmetrics.Metric`.

    Raises:
        InputError: an argument is out of range, or a tensor does not have the sizes of the metric.

    Example:
        >>> import torch
        >>> generator = torch.Generator().manual_seed(0)
        >>> W, f = torch.randn(6, 4, generator=generator), torch.randn(100, 4, generator=generator)
        >>> metric = SimilarityGap(num_labels=6, embedding_dim=4)
        >>> metric.update(W, f @ W.T, f)
        >>> scalars = metric.compute()
        >>> bool(scalars["rank_agreement_log_odds_variance"] > scalars["rank_agreement_raw_cosine"])
        True
        >>> metric.report().num_pairs
        15

    Source: `docs/numbers.md`; Nielsen, arXiv 2603.29488.
    """

    joint: Tensor
    joint_inputs: Tensor
    confusion: Tensor
    target_joint: Tensor
    prob_sum: Tensor
    prob_squares: Tensor
    block_inputs: Tensor
    num_targets: Tensor
    num_units: Tensor
    num_skipped: Tensor

    def __init__(
        self,
        num_labels: int,
        embedding_dim: int,
        overlap: OverlapKind = "bhattacharyya",
        link: Link = "softmax",
        label_subset: Sequence[int] | Tensor | None = None,
        ignore: Sequence[int] = (),
        min_probability: float = 0.1,
        overlap_threshold: float | None = None,
        overlap_k: int | None = None,
        link_scale: float | None = None,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            num_labels, embedding_dim, NUM_BLOCKS if min(num_labels, embedding_dim) <= _MAX_BLOCK_SIZE else 1, **kwargs
        )
        self.overlap = Overlap.of(
            num_labels, kind=overlap, link=link, threshold=overlap_threshold, k=overlap_k, arguments=OVERLAP_ARGUMENTS
        )
        self.response = Response.of(link, link_scale=link_scale)
        """The function from embeddings and rows to logits. `use_response` replaces it when a learned scale changes."""
        self.min_probability = min_probability
        if not min_probability >= 0:
            remedy = "Pass a multiple of 1/K_live, for example 0.1."
            raise InputError(expected("min_probability", "to be at least 0", min_probability, remedy))
        self.labels, self._looks_at_all = label_index(label_subset, num_labels), label_subset is None
        if ignore:
            self.counted[label_index(sorted(set(ignore)), num_labels, "ignore")] = False
        self.seed = seed
        size = len(self.labels)
        self.add_state("joint", torch.zeros(NUM_BLOCKS, size, size, dtype=self.overlap.joint_dtype), dist_reduce_fx="sum")
        for counts in ("joint_inputs", "confusion"):
            self.add_state(counts, torch.zeros(size, size, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("target_joint", torch.zeros(size, size, dtype=self.overlap.joint_dtype), dist_reduce_fx="sum")
        self.add_state("block_inputs", torch.zeros(NUM_BLOCKS, dtype=torch.int64), dist_reduce_fx="sum")
        for total in ("prob_sum", "prob_squares"):
            self.add_state(total, torch.zeros(num_labels, dtype=torch.float64), dist_reduce_fx="sum")
        for count in ("num_targets", "num_units", "num_skipped"):
            self.add_state(count, torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_settings(
            self.overlap, self.response, self.labels.tolist(), self.counted.tolist(), float(min_probability), int(seed)
        )
        self._blocks = BlockAssignment(seed)
        self._among: tuple[int, int] | None = None

    @property
    @override
    def invariances(self) -> frozenset[Symmetry]:
        """The changes of a head that leave every scalar unchanged.

        They do not include translations, because a translation changes the raw cosine.
        """
        return symmetries_of_ladder(self.overlap.kind, self.overlap.link)

    @override
    def update(
        self,
        unembedding: Tensor,
        logits: Tensor | None = None,
        embedding: Tensor | None = None,
        groups: Tensor | None = None,
        targets: Tensor | None = None,
    ) -> None:
        """Add a batch of inputs, and store a copy of the unembedding that the batch used.

        If `logits` or `embedding` is None, the results that need it are NaN. An input is left out of all sums if its embedding is
        not finite, if one of its logits is NaN, or, under a softmax, if one of them is +inf.

        Args:
            unembedding: (K, D), any floating dtype.
            logits: (N, K), any floating dtype, the final logits of the model: after a soft cap or a scale, without any margin.
            embedding: (N, D), any floating dtype, the inputs of the head.
            groups: integer (N,), ids of inputs that belong together, for example the positions of one sequence. All inputs of a
                group go to one block. Ids are compared only within one update.
            targets: integer (N,), the true label of each input. A value below 0 or from K on means no target. With targets, the
                report counts for each pair the inputs of one label that the model predicts as the other, and gives the shares of
                the pair's joint mass on inputs of either label. Must be None under a sigmoid, because an input can have several
                labels there.

        Raises:
            InputError: a tensor has other sizes or dtypes, `link_scale` is missing, or `targets` is given under a sigmoid.

        Warns:
            UserWarning: a `BootStrapper` or a `MultioutputWrapper` runs this update. The batch is left out.
        """
        why = why_cut()
        if why is not None:  # unknown statistics are NaN, not an error
            warnings.warn(f"SimilarityGap leaves out this batch: its scalars stay NaN without other batches. {why}", stacklevel=2)
            return
        check_rows(unembedding, "unembedding", "(K, D)", (self.num_labels, self.embedding_dim))
        seen_N, log_p_NK = None, None
        if embedding is not None:
            self._check_scale()
            check_rows(embedding, "embedding", "(N, D)", (None if logits is None else len(logits), self.embedding_dim))
            seen_N = embedding.isfinite().all(dim=1)
        if logits is not None:
            check_rows(logits, "logits", "(N, K)", (None, self.num_labels))
            log_p_NK = self.overlap.log_probabilities(logits)
            known_N = ~log_p_NK.sum(dim=1).isnan()
            seen_N = known_N if seen_N is None else known_N & seen_N
        if seen_N is not None:
            check_groups(groups, len(seen_N))
            self._check_targets(targets, len(seen_N))
        self._take_snapshot(unembedding)
        if seen_N is None:
            return
        self.num_skipped = add_to(self.num_skipped, (~seen_N).sum())
        (rank, world), start = self._rank_and_world(), int(self.num_units)
        block_N, num_units = self._blocks.assign(len(seen_N), start=start, groups=groups, rank=rank, world=world)
        block_N = block_N.to(seen_N.device)
        self.num_units = self.num_units + num_units
        if log_p_NK is not None:
            self._add_overlaps(log_p_NK, seen_N, block_N, targets)
        if embedding is not None:
            blocks_N = block_N if self.num_blocks > 1 else None
            self._add_moments(self.response.inputs(embedding), self.response.rows(unembedding), seen_N, blocks_N)

    def place_among(self, rank: int, num_processes: int) -> None:
        """Set the rank of this process and the number of processes; the default is torch's default process group.

        The inputs of all processes then go to the eight blocks as the inputs of a single process would.

        Args:
            rank: the rank of this process, from 0 to `num_processes` - 1.
            num_processes: the number of processes, at least 1.
        """
        self._among = rank, num_processes

    def _rank_and_world(self) -> tuple[int, int]:
        """The rank of this process, and the number of processes."""
        if self._among is not None:
            return self._among
        together = torch.distributed.is_available() and torch.distributed.is_initialized()
        return (torch.distributed.get_rank(), torch.distributed.get_world_size()) if together else (0, 1)

    def use_response(self, response: Response | None) -> None:
        """Replace the response, for example when a learned scale has changed.

        Args:
            response: a response with the same link; None keeps the current one.
        """
        self.response = response or self.response

    def load_sums(self, states: Mapping[str, Tensor]) -> None:
        """Replace sums of this process by sums over several processes.

        Args:
            states: state name to tensor, in the shape and dtype of that state.
        """
        for name, state in states.items():
            setattr(self, name, state.to(self.device))

    def _check_scale(self) -> None:
        """Raise if a cosine head has no scale: its log-odds need one. A soft cap is not needed for the logits before it."""
        if self.response.lacks == "link_scale":
            self.response.check_complete("and embeddings")

    def _check_targets(self, targets: Tensor | None, num_inputs: int) -> None:
        """Raise unless `targets` is None, or an integer (N,) under a link other than "sigmoid"."""
        if targets is not None and self.overlap.link == "sigmoid":
            why = "Under a sigmoid, an input can have several labels. Leave out `targets`."
            raise InputError(expected("targets", "to be None with link='sigmoid'", f"a {type(targets).__name__}", why))
        check_targets(targets, num_inputs)

    def _add_overlaps(self, log_p_NK: Tensor, seen_N: Tensor, block_N: Tensor, targets: Tensor | None) -> None:
        """Add a batch to all sums over probabilities. Overwrites `log_p_NK`."""
        if not seen_N.all():  # the check avoids a write that costs as much as a softmax
            log_p_NK = log_p_NK.masked_fill_(~seen_N[:, None], torch.nan)
        labels = self.labels.to(log_p_NK.device)
        likely = likely_labels(log_p_NK, self.overlap.link)
        predicted_N = None if targets is None else log_p_NK.argmax(dim=1)
        h_NK, probs_K, counts_N, squares_K = self.overlap.profiles(log_p_NK)
        self.joint, self.joint_inputs = writable(self.joint), writable(self.joint_inputs)
        for block, rows in rows_of_blocks(block_N):
            h_BK = h_NK if rows is None else h_NK[rows]
            add_products(self.joint[block], h_BK if self._looks_at_all else h_BK[:, labels])
        place_K = None if self._looks_at_all else inverse_index(labels, self.num_labels)
        add_joint_inputs(self.joint_inputs, likely, place_K)
        if targets is not None and predicted_N is not None:
            target_N = known_targets(targets.to(labels.device), self.num_labels).masked_fill(~counts_N, -1)
            self._add_targets(target_N, predicted_N, h_NK if self._looks_at_all else h_NK[:, labels], place_K)
        self.prob_sum = add_to(self.prob_sum, probs_K)
        self.prob_squares = add_to(self.prob_squares, squares_K)
        self.block_inputs = add_to(self.block_inputs, block_N[counts_N].bincount(minlength=NUM_BLOCKS))

    def _add_targets(self, target_N: Tensor, predicted_N: Tensor, h_NL: Tensor, place_K: Tensor | None) -> None:
        """Add a batch to the counts and sums by target."""
        self.num_targets = add_to(self.num_targets, (target_N >= 0).sum())
        if place_K is not None:
            target_N, predicted_N = labels_at(place_K, target_N), labels_at(place_K, predicted_N)
        self.confusion, self.target_joint = writable(self.confusion), writable(self.target_joint)
        add_confusion(self.confusion, target_N, predicted_N)
        add_products_by_target(self.target_joint, h_NL, target_N)

    @override
    def compute(self) -> dict[str, Tensor]:
        """The scalars by name, as 0-dimensional tensors. NaN where undefined; `report().undefined` gives the reasons."""
        self._statistics = self._measured()
        dtype = torch.promote_types(torch.get_default_dtype(), torch.float32)  # a half-precision default would round the scalars
        scalars = self._statistics.numbers.scalars
        return {tag: torch.tensor(value, dtype=dtype, device=self.device) for tag, value in scalars.items()}

    @override
    def plot(
        self, val: Plotted | Sequence[Plotted] | None = None, ax: "Axes | None" = None, names: Sequence[str] | None = None
    ) -> tuple["Figure", "Axes"]:
        """Plot the rank agreement of each similarity with the overlap: bars for one step, curves for several steps.

        Args:
            val: the scalars to plot, as `compute` or `forward` return them; default the current result of `compute`. For curves,
                pass a sequence with one such dict per step, or a dict of tensors (S,) for S steps, as
                `MetricTracker.compute_all` returns it. If the dict has no rank agreements, all its scalars are plotted. One
                scalar, or a sequence of scalars, is allowed too.
            ax: the axes to draw on; default a new pyplot figure.
            names: the names of the bars or curves; default the keys of the similarities.

        Returns:
            The figure and the axes.

        Raises:
            InputError: `val` holds no scalars, or the number of names differs from the number of bars or curves.
        """
        drawn = series(self.compute() if val is None else val)
        prefix = "rank_agreement_"
        agreements = {tag.removeprefix(prefix): values for tag, values in drawn.items() if tag.startswith(prefix)}
        title = "Rank agreement of each similarity with the probability overlap" if agreements else type(self).__name__
        drawn = agreements or drawn
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
        """The `Statistics` behind `compute`: the table of pairs, the scalars, and the reasons for NaN."""
        self.compute()
        return self._statistics

    def report(self) -> GapReport:
        """The `GapReport` of all inputs so far: the scalars, the matrices, the pairs, the errors, and the reasons for NaN."""
        return GapReport(self.statistics())

    def _measured(self) -> Statistics:
        """Compute the statistics from the current state."""
        W_KD, link = self.response.rows(self.unembedding), self.overlap.link
        labels, counted_K = self.labels.to(W_KD.device), self.counted.to(W_KD.device)
        live_K = live_labels(W_KD, counted_K)
        rungs = weight_rungs(W_KD, label_subset=labels, covariance=self._moments.covariance(), live=live_K, link=link)
        num_inputs, num_skipped = int(self.block_inputs.sum()), int(self.num_skipped)
        mean_probs_K = (self.prob_sum / num_inputs).cpu()
        kept_K = kept_labels(mean_probs_K, live=live_K.cpu(), num_inputs=num_inputs, min_probability=self.min_probability)
        pairs = Pairs.of_all(len(self.labels))
        sums = BlockSums.of_all(self.overlap, pairs, self.joint, self.block_inputs)
        table = PairTable.of(
            {**{key: pairs.values(similarity_LL).cpu() for key, similarity_LL in rungs.items()}, "overlap": sums.overlap},
            link=link,
            pairs=pairs,
            labels=self.labels,
            live=live_K.cpu(),
            kept=kept_K,
            mean_probs=mean_probs_K,
            effective_inputs=(self.prob_sum.square() / self.prob_squares).cpu(),
            joint_inputs=pairs.values(self.joint_inputs).cpu(),
            sums=sums.total,
            confusion=(
                Confusion.of_all(pairs, self.confusion, self.target_joint, joint=sums.total) if int(self.num_targets) else None
            ),
            num_inputs=num_inputs,
            num_skipped=num_skipped,
        )
        return Statistics.of(
            table,
            sums.replicates(self._similarities_without(W_KD, pairs, live_K)),
            common_mode_ratio=common_mode_ratio(W_KD, live=live_K).item(),
            remarks=self._remarks(live_K, num_inputs, num_skipped),
            rankings=rankings_of(W_KD, mean_probs_K, kept_K),
        )

    def _similarities_without(self, W_KD: Tensor, pairs: Pairs, live_K: Tensor) -> Callable[[], Mapping[str, Tensor]] | None:
        """A function that computes the input-dependent similarities without each block, for the current state.

        None if covariances are not kept per block.
        """
        if self.num_blocks == 1:
            return None
        labels, is_centered = self.labels.to(W_KD.device), LADDERS[self.overlap.link].is_centered
        return partial(_logit_geometry_without, self._moments.copied(), W_KD, labels, pairs, live_K, is_centered=is_centered)

    def _remarks(self, live_K: Tensor, num_inputs: int, num_skipped: int) -> dict[str, str]:
        """Remarks about the head and its inputs, by kind."""
        if not self.update_count and self.unembedding.isnan().all():  # no update, here or on another process
            return {}
        return remarks(
            self.unembedding,
            labels=self.labels.to(live_K.device),
            counted=self.counted.to(live_K.device),
            live=live_K,
            link=self.overlap.link,
            num_inputs=num_inputs,
            num_skipped=num_skipped,
            num_targets=int(self.num_targets),
        )


def _logit_geometry_without(
    moments: BlockMoments, rows: Tensor, labels: Tensor, pairs: Pairs, live: Tensor, *, is_centered: bool
) -> dict[str, Tensor]:
    """Logit correlation and log-odds variance without each block, (8, P). A module function, so that reports can be pickled."""
    C_GLL = moments.logit_covariances_without(rows, labels, live, centered=is_centered)
    deviation_GL = C_GLL.diagonal(dim1=1, dim2=2).sqrt()
    row, column = pairs.row.to(C_GLL.device), pairs.column.to(C_GLL.device)
    C_GP, one_GP, other_GP = C_GLL[:, row, column], deviation_GL[:, row], deviation_GL[:, column]
    correlation_GP = C_GP / one_GP / other_GP
    variance_GP = one_GP.square() + other_GP.square() - 2 * C_GP
    return {"logit_correlation": correlation_GP.cpu(), "log_odds_variance": variance_GP.cpu()}
