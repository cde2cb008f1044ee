"""LabelSimilarityMonitor: the hooks. The only module that imports Lightning.

A hook decides whether anything is due and hands on: `WindowClock` knows when, `HeadWatch` sees and adds up, `reporting` writes.
What goes wrong in one ends the monitor, never the run.
"""

import functools
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Concatenate, ParamSpec

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor
from typing_extensions import override

from lightning_cossim.alerts import AlertCounter, in_words
from lightning_cossim.arguments import check_arguments, chosen_thresholds, idle_alerts
from lightning_cossim.config import Display, LabelSelection, Schedule
from lightning_cossim.errors import AlertRaised, ConfigError, expected, in_one_line
from lightning_cossim.functional.overlap import Link, Overlap, OverlapKind
from lightning_cossim.head import find_head
from lightning_cossim.overhead import Budget, Overhead
from lightning_cossim.report import GapReport
from lightning_cossim.reporting.pages import Pages
from lightning_cossim.reporting.publisher import Publisher
from lightning_cossim.reporting.tags import group, suffix
from lightning_cossim.schedule import StepCounter, WindowClock, batches_of_fit
from lightning_cossim.strict_types import Number, WholeFrom2
from lightning_cossim.thresholds import Action, Thresholds, ThresholdsFile, alert_values, judged
from lightning_cossim.watch import HeadWatch

__all__ = ["LabelSimilarityMonitor"]

_logger = logging.getLogger(__name__)
_P = ParamSpec("_P")


def _harmless(
    hook: Callable[Concatenate["LabelSimilarityMonitor", _P], None],
) -> Callable[Concatenate["LabelSimilarityMonitor", _P], None]:
    """The hook, timed as overhead and not called without a head; if it fails, the monitor goes and the run goes on."""

    @functools.wraps(hook)
    def guarded(self: "LabelSimilarityMonitor", /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        if self._watch is None:
            return
        self._overhead.enter()
        try:
            hook(self, *args, **kwargs)
        except AlertRaised:  # what the user asked for
            raise
        except Exception as error:
            self._detach()
            self._warn(f"switched off, training goes on without it, after {in_one_line(error)}")
            _logger.debug("The failure that switched the monitor off:", exc_info=True)
        finally:
            self._overhead.leave()

    return guarded


class LabelSimilarityMonitor(Callback):
    """Watches the final linear layer of a classifier and logs where cosine similarity and probability overlap part.

    In windows of training batches and over every validation and test run it gathers the head's weights, embeddings and logits,
    forms a `GapReport` and logs its scalars as `cossim_train/…`, `cossim_val/…` and `cossim_test/…` to every logger, at the x of
    the user's own `self.log`. Validation scalars are also in `trainer.callback_metrics`, for EarlyStopping and ModelCheckpoint.
    Pairs beyond the thresholds are flagged, and alerts warn, stop the fit or raise. Training with it is bit for bit the training
    without it. Where a step calls the head several times, its last call counts.

    Args:
        head: dotted path of the final linear layer in the LightningModule, "model.fc" for example; default: found by itself.
        link: from logits to probabilities: "softmax", or "sigmoid" for labels that do not exclude one another (multi-label).
        overlap: which probability overlap: "bhattacharyya", "product", "coactivation" or "topk".
        overlap_threshold: for "coactivation", above 0 and, under a softmax, below 0.5; default 0.1.
        overlap_k: for "topk", from 2 to K - 1; default max(2, min(5, K // 5)).
        labels: which labels are looked at and what they are called.
        schedule: when it looks and how much it looks at.
        thresholds: from which gap on a pair is flagged, and which alerts there are.
        thresholds_file: a YAML file with the thresholds instead, as `lightning-cossim config` prints one; in the configuration of
            a LightningCLI relative to the file that names it.
        display: what is shown beside curves, and the share of the time that it may take.
        name: puts everything under `cossim_<name>_…`; needed where several monitors share a Trainer.

    Raises:
        InputError: an unknown link or overlap; at the start of the fit: a threshold or k out of range.
        HeadError: at the start of the fit: no final linear layer is found, or several that are equally good.
        ConfigError: an argument of the wrong type, thresholds that are wrong or given twice; at the start of the fit: labels or
            names that do not fit the head, or two monitors of one name.
        AlertRaised: in training, validation or test: an alert with `action="raise"` acts.

    Example:
        >>> from lightning_cossim import LabelSelection, LabelSimilarityMonitor
        >>> monitor = LabelSimilarityMonitor(labels=LabelSelection(names=["cat", "dog", "horse"]))

        Pass it as `Trainer(callbacks=[monitor])`; after the fit, `print(monitor.last_report["val"])`.
    """

    def __init__(
        self,
        head: str | None = None,
        link: Link = "softmax",
        overlap: OverlapKind = "bhattacharyya",
        overlap_threshold: Number | None = None,
        overlap_k: WholeFrom2 | None = None,
        labels: LabelSelection = LabelSelection(),
        schedule: Schedule = Schedule(),
        thresholds: Thresholds = Thresholds(),
        thresholds_file: ThresholdsFile | None = None,
        display: Display = Display(),
        name: str | None = None,
    ) -> None:
        check_arguments(locals())
        self.head, self.link, self.overlap = head, link, overlap
        self.overlap_threshold, self.overlap_k = overlap_threshold, overlap_k
        self.labels, self.schedule, self.display, self.name = labels, schedule, display, name
        self.thresholds = chosen_thresholds(thresholds, thresholds_file)
        """Those that hold, wherever they were given."""
        self._state_key = self._generate_state_key(head=head, name=name)  # Lightning asks for it at every hook
        self.last_report: dict[str, GapReport] = {}
        """The last report of each stage: "train", "val", "test"; of one of several loaders, "val/dataloader_idx_0"."""
        self._watch: HeadWatch | None = None
        self._tracked: Tensor | None = None
        self._steps = StepCounter()
        self._clock = WindowClock(schedule.train_every_n_steps, schedule.train_batches, self.thresholds.min_inputs)
        self._batches_of_fit, self._batches_started = math.inf, 0
        self._overhead = Overhead()
        self._alerts: dict[str, AlertCounter] = {}
        self._pages = Pages(display, self.thresholds, name, self._tell_of_glyphs)
        self._publisher = Publisher(link, name, self._pages, warn=self._warn, inform=self._inform)
        self._budget = Budget(self._overhead, display.max_overhead)
        self._undrawn: list[GapReport] = []
        """The last reports, if their pictures have not been drawn."""
        self._said: set[str] = set()

    # Coming and going

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._attach(trainer, pl_module)

    @override
    @_harmless
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self._steps.start_fit(trainer.global_step, len(trainer.optimizers)):  # another fit than the last one
            self._clock.start_fit(self._steps.step)
            self._alerts.clear()
            self._publisher.watched.clear()
            self._pages.order = None
            self._tracked = self._head_watch.tracked = None
        self._clock.drop_window(self._steps.step)
        step, accumulate = self._steps.step, trainer.accumulate_grad_batches
        self._batches_started = step * accumulate
        # `max_steps` counts the steps of all optimizers, of which a batch takes one each.
        max_steps = trainer.max_steps // max(1, len(trainer.optimizers))
        per_epoch = trainer.num_training_batches
        self._batches_of_fit = batches_of_fit(per_epoch, trainer.max_epochs, max_steps, accumulate)
        next_report = self._clock.next_report(step, step * accumulate, self._batches_of_fit, accumulate, per_epoch)
        clock = self._clock
        unless = f", later if {clock.num_batches} batches have fewer than {clock.min_inputs} inputs" if clock.is_curious else ""
        self._announce(f"next report at step {next_report}{unless}")

    @override
    @_harmless
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._steps.finish_fit(trainer.global_step, manual=not pl_module.automatic_optimization)
        self._draw(trainer, at_the_end=True)
        if self.display.projector:
            self._project(trainer)

    @override
    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._detach()

    @override
    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._detach()

    # Training

    @override
    @_harmless
    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        step = self._steps.start_batch(trainer.global_step, manual=not pl_module.automatic_optimization)
        done = self._batches_done(trainer, batch_idx)
        self._batches_started += 1
        if self._clock.start_batch(step, done, self._batches_of_fit, trainer.num_training_batches):
            if not self._head_watch.is_open("train"):
                self._budget.begin("window")
            if self._clock.is_optional and not self._clock.decide(stays=self._affords_window(trainer)):
                return
            self._head_watch.begin_batch("train", batch, step)

    @override
    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        if self._clock.batches_left:
            self._look_at_train_batch()  # here the weights are still those of the forward pass

    @override
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._clock.batches_left:
            self._end_train_batch(trainer)

    @_harmless
    def _look_at_train_batch(self) -> None:
        self._head_watch.look("train")

    @_harmless
    def _end_train_batch(self, trainer: pl.Trainer) -> None:
        self._head_watch.end_batch("train")
        if self._clock.is_new and not self._clock.fix_length(self._inputs_of_all(trainer)):
            self._head_watch.drop("train")
        elif self._clock.finish_batch():
            self._report(trainer, "train")
            self._budget.finish("window")
            if not trainer.enable_validation:
                self._draw(trainer)

    # Validation and test

    @override
    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.schedule.validation and not trainer.sanity_checking:
            self._begin_run(trainer, pl_module, "val")

    @override
    @_harmless
    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._head_watch.begin_batch(self._window(trainer, "val", dataloader_idx), batch)

    @override
    @_harmless
    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._head_watch.end_batch(self._window(trainer, "val", dataloader_idx))

    @override
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or not self.schedule.validation:
            return
        self._report_validation(trainer)
        if self._watch is None:  # switched off; who watches a key must find it all the same
            self._publisher.publish_nothing(trainer.callback_metrics, self._loaders(trainer, "val"))

    @_harmless
    def _report_validation(self, trainer: pl.Trainer) -> None:
        self._report(trainer, "val")
        self._budget.finish("validation")
        self._draw(trainer, at_the_end=trainer.state.fn != "fit")

    @override
    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.schedule.test:
            self._begin_run(trainer, pl_module, "test")

    @override
    @_harmless
    def on_test_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._head_watch.begin_batch(self._window(trainer, "test", dataloader_idx), batch)

    @override
    @_harmless
    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._head_watch.end_batch(self._window(trainer, "test", dataloader_idx))

    @override
    @_harmless
    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._report(trainer, "test")
        self._draw(trainer, at_the_end=True)

    # State: builtins only, equal on all processes

    @property
    @override
    def state_key(self) -> str:
        return self._state_key

    @override
    def state_dict(self) -> dict[str, Any]:
        return {
            "step": self._steps.step,
            "global_step": self._steps.global_step,
            "in_batch": self._steps.in_batch,
            "next_due": self._clock.next_due,
            "inputs_per_batch": self._clock.inputs_per_batch,
            "inputs_of_last": self._clock.inputs_of_last,
            "alerts": {window: counter.state() for window, counter in self._alerts.items()},
            "tracked": None if self._tracked is None else self._tracked.tolist(),
            "order": self._pages.order,
            "watched": {tags: dict(values) for tags, values in self._publisher.watched.items()},
        }

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        state = {**self.state_dict(), **state_dict}  # an older version may have saved less
        self._steps.step, self._steps.global_step = state["step"], state["global_step"]
        self._steps.in_batch = state["in_batch"]
        self._clock.next_due = state["next_due"]
        self._clock.inputs_per_batch, self._clock.inputs_of_last = state["inputs_per_batch"], state["inputs_of_last"]
        for window, counts in state["alerts"].items():
            self._alerts[window] = AlertCounter(self.thresholds)
            self._alerts[window].restore(counts)
        self._tracked = None if state["tracked"] is None else torch.tensor(state["tracked"])
        self._pages.order = state["order"]
        self._publisher.watched = {tags: dict(values) for tags, values in state["watched"].items()}

    # What the hooks call

    @property
    def _head_watch(self) -> HeadWatch:
        assert self._watch is not None, "hooks run without a head"  # `_harmless` does not let them
        return self._watch

    def _attach(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Find the head and put the hook on it. What the user configured wrongly is raised here, before anything runs."""
        self._detach()
        self._overhead = Overhead()
        self._budget = Budget(self._overhead, self.display.max_overhead)
        self._undrawn = []
        self._publisher.start()
        self._said.clear()
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        if any(isinstance(other, LabelSimilarityMonitor) and other.name == self.name for other in callbacks if other is not self):
            remedy = "Give each monitor a `name=`, which goes into its tags."
            raise ConfigError(expected("name", "to be different for every monitor of a Trainer", repr(self.name), remedy))
        head = find_head(pl_module, self.head)
        self._watch = HeadWatch(
            head,
            labels=self.labels,
            overlap=Overlap.of(
                head.num_labels, kind=self.overlap, link=self.link, threshold=self.overlap_threshold, k=self.overlap_k
            ),
            max_inputs=self.schedule.max_inputs_per_batch,
            tracked=self._tracked,
            warn=self._warn,
        )
        for text in idle_alerts(self.thresholds, self.link, self.schedule, head.num_labels):
            self._warn(text)

    def _detach(self) -> None:
        if self._watch is not None:
            self._watch.detach()
            self._watch = None

    def _begin_run(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """A validation or test run begins, within a fit or alone."""
        if self._watch is None and trainer.state.fn != "fit":
            self._attach(trainer, pl_module)
            self._announce(f"report at the end of the {stage} run")
        self._open(trainer, stage)

    @_harmless
    def _open(self, trainer: pl.Trainer, stage: str) -> None:
        self._budget.begin("validation")
        for dataloader_idx in self._loaders(trainer, stage):
            self._head_watch.open(f"{stage}{suffix(dataloader_idx)}", self._steps.step)

    def _loaders(self, trainer: pl.Trainer, stage: str) -> list[int | None]:
        """The loaders of a validation or test run that have reports of their own; None: all have one together."""
        num_batches = trainer.num_test_batches if stage == "test" else trainer.num_val_batches
        return list(range(len(num_batches))) if self.display.per_dataloader and len(num_batches) > 1 else [None]

    def _window(self, trainer: pl.Trainer, stage: str, dataloader_idx: int) -> str:
        """The window that a batch of a validation or test run is in."""
        alone = self._loaders(trainer, stage) == [None]
        return stage if alone else f"{stage}{suffix(dataloader_idx)}"

    def _batches_done(self, trainer: pl.Trainer, batch_idx: int) -> int:
        per_epoch = trainer.num_training_batches
        if math.isinf(per_epoch):
            return self._batches_started
        return trainer.current_epoch * int(per_epoch) + batch_idx

    def _report(self, trainer: pl.Trainer, stage: str) -> None:
        """Report on every open window of a stage."""
        for dataloader_idx in [None] if stage == "train" else self._loaders(trainer, stage):
            window = f"{stage}{suffix(dataloader_idx)}"
            if not self._head_watch.is_open(window):
                continue
            report = self._head_watch.close(window, functools.partial(trainer.strategy.reduce, reduce_op="sum"))
            self._tracked = self._head_watch.tracked
            scalars = {**report.scalars, "overhead_fraction": self._overhead.share(window)}
            where: dict[str, Any] = {"stage": stage, "step": self._steps.step, "dataloader_idx": dataloader_idx}
            self._publish(trainer, window, judged(replace(report, scalars=scalars, **where), self.thresholds))

    def _publish(self, trainer: pl.Trainer, window: str, report: GapReport) -> None:
        """Keep a report, show it to all who read it, and let alerts act."""
        # What others act on is the same on all processes, to the last digit.
        scalars, values = trainer.strategy.broadcast((report.scalars, alert_values(report, self.thresholds)))
        # A run of its own makes one report, and takes no part in what a fit counts.
        counter = AlertCounter(self.thresholds)
        counter = self._alerts.setdefault(window, counter) if trainer.state.fn == "fit" else counter
        acting = counter.observe(values, report.step)
        report = replace(report, scalars=scalars, alerts=tuple(map(in_words, acting)))
        self.last_report[window] = report
        if report.stage != "train" or not trainer.enable_validation:
            same = (report.stage, report.step)
            self._undrawn = [*(other for other in self._undrawn if (other.stage, other.step) == same), report]
        self._publisher.publish(report, trainer.loggers if trainer.is_global_zero else (), trainer.callback_metrics)
        self._act(trainer, report, [breach.alert.action for breach in acting])

    def _draw(self, trainer: pl.Trainer, *, at_the_end: bool = False) -> None:
        """Draw the last reports, unless that is done, or costs more than it may; on one process, which nobody waits for."""
        if not self._undrawn or not trainer.is_global_zero or not (at_the_end or self._budget.allows("pictures")):
            return
        self._budget.begin("pictures")
        reports, self._undrawn = self._undrawn, []
        for report in reports:
            self._publisher.publish_pictures(report, trainer.loggers)
        self._budget.finish("pictures")

    def _project(self, trainer: pl.Trainer) -> None:
        """Write the rows of the labels of the last report for a projector."""
        report = next((self.last_report[stage] for stage in ("val", "train") if stage in self.last_report), None)
        if report is not None and trainer.is_global_zero:
            rows = self._head_watch.head.unembedding[list(report.labels)]
            self._publisher.publish_projection(rows, report, trainer.loggers)

    def _affords_window(self, trainer: pl.Trainer) -> bool:
        """Whether a training window fits into its share of the time; one process decides for all."""
        return self.display.max_overhead is None or bool(trainer.strategy.broadcast(self._budget.allows("window")))

    def _act(self, trainer: pl.Trainer, report: GapReport, actions: Sequence[Action]) -> None:
        """Do what the alerts of a report are there for."""
        where = f"{group(report.stage, self.name)}{suffix(report.dataloader_idx)}"
        texts = [f"alert of {where} at step {report.step}: {alert}" for alert in report.alerts]
        for text in texts:
            self._warn(text)
        if "stop" in actions:
            trainer.should_stop = True
        if "raise" in actions:
            raise AlertRaised(texts[actions.index("raise")])

    def _inputs_of_all(self, trainer: pl.Trainer) -> int:
        """What the window of this training has been shown by all processes."""
        mine = torch.tensor(self._head_watch.num_looked_at["train"], device=trainer.strategy.root_device)
        return int(trainer.strategy.reduce(mine, reduce_op="sum"))

    def _announce(self, what_next: str) -> None:
        head = self._head_watch.head
        tags = group("*", self.name)
        self._inform(f"watching {head}; {self.link} of its own output; {what_next}; tags {tags}")

    def _tell_of_glyphs(self) -> None:
        self._warn("some names have characters that the font of pictures lacks: boxes stand in their place")

    def _inform(self, text: str) -> None:
        rank_zero_info(f"LabelSimilarityMonitor: {text}")

    def _warn(self, text: str) -> None:
        if text in self._said:
            return
        self._said.add(text)
        text = f"LabelSimilarityMonitor: {text}"
        try:
            rank_zero_warn(text)
        except Warning:  # the user turned warnings into errors; what we have to say must not end the run all the same
            _logger.warning(text)
