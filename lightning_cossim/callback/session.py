"""Session: a head under observation from the start of a run to its end, what that costs, and what failed in it."""

from collections.abc import Callable
from dataclasses import replace

from lightning_cossim.callback.budget import Budget, Overhead
from lightning_cossim.capture.collector import Collector
from lightning_cossim.capture.distributed import Processes
from lightning_cossim.config.settings import LabelSelection
from lightning_cossim.config.thresholds import Thresholds
from lightning_cossim.errors import HeadError, LabelSimilarityError
from lightning_cossim.report import Context, GapReport, Statistics, Verdict, WindowKey
from lightning_cossim.report.alerts import AlertBook, Breach, alert_values, in_words
from lightning_cossim.report.verdicts import judge

__all__ = ["Session"]


class Session:
    """What lives while a head is watched.

    Args:
        build: finds the head and observes it, with these labels.
        labels: which labels are compared and what they are called.
        processes: those that train together.
        max_overhead: share of the time for work that may wait; None: nothing waits.

    Raises:
        HeadError: there is no head.
        ConfigError: labels that do not fit it.
    """

    def __init__(
        self,
        build: Callable[[LabelSelection], Collector],
        labels: LabelSelection,
        processes: Processes,
        max_overhead: float | None,
    ) -> None:
        self._build, self._labels, self._has_names = build, labels, labels.names is not None
        self.collector, self.processes, self.max_overhead = build(labels), processes, max_overhead
        self.overhead = Overhead()
        self.budget = Budget(self.overhead, max_overhead)
        self.failure: Exception | None = None
        """What failed on this process since the last report, while others may wait for it there."""

    def alone(self, work: Callable[[], None]) -> None:
        """Run rank-local work. Where there are other processes, a failure is kept for `check`; later work is skipped."""
        if self.failure is not None:
            return
        try:
            work()
        except Exception as error:
            if self.processes.num == 1:
                raise
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """Keep a failure until the others can hear of it, and nothing of what was at hand when it happened."""
        self.failure = self.failure or error.with_traceback(None)
        self.collector.disarm()

    def open(self, key: WindowKey, step: int) -> None:
        """Begin a window. A head that was replaced or given more rows since the last one is found anew.

        Raises:
            HeadError: there is no head any more, or several are equally good.
        """
        if not self.collector.is_current:
            self._watch_anew(step)
        self.collector.open(key, step, self.processes)

    def _watch_anew(self, step: int) -> None:
        """Let go of a head that is the model's no more, and observe the one that is."""
        old = self.collector
        old.detach()
        try:
            self.collector = self._build(replace(self._labels, names=None, ignore=()))
            num_labels = self.collector.head.num_labels
            self._labels = self._labels.resized(old.names, num_labels)
            self.collector.detach()
            self.collector = self._build(self._labels)
        except LabelSimilarityError as error:
            raise HeadError(f"{old.head.path} was replaced in the run and is not watched any more. {error}") from error
        had, has_names = len(old.names), self._has_names
        names = f" `names=` has {had} names and the head {num_labels} rows: a row without a name shows its number."
        self.collector.warn(
            f"the head `{old.head.path}` was replaced at step {step}; the monitor now watches {self.collector.head} "
            f"(before: {had} labels).{names if has_names and num_labels != had else ''}"
        )

    def look(self, key: WindowKey) -> None:
        """Look at what the head showed. Of a sharded head, every process has to call it, at the same time."""
        weights = self.collector.head.gathered()
        self.alone(lambda: self.collector.look(key, weights))

    def end_batch(self, key: WindowKey) -> None:
        """Look at what was not looked at yet, and at no more until the next batch. The same holds.

        In training a sharded head is looked at before the backward pass or not at all: nobody could tell if it has changed since.
        """
        if self.collector.head.is_sharded and key.stage == "train":
            self.alone(self.collector.disarm)
            return
        weights = self.collector.head.gathered()
        self.alone(lambda: self.collector.end_batch(key, weights))

    def report(
        self, key: WindowKey, step: int, thresholds: Thresholds, alerts: AlertBook, *, counts: bool
    ) -> tuple[GapReport, list[Breach]]:
        """End a window and report on it, each part by its owner. Every process has to call it, at the same time.

        Args:
            key: of the window.
            step: of the report.
            thresholds: it is judged by.
            alerts: count its breaches.
            counts: whether it takes part in what a fit counts.

        Returns:
            The report, and the alerts that act at it: the same on all processes.

        Raises:
            DistributedError: one of them could not do its part.
        """
        statistics, extras = self.collector.close(key, self.processes)
        context = Context(key, step, self.collector.names, self.processes.from_first(self.overhead.share(str(key))))
        verdict = self.judged(statistics, thresholds)
        values = alert_values({**statistics.numbers.scalars, **verdict.shares}, verdict, key.stage)
        acting = alerts.observe(key, values, step, counts=counts)
        return GapReport(statistics, context, verdict.with_alerts(tuple(map(in_words, acting))), extras), acting

    def judged(self, statistics: Statistics, thresholds: Thresholds | None) -> Verdict:
        """The verdict of the first process, on all of them: in a borderline pair they could differ."""
        verdict = self.processes.together(lambda: Verdict() if thresholds is None else self._judge(statistics, thresholds))
        return self.processes.from_first(verdict)

    def _judge(self, statistics: Statistics, thresholds: Thresholds) -> Verdict:
        return judge(statistics, thresholds, self.collector.names.__getitem__)

    def check(self) -> None:
        """Go on only if no process has failed. Every process has to call it, at the same time.

        Raises:
            DistributedError: one of them has.
        """
        self.processes.together(self._raise_failure)

    def affords_window(self) -> bool:
        """Whether a training window fits into its share of the time; one process decides for all."""
        return self.max_overhead is None or self.processes.from_first(self.budget.allows("window"))

    def end(self) -> None:
        """Let go of the head; a second call does nothing."""
        self.collector.detach()

    def _raise_failure(self) -> None:
        if self.failure is not None:
            raise self.failure
