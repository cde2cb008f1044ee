"""VocabularySummary: the content of a window over a vocabulary, and statistics of a sample of its pairs of labels.

Shapes: K labels of the head, D embedding dimensions, N inputs, m labels kept per input, P pairs in a report.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import torch
from torch import Tensor

from lightning_cossim.config.settings import LabelSelection
from lightning_cossim.functional.blocks import NUM_BLOCKS
from lightning_cossim.functional.centering import common_mode_ratio
from lightning_cossim.functional.confusion import Confusion
from lightning_cossim.functional.inputs import live_labels
from lightning_cossim.functional.joint import joint_inputs_of_pairs
from lightning_cossim.functional.ladder import LADDERS, pair_rungs
from lightning_cossim.functional.links import Response
from lightning_cossim.functional.logit_geometry import EmbeddingMoments, embedding_covariance
from lightning_cossim.functional.neighbors import Neighbors, nearest_neighbors
from lightning_cossim.functional.overlap import Overlap
from lightning_cossim.functional.pairs import Pairs
from lightning_cossim.functional.rankings import rankings_of
from lightning_cossim.functional.replicates import BlockSums
from lightning_cossim.functional.sampled.pair_overlap import sums_of_pairs
from lightning_cossim.functional.sampled.sparse_confusion import sparse_confusion
from lightning_cossim.functional.sampled.sparse_overlap import SparseOverlap, SparseProfiles
from lightning_cossim.functional.sampled.stratified import Sizes, stratified_pairs
from lightning_cossim.functional.similarities import SIMILARITIES
from lightning_cossim.report import Statistics
from lightning_cossim.report.pair_table import PairTable, kept_labels
from lightning_cossim.report.remarks import remarks

__all__ = ["VocabularySummary"]

_NUM_COMMON: Final = 100
"""The number of most probable labels; a report has all their pairs."""
_NUM_PAIRS: Final = 1000
"""The number of pairs with the most overlap, and of pairs nearest by cosine, that are always in a report."""
_NUM_OVERLAPPING: Final = 2**15
"""The number of pairs with the most overlap; each of them may be drawn."""
_NUM_CANDIDATES: Final = 2**14
"""The number of other pairs whose similarities are computed, to decide how likely each is drawn."""
_NUM_EVEN: Final = 1000
"""The number of pairs that are drawn evenly from all pairs."""
_BY_OVERLAP: Final = 300
_BY_COSINE: Final = 250
_BY_ANOTHER: Final = 30
"""The number of pairs drawn per factor e of rank: by overlap, by cosine, and by every other similarity (`Sizes`).

The cosine has more than other similarities, because the expected overlap, and so every gap, depends on the cosine."""
MIN_TOTAL: Final = 5.0
"""A label is compared only if its probabilities sum to at least this over the inputs."""
_NUM_LOOKED_AT: Final = 512
"""The number of labels on which the effect of padding rows is measured."""


@dataclass(frozen=True, eq=False)
class VocabularySummary:
    """The content of a vocabulary window, over all processes, and the statistics of it."""

    overlap: Overlap
    selection: LabelSelection
    seed: int
    """Seed of the random sample of pairs."""
    response: Response
    """Maps embeddings to logits."""
    unembedding: Tensor
    """(K, D), the weights of the last batch."""
    bias: Tensor | None
    """(K,), or None."""
    moments: EmbeddingMoments
    profiles: SparseProfiles
    """(N, m), the largest profile values of every input."""
    likely: Tensor
    """(N, at most 8), the likely labels of every input (`functional.joint_inputs`), filled up with -1."""
    confused: Tensor
    """(N, 2), the target and the most likely label of every input; both are -1 if the target is unknown."""
    block: Tensor
    """(N,), the block of every input, from 0 to 7; -1 for inputs that do not count."""
    own: Tensor
    """(8, K), the sums of squared profile values of each block."""
    probs: Tensor
    """(K,), the sums of probabilities."""
    prob_squares: Tensor
    """(K,), the sums of squared probabilities."""
    embedding: Tensor | None
    """(N, D), if the weights give the probabilities of all inputs; else None."""
    normalizer: Tensor | None
    """(N,), the log-sum-exp of the logits of every input; None without `embedding`."""
    num_skipped: int
    """The number of inputs left out because their logits or embeddings are not finite."""

    def at_rest(self, dtype: torch.dtype) -> "VocabularySummary":
        """A copy on the CPU, with the weights in the head's dtype, so that it needs no memory on another device."""
        return replace(
            self,
            unembedding=self.unembedding.to("cpu", dtype),
            bias=None if self.bias is None else self.bias.cpu(),
            moments=EmbeddingMoments(*(moment.cpu() for moment in self.moments)),
            own=self.own.cpu(),
            probs=self.probs.cpu(),
            prob_squares=self.prob_squares.cpu(),
        )

    def nearest(self, device: torch.device | str = "cpu", progress: Callable[[float], None] | None = None) -> Neighbors:
        """The nearest neighbors of each label by cosine, for `statistics`. The search may take long.

        Args:
            device: where to compute.
            progress: called with the share that is done, in [0, 1].
        """
        centered = LADDERS[self.overlap.link].cosine == "centered_cosine"
        counted_K = torch.ones(len(self.unembedding), dtype=torch.bool)
        counted_K[list(self.selection.ignore)] = False
        return nearest_neighbors(self.unembedding.to(device), centered=centered, live=counted_K, progress=progress)

    def statistics(self, neighbors: Neighbors | None = None) -> Statistics:
        """The statistics of a sample of the pairs.

        Args:
            neighbors: the result of `nearest`. With it, the sample includes the pairs whose rows are most alike.
        """
        block_N, W_KD = self.block.cpu(), self.response.rows(self.unembedding)
        num_inputs = int((block_N >= 0).sum())
        counted_K = torch.ones(len(W_KD), dtype=torch.bool)
        counted_K[list(self.selection.ignore)] = False
        live_K = live_labels(W_KD, counted_K)
        mean_probs_K = (self.probs / num_inputs).cpu()
        kept_K = kept_labels(
            mean_probs_K,
            live=live_K.cpu(),
            num_inputs=num_inputs,
            min_probability=self.selection.min_probability,
            min_total=MIN_TOTAL,
        )
        whole = self._sparse(block_N >= 0, self.own.sum(dim=0))
        rungs_of = partial(
            pair_rungs, W_KD, embedding_covariance=embedding_covariance(self.moments), live=live_K, link=self.overlap.link
        )
        pairs, sampling = self._sample(kept_K.nonzero().flatten(), mean_probs_K, whole, neighbors, rungs_of)
        labels, rungs = pairs.labels, rungs_of(pairs=pairs)
        sums, truncation_P = self._overlaps(pairs, whole, block_N)
        rungs["overlap"] = sums.overlap
        looked_at = labels[mean_probs_K[labels].nan_to_num(0).argsort(descending=True, stable=True)[:_NUM_LOOKED_AT]]
        table = PairTable.of(
            {key: similarity_P.float().cpu() for key, similarity_P in rungs.items()},
            link=self.overlap.link,
            pairs=pairs.among(labels),
            labels=labels,
            live=live_K.cpu(),
            kept=kept_K,
            mean_probs=mean_probs_K,
            sums=sums.total,
            joint_inputs=joint_inputs_of_pairs(self.likely[block_N >= 0], pairs, len(W_KD)),
            effective_inputs=(self.probs.double().square() / self.prob_squares.double()).cpu(),
            num_inputs=num_inputs,
            num_skipped=self.num_skipped,
            sampling=sampling,
            truncation=truncation_P.nan_to_num(0).float(),
            confusion=self._confusion(pairs, whole, block_N),
        )
        return Statistics.of(
            table,
            sums.replicates(),
            common_mode_ratio=common_mode_ratio(W_KD, live=live_K).item(),
            remarks=self._remarks(looked_at, counted_K, live_K, num_inputs),
            rankings=rankings_of(W_KD, mean_probs_K, kept_K),
        )

    def _overlaps(self, pairs: Pairs, whole: SparseOverlap, block_N: Tensor) -> tuple[BlockSums, Tensor]:
        """The sums of each block, and the most by which each overlap may be too small (P,)."""
        own_GK, sizes = self.own.cpu().double(), block_N[block_N >= 0].bincount(minlength=NUM_BLOCKS)
        if self.embedding is None or self.normalizer is None:
            sums = [self._sparse(block_N == block, own_K).sums(pairs) for block, own_K in enumerate(self.own)]
            sums_GP, truncation_P = torch.stack(sums), whole.overlaps(pairs)[1]
        else:
            sums_GP, own_GL = sums_of_pairs(
                self.overlap,
                pairs,
                response=self.response,
                unembedding=self.unembedding,
                bias=self.bias,
                embedding=self.embedding,
                normalizer=self.normalizer,
                block=block_N,
            )
            own_GK[:, pairs.labels] = own_GL  # from the same logits as the joint sums; a head in bfloat16 rounds its own
            truncation_P = torch.zeros(len(pairs))
        labels = pairs.labels
        return BlockSums(self.overlap, pairs.among(labels), sums_GP, own_GK[:, labels], sizes), truncation_P

    def _confusion(self, pairs: Pairs, whole: SparseOverlap, block_N: Tensor) -> Confusion | None:
        """The confusion of the pairs by targets; None if no target is known."""
        counts_N = block_N >= 0
        target_N, predicted_N = self.confused[counts_N].unbind(dim=1)
        if not (target_N >= 0).any():
            return None
        kept = SparseProfiles(*(one.cpu()[counts_N] for one in self.profiles))
        num_labels, joint_P = len(self.unembedding), whole.sums(pairs)
        return sparse_confusion(pairs, kept, target=target_N, predicted=predicted_N, joint=joint_P, num_labels=num_labels)

    def _sparse(self, of_N: Tensor, own_K: Tensor) -> SparseOverlap:
        labels_Nm, values_Nm = (kept.cpu()[of_N] for kept in self.profiles)
        return SparseOverlap(self.overlap, SparseProfiles(labels_Nm, values_Nm), own_K)

    def _sample(
        self,
        labels: Tensor,
        mean_probs_K: Tensor,
        whole: SparseOverlap,
        neighbors: Neighbors | None,
        rungs_of: Callable[..., Mapping[str, Tensor]],
    ) -> tuple[Pairs, str]:
        """The pairs to compare, and how they were chosen, in words; all pairs and an empty text if there are few."""
        common = labels[mean_probs_K[labels].nan_to_num(0).argsort(descending=True, stable=True)[:_NUM_COMMON]].sort().values
        among = Pairs.of_all(len(common))
        kinds = {f"all pairs of the {len(common)} most probable labels": Pairs(common[among.row], common[among.column])}
        overlapping = whole.most_overlapping(labels, _NUM_OVERLAPPING)
        kinds[f"the {_NUM_PAIRS} that overlap most"] = overlapping[torch.arange(min(_NUM_PAIRS, len(overlapping)))]
        if neighbors is not None:
            kinds[f"the {_NUM_PAIRS} whose rows are most alike"] = _nearest_pairs(neighbors, labels, _NUM_PAIRS)
        ladder = LADDERS[self.overlap.link]
        pairs = stratified_pairs(
            [*kinds.values()],
            overlapping=overlapping,
            labels=labels,
            similarities=lambda some: {
                key: SIMILARITIES[key].direction * rung_P.cpu() for key, rung_P in rungs_of(pairs=some).items()
            },
            sizes=Sizes(
                _NUM_CANDIDATES,
                _NUM_EVEN,
                _BY_OVERLAP,
                {key: _BY_COSINE if key == ladder.cosine else _BY_ANOTHER for key in ladder.similarities},
            ),
            generator=torch.Generator().manual_seed(self.seed),
        )
        if pairs.weight is None:
            return pairs, ""
        kinds_in_words = ", ".join(kinds)
        return pairs, (
            f"{kinds_in_words}, and others drawn at random, which represent the rest; a pair with more overlap or a higher "
            "similarity is drawn more often, and weights correct all numbers for this"
        )

    def _remarks(self, labels: Tensor, counted_K: Tensor, live_K: Tensor, num_inputs: int) -> dict[str, str]:
        device = live_K.device
        return remarks(
            self.unembedding,
            labels=labels.to(device),
            counted=counted_K.to(device),
            live=live_K,
            link=self.overlap.link,
            num_inputs=num_inputs,
            num_skipped=self.num_skipped,
            num_targets=int(((self.confused[:, 0] >= 0) & (self.block >= 0)).sum()),
        )


def _nearest_pairs(neighbors: Neighbors, labels: Tensor, num_pairs: int) -> Pairs:
    """The pairs of some labels (L,) whose rows are most alike, from those where one label is a neighbor of the other."""
    counts_K = torch.zeros(len(neighbors.labels), dtype=torch.bool)
    counts_K[labels] = True
    other_Kk, cosine_Kk = neighbors.labels.cpu(), neighbors.cosines.cpu()
    one_Kk = torch.arange(len(other_Kk))[:, None].expand_as(other_Kk)
    # Most pairs occur twice, once from each label.
    usable_Kk = (other_Kk >= 0) & counts_K[one_Kk] & counts_K[other_Kk.clamp(min=0)]
    low, high = torch.minimum(one_Kk, other_Kk)[usable_Kk], torch.maximum(one_Kk, other_Kk)[usable_Kk]
    keys, place = torch.unique(low * len(other_Kk) + high, return_inverse=True)
    cosine = torch.full((len(keys),), -torch.inf, dtype=cosine_Kk.dtype).scatter_reduce(0, place, cosine_Kk[usable_Kk], "amax")
    keys = keys[cosine.argsort(descending=True, stable=True)[:num_pairs]]
    return Pairs(keys // len(other_Kk), keys % len(other_Kk))
