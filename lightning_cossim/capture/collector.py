"""Collector: observes one head and fills windows with the observations. It works without Lightning."""

import re
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from torch import Tensor, nn

from lightning_cossim.capture.distributed import ALONE, Processes
from lightning_cossim.capture.evidence.keeper import EvidenceKeeper
from lightning_cossim.capture.evidence.place import NOWHERE, Place
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
from lightning_cossim.report.evidence import PairsWithEvidence
from lightning_cossim.report.wanted_pairs import WantedPairs

__all__ = ["Collector", "ObservedHead", "agreed", "open_window"]

_SHOWN = 256
"""The number of embeddings of a batch that are kept."""


def _kind(text: str) -> str:
    """The text with every number replaced by `#`. Texts that differ only in numbers count as one warning."""
    return re.sub(r"\d+(\.\d+)?(e[+-]?\d+)?", "#", text)


def open_window(
    spec: HeadSpec,
    selection: LabelSelection,
    overlap: Overlap,
    seed: int = 0,
    processes: Processes = ALONE,
) -> Window:
    """A new window: `VocabularyWindow` if the head has more than `max_tracked` labels, else `AllPairsWindow`.

    Args:
        spec: sizes of the head.
        selection: which labels are compared, and `max_tracked`.
        overlap: which probability overlap.
        seed: seed of all random draws of the window.
        processes: the processes that train together.
    """
    kind = VocabularyWindow if spec.num_labels > selection.max_tracked else AllPairsWindow
    return kind(spec, selection, overlap, seed, processes)


def agreed(processes: Processes, compute: Callable[[], Statistics]) -> Statistics:
    """The statistics that every process computes, with the numbers of the first process.

    Decisions that depend on these numbers are then the same on all processes. Every process must call this function.

    Args:
        processes: the processes that train together.
        compute: computes the statistics of this process; it must not wait for other processes.

    Raises:
        DistributedError: one of several processes could not compute its statistics.
    """
    statistics = processes.together(compute)
    return statistics.with_numbers(processes.from_first(statistics.numbers))


class ObservedHead(NamedTuple):
    """A head that is or was observed, and some of its last inputs."""

    head: Head
    names: tuple[str, ...]
    """(K,)."""
    embedding: Tensor | None
    """(N, D), on the CPU, N at most 256; None if no input was observed."""
    explains: bool
    """Whether the head's weights give the model's logits, as far as is known."""

    @property
    def weights(self) -> Weights:
        """The current weights. If the head is sharded, all processes must read them at the same time."""
        return self.head.weights

    def copied(self) -> "CopiedHead | None":
        """A copy that another process can use without the model; None if the head is sharded, since no process has all rows."""
        if self.head.is_sharded:
            return None
        now = self.weights
        bias = None if now.bias is None else now.bias.cpu().clone()
        weights = Weights(now.unembedding.cpu().clone(), bias, now.response)
        return CopiedHead(weights, self.names, self.embedding, self.explains)


class CopiedHead(NamedTuple):
    """A copy of an `ObservedHead` that does not need the model."""

    weights: Weights
    """On the CPU."""
    names: tuple[str, ...]
    """(K,)."""
    embedding: Tensor | None
    """(N, D), on the CPU, N at most 256; None if no input was observed."""
    explains: bool
    """Whether the head's weights give the model's logits, as far as is known."""


class Collector:
    """Owns the observer of a head and its open windows.

    A window lasts from `open` to `close`. For every batch of the window, call `begin_batch` before the forward pass and `look` as
    soon as possible after it. At the end of the batch, call `end_batch`.

    Args:
        head: the head.
        labels: which labels are compared, and their names.
        overlap: which probability overlap.
        max_inputs: maximum number of inputs that are observed per batch; of a larger batch, a random sample.
        model: the LightningModule; default: the head alone.
        embeddings_from: the source of the embeddings, if the head is never called.
        logits_from: the source of the final logits, if the model changes the logits after the head.
        summarize: stages whose vocabulary windows leave a summary; the search for nearest neighbors needs it.
        warn: warns the user, at most once per run for each text.
        inform: logs a line, at most once per run; default: nothing is logged.
        evidence: keeps inputs for reports; default: none are kept.

    Raises:
        ConfigError: the labels or names do not fit the head.
        HeadError: `embeddings_from` or `logits_from` is a path that no module has.
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
        evidence: EvidenceKeeper | None = None,
    ) -> None:
        labels.check_labels(head.num_labels)
        self.head, self.labels, self.overlap, self.max_inputs, self.warn = head, labels, overlap, max_inputs, warn
        self.names = labels.read_names(head.num_labels)
        self.summarize = summarize
        self.num_looked_at: dict[WindowKey, int] = {}
        """The number of inputs that this process has added to each window."""
        self.summaries: dict[WindowKey, VocabularySummary] = {}
        """The summary of the last window with each key, if only a sample of its pairs was compared."""
        self._shown: Tensor | None = None
        """The first embeddings of the last batch observed."""
        self._windows: dict[WindowKey, Window] = {}
        self._rankings: dict[WindowKey, Rankings] = {}
        """The rankings of the last report."""
        self._called: set[WindowKey] = set()
        self._notes: dict[WindowKey, str] = {}
        """Why the logits of an open window may differ from the model's final logits."""
        self._warned: set[tuple[WindowKey | None, str]] = set()
        self._counted: CountedTargets | None = None
        """Which inputs of the current batch count; None means all."""
        self._evidence = evidence
        self._batch: tuple[Any, Place] = (None, NOWHERE)
        """What is noted of the current batch, and where it comes from."""
        self._model = head.module if model is None else model
        self._stored_shape = head.stored_shape
        self.targets = TargetReader(labels, self._model, head.module, inform)
        self._observer = HeadObserver(head, self._model, embeddings_from=embeddings_from, logits_from=logits_from)

    def open(self, key: WindowKey, step: int = 0, processes: Processes = ALONE) -> None:
        """Begin a window at a step. The step is the seed of all random draws of the window."""
        self._called.discard(key)
        self._notes.pop(key, None)
        self._observer.check_again()
        self.num_looked_at[key] = 0
        self._windows[key] = open_window(self.head.spec, self.labels, self.overlap, step, processes)
        if self._evidence is not None:
            self._evidence.open(key)

    @property
    def is_current(self) -> bool:
        """Whether the model still contains this head, with a weight of the same shape."""
        return self.head.stored_shape == self._stored_shape and self.head.is_in(self._model)

    def is_open(self, key: WindowKey) -> bool:
        """Whether this window is open."""
        return key in self._windows

    def begin_batch(self, key: WindowKey, batch: Any = None, place: Place = NOWHERE) -> None:
        """Observe the next call of the head, if the window is open and includes this batch.

        Args:
            key: the window.
            batch: the batch that Lightning passes to the step.
            place: where the batch comes from.
        """
        if self.is_open(key) and self._windows[key].wants_batch():
            self._batch = (None if self._evidence is None else self._evidence.noted(batch)), place
            self._counted = self._counted_inputs(key, batch)
            self._observer.arm()

    def _counted_inputs(self, key: WindowKey, batch: Any) -> CountedTargets | None:
        try:
            return self.targets.read(batch, key)
        except InputError as error:
            self._warn_once(None, "targets", f"the targets cannot be read, so all inputs count. {error}")
            return None

    def look(self, key: WindowKey, weights: Weights | None = None) -> None:
        """Add the last call of the head since the batch began, if there was one.

        Args:
            key: the window.
            weights: the head's weights at the time of the call; default: its current weights.

        Raises:
            InputError: a function passed as `embeddings_from=` or `logits_from=` fails.
        """
        if not self.is_open(key):
            return
        seen = self._observer.take(self.max_inputs, self._windows[key].generator, self._counted, weights)
        if seen is None:
            return
        for text in (*seen.notes, seen.problem):
            if text is not None:
                self._notes.setdefault(key, text)
                # The numbers in a text may change with every batch; one warning is enough.
                self._warn_once(None, _kind(text), f"watching {self.head.path}: {text.rstrip('.')}.")
        self._called.add(key)
        self._shown = self._shown if seen.embedding is None else seen.embedding[:_SHOWN].clone()
        self.num_looked_at[key] += 0 if seen.logits is None else len(seen.logits)
        self._windows[key].add(seen)
        if self._evidence is not None:
            self._evidence.add(key, seen, *self._batch)

    def end_batch(self, key: WindowKey, weights: Weights | None = None) -> None:
        """Call `look`, then ignore calls of the head until the next batch."""
        self.look(key, weights)
        self.disarm()

    def disarm(self) -> None:
        """Ignore calls of the head until the next batch."""
        self._batch = None, NOWHERE
        self._observer.disarm()

    def close(self, key: WindowKey, processes: Processes) -> tuple[Statistics, Extras]:
        """End a window. Every process must call this at the same time.

        Returns:
            The statistics, equal on all processes, and the extras of the report.

        Raises:
            DistributedError: the work of one of several processes failed.
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
        """How far the rankings moved since the last report with this key; NaN for the first report."""
        before = self._rankings.get(key)
        if now is not None:
            self._rankings[key] = now
        return Extras().ranking_drift if before is None or now is None else ranking_drift(before, now)

    def _why_not_called(self) -> str:
        so = "the head was not called during a whole window, so only its weights are compared"
        if is_compiled(self._model, self.head.module):
            return (
                f"{so}. The head is part of a compiled module that was called before the fit, and its graph ignores new hooks. "
                "Call `torch.compiler.reset()` before the fit, or compile in `configure_model`."
            )
        others = ", ".join(self.head.others)
        remedy = f" If another layer is the head, pass it as `head=`; other candidates: {others}." if others else ""
        return (
            f"{so}. A fused loss or a functional call (`F.linear(x, head.weight)`) bypasses the head. Pass as `embeddings_from=` "
            f"the path of the module whose output is the head's input, or call the head itself.{remedy}"
        )

    def evidence(self, key: WindowKey, wanted: WantedPairs, processes: Processes) -> PairsWithEvidence | None:
        """The inputs that all processes kept for some pairs of a closed window. Every process must call this at the same time.

        Args:
            key: the window.
            wanted: the pairs, the same on all processes.
            processes: the processes that train together.

        Returns:
            None if no inputs are kept.
        """
        return None if self._evidence is None else self._evidence.close(key, wanted, self.names, processes)

    def stop_evidence(self, error: Exception) -> None:
        """Keep no more inputs after a failure, and warn."""
        if self._evidence is not None:
            self._evidence.stop(error)

    def drop(self, key: WindowKey) -> None:
        """End a window without a report."""
        self._windows.pop(key, None)
        if self._evidence is not None:
            self._evidence.drop(key)

    def _warn_once(self, key: WindowKey | None, kind: str, text: str) -> None:
        if (key, kind) not in self._warned:
            self._warned.add((key, kind))
            self.warn(text)

    def observed(self) -> ObservedHead:
        """The head, the names of its labels, and some of its last inputs."""
        return ObservedHead(self.head, self.names, None if self._shown is None else self._shown.cpu(), self._observer.explains)

    def detach(self) -> None:
        """Remove all hooks. A second call does nothing."""
        self._observer.detach()
