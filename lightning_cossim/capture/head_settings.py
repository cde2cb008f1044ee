"""HeadSettings: what a user says about a head, and how that becomes a head under observation."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from torch import nn

from lightning_cossim.capture.collector import Collector
from lightning_cossim.capture.find import find_head
from lightning_cossim.capture.head import Head
from lightning_cossim.capture.model_config import probabilities_in_words, with_response
from lightning_cossim.capture.taps import Source, in_words
from lightning_cossim.config.settings import LabelSelection
from lightning_cossim.functional.links import Link
from lightning_cossim.functional.overlap import OVERLAP_ARGUMENTS, Overlap, OverlapKind

__all__ = ["HeadSettings"]


@dataclass(frozen=True)
class HeadSettings:
    """Where the head is, what lies between it and the probabilities, and which overlap is computed from them."""

    head: str | None = None
    link: Link = "softmax"
    link_cap: float | None = None
    link_scale: float | None = None
    overlap: OverlapKind = "bhattacharyya"
    overlap_threshold: float | None = None
    overlap_k: int | None = None
    embeddings_from: Source | None = None
    logits_from: Source | None = None

    def collector(
        self,
        model: nn.Module,
        labels: LabelSelection,
        *,
        max_inputs: int,
        summarize: Collection[str],
        warn: Callable[[str], None],
        inform: Callable[[str], None],
    ) -> Collector:
        """Find the head of a model and observe it.

        Args:
            model: that has the head.
            labels: which labels are compared and what they are called.
            max_inputs: inputs of a batch that are looked at.
            summarize: stages of whose vocabularies a summary is kept.
            warn: warns the user.
            inform: logs a line, at most once a run.

        Raises:
            HeadError: there is no such head, or a source is not there.
            ConfigError: labels or names that do not fit the head.
            InputError: a cap, a scale, a threshold or k that is missing or out of range.
        """
        head = find_head(model, self.head, is_called=self.embeddings_from is None, has_cosines=self.link == "cosine")
        head = with_response(model, head, self.link, link_cap=self.link_cap, link_scale=self.link_scale)
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
        """What is observed, and what probabilities are made of, in words."""
        output = "its own output"
        if self.logits_from is not None:
            output = f"the output of {in_words(self.logits_from)}"
        elif self.embeddings_from is not None:
            output = f"its logits, computed from {in_words(self.embeddings_from)}"
        return f"{head}; {probabilities_in_words(head, output, is_final=self.logits_from is not None)}"
