"""VocabularySummary: what a window over a vocabulary has seen, and the report on a sample of its pairs.

Shapes: K labels of the head, D embedding dimensions, N inputs, m labels kept of each, P pairs in a report.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import torch
from torch import Tensor

from lightning_cossim.config.settings import LabelSelection
from lightning_cossim.functional.centering import common_mode_ratio
from lightning_cossim.functional.inputs import live_labels
from lightning_cossim.functional.ladder import LADDERS, pair_rungs
from lightning_cossim.functional.links import Response
from lightning_cossim.functional.logit_geometry import EmbeddingMoments, embedding_covariance
from lightning_cossim.functional.neighbors import Neighbors, nearest_neighbors
from lightning_cossim.functional.overlap import Overlap
from lightning_cossim.functional.pairs import Pairs
from lightning_cossim.functional.rankings import rankings_of
from lightning_cossim.functional.sampled.pair_overlap import sums_of_pairs
from lightning_cossim.functional.sampled.sparse_overlap import SparseOverlap, SparseProfiles
from lightning_cossim.functional.sampled.stratified import Sizes, stratified_pairs
from lightning_cossim.functional.similarities import SIMILARITIES
from lightning_cossim.report import Statistics
from lightning_cossim.report.pair_table import PairTable, kept_labels
from lightning_cossim.report.remarks import remarks

__all__ = ["VocabularySummary"]

_NUM_COMMON: Final = 100
"""The most probable labels, all of whose pairs are in a report."""
_NUM_PAIRS: Final = 1000
"""Of each other kind that is in a report for certain: most overlap, nearest by cosine."""
_NUM_OVERLAPPING: Final = 2**15
"""Pairs that overlap most, of which each may be drawn."""
_NUM_CANDIDATES: Final = 2**14
"""Of all other pairs, those whose similarities decide how likely they are drawn."""
_NUM_EVEN: Final = 1000
"""Pairs that are drawn evenly from all."""
_BY_OVERLAP: Final = 300
_BY_COSINE: Final = 250
_BY_ANOTHER: Final = 30
"""Pairs that are drawn from ranks that differ by the factor e, by overlap, by cosine, by every other similarity (`Sizes`).

The expected overlap, and with it every gap, is that of the cosine."""
_MIN_TOTAL: Final = 5.0
"""Sum of the probabilities of a label over the inputs, below which it is not compared (THEORY §5)."""
_NUM_LOOKED_AT: Final = 512
"""Labels on which it is measured what padding does to the others."""


@dataclass(frozen=True, eq=False)
class VocabularySummary:
    """What a window over a vocabulary has seen, on all processes together, and the report of it."""

    overlap: Overlap
    selection: LabelSelection
    seed: int
    """Of the pairs that are drawn at random."""
    response: Response
    """From embeddings to logits."""
    unembedding: Tensor
    """(K, D), of the last batch."""
    bias: Tensor | None
    """(K,), or None."""
    moments: EmbeddingMoments
    profiles: SparseProfiles
    """(N, m)."""
    half: Tensor
    """(N,), 0 or 1, -1 for inputs that do not count."""
    own: Tensor
    """(2, K), of either half the sums of squared profile values."""
    probs: Tensor
    """(K,), the sums of probabilities."""
    embedding: Tensor | None
    """(N, D), if weight and bias give the probabilities of all inputs; else None."""
    normalizer: Tensor | None
    """(N,), the logarithm of the sum of the exponentials of an input's logits."""
    num_skipped: int

    def at_rest(self, dtype: torch.dtype) -> "VocabularySummary":
        """The same on the CPU, weights in the head's dtype, to be kept without taking room on a device."""
        return replace(
            self,
            unembedding=self.unembedding.to("cpu", dtype),
            bias=None if self.bias is None else self.bias.cpu(),
            moments=EmbeddingMoments(*(moment.cpu() for moment in self.moments)),
            own=self.own.cpu(),
            probs=self.probs.cpu(),
        )

    def nearest(self, device: torch.device | str = "cpu", progress: Callable[[float], None] | None = None) -> Neighbors:
        """The labels whose rows are most alike, for `report`; takes a while, of which `progress` is told the share done."""
        centered = LADDERS[self.overlap.link].cosine == "centered_cosine"
        counted_K = torch.ones(len(self.unembedding), dtype=torch.bool)
        counted_K[list(self.selection.ignore)] = False
        return nearest_neighbors(self.unembedding.to(device), centered=centered, live=counted_K, progress=progress)

    def statistics(self, neighbors: Neighbors | None = None) -> Statistics:
        """The statistics of a sample of the pairs; with neighbors, those whose rows are most alike are among them."""
        half_N, W_KD = self.half.cpu(), self.response.rows(self.unembedding)
        num_inputs = int((half_N >= 0).sum())
        counted_K = torch.ones(len(W_KD), dtype=torch.bool)
        counted_K[list(self.selection.ignore)] = False
        live_K = live_labels(W_KD, counted_K)
        mean_probs_K = (self.probs / num_inputs).cpu()
        kept_K = kept_labels(
            mean_probs_K,
            live=live_K.cpu(),
            num_inputs=num_inputs,
            min_probability=self.selection.min_probability,
            min_total=_MIN_TOTAL,
        )
        whole = self._sparse(half_N >= 0, self.own.sum(dim=0))
        rungs_of = partial(
            pair_rungs, W_KD, embedding_covariance=embedding_covariance(self.moments), live=live_K, link=self.overlap.link
        )
        pairs, sampling = self._sample(kept_K.nonzero().flatten(), mean_probs_K, whole, neighbors, rungs_of)
        labels, rungs = pairs.labels, rungs_of(pairs=pairs)
        sums_2P, own_2K, error_P = self._overlaps(pairs, whole, half_N)
        rungs["overlap"], *halves = (
            self.overlap.overlap_of(sums_P, own_K[pairs.row], own_K[pairs.column])
            for sums_P, own_K in zip([sums_2P.sum(dim=0), *sums_2P], [own_2K.sum(dim=0), *own_2K], strict=True)
        )
        looked_at = labels[mean_probs_K[labels].nan_to_num(0).argsort(descending=True, stable=True)[:_NUM_LOOKED_AT]]
        table = PairTable.of(
            {key: similarity_P.float().cpu() for key, similarity_P in rungs.items()},
            link=self.overlap.link,
            pairs=pairs.among(labels),
            labels=labels,
            live=live_K.cpu(),
            kept=kept_K,
            mean_probs=mean_probs_K,
            sums=sums_2P.sum(dim=0),
            num_inputs=num_inputs,
            num_skipped=self.num_skipped,
            sampling=sampling,
            overlap_error=error_P.nan_to_num(0).float(),
        )
        return Statistics.of(
            table,
            (halves[0].float(), halves[1].float()),
            common_mode_ratio=common_mode_ratio(W_KD, live=live_K).item(),
            remarks=self._remarks(looked_at, counted_K, live_K, num_inputs),
            rankings=rankings_of(W_KD, mean_probs_K, kept_K),
        )

    def _overlaps(self, pairs: Pairs, whole: SparseOverlap, half_N: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Over either half, the sums of pairs (2, P) and of labels with themselves (2, K); and what overlaps may lack (P,)."""
        own_2K = self.own.cpu().double()
        if self.embedding is None or self.normalizer is None:
            halves = [self._sparse(half_N == half, self.own[half]).sums(pairs) for half in (0, 1)]
            return torch.stack(halves), own_2K, whole.overlaps(pairs)[1]
        sums_2P, own_2L = sums_of_pairs(
            self.overlap,
            pairs,
            response=self.response,
            unembedding=self.unembedding,
            bias=self.bias,
            embedding=self.embedding,
            normalizer=self.normalizer,
            half=half_N,
        )
        own_2K[:, pairs.labels] = own_2L  # of the same logits as the others, which a head in bfloat16 rounds
        return sums_2P, own_2K, torch.zeros(len(pairs))

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
        """Pairs of the labels that count, and how they were chosen; all of them where they are few."""
        common = labels[mean_probs_K[labels].nan_to_num(0).argsort(descending=True, stable=True)[:_NUM_COMMON]].sort().values
        among = Pairs.of_all(len(common))
        kinds = {f"all among the {len(common)} most probable labels": Pairs(common[among.row], common[among.column])}
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
            f"{kinds_in_words}, and others drawn at random, which stand for the rest: the more two labels overlap, or are alike "
            "by any similarity, the more likely they are drawn, and every number allows for that"
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
        )


def _nearest_pairs(neighbors: Neighbors, labels: Tensor, num_pairs: int) -> Pairs:
    """Of the labels (L,) those pairs whose rows are most alike, as far as they are among one another's neighbors."""
    counts_K = torch.zeros(len(neighbors.labels), dtype=torch.bool)
    counts_K[labels] = True
    other_Kk, cosine_Kk = neighbors.labels.cpu(), neighbors.cosines.cpu()
    one_Kk = torch.arange(len(other_Kk))[:, None].expand_as(other_Kk)
    # Most pairs are there twice, once from either label.
    usable_Kk = (other_Kk >= 0) & counts_K[one_Kk] & counts_K[other_Kk.clamp(min=0)]
    low, high = torch.minimum(one_Kk, other_Kk)[usable_Kk], torch.maximum(one_Kk, other_Kk)[usable_Kk]
    keys, place = torch.unique(low * len(other_Kk) + high, return_inverse=True)
    cosine = torch.full((len(keys),), -torch.inf, dtype=cosine_Kk.dtype).scatter_reduce(0, place, cosine_Kk[usable_Kk], "amax")
    keys = keys[cosine.argsort(descending=True, stable=True)[:num_pairs]]
    return Pairs(keys // len(other_Kk), keys % len(other_Kk))
