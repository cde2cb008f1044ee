"""Pure tensor functions: similarities of labels, overlaps of their probabilities, and how far the two agree."""

from lightning_cossim.functional.agreement import (
    expected_overlap,
    explained_overlap,
    neighbor_jaccard,
    rank_agreement,
    reliability,
    top_pair_auroc,
)
from lightning_cossim.functional.centering import center_labels, common_mode_ratio, witness_translation
from lightning_cossim.functional.cosine import (
    causal_cosine_similarity,
    difference_cosine_similarity,
    label_cosine_similarity,
)
from lightning_cossim.functional.joint import joint_inputs
from lightning_cossim.functional.local_log_odds import local_log_odds
from lightning_cossim.functional.logit_geometry import log_odds_variance, logit_correlation
from lightning_cossim.functional.neighbors import nearest_neighbors
from lightning_cossim.functional.overlap import probability_overlap
from lightning_cossim.functional.reachability.combinations import CombinationReachability, combination_reachability
from lightning_cossim.functional.reachability.reachability import Reachability, label_reachability, pair_reachability

__all__ = [
    "CombinationReachability",
    "Reachability",
    "causal_cosine_similarity",
    "center_labels",
    "combination_reachability",
    "common_mode_ratio",
    "difference_cosine_similarity",
    "expected_overlap",
    "explained_overlap",
    "joint_inputs",
    "label_cosine_similarity",
    "label_reachability",
    "local_log_odds",
    "log_odds_variance",
    "logit_correlation",
    "nearest_neighbors",
    "neighbor_jaccard",
    "pair_reachability",
    "probability_overlap",
    "rank_agreement",
    "reliability",
    "top_pair_auroc",
    "witness_translation",
]
