"""Session: a watched head from the start of a run to its end, with its time budget and its failures."""

from collections.abc import Callable
from dataclasses import replace

from lightning_cossim.callback.budget import Budget, Overhead
from lightning_cossim.capture.collector import Collector
from lightning_cossim.capture.distributed import Processes
from lightning_cossim.capture.hooks import all_or_none
from lightning_cossim.config.settings import LabelSelection
from lightning_cossim.config.thresholds import Thresholds
from lightning_cossim.errors import HeadError, LabelSimilarityError
from lightning_cossim.report import Context, GapReport, Statistics, Verdict, WindowKey
from lightning_cossim.report.alerts import AlertBook, Breach, alert_values, in_words
from lightning_cossim.report.verdicts import judge
from lightning_cossim.report.wanted_pairs import WantedPairs

__all__ = ["Session"]


class Session:
    """The state of the monitor while it watches a head.

    Args:
        build: finds the head and observes it, with the given labels.
        labels: which labels are compared, and their names.
        processes: the processes that train together.
        max_overhead: share of the time for work that can wait, from 0 to 1; None: no work waits.

    Raises:
        HeadError: no final linear layer is found, or several are equally good.
        ConfigError: the labels do not fit the head.
        InputError: a cap, scale, overlap threshold or k is missing or out of range.
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
        """A failure on this process since the last report. It is kept, because other processes may wait for this one there."""

    def alone(self, work: Callable[[], None]) -> None:
        """Run work of this process. If there are other processes, keep a failure for `check`, and skip later work."""
        if self.failure is not None:
            return
        try:
            work()
        except Exception as error:
            if self.processes.num == 1:
                raise
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """Keep the first failure until the next `check`, without its traceback, which keeps tensors alive. Stop observing."""
        self.failure = self.failure or error.with_traceback(None)
        self.collector.disarm()

    def open(self, key: WindowKey, step: int) -> None:
        """Open a window. If the head was replaced or has a new number of rows since the last window, find it again.

        Raises:
            HeadError: no head is found now, or several are equally good.
        """
        if not self.collector.is_current:
            self._watch_anew(step)
        self.collector.open(key, step, self.processes)

    def _watch_anew(self, step: int) -> None:
        """Stop observing a head that the model no longer has, and observe its new head."""
        old = self.collector
        old.detach()
        try:
            with all_or_none():
                self.collector = self._build(replace(self._labels, names=None, ignore=()))
                num_labels = self.collector.head.num_labels
                self._labels = self._labels.resized(old.names, num_labels)
                self.collector.detach()
                self.collector = self._build(self._labels)
        except LabelSimilarityError as error:
            raise HeadError(
                f"{old.head.path} was replaced during the run, and the monitor does not watch it any more. {error}"
            ) from error
        had, has_names = len(old.names), self._has_names
        names = f" `names=` has {had} names and the head {num_labels} rows: a row without a name shows its number."
        self.collector.warn(
            f"the head `{old.head.path}` was replaced at step {step}; the monitor now watches {self.collector.head} "
            f"(before: {had} labels).{names if has_names and num_labels != had else ''}"
        )

    def look(self, key: WindowKey) -> None:
        """Add what the head computed to the window. For a sharded head, all processes must call this at the same time."""
        weights = self.collector.head.gathered()
        self.alone(lambda: self.collector.look(key, weights))

    def end_batch(self, key: WindowKey) -> None:
        """Add what is not added yet, and ignore further calls of the head until the next batch.

        For a sharded head, all processes must call this at the same time. In training, a sharded head is read before the backward
        pass or not at all, because later nobody knows whether its weights have changed.
        """
        if self.collector.head.is_sharded and key.stage == "train":
            self.alone(self.collector.disarm)
            return
        weights = self.collector.head.gathered()
        self.alone(lambda: self.collector.end_batch(key, weights))

    def report(
        self, key: WindowKey, step: int, thresholds: Thresholds, alerts: AlertBook, *, counts: bool
    ) -> tuple[GapReport, list[Breach]]:
        """Close a window and report on it. All processes must call this at the same time.

        Args:
            key: the window.
            step: step of the report.
            thresholds: thresholds of the verdict.
            alerts: counts the breaches.
            counts: whether the report belongs to a fit, so that its breaches count.

        Returns:
            The report, and the alerts that act; equal on all processes.

        Raises:
            DistributedError: a process failed in its part.
        """
        statistics, extras = self.collector.close(key, self.processes)
        context = Context(key, step, self.collector.names, self.processes.from_first(self.overhead.share(str(key))))
        verdict = self.judged(statistics, thresholds)

        def judged() -> tuple[GapReport, list[Breach]]:
            values = alert_values({**statistics.numbers.scalars, **verdict.shares}, verdict, key.stage)
            acting = alerts.observe(key, values, step, counts=counts)
            return GapReport(statistics, context, verdict.with_alerts(tuple(map(in_words, acting))), extras), acting

        report, acting = self.processes.together(judged)
        return self._with_evidence(report), acting

    def _with_evidence(self, report: GapReport) -> GapReport:
        """The report with the inputs that all processes kept for its pairs. The first process chooses the pairs.

        A failure costs the evidence, not the report. All processes fail together, because they do local work together.
        """
        try:
            wanted = self.processes.from_first(self.processes.together(lambda: WantedPairs.of(report)))
            found = self.collector.evidence(report.window, wanted, self.processes)
            return report if found is None else self.processes.together(lambda: report.with_evidence(found))
        except Exception as error:  # noqa: BLE001 - reports do not need evidence
            self.collector.stop_evidence(error)
            return report

    def judged(self, statistics: Statistics, thresholds: Thresholds | None) -> Verdict:
        """The verdict of the first process, on all processes. Rounding could give them different verdicts on borderline pairs."""
        verdict = self.processes.together(lambda: Verdict() if thresholds is None else self._judge(statistics, thresholds))
        return self.processes.from_first(verdict)

    def _judge(self, statistics: Statistics, thresholds: Thresholds) -> Verdict:
        return judge(statistics, thresholds, self.collector.names.__getitem__)

    def check(self) -> None:
        """Continue only if no process has failed. All processes must call this at the same time.

        Raises:
            DistributedError: a process has failed.
        """
        self.processes.together(self._raise_failure)

    def affords_window(self) -> bool:
        """Whether a training window fits into its share of the time. The first process decides for all."""
        return self.max_overhead is None or self.processes.from_first(self.budget.allows("window"))

    def end(self) -> None:
        """Stop observing the head. A second call does nothing."""
        self.collector.detach()

    def _raise_failure(self) -> None:
        if self.failure is not None:
            raise self.failure
