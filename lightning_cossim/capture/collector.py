"""HeadWatch: one head under observation, stage by stage, without Lightning."""

import re
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any, NamedTuple

from torch import Tensor, nn

from lightning_cossim.capture.distributed import Processes
from lightning_cossim.capture.head import Head, Weights
from lightning_cossim.capture.layers import is_compiled
from lightning_cossim.capture.observer import HeadObserver
from lightning_cossim.capture.sampling import counted_inputs
from lightning_cossim.capture.taps import Source
from lightning_cossim.capture.vocabulary_summary import VocabularySummary
from lightning_cossim.capture.vocabulary_window import VocabularyWindow
from lightning_cossim.capture.window import Window
from lightning_cossim.config.settings import LabelSelection
from lightning_cossim.errors import InputError
from lightning_cossim.functional.neighbors import seconds_of_search
from lightning_cossim.functional.overlap import Overlap
from lightning_cossim.functional.rankings import Rankings, ranking_drift
from lightning_cossim.report import GapReport

__all__ = ["Glance", "HeadWatch"]

_SHOWN = 256
"""Embeddings of a batch that are kept."""


class Glance(NamedTuple):
    """What is left to look at of a head that was watched."""

    head: Head
    names: tuple[str, ...]
    embedding: Tensor | None
    """(N, D), on the CPU, N at most 256; None: it saw none."""
    explains: bool
    """Whether its weights give the model's logits, as far as is known."""


class HeadWatch:
    """Holds the observer of a head and the open window of every stage.

    A window goes from `open` to `close`; in between, every batch that counts goes from `begin_batch` before the forward pass to
    `look` as soon after it as may be, at the latest `end_batch`.

    Args:
        head: the head.
        labels: which labels are looked at and what they are called.
        overlap: which probability overlap.
        max_inputs: inputs of a batch that are looked at.
        model: the LightningModule; by default the head alone.
        embeddings_from: what gives the embeddings where the head is not called.
        logits_from: what gives the logits where they change after the head.
        summarize: stages of whose windows over a vocabulary a summary is kept, for `look_for_neighbors`.
        warn: says something to the user; what it is given again was said before.

    Raises:
        ConfigError: labels or names that do not fit the head.
        HeadError: a source that is not there.
    """

    def __init__(
        self,
        head: Head,
        *,
        labels: LabelSelection,
        overlap: Overlap,
        max_inputs: int,
        model: nn.Module | None = None,
        embeddings_from: Source | None = None,
        logits_from: Source | None = None,
        summarize: Collection[str] = (),
        warn: Callable[[str], None],
    ) -> None:
        labels.check_labels(head.num_labels)
        self.head, self.labels, self.overlap, self.max_inputs, self.warn = head, labels, overlap, max_inputs, warn
        self.names = labels.read_names(head.num_labels)
        self.summarize = summarize
        self.num_looked_at: dict[str, int] = {}
        """Stage to the inputs that its open window has been shown by this process."""
        self._shown: Tensor | None = None
        """The first embeddings of the last batch looked at."""
        self._windows: dict[str, Window | VocabularyWindow] = {}
        self._summaries: dict[str, VocabularySummary] = {}
        """Stage to what its last window saw, where there are very many labels."""
        self._rankings: dict[str, Rankings] = {}
        """Stage to those of its last report."""
        self._called: set[str] = set()
        self._told: set[tuple[str, str]] = set()
        self._counted: Tensor | None = None
        """Which inputs of the batch that runs count; None: all."""
        self._model = head.module if model is None else model
        self._observer = HeadObserver(head, self._model, embeddings_from=embeddings_from, logits_from=logits_from)

    def open(self, stage: str, step: int = 0) -> None:
        """Begin a window at a step, which alone decides what is drawn at random in it."""
        self._called.discard(stage)
        self._observer.check_again()
        self.num_looked_at[stage] = 0
        kind = VocabularyWindow if self.has_vocabulary else Window
        self._windows[stage] = kind(self.head, self.labels, self.overlap, step)

    @property
    def has_vocabulary(self) -> bool:
        """Whether there are too many labels for all their pairs."""
        return self.head.num_labels > self.labels.max_tracked

    def is_open(self, stage: str) -> bool:
        """Whether the stage has a window."""
        return stage in self._windows

    def begin_batch(self, stage: str, batch: Any = None, step: int = 0) -> None:
        """The next call of the head counts, where the stage has a window; training opens its own."""
        if stage == "train" and not self.is_open(stage):
            self.open(stage, step)
        if self.is_open(stage) and self._windows[stage].wants_batch():
            self._counted = self._counted_inputs(batch)
            self._observer.arm()

    def _counted_inputs(self, batch: Any) -> Tensor | None:
        if self.labels.targets_key is None:
            return None
        try:
            return counted_inputs(batch, self.labels.targets_key, self.labels.ignore_index)
        except InputError as error:
            self._tell_once("", "targets", f"all inputs count. {error}")
            return None

    def look(self, stage: str, weights: Weights | None = None) -> None:
        """Add what the head showed since the batch began, if anything, under the weights of that moment; default those of now."""
        if not self.is_open(stage):
            return
        seen = self._observer.take(self.max_inputs, self._windows[stage].generator, self._counted, weights)
        if seen is None:
            return
        if seen.problem is not None:
            # However many numbers come: a problem that every batch has anew is told once.
            self._tell_once("", re.sub(r"\d+", "#", seen.problem), f"watching {self.head.path}: {seen.problem}.")
        self._called.add(stage)
        self._shown = self._shown if seen.embedding is None else seen.embedding[:_SHOWN].clone()
        self.num_looked_at[stage] += 0 if seen.logits is None else len(seen.logits)
        self._windows[stage].add(seen)

    def end_batch(self, stage: str, weights: Weights | None = None) -> None:
        """Add what was not looked at yet; no call of the head counts until the next batch."""
        self.look(stage, weights)
        self.disarm()

    def disarm(self) -> None:
        """No call of the head counts until the next batch."""
        self._observer.disarm()

    def close(self, stage: str, processes: Processes) -> GapReport:
        """End a window and report on it. Every process has to call it, at the same time.

        Raises:
            FailedTogether: one of several processes could not do its part.
        """
        window = self._windows.pop(stage)
        if isinstance(window, VocabularyWindow):
            report = self._summed_up(stage, window.close(processes), processes)
        else:
            report = window.close(processes)
        if not report.num_inputs and stage not in self._called:
            self.warn(f"watching {self.head.path}: {self._why_not_called()}")
        self._remark(stage, report)
        return self._named(self._compared(stage, report))

    def _compared(self, stage: str, report: GapReport) -> GapReport:
        """The report, with how far its rankings have moved since the last one of the stage."""
        before, now = self._rankings.get(stage), report.rankings
        if now is None:
            return report
        self._rankings[stage] = now
        return report if before is None else replace(report, ranking_drift=ranking_drift(before, now))

    @property
    def summarized(self) -> list[str]:
        """The stages whose last report was on a sample of the pairs, and can be asked for again with others."""
        return [*self._summaries]

    def seconds_of_search(self, stage: str) -> float:
        """About how long `look_for_neighbors` takes."""
        return seconds_of_search(self._summaries[stage].unembedding, self.head.device)

    def look_for_neighbors(self, stage: str, progress: Callable[[float], None]) -> GapReport:
        """The last report of a summarized stage once more, with the pairs whose rows are most alike."""
        summary = self._summaries[stage]
        return self._named(summary.report(summary.nearest(self.head.device, progress)))

    def _summed_up(self, stage: str, summary: VocabularySummary, processes: Processes) -> GapReport:
        report = processes.together(summary.report)
        if stage.partition("/")[0] in self.summarize:
            self._summaries[stage] = processes.together(lambda: summary.at_rest(self.head.dtype))
        return report

    def _named(self, report: GapReport) -> GapReport:
        return replace(report, names=tuple(self.names[label] for label in report.labels))

    def _why_not_called(self) -> str:
        so = "it was not called in a whole window, so only its weights are compared"
        if is_compiled(self._model, self.head.module):
            return (
                f"{so}. It lies in a compiled module that was called before the fit, and whose graph has no place for a hook: "
                "call `torch.compiler.reset()` before the fit, or compile in `configure_model`."
            )
        return (
            f"{so}. A fused loss or a functional call (`F.linear(x, head.weight)`) goes around it: pass `embeddings_from=`, the "
            "path of the module whose output goes into it, or call the layer itself."
        )

    def drop(self, stage: str) -> None:
        """End a window without a report."""
        self._windows.pop(stage, None)

    def _remark(self, stage: str, report: GapReport) -> None:
        """Say what is odd about the head and its inputs, each kind once in a stage."""
        for kind, text in report.remarks.items():
            self._tell_once(stage, kind, f"{stage}, watching {self.head.path}: {text}.")

    def _tell_once(self, stage: str, kind: str, text: str) -> None:
        if (stage, kind) not in self._told:
            self._told.add((stage, kind))
            self.warn(text)

    def glance(self) -> Glance:
        """The head, its names, and some of the inputs that it saw last."""
        return Glance(self.head, self.names, None if self._shown is None else self._shown.cpu(), self._observer.explains)

    def detach(self) -> None:
        """Remove the hook; a second call does nothing."""
        self._observer.detach()
