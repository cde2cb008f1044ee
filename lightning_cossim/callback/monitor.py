"""LabelSimilarityMonitor: the hooks. The only module that imports Lightning.

A hook decides whether anything is due and hands on: `WindowClock` knows when, `Collector` sees and adds up, `ReportQueue` shows.
A failure in one ends the monitor, never the run; where several processes train, on all of them at the same report.
"""

import contextlib
import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, Final, ParamSpec

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor
from typing_extensions import override

from lightning_cossim.callback.arguments import check_arguments, chosen_thresholds, idle_alerts
from lightning_cossim.callback.audit import Audit, audit_of
from lightning_cossim.callback.deferred import Deferred
from lightning_cossim.callback.fit_length import FitEnd
from lightning_cossim.callback.messages import Messages
from lightning_cossim.callback.other_process import Handover
from lightning_cossim.callback.report_queue import ReportQueue
from lightning_cossim.callback.schedule import StepCounter, WindowClock
from lightning_cossim.callback.session import Session
from lightning_cossim.capture.collector import CopiedHead, ObservedHead
from lightning_cossim.capture.distributed import Processes
from lightning_cossim.capture.find import why_untrained
from lightning_cossim.capture.head_settings import HeadSettings
from lightning_cossim.capture.taps import Source
from lightning_cossim.config.settings import Display, LabelSelection, Schedule
from lightning_cossim.config.thresholds import Thresholds, ThresholdsFile
from lightning_cossim.config.types import Number, WholeFrom2
from lightning_cossim.errors import AlertError, ConfigError, DistributedError, expected, in_one_line
from lightning_cossim.functional.links import Link
from lightning_cossim.functional.overlap import OverlapKind
from lightning_cossim.loggers.pages import Pages
from lightning_cossim.loggers.publisher import Publisher
from lightning_cossim.loggers.tags import group, window_tag
from lightning_cossim.report import GapReport, WindowKey
from lightning_cossim.report.alerts import AlertBook, Breach
from lightning_cossim.report.alerts import in_words as breach_in_words

__all__ = ["LabelSimilarityMonitor"]

_logger = logging.getLogger(__name__)
_P = ParamSpec("_P")
_TRAIN: Final = WindowKey("train")


def _harmless(
    hook: Callable[Concatenate["LabelSimilarityMonitor", Session, _P], None],
) -> Callable[Concatenate["LabelSimilarityMonitor", _P], None]:
    """The hook, timed as overhead and not called without a session; if it fails, the monitor goes and the run goes on."""

    @functools.wraps(hook)
    def guarded(self: "LabelSimilarityMonitor", /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        session = self._session
        if session is None:
            return
        session.overhead.enter()
        try:
            hook(self, session, *args, **kwargs)
        except AlertError:  # what the user asked for
            raise
        except Exception as error:
            _logger.debug("The failure that ends the monitor:", exc_info=True)
            self._fail(session, error)
        finally:
            session.overhead.leave()

    return guarded


def _inform(text: str) -> None:
    rank_zero_info(text)


def _warn(text: str) -> None:
    rank_zero_warn(text)


class LabelSimilarityMonitor(Callback):
    """Watches the final linear layer of a classifier and logs where cosine similarity and probability overlap part.

    In windows of training batches and over every validation and test run it gathers the head's weights, embeddings and logits,
    forms a `GapReport` and logs its scalars as `cossim_train/…`, `cossim_val/…` and `cossim_test/…` to every logger, at the x of
    the user's own `self.log`. The headline is `rank_agreement_centered_cosine`: how far the cosines put pairs of labels in the
    order of their overlap. Validation scalars are also in `trainer.callback_metrics`, for callbacks of your own. None of them is
    a target to select a checkpoint by: they describe a model, and a smaller gap is no better model. Pairs beyond the thresholds
    are flagged, and alerts warn, stop the fit or raise. Training with it is bit for bit the training without it. Where a step
    calls the head several times, its last call counts.

    Args:
        head: dotted path of the final linear layer in the LightningModule, "model.fc" for example, or of what holds the rows of a
            cosine head; default: found by itself.
        link: from the head to probabilities: "softmax"; "softcap", where a tanh bends the logits before it; "cosine", where they
            are cosines times a scale (ArcFace and its like, whose margins are no part of it); or "sigmoid" for labels that do
            not exclude one another (multi-label).
        overlap: which probability overlap: "bhattacharyya", "product", "coactivation" or "topk".
        overlap_threshold: for "coactivation", above 0 and, unless under a sigmoid, below 0.5; default 0.1.
        overlap_k: for "topk", from 2 to K - 1; default max(2, min(5, K // 5)).
        link_cap: of "softcap", the number that no logit gets beyond; default: the cap in the model's config.
        link_scale: of "cosine", what cosines are multiplied with; default: `scale` or `s` of the head, a number or one that is
            learned.
        embeddings_from: where the head is not called (`F.linear(x, embed.weight)`, a fused loss): dotted path of the module whose
            output goes into it, or a function that gets it from the LightningModule after its forward pass. Logits are then
            worked out from the head's weights, for the inputs that are looked at.
        logits_from: needed if the model changes its logits after the head (it pools, scales or masks them) and `link` does not
            cover the change. Dotted path of the module whose output is the final logits or has them as `.logits`; "forward" for
            the LightningModule's own `forward`; or a function of the LightningModule that returns them after its forward pass.
            Overlaps are then those of these logits, whatever the head was called with.
        labels: a name for every row of the head, in order; or a `LabelSelection`, of `names`, `ignore`, `max_tracked`,
            `labels_per_input`, `min_probability`, `ignore_index`, `targets_key` and `shift_targets`: which labels and inputs
            count, and what labels are called.
        schedule: when it looks and how much it looks at.
        thresholds: from which gap on a pair is flagged, and which alerts there are.
        thresholds_file: a YAML file with the thresholds instead, as `lightning-cossim config` prints one; in the configuration of
            a LightningCLI relative to the file that names it.
        display: what is shown beside curves, and the share of the time that it may take.
        name: puts everything under `cossim_<name>_…`; needed where several monitors share a Trainer.

    Raises:
        InputError: an unknown link or overlap, a cap or a scale that is not positive or of another link; at the start of the fit:
            one that is needed and nowhere to be found, a threshold or k out of range.
        HeadError: at the start of the fit: no final linear layer is found, or several that are equally good.
        ConfigError: an argument of the wrong type, thresholds that are wrong or given twice; at the start of the fit: labels or
            names that do not fit the head, or two monitors of one name.
        AlertError: in training, validation or test: an alert with `action="raise"` acts.

    Example:
        >>> from lightning_cossim import LabelSimilarityMonitor
        >>> monitor = LabelSimilarityMonitor(labels=["cat", "dog", "horse"])

        Pass it as `Trainer(callbacks=[monitor])`; after the fit, `print(monitor.last_report["val"])`.
    """

    def __init__(
        self,
        head: str | None = None,
        *,
        link: Link = "softmax",
        overlap: OverlapKind = "bhattacharyya",
        overlap_threshold: Number | None = None,
        overlap_k: WholeFrom2 | None = None,
        link_cap: Number | None = None,
        link_scale: Number | None = None,
        embeddings_from: Source | None = None,
        logits_from: Source | None = None,
        labels: LabelSelection | Sequence[str] = LabelSelection(),
        schedule: Schedule = Schedule(),
        thresholds: Thresholds = Thresholds(),
        thresholds_file: ThresholdsFile | None = None,
        display: Display = Display(),
        name: str | None = None,
    ) -> None:
        check_arguments(locals())
        self.head, self.link, self.overlap = head, link, overlap
        self.overlap_threshold, self.overlap_k = overlap_threshold, overlap_k
        self.link_cap, self.link_scale = link_cap, link_scale
        self.embeddings_from, self.logits_from = embeddings_from, logits_from
        self._settings = HeadSettings(
            head=head,
            link=link,
            link_cap=link_cap,
            link_scale=link_scale,
            overlap=overlap,
            overlap_threshold=overlap_threshold,
            overlap_k=overlap_k,
            embeddings_from=embeddings_from,
            logits_from=logits_from,
        )
        self.labels = labels if isinstance(labels, LabelSelection) else LabelSelection(names=labels)
        self.schedule, self.display, self.name = schedule, display, name
        self.thresholds = chosen_thresholds(thresholds, thresholds_file)
        """Those that hold, wherever they were given."""
        self._state_key = self._generate_state_key(head=head, name=name)  # Lightning asks for it at every hook
        self._messages = Messages(_inform, _warn)
        self._deferred = Deferred(schedule, self.labels.ignore, self._messages)
        self._alerts = AlertBook(self.thresholds)
        pages = Pages(display, name, lacks_glyphs=self._warn_of_glyphs)
        self._publisher = Publisher(link, name, pages, warn=self._messages.warn, inform=self._messages.inform)
        self._queue = ReportQueue(self._publisher, has_tab=display.tab, is_due_at_end=self._deferred.is_due_for)
        self._session: Session | None = None
        self._observed: ObservedHead | CopiedHead | None = None
        """What the last session observed."""
        self._handover = Handover()
        self._steps = StepCounter()
        self._clock = WindowClock(schedule.train_every_n_steps, schedule.train_batches, self.thresholds.min_inputs)
        self._fit_end = FitEnd()

    # Coming and going

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._attach(trainer, pl_module)

    @override
    @_harmless
    def on_train_start(self, session: Session, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self._steps.start_fit(trainer.global_step, len(trainer.optimizers)):  # another fit than the last one
            self._clock.start_fit(self._steps.step)
            self._alerts.start_fit()
            self._publisher.start_fit()
        self._clock.drop_window(self._steps.step)
        self._fit_end.start_fit(is_alone=session.processes.num == 1)
        next_report = self._next_report(trainer, manual=not pl_module.automatic_optimization)
        clock = self._clock
        unless = f", later if {clock.num_batches} batches have fewer than {clock.min_inputs} inputs" if clock.is_curious else ""
        self._announce(session, f"next report at step {next_report}{unless}")

    @override
    @_harmless
    def on_train_end(self, session: Session, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._close_early(session, trainer)
        self._steps.finish_fit(trainer.global_step, manual=not pl_module.automatic_optimization)
        self._queue.refine(self._deferred.with_errors(session, self._queue.of_run()))
        self._queue.replace(self._deferred.after_fit(session, trainer, self._queue.of_run()))
        self._queue.draw(trainer, session.budget, at_the_end=True)
        if self.display.projector:
            self._queue.project(trainer, session.collector.head.unembedding)

    @override
    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._detach()
        self._hand_over(trainer)

    @override
    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._record_rest(trainer)
        self._detach()

    @_harmless
    def _record_rest(self, session: Session, trainer: pl.Trainer) -> None:
        self._queue.record(trainer, session.budget, at_the_end=True)

    # Training: a step that is not due passes through the first hook only

    @override
    @_harmless
    def on_train_batch_start(
        self, session: Session, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        manual = not pl_module.automatic_optimization
        step = self._steps.start_batch(trainer.global_step, manual=manual)
        left = self._fit_end.batches_left(trainer, batch_idx, self._steps, manual=manual)
        if self._clock.start_batch(step, left, batch_idx, self._fit_end.per_epoch):
            if self._clock.has_opened:
                session.budget.begin("window")
            if self._clock.is_optional and not self._clock.decide(stays=session.affords_window()):
                return
            session.alone(lambda: self._begin_train_batch(session, batch, step))

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

    def _begin_train_batch(self, session: Session, batch: Any, step: int) -> None:
        if not session.collector.is_open(_TRAIN):
            session.open(_TRAIN, step)
        session.collector.begin_batch(_TRAIN, batch)

    @_harmless
    def _look_at_train_batch(self, session: Session) -> None:
        session.look(_TRAIN)

    @_harmless
    def _end_train_batch(self, session: Session, trainer: pl.Trainer) -> None:
        session.end_batch(_TRAIN)
        if self._clock.is_new and not self._clock.fix_length(self._inputs_of_all(session)):
            session.collector.drop(_TRAIN)
        elif self._clock.finish_batch():
            self._close_train_window(session, trainer)

    def _close_train_window(self, session: Session, trainer: pl.Trainer) -> None:
        self._report(session, trainer, [_TRAIN])
        session.budget.finish("window")
        self._queue.record(trainer, session.budget)
        if not trainer.enable_validation:
            self._queue.draw(trainer, session.budget)

    def _close_early(self, session: Session, trainer: pl.Trainer) -> None:
        """Report on a window that the end of the fit cuts short, where it has seen anything."""
        if self._clock.batches_left and self._inputs_of_all(session):
            self._close_train_window(session, trainer)

    # Validation and test

    @override
    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._reports_on(trainer, "val"):
            self._begin_run(trainer, pl_module, "val")

    @override
    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if self._reports_on(trainer, "val"):
            self._begin_batch(trainer, "val", batch, dataloader_idx)

    @override
    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._reports_on(trainer, "val"):
            self._end_batch(trainer, "val", dataloader_idx)

    @override
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._reports_on(trainer, "val"):
            self._end_run(trainer, "val", at_the_end=trainer.state.fn != "fit")
            if self._session is None:  # switched off; who watches a key must find it all the same
                self._publisher.publish_nothing(self._windows(trainer, "val"), trainer.callback_metrics)

    @override
    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._reports_on(trainer, "test"):
            self._begin_run(trainer, pl_module, "test")

    @override
    def on_test_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if self._reports_on(trainer, "test"):
            self._begin_batch(trainer, "test", batch, dataloader_idx)

    @override
    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._reports_on(trainer, "test"):
            self._end_batch(trainer, "test", dataloader_idx)

    @override
    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._reports_on(trainer, "test"):
            self._end_run(trainer, "test", at_the_end=True)

    # What the two have in common: a run of a stage, within a fit or alone

    def _reports_on(self, trainer: pl.Trainer, stage: str) -> bool:
        return self.schedule.test if stage == "test" else self.schedule.validation and not trainer.sanity_checking

    def _begin_run(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self._session is None and trainer.state.fn != "fit":
            self._attach(trainer, pl_module)
            assert self._session is not None, "attached"
            self._announce(self._session, f"report at the end of the {stage} run")
        self._open(trainer, stage)

    @_harmless
    def _open(self, session: Session, trainer: pl.Trainer, stage: str) -> None:
        session.budget.begin("validation")
        for key in self._windows(trainer, stage):
            session.alone(functools.partial(session.open, key, self._steps.step))

    @_harmless
    def _begin_batch(self, session: Session, trainer: pl.Trainer, stage: str, batch: Any, dataloader_idx: int) -> None:
        session.alone(lambda: session.collector.begin_batch(self._window(trainer, stage, dataloader_idx), batch))

    @_harmless
    def _end_batch(self, session: Session, trainer: pl.Trainer, stage: str, dataloader_idx: int) -> None:
        session.end_batch(self._window(trainer, stage, dataloader_idx))

    @_harmless
    def _end_run(self, session: Session, trainer: pl.Trainer, stage: str, *, at_the_end: bool) -> None:
        self._report(session, trainer, self._windows(trainer, stage))
        if at_the_end:
            self._queue.refine(self._deferred.with_errors(session, self._queue.of_run()))
        self._queue.replace(self._deferred.after_run(session, trainer, self._queue.of_run(), ends=at_the_end))
        session.budget.finish("validation")
        self._queue.draw(trainer, session.budget, at_the_end=at_the_end)

    # State: builtins only, equal on all processes; each owner has its own

    @property
    @override
    def state_key(self) -> str:
        return self._state_key

    @property
    def _owners(self) -> dict[str, Any]:
        return {"steps": self._steps, "clock": self._clock, "alerts": self._alerts, "publisher": self._publisher}

    @override
    def state_dict(self) -> dict[str, Any]:
        return {name: owner.state_dict() for name, owner in self._owners.items()}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if not self._owners.keys() <= state_dict.keys():
            self._messages.inform("the checkpoint is of another version: counts of alerts and the schedule begin anew")
            return
        for name, owner in self._owners.items():
            owner.load_state_dict(state_dict[name])

    # For the user, after a run or in it

    @property
    def last_report(self) -> dict[str, GapReport]:
        """The last report of each stage: "train", "val", "test"; of one of several loaders, "val/dataloader_idx_0"."""
        self._take_over()
        return {str(key): report for key, report in self._queue.last.items()}

    def audit(self, label: int | str | None = None, other: int | str | None = None) -> Audit:
        """The paper's point on the head that was watched last: one vector added to all rows of a copy makes the raw cosine of two
        labels -1, another one 1, and no probability moves.

        Args:
            label: a label, by its row in the head or its name; default the two that overlap most in the last report.
            other: another one, whose row differs.

        Returns:
            The cosines, and the largest change of a probability over the inputs that were looked at last (inputs drawn at
            random, if none were). The model itself is not touched. Of a sharded head, every process has to call it.

        Raises:
            InputError: there was no run, the link is no softmax, the model changes its logits after the head, or the labels are
                no pair with different rows.

        Source: Nielsen, arXiv 2603.29488, Lemmas 2.2 and 2.3.
        """
        self._take_over()
        observed = self._observed if self._session is None else self._session.collector.observed()
        return audit_of(observed, self.link, self._queue.last.values(), label, other)

    # What the hooks call

    def _attach(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Find the head and put the hook on it. What the user configured wrongly is raised here, before anything runs."""
        self._detach()
        self._take_over()
        self._queue.start_run()
        self._publisher.start_run()
        self._messages.start_run()
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        if any(isinstance(other, LabelSimilarityMonitor) and other.name == self.name for other in callbacks if other is not self):
            remedy = "Give each monitor a `name=`, which goes into its tags."
            raise ConfigError(expected("name", "to be different for every monitor of a Trainer", repr(self.name), remedy))
        build = functools.partial(
            self._settings.collector,
            pl_module,
            max_inputs=self.schedule.max_inputs_per_batch,
            summarize=self._deferred.summarized(trainer),
            warn=self._messages.warn,
            inform=self._messages.inform_once,
        )
        processes = Processes(trainer.strategy, trainer.world_size, trainer.global_rank)
        self._session = Session(build, self.labels, processes, self.display.max_overhead)
        head = self._session.collector.head
        self.thresholds.check_known(self._session.collector.names)
        num_live = head.num_labels - len(self.labels.ignore)
        self._clock.aim_at(self.thresholds.inputs_needed(min(num_live, self.labels.max_tracked)))
        groups = [group for optimizer in trainer.optimizers for group in getattr(optimizer, "param_groups", ())]
        trained = {id(one) for group in groups for one in group.get("params", ())}
        untrained = why_untrained(pl_module, head, trained)
        if untrained is not None:
            self._messages.warn(untrained)
        for text in idle_alerts(self.thresholds, self.link, self.schedule, head.num_labels):
            self._messages.warn(text)

    def _detach(self) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            session.end()
            with contextlib.suppress(Exception):  # what ended the run may have left the device unusable
                self._observed = session.collector.observed()

    def _fail(self, session: Session, error: Exception) -> None:
        """Something went wrong: end the monitor. Not while other processes go on, and would wait for this one's next report."""
        if session.processes.num > 1 and not isinstance(error, DistributedError):
            session.fail(error)
            return
        self._detach()
        what = str(error) if isinstance(error, DistributedError) else in_one_line(error)
        self._messages.warn(f"switched off, training goes on without it, after {what}")

    def _hand_over(self, trainer: pl.Trainer) -> None:
        """In a process that Lightning started: leave what the caller's monitor will be asked for."""
        if not self._handover.is_away or trainer.local_rank:
            return
        copied = self._observed.copied() if isinstance(self._observed, ObservedHead) and self._session is None else None
        try:
            self._handover.leave((self._queue.last, copied, self.state_dict()))
        except Exception as error:  # noqa: BLE001 - a full disk, for example, and the run goes on
            self._messages.warn(f"reports stay in the processes of the run, after {in_one_line(error)}")

    def _take_over(self) -> None:
        """Go on from what a monitor in another process has left, if any has."""
        left = self._handover.collect()
        if left is not None:
            reports, copied, state = left
            self._queue.last.update(reports)
            self._observed = copied or self._observed
            self.load_state_dict(state)

    def _windows(self, trainer: pl.Trainer, stage: str) -> list[WindowKey]:
        """The windows of a validation or test run: one for each of its loaders, or one for all of them together."""
        num_batches = trainer.num_test_batches if stage == "test" else trainer.num_val_batches
        if self.display.per_dataloader and len(num_batches) > 1:
            return [WindowKey(stage, dataloader_idx) for dataloader_idx in range(len(num_batches))]
        return [WindowKey(stage)]

    def _window(self, trainer: pl.Trainer, stage: str, dataloader_idx: int) -> WindowKey:
        """The window that a batch of a validation or test run is in."""
        windows = self._windows(trainer, stage)
        return windows[dataloader_idx] if len(windows) > 1 else windows[0]

    def _next_report(self, trainer: pl.Trainer, *, manual: bool) -> int:
        """The step of the first report of a fit that starts, or goes on in the middle of an epoch."""
        loop = trainer.fit_loop
        batch_idx = loop.batch_idx + 1 if loop.restarting else 0
        batch_idx = batch_idx if batch_idx < trainer.num_training_batches else 0
        left = self._fit_end.batches_left(trainer, batch_idx, self._steps, manual=manual, has_started=False)
        accumulate = trainer.accumulate_grad_batches
        return self._clock.next_report(self._steps.step, left, accumulate, batch_idx, self._fit_end.per_epoch)

    def _report(self, session: Session, trainer: pl.Trainer, windows: Sequence[WindowKey]) -> None:
        """Report on those of some windows that are open."""
        session.check()
        for key in windows:
            if session.collector.is_open(key):
                self._report_on(session, trainer, key)

    def _report_on(self, session: Session, trainer: pl.Trainer, key: WindowKey) -> None:
        """Make a report, each part by its owner, and hand it on."""
        report, acting = session.report(key, self._steps.step, self.thresholds, self._alerts, counts=trainer.state.fn == "fit")
        self._queue.add(trainer, report)
        self._hand_over(trainer)  # now: an alert, or a failure of somebody else, may be what comes next
        self._act(trainer, f"{window_tag(key, self.name)} at step {report.step}", acting)

    def _act(self, trainer: pl.Trainer, where: str, acting: Sequence[Breach]) -> None:
        """Do what alerts are there for."""
        texts = [f"alert of {where}: {breach_in_words(breach)}" for breach in acting]
        for text in texts:
            self._messages.warn(text)
        actions = [breach.alert.action for breach in acting]
        if "stop" in actions:
            trainer.should_stop = True
        if "raise" in actions:
            raise AlertError(texts[actions.index("raise")])

    def _warn_of_glyphs(self) -> None:
        self._messages.warn("some names have characters that the font of pictures lacks: boxes stand in their place")

    def _inputs_of_all(self, session: Session) -> int:
        """What the window of this training has been shown by all processes."""
        return sum(session.processes.each(session.collector.num_looked_at.get(_TRAIN, 0)))

    def _announce(self, session: Session, what_next: str) -> None:
        what = self._settings.describe(session.collector.head)
        counted = session.collector.targets.in_words
        what = what if counted is None else f"{what}; {counted}"
        self._messages.inform(f"watching {what}; {what_next}; tags {group('*', self.name)}")
