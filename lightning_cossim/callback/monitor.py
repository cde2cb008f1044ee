"""The callback `LabelSimilarityMonitor` and its Lightning hooks. Only this module and the demo import Lightning.

A hook decides whether work is due and passes it on: `WindowClock` knows when, `Collector` reads the head and adds up, and
`ReportQueue` shows reports. If one of them fails, the monitor stops and the run continues. With several processes, the monitor
stops on all of them at the same report.
"""

import contextlib
import functools
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
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
from lightning_cossim.callback.loaders import Places
from lightning_cossim.callback.messages import Messages
from lightning_cossim.callback.other_process import Handover
from lightning_cossim.callback.report_queue import LastReports, ReportQueue
from lightning_cossim.callback.schedule import StepCounter, WindowClock
from lightning_cossim.callback.session import Session
from lightning_cossim.capture.collector import CopiedHead, ObservedHead
from lightning_cossim.capture.distributed import Processes
from lightning_cossim.capture.find import why_untrained
from lightning_cossim.capture.head_settings import HeadSettings
from lightning_cossim.capture.hooks import all_or_none
from lightning_cossim.capture.taps import Source
from lightning_cossim.config.evidence import Evidence
from lightning_cossim.config.settings import Display, LabelSelection, Schedule
from lightning_cossim.config.thresholds import Thresholds, ThresholdsFile
from lightning_cossim.config.types import Number, WholeFrom2
from lightning_cossim.errors import (
    AlertError,
    ConfigError,
    DistributedError,
    HeadError,
    InputError,
    expected,
    in_one_line,
)
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
_DOCUMENTATION: Final = "docs/ of the repository, help(lightning_cossim)"


def _harmless(
    hook: Callable[Concatenate["LabelSimilarityMonitor", Session, _P], None],
) -> Callable[Concatenate["LabelSimilarityMonitor", _P], None]:
    """The hook with its time measured as overhead. Without a session it does nothing; if it fails, the monitor stops and the run
    continues.
    """

    @functools.wraps(hook)
    def guarded(self: "LabelSimilarityMonitor", /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        session = self._session
        if session is None:
            return
        try:
            with session.overhead:
                hook(self, session, *args, **kwargs)
        except AlertError:  # the user asked for it
            raise
        except Exception as error:
            _logger.debug("The failure that ends the monitor:", exc_info=True)
            self._fail(session, error)

    return guarded


def _raise(failure: Exception | None) -> None:
    if failure is not None:
        raise failure


def _inform(text: str) -> None:
    rank_zero_info(text)


def _warn(text: str) -> None:
    rank_zero_warn(text)


class LabelSimilarityMonitor(Callback):
    """A Lightning callback that shows where label cosine similarity disagrees with the model's probabilities.

    The monitor watches the final linear layer of a classifier, the head. During windows of training batches, and during every
    validation and test run, it collects the weights, embeddings and logits of the head. From these it makes a `GapReport` and
    logs its scalars to every logger, as `cossim_train/…`, `cossim_val/…` and `cossim_test/…`, with the same step values as your
    own `self.log`.

    - The headline is `rank_agreement_centered_cosine`, in [-1, 1]. It is 1 if cosines and overlaps put all pairs of labels in the
      same order.
    - The monitor flags pairs whose gap exceeds a threshold. Alerts warn, stop the fit or raise an error.
    - Validation scalars are also in `trainer.callback_metrics`, for your own callbacks. Do not select checkpoints by them: they
      describe a model, and a model with a smaller gap is not a better model.
    - The monitor does not change the training: with and without it, the weights are the same bit for bit.
    - If a step calls the head several times, only the last call counts.

    Args:
        head: dotted path of the final linear layer in the LightningModule, for example "model.fc", or of the module with the rows
            of a cosine head. Default: the monitor finds the layer.
        link: how the head's output becomes probabilities. "softmax"; "softcap": softmax after a tanh that caps the logits;
            "cosine": softmax of cosines times a scale, as in ArcFace, without its margins; "sigmoid": for multi-label models.
        overlap: kind of probability overlap: "bhattacharyya", "product", "coactivation" or "topk".
        overlap_threshold: threshold for "coactivation", above 0, and below 0.5 unless the link is "sigmoid"; default: 0.1.
        overlap_k: k for "topk", from 2 to K - 1; default: max(2, min(5, K // 5)).
        link_cap: cap for "softcap", above 0; all logits are between -cap and cap. Default: the cap in the model's config.
        link_scale: scale for "cosine", above 0; the logits are the cosines times this number. Default: the attribute `scale` or
            `s` of the head, a number or a learned parameter.
        embeddings_from: pass this if the model does not call the head (`F.linear(x, embed.weight)`, a fused loss). It is the
            dotted path of the module whose output is the head's input, or a function that gets the LightningModule after its
            forward pass and returns that input. The monitor then computes the logits from the head's weights, for the inputs that
            it compares.
        logits_from: pass this if the model changes its logits after the head (it pools, scales or masks them) and `link` does not
            cover the change. It is the dotted path of the module whose output is the final logits or has them as `.logits`;
            "forward", for the `forward` of the LightningModule; or a function that gets the LightningModule after its forward
            pass and returns the final logits. Overlaps then always come from these logits.
        labels: a name for every row of the head, in order; or a `LabelSelection` of labels and inputs, with `names`, `ignore`,
            `max_tracked`, `labels_per_input`, `min_probability`, `ignore_index`, `targets_key` and `shift_targets`. Default: the
            numbers of the rows, and all labels.
        schedule: when the monitor makes reports, and how many inputs it compares.
        thresholds: how large the gap of a flagged pair is, and which alerts there are.
        thresholds_file: YAML file with the thresholds, instead of `thresholds`. `lightning-cossim config` prints such a file. In
            a LightningCLI config, the path is relative to the config file.
        display: what the monitor shows beside the curves, and the share of the time that it can take.
        evidence: which inputs the monitor keeps for each pair of labels, and how it finds and shows them.
        name: part of all tags, `cossim_<name>_…`. Pass a different name for each monitor of a Trainer.

    Raises:
        InputError: when you create the monitor: an unknown link or overlap, or a cap or scale that is not positive or does not
            belong to the link. At the start of a run: a cap or scale is missing, or a threshold or k is out of range.
        HeadError: at the start of a run: the monitor finds no final linear layer, or several that are equally good; or a dotted
            path does not lead to a suitable module.
        ConfigError: when you create the monitor: an argument of the wrong type, or invalid or duplicate thresholds. At the start
            of a run: labels, names or known pairs that do not fit the head, or two monitors with the same name.
        AlertError: during a run: an alert with `action="raise"` acts.

    Example:
        >>> from lightning_cossim import LabelSimilarityMonitor
        >>> monitor = LabelSimilarityMonitor(labels=["cat", "dog", "horse"])

        Pass it to the Trainer: `Trainer(callbacks=[monitor])`. After the fit, `print(monitor.last_report["val"])` shows the
        report.

        With an explicit head, a training report every 500 steps and an alert:

        >>> from lightning_cossim import Alert, Schedule, Thresholds
        >>> alert = Alert("rank_agreement_centered_cosine", below=0.2, patience=3)
        >>> monitor = LabelSimilarityMonitor(
        ...     "model.fc", schedule=Schedule(train_every_n_steps=500), thresholds=Thresholds(alerts=[alert])
        ... )

    Source: Nielsen, arXiv 2603.29488; `docs/numbers.md` has the formulas.
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
        evidence: Evidence = Evidence(),
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
        self.schedule, self.display, self.evidence, self.name = schedule, display, evidence, name
        self.thresholds = chosen_thresholds(thresholds, thresholds_file)
        """The thresholds in use, from `thresholds` or `thresholds_file`."""
        self._state_key = self._generate_state_key(head=head, name=name)  # Lightning asks for it at every hook
        self._messages = Messages(_inform, _warn)
        self._deferred = Deferred(schedule, self.labels.ignore, self._messages)
        self._alerts = AlertBook(self.thresholds)
        pages = Pages(display, name, lacks_glyphs=self._warn_of_glyphs)
        self._publisher = Publisher(link, name, pages, warn=self._messages.warn, inform=self._messages.inform)
        self._queue = ReportQueue(self._publisher, has_tab=display.tab, is_due_at_end=self._deferred.is_due_for)
        self._session: Session | None = None
        self._observed: ObservedHead | CopiedHead | None = None
        """The head of the last session, and some of its inputs."""
        self._handover = Handover()
        self._steps = StepCounter()
        self._clock = WindowClock(schedule.train_every_n_steps, schedule.train_batches, self.thresholds.min_inputs)
        self._fit_end = FitEnd()
        self._places = Places()

    # Start and end of a run

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._attach(trainer, pl_module)

    @override
    @_harmless
    def on_train_start(self, session: Session, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self._steps.start_fit(trainer.global_step, len(trainer.optimizers)):  # a new fit, not a resumed one
            self._clock.start_fit(self._steps.step)
            self._alerts.start_fit()
            self._publisher.start_fit()
        self._clock.drop_window(self._steps.step)
        self._fit_end.start_fit(is_alone=session.processes.num == 1)
        self._places.start_fit(trainer.current_epoch if self._batches_before(trainer) else None)
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
        try:
            self._record_rest(trainer)
        finally:  # also at a second Ctrl-C
            self._detach()

    @_harmless
    def _record_rest(self, session: Session, trainer: pl.Trainer) -> None:
        self._queue.record(trainer, session.budget, at_the_end=True)

    # Training: a step that is not due runs the first hook only

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
            session.alone(lambda: self._begin_train_batch(session, trainer, batch, batch_idx, step))

    @override
    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        if self._clock.batches_left:
            self._look_at_train_batch()  # the weights are still those of the forward pass

    @override
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._clock.batches_left:
            self._end_train_batch(trainer)

    def _begin_train_batch(self, session: Session, trainer: pl.Trainer, batch: Any, batch_idx: int, step: int) -> None:
        is_open = session.collector.is_open(_TRAIN)
        if not is_open:
            session.open(_TRAIN, step)
        if not is_open or batch_idx == 0:  # a window can last over two epochs, whose loaders may differ
            self._places.start(trainer, "train")
        session.collector.begin_batch(_TRAIN, batch, self._places.of(trainer, "train", batch_idx))

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
        """Report on a window that is open at the end of the fit, if it has any inputs."""
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
            self._begin_batch(trainer, "val", batch, batch_idx, dataloader_idx)

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
            if self._session is None:  # stopped; other callbacks must still find their keys
                with self._guarded("other callbacks do not get the keys of this validation"):
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
            self._begin_batch(trainer, "test", batch, batch_idx, dataloader_idx)

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

    # Common to validation and test runs, within a fit or alone

    def _reports_on(self, trainer: pl.Trainer, stage: str) -> bool:
        return self.schedule.test if stage == "test" else self.schedule.validation and not trainer.sanity_checking

    def _begin_run(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self._session is None and trainer.state.fn != "fit":
            self._attach(trainer, pl_module)
            self._announce_run(stage)
        self._open(trainer, stage)

    @_harmless
    def _announce_run(self, session: Session, stage: str) -> None:
        self._announce(session, f"report at the end of the {stage} run")

    @_harmless
    def _open(self, session: Session, trainer: pl.Trainer, stage: str) -> None:
        session.budget.begin("validation")
        self._places.start(trainer, stage)
        for key in self._windows(trainer, stage):
            session.alone(functools.partial(session.open, key, self._steps.step))

    @_harmless
    def _begin_batch(
        self, session: Session, trainer: pl.Trainer, stage: str, batch: Any, batch_idx: int, dataloader_idx: int
    ) -> None:
        window, place = self._window(trainer, stage, dataloader_idx), self._places.of(trainer, stage, batch_idx, dataloader_idx)
        session.alone(lambda: session.collector.begin_batch(window, batch, place))

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

    # State: builtins only, equal on all processes; one dictionary for each owner

    @property
    @override
    def state_key(self) -> str:
        return self._state_key

    @property
    def _owners(self) -> dict[str, Any]:
        return {"steps": self._steps, "clock": self._clock, "alerts": self._alerts, "publisher": self._publisher}

    @override
    def state_dict(self) -> dict[str, Any]:
        with self._guarded("the checkpoint gets no state of the monitor"):
            return {name: owner.state_dict() for name, owner in self._owners.items()}
        return {}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if isinstance(state_dict, dict) and not self._owners.keys() <= state_dict.keys():
            self._messages.inform("the checkpoint comes from another version: counts of alerts and the schedule start again")
            return
        before = self.state_dict()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of torch, where a tensor stands in place of a dictionary
                for name, owner in self._owners.items():
                    owner.load_state_dict(state_dict[name])
        except Exception as error:  # noqa: BLE001 - a damaged state must not end the run
            with self._guarded("the state of the monitor is not reset"):
                for name, state in before.items():
                    self._owners[name].load_state_dict(state)
            gone = "the state of the monitor in the checkpoint is damaged: counts of alerts and the schedule start again"
            self._messages.warn(f"{gone}. The error: {in_one_line(error)}")

    # For users, during or after a run

    @property
    def last_report(self) -> dict[str, GapReport]:
        """The last report of each stage.

        Returns:
            Stage to report, only for stages with a report. The keys are "train", "val" and "test"; with
            `Display(per_dataloader=True)` and several dataloaders, one key for each, such as "val/dataloader_idx_0".

        Raises:
            KeyError: you read a stage without a report. The message names the stages with a report.
        """
        self._take_over()
        return LastReports({str(key): report for key, report in self._queue.last.items()})

    def audit(self, label: int | str | None = None, other: int | str | None = None) -> Audit:
        """Show on a copy of the last watched head that the raw cosine of a pair is arbitrary.

        One vector added to all rows makes the raw cosine of the two labels -1, another vector makes it 1, and no probability
        changes. The model itself does not change. For a sharded head, all processes must call this method.

        Args:
            label: a label, by its row in the head, from 0 to K - 1, or by its name. Default: the pair with the largest overlap in
                the last report.
            other: another label, whose row differs from that of `label`.

        Returns:
            An `Audit` with the raw cosines and the largest change of a probability, on some of the inputs that the monitor
            compared last (random inputs if there are none). `print` shows it as a table.

        Raises:
            InputError: there was no run, the link is not "softmax", the model changes its logits after the head, only one of the
                two labels is given, or the two labels are unknown or have equal rows.

        Source: Nielsen, arXiv 2603.29488, Lemmas 2.2 and 2.3.
        """
        self._take_over()
        observed = self._observed if self._session is None else self._session.collector.observed()
        return audit_of(observed, self.link, self._queue.last.values(), label, other)

    # What the hooks call

    def _attach(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Find the head and hook it. Only wrong settings raise here, on all processes, before anything runs."""
        failure: Exception | None = None
        try:
            with all_or_none():
                self._find_and_hook(trainer, pl_module)
        except Exception as error:  # noqa: BLE001 - only mistakes of the user are raised
            failure = error
            self._detach()
        if isinstance(failure, ConfigError | HeadError | InputError):
            raise failure
        try:
            processes = Processes(trainer.strategy, trainer.world_size, trainer.global_rank)
            processes.together(functools.partial(_raise, failure))
        except Exception as error:
            _logger.debug("The failure that keeps the monitor from starting:", exc_info=True)
            self._detach()
            what = str(error) if isinstance(error, DistributedError) else in_one_line(error)
            self._messages.warn(f"could not start, and the run continues without it: {what}")

    def _find_and_hook(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._messages.start_run()
        self._detach()
        self._take_over()
        self._queue.start_run()
        self._publisher.start_run()
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        if any(isinstance(other, LabelSimilarityMonitor) and other.name == self.name for other in callbacks if other is not self):
            remedy = "Give each monitor a `name=`. It is part of the tags."
            raise ConfigError(expected("name", "to be different for every monitor of a Trainer", repr(self.name), remedy))
        build = functools.partial(
            self._settings.collector,
            pl_module,
            max_inputs=self.schedule.max_inputs_per_batch,
            summarize=self._deferred.summarized(trainer),
            evidence=None if self.display.evidence is False or not self.evidence.max_bytes else self.evidence,
            with_views=self.display.evidence is True,
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
            session = self._session
            with self._guarded("removing the hooks from the model failed"):
                try:
                    session.end()
                except Exception:
                    session.end()  # removes the hooks that are left
                    raise
            self._session = None  # not before: after Ctrl-C in there, `on_exception` removes the rest
            with contextlib.suppress(Exception):  # the device can be unusable after a failed run
                self._observed = session.collector.observed()

    @contextlib.contextmanager
    def _guarded(self, what: str) -> Iterator[None]:
        """Warn of a failure in this context, in place of raising it."""
        try:
            yield
        except Exception as error:
            _logger.debug("The failure of this warning:", exc_info=True)
            self._messages.warn(f"{what}: {in_one_line(error)}")

    def _fail(self, session: Session, error: Exception) -> None:
        """Stop the monitor after a failure. With several processes, it stops at the next report, where the others wait for this
        process.
        """
        if session.processes.num > 1 and not isinstance(error, DistributedError):
            session.fail(error)
            return
        self._detach()
        what = str(error) if isinstance(error, DistributedError) else in_one_line(error)
        self._messages.warn(f"stopped after an error, and the run continues without it: {what}")

    def _hand_over(self, trainer: pl.Trainer) -> None:
        """In a process that Lightning started: write what the monitor in the caller's process needs."""
        if not self._handover.is_away or trainer.local_rank:
            return
        with self._guarded("could not pass reports to the process that started the run"):  # for example, the disk is full
            copied = self._observed.copied() if isinstance(self._observed, ObservedHead) and self._session is None else None
            self._handover.leave((self._queue.last, copied, self.state_dict()))

    def _take_over(self) -> None:
        """Continue from the state that a monitor in another process wrote, if there is any."""
        left = None
        with self._guarded("could not read the reports of the processes of the last run"):
            left = self._handover.collect()
        if left is not None:
            reports, copied, state = left
            self._queue.last.update(reports)
            self._observed = copied or self._observed
            self.load_state_dict(state)

    def _windows(self, trainer: pl.Trainer, stage: str) -> list[WindowKey]:
        """The windows of a validation or test run: one for each dataloader, or one for all of them."""
        num_batches = trainer.num_test_batches if stage == "test" else trainer.num_val_batches
        if self.display.per_dataloader and len(num_batches) > 1:
            return [WindowKey(stage, dataloader_idx) for dataloader_idx in range(len(num_batches))]
        return [WindowKey(stage)]

    def _window(self, trainer: pl.Trainer, stage: str, dataloader_idx: int) -> WindowKey:
        """The window to which a batch of a validation or test run belongs."""
        windows = self._windows(trainer, stage)
        return windows[dataloader_idx] if len(windows) > 1 else windows[0]

    def _next_report(self, trainer: pl.Trainer, *, manual: bool) -> int:
        """The step of the first report of a fit that starts, or resumes within an epoch."""
        batch_idx = self._batches_before(trainer)
        left = self._fit_end.batches_left(trainer, batch_idx, self._steps, manual=manual, has_started=False)
        accumulate = trainer.accumulate_grad_batches
        return self._clock.next_report(self._steps.step, left, accumulate, batch_idx, self._fit_end.per_epoch)

    @staticmethod
    def _batches_before(trainer: pl.Trainer) -> int:
        """The number of batches of the epoch that were trained before a fit starts; 0 unless it resumes in mid-epoch."""
        loop = trainer.fit_loop
        done = loop.batch_idx + 1 if loop.restarting else 0
        return done if done < trainer.num_training_batches else 0

    def _report(self, session: Session, trainer: pl.Trainer, windows: Sequence[WindowKey]) -> None:
        """Report on the open windows among `windows`."""
        session.check()
        for key in windows:
            if session.collector.is_open(key):
                self._report_on(session, trainer, key)

    def _report_on(self, session: Session, trainer: pl.Trainer, key: WindowKey) -> None:
        """Make a report and pass it on."""
        report, acting = session.report(key, self._steps.step, self.thresholds, self._alerts, counts=trainer.state.fn == "fit")
        self._queue.add(trainer, report)
        self._hand_over(trainer)  # now, because an alert or another failure can end the run next
        self._act(trainer, f"{window_tag(key, self.name)} at step {report.step}", acting)

    def _act(self, trainer: pl.Trainer, where: str, acting: Sequence[Breach]) -> None:
        """Warn about alerts, and stop the fit or raise if they ask for it."""
        texts = [f"alert of {where}: {breach_in_words(breach)}" for breach in acting]
        for text in texts:
            self._messages.warn(text)
        actions = [breach.alert.action for breach in acting]
        if "stop" in actions:
            trainer.should_stop = True
        if "raise" in actions:
            raise AlertError(texts[actions.index("raise")])

    def _warn_of_glyphs(self) -> None:
        self._messages.warn("the font of the pictures lacks some characters of the names: the pictures show boxes instead")

    def _inputs_of_all(self, session: Session) -> int:
        """Number of inputs of the training window, over all processes."""
        return sum(session.processes.each(session.collector.num_looked_at.get(_TRAIN, 0)))

    def _announce(self, session: Session, what_next: str) -> None:
        what = self._settings.describe(session.collector.head)
        counted = session.collector.targets.in_words
        what = what if counted is None else f"{what}; {counted}"
        self._messages.inform(f"watching {what}; {what_next}; tags {group('*', self.name)}; documentation: {_DOCUMENTATION}")
