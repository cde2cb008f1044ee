"""Vocabularies: windows over heads with too many labels for all their pairs, and the reports on samples of these."""

from lightning_cossim.vocabulary.summary import VocabularySummary
from lightning_cossim.vocabulary.window import VocabularyWindow

__all__ = ["VocabularySummary", "VocabularyWindow"]
