"""Pure tensor mathematics: similarities between labels, overlap of their probabilities, agreement of the two."""

from lightning_cossim.functional.agreement import expected_overlap, explained_overlap, rank_agreement
from lightning_cossim.functional.centering import center_labels, common_mode_ratio, witness_translation
from lightning_cossim.functional.cosine import label_cosine_similarity
from lightning_cossim.functional.logit_geometry import log_odds_variance, logit_correlation
from lightning_cossim.functional.overlap import probability_overlap

__all__ = [
    "center_labels",
    "common_mode_ratio",
    "expected_overlap",
    "explained_overlap",
    "label_cosine_similarity",
    "log_odds_variance",
    "logit_correlation",
    "probability_overlap",
    "rank_agreement",
    "witness_translation",
]
