"""torchmetrics classes for label representations. They hold state and call `lightning_cossim.functional`."""

from lightning_cossim.metrics.label_cosine import LabelCosineSimilarity
from lightning_cossim.metrics.local_log_odds import LocalLogOdds
from lightning_cossim.metrics.logit_geometry import LogitCorrelation, LogOddsVariance
from lightning_cossim.metrics.probability_overlap import ProbabilityOverlap
from lightning_cossim.metrics.similarity_gap import SimilarityGap

__all__ = [
    "LabelCosineSimilarity",
    "LocalLogOdds",
    "LogOddsVariance",
    "LogitCorrelation",
    "ProbabilityOverlap",
    "SimilarityGap",
]
