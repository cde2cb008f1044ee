"""HeadSettings: the user's settings for the head, and how a collector is made from them."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from torch import nn

from lightning_cossim.capture.collector import Collector
from lightning_cossim.capture.evidence.keeper import EvidenceKeeper
from lightning_cossim.capture.find import find_head
from lightning_cossim.capture.head import Head
from lightning_cossim.capture.model_config import probabilities_in_words, with_response
from lightning_cossim.capture.taps import Source, in_words
from lightning_cossim.config.evidence import Evidence
from lightning_cossim.config.settings import LabelSelection
from lightning_cossim.functional.links import Link
from lightning_cossim.functional.overlap import OVERLAP_ARGUMENTS, Overlap, OverlapKind

__all__ = ["HeadSettings"]


@dataclass(frozen=True)
class HeadSettings:
    """The path of the head, the link from its logits to the probabilities, and the kind of overlap."""

    head: str | None = None
    """Dotted path of the head; None: `find_head` searches for it."""
    link: Link = "softmax"
    """How probabilities follow from the head."""
    link_cap: float | None = None
    """The cap of link "softcap", above 0; None: the cap in the model's config."""
    link_scale: float | None = None
    """The scale of link "cosine", above 0; None: the scale of the head."""
    overlap: OverlapKind = "bhattacharyya"
    """Which probability overlap is computed."""
    overlap_threshold: float | None = None
    """The threshold of the "coactivation" overlap; None: its default."""
    overlap_k: int | None = None
    """The k of the "topk" overlap; None: its default."""
    embeddings_from: Source | None = None
    """The source of the embeddings, if the head is not called."""
    logits_from: Source | None = None
    """The source of the final logits, if the model changes them after the head."""

    def collector(
        self,
        model: nn.Module,
        labels: LabelSelection,
        *,
        max_inputs: int,
        summarize: Collection[str],
        warn: Callable[[str], None],
        inform: Callable[[str], None],
        evidence: Evidence | None = None,
        with_views: bool = True,
    ) -> Collector:
        """Find the head of a model and return a collector that observes it.

        Args:
            model: the model that contains the head.
            labels: which labels are compared, and their names.
            max_inputs: the largest number of inputs that are sampled from a batch.
            summarize: stages for which a summary of the vocabulary is kept.
            warn: warns the user.
            inform: logs a line, at most once per run.
            evidence: which inputs are kept for reports; None: none.
            with_views: whether thumbnails and texts of these inputs are kept.

        Raises:
            HeadError: no head is found, or the module of a source does not exist.
            ConfigError: the labels or names do not match the head.
            InputError: a cap, a scale, a threshold or k is missing or out of range.
        """
        head = find_head(model, self.head, is_called=self.embeddings_from is None, has_cosines=self.link == "cosine")
        head = with_response(model, head, self.link, link_cap=self.link_cap, link_scale=self.link_scale)
        keeper = None
        if evidence is not None:
            keeper = EvidenceKeeper.of(evidence, head, labels, warn=warn, with_views=with_views)
        return Collector(
            head,
            labels=labels,
            overlap=self._overlap(head.num_labels),
            max_inputs=max_inputs,
            model=model,
            embeddings_from=self.embeddings_from,
            logits_from=self.logits_from,
            summarize=summarize,
            warn=warn,
            inform=inform,
            evidence=keeper,
        )

    def _overlap(self, num_labels: int) -> Overlap:
        return Overlap.of(
            num_labels,
            kind=self.overlap,
            link=self.link,
            threshold=self.overlap_threshold,
            k=self.overlap_k,
            arguments=OVERLAP_ARGUMENTS,
        )

    def describe(self, head: Head) -> str:
        """The head and how its probabilities are computed, in words."""
        output = "its own output"
        if self.logits_from is not None:
            output = f"the output of {in_words(self.logits_from)}"
        elif self.embeddings_from is not None:
            output = f"its logits, computed from {in_words(self.embeddings_from)}"
        return f"{head}; probabilities: {probabilities_in_words(head, output, is_final=self.logits_from is not None)}"
