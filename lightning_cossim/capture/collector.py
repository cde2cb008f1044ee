"""Collector: one head under observation, window by window, without Lightning."""

import re
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from torch import Tensor, nn

from lightning_cossim.capture.distributed import ALONE, Processes
from lightning_cossim.capture.head import Head, HeadSpec, Weights
from lightning_cossim.capture.layers import is_compiled
from lightning_cossim.capture.observer import HeadObserver
from lightning_cossim.capture.taps import Source
from lightning_cossim.capture.target_shift import TargetReader
from lightning_cossim.capture.targets import CountedTargets
from lightning_cossim.capture.vocabulary_summary import VocabularySummary
from lightning_cossim.capture.vocabulary_window import VocabularyWindow
from lightning_cossim.capture.window import AllPairsWindow, Window
from lightning_cossim.config.settings import LabelSelection
from lightning_cossim.errors import InputError
from lightning_cossim.functional.overlap import Overlap
from lightning_cossim.functional.rankings import Rankings, ranking_drift
from lightning_cossim.report import Extras, Statistics, WindowKey

__all__ = ["Collector", "ObservedHead", "agreed", "open_window"]

_SHOWN = 256
"""Embeddings of a batch that are kept."""


def _kind(text: str) -> str:
    """A text without its numbers: what differs in these alone is told once."""
    return re.sub(r"\d+(\.\d+)?(e[+-]?\d+)?", "#", text)


def open_window(
    spec: HeadSpec,
    selection: LabelSelection,
    overlap: Overlap,
    seed: int = 0,
    processes: Processes = ALONE,
) -> Window:
    """A window over all pairs of labels or, where there are too many labels for that, over a vocabulary.

    Args:
        spec: sizes of the head.
        selection: which labels are compared; all their pairs, up to `max_tracked` labels.
        overlap: which probability overlap.
        seed: of whatever is drawn at random.
        processes: those that train together.
    """
    kind = VocabularyWindow if spec.num_labels > selection.max_tracked else AllPairsWindow
    return kind(spec, selection, overlap, seed, processes)


def agreed(processes: Processes, compute: Callable[[], Statistics]) -> Statistics:
    """Statistics that every process computes, with the numbers of the first: others act on them, to the last digit.

    Raises:
        DistributedError: one of several processes could not compute them.
    """
    statistics = processes.together(compute)
    return statistics.with_numbers(processes.from_first(statistics.numbers))


class ObservedHead(NamedTuple):
    """A head that is or was observed, and some of the inputs that it saw last."""

    head: Head
    names: tuple[str, ...]
    """(K,)."""
    embedding: Tensor | None
    """(N, D), on the CPU, N at most 256; None: it saw none."""
    explains: bool
    """Whether its weights give the model's logits, as far as is known."""

    @property
    def weights(self) -> Weights:
        """Those of now. Of a sharded head, every process has to ask at the same time."""
        return self.head.weights

    def copied(self) -> "CopiedHead | None":
        """A copy that needs no model, for another process; None of a sharded head, which no process has alone."""
        if self.head.is_sharded:
            return None
        now = self.weights
        bias = None if now.bias is None else now.bias.cpu().clone()
        weights = Weights(now.unembedding.cpu().clone(), bias, now.response)
        return CopiedHead(weights, self.names, self.embedding, self.explains)


class CopiedHead(NamedTuple):
    """What an `ObservedHead` was, without the model."""

    weights: Weights
    """On the CPU."""
    names: tuple[str, ...]
    """(K,)."""
    embedding: Tensor | None
    """(N, D), on the CPU, N at most 256; None: it saw none."""
    explains: bool
    """Whether its weights give the model's logits, as far as is known."""


class Collector:
    """Holds the observer of a head and its open windows.

    A window goes from `open` to `close`; in between, every batch that counts goes from `begin_batch` before the forward pass to
    `look` as soon after it as may be, at the latest `end_batch`.

    Args:
        head: the head.
        labels: which labels are compared and what they are called.
        overlap: which probability overlap.
        max_inputs: inputs of a batch that are looked at.
        model: the LightningModule; by default the head alone.
        embeddings_from: what gives the embeddings where the head is not called.
        logits_from: what gives the logits where they change after the head.
        summarize: stages of whose windows over a vocabulary a summary is kept, for a search of nearest neighbors.
        warn: warns the user; repeats a text at most once a run.
        inform: logs a line, at most once a run; default: nothing is logged.

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
        inform: Callable[[str], None] | None = None,
    ) -> None:
        labels.check_labels(head.num_labels)
        self.head, self.labels, self.overlap, self.max_inputs, self.warn = head, labels, overlap, max_inputs, warn
        self.names = labels.read_names(head.num_labels)
        self.summarize = summarize
        self.num_looked_at: dict[WindowKey, int] = {}
        """Inputs that each open window has been shown by this process."""
        self.summaries: dict[WindowKey, VocabularySummary] = {}
        """What the last window of a stage saw, where only a sample of the pairs was compared."""
        self._shown: Tensor | None = None
        """The first embeddings of the last batch looked at."""
        self._windows: dict[WindowKey, Window] = {}
        self._rankings: dict[WindowKey, Rankings] = {}
        """Those of the last report."""
        self._called: set[WindowKey] = set()
        self._notes: dict[WindowKey, str] = {}
        """Why the logits of an open window may not be the model's."""
        self._warned: set[tuple[WindowKey | None, str]] = set()
        self._counted: CountedTargets | None = None
        """Which inputs of the batch that runs count; None: all."""
        self._model = head.module if model is None else model
        self._stored_shape = head.stored_shape
        self.targets = TargetReader(labels, self._model, head.module, inform)
        self._observer = HeadObserver(head, self._model, embeddings_from=embeddings_from, logits_from=logits_from)

    def open(self, key: WindowKey, step: int = 0, processes: Processes = ALONE) -> None:
        """Begin a window at a step, which alone decides what is drawn at random in it."""
        self._called.discard(key)
        self._notes.pop(key, None)
        self._observer.check_again()
        self.num_looked_at[key] = 0
        self._windows[key] = open_window(self.head.spec, self.labels, self.overlap, step, processes)

    @property
    def is_current(self) -> bool:
        """Whether the model still has this head, with as many labels."""
        return self.head.stored_shape == self._stored_shape and self.head.is_in(self._model)

    def is_open(self, key: WindowKey) -> bool:
        """Whether there is such a window."""
        return key in self._windows

    def begin_batch(self, key: WindowKey, batch: Any = None) -> None:
        """Count the next call of the head, where the window is open."""
        if self.is_open(key) and self._windows[key].wants_batch():
            self._counted = self._counted_inputs(key, batch)
            self._observer.arm()

    def _counted_inputs(self, key: WindowKey, batch: Any) -> CountedTargets | None:
        try:
            return self.targets.read(batch, key)
        except InputError as error:
            self._warn_once(None, "targets", f"all inputs count. {error}")
            return None

    def look(self, key: WindowKey, weights: Weights | None = None) -> None:
        """Add what the head showed since the batch began, if anything, under the weights of that moment; default those of now."""
        if not self.is_open(key):
            return
        seen = self._observer.take(self.max_inputs, self._windows[key].generator, self._counted, weights)
        if seen is None:
            return
        for text in (*seen.notes, seen.problem):
            if text is not None:
                self._notes.setdefault(key, text)
                # However many numbers come: what every batch has anew is told once.
                self._warn_once(None, _kind(text), f"watching {self.head.path}: {text.rstrip('.')}.")
        self._called.add(key)
        self._shown = self._shown if seen.embedding is None else seen.embedding[:_SHOWN].clone()
        self.num_looked_at[key] += 0 if seen.logits is None else len(seen.logits)
        self._windows[key].add(seen)

    def end_batch(self, key: WindowKey, weights: Weights | None = None) -> None:
        """Add what was not looked at yet; no call of the head counts until the next batch."""
        self.look(key, weights)
        self.disarm()

    def disarm(self) -> None:
        """No call of the head counts until the next batch."""
        self._observer.disarm()

    def close(self, key: WindowKey, processes: Processes) -> tuple[Statistics, Extras]:
        """End a window: what it says, the same on all processes. Every process has to call it, at the same time.

        Raises:
            DistributedError: one of several processes could not do its part.
        """
        gathered = self.head.gathered()
        collected = self._windows.pop(key).close(processes, lambda: gathered or self.head.weights)
        statistics = agreed(processes, collected.statistics)
        summary = collected.vocabulary
        if summary is not None and key.stage in self.summarize:
            self.summaries[key] = processes.together(lambda: summary.at_rest(self.head.dtype))
        if not statistics.table.num_inputs and key not in self._called:
            self.warn(f"watching {self.head.path}: {self._why_not_called()}")
        for kind, text in statistics.remarks.items():
            self._warn_once(key, kind, f"{key}, watching {self.head.path}: {text}.")
        unchecked = self._observer.unchecked_in_words() if statistics.table.num_inputs else None
        if unchecked is not None:
            self._warn_once(None, "unchecked", f"watching {self.head.path}: {unchecked}")
        note = processes.from_first(self._notes.get(key, unchecked))
        if note is not None:
            statistics = statistics.with_remark("logits", note.rstrip("."))
        return statistics, Extras(self._drift(key, statistics.rankings))

    def _drift(self, key: WindowKey, now: Rankings | None) -> float:
        """How far rankings have moved since the last report of the window; NaN at the first."""
        before = self._rankings.get(key)
        if now is not None:
            self._rankings[key] = now
        return Extras().ranking_drift if before is None or now is None else ranking_drift(before, now)

    def _why_not_called(self) -> str:
        so = "it was not called in a whole window, so only its weights are compared"
        if is_compiled(self._model, self.head.module):
            return (
                f"{so}. It lies in a compiled module that was called before the fit, and whose graph has no place for a hook: "
                "call `torch.compiler.reset()` before the fit, or compile in `configure_model`."
            )
        others = ", ".join(self.head.others)
        remedy = f" If another layer is the head, pass it as `head=`; also in question were {others}." if others else ""
        return (
            f"{so}. A fused loss or a functional call (`F.linear(x, head.weight)`) goes around it: pass `embeddings_from=`, the "
            f"path of the module whose output goes into it, or call the layer itself.{remedy}"
        )

    def drop(self, key: WindowKey) -> None:
        """End a window without a report."""
        self._windows.pop(key, None)

    def _warn_once(self, key: WindowKey | None, kind: str, text: str) -> None:
        if (key, kind) not in self._warned:
            self._warned.add((key, kind))
            self.warn(text)

    def observed(self) -> ObservedHead:
        """The head, its names, and some of the inputs that it saw last."""
        return ObservedHead(self.head, self.names, None if self._shown is None else self._shown.cpu(), self._observer.explains)

    def detach(self) -> None:
        """Remove the hook; a second call does nothing."""
        self._observer.detach()
