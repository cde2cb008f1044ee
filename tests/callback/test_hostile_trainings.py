"""Hostile trainings: they end at the same weights as without `LabelSimilarityMonitor`, and it says what is odd once.

A row of `RUNS` is a training of two epochs of six batches of 16, with a validation on 60 inputs after each. Windows are of two
batches: there are six reports on "train" and two on "val". A row says in what the training is hostile, and what comes of that:

    Run(
        "one input a batch",  # what is odd, and the id of the test
        data=lambda: (loader(18, 1), loader(5, 1, seed=2)),  # what differs: `model`, `data`, `settings` of the trainer, `monitor`
        monitor={"labels": LabelSelection(min_probability=0)},
        says=(undefined_message("train", {too_few_groups(2): (RELIABILITY,)}),),  # all that the monitor says, each text once
        reports={"train": 2, "val": 5},  # stage to the number of inputs that its last report is of
        undefined=too_few_for_blocks(2, 5),  # stage to what its last report lacks: reason to scalars
        exact=True,  # whether the last validation report is that of the formulas, of all inputs at the final weights
    )

In prose: the toy model is trained on 18 batches of one input and validated on five, and every label counts. In all windows and
validations the monitor says one thing: that `reliability` is undefined for "train", because of "2 groups of inputs, 8 are
needed". Its last report on "train" is of the two inputs of a window and lacks just that. Its last report on "val" is of all five
inputs, lacks the same, and has the cosines and overlaps of `tests.reference`. What a row leaves out is as in a harmless training:
nothing is said, no scalar is undefined, and reports are of 32 and 60 inputs. The words in capitals are those of
`tests.hostile`, where the texts are written out.
"""

import functools
import math
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import KW_ONLY, dataclass, field
from itertools import chain
from typing import Any, NamedTuple

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from typing_extensions import override

from lightning_cossim import LabelSelection, LabelSimilarityMonitor, Schedule
from lightning_cossim.report import GapReport
from tests import reference
from tests.hostile import (
    COMMON_MODE_RATIO,
    GAP_BEHAVIOR,
    GAP_GEOMETRY,
    GAP_TRANSLATION,
    NAN_HEAD,
    NO_LIVE_LABEL,
    NOTHING_SEEN,
    OF_CENTERED,
    OF_CORRELATION,
    OF_RAW,
    OF_VARIANCE,
    ONE_LOGIT,
    OVERLAP_MEAN,
    RELIABILITY,
    RESIDUAL_SCALE,
    TWO_LABELS,
    Reasons,
    array,
    as_sets,
    equal_embeddings,
    left_out,
    median_move,
    not_finite,
    padding,
    told,
    too_few_groups,
    zero_head,
)
from tests.toys import ALWAYS, EMBEDDING_DIM, FEW, INPUT_DIM, NUM_LABELS, Batch, MemoryLogger, Toy, loader, trainer

# Models


class Still(Toy):
    """Its weights stay as they are."""

    @override
    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.0)


class NaNWeights(Toy):
    """The head's weights become NaN before the fifth step."""

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        if self.batches_seen == 4:
            nn.init.constant_(self.head.weight, math.nan)
        return super().training_step(batch, batch_idx)


class NaNLoss(Toy):
    """The loss is NaN from the fifth step on, and so are the weights after it."""

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return super().training_step(batch, batch_idx) * (math.nan if self.batches_seen > 4 else 1)


class Masked(Toy):
    """Its last label is masked in what the head gave out, in place."""

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs).masked_fill_(torch.arange(NUM_LABELS) == NUM_LABELS - 1, -math.inf)


TWO_CALLS = (
    "LabelSimilarityMonitor: watching head: the head was called 2 times in one step; only the inputs of its last call are "
    "counted. To count all inputs, pass as `logits_from=` a module that is called once per step, or a function."
)


class OneLogit(Toy):
    """Tells two labels apart by one logit, for which its step calls it once more."""

    def __init__(self) -> None:
        super().__init__(1)

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        super().training_step([batch[0], batch[1] * 0], batch_idx)
        logits = self(batch[0])[:, 0]
        return nn.functional.binary_cross_entropy_with_logits(logits, (batch[1] % 2).to(logits))

    @override
    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self(batch[0])


class Looking(Toy):
    """What is trained is another head; the one that is watched looks on."""

    looks: Callable[[], AbstractContextManager[Any]] = torch.no_grad

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(EMBEDDING_DIM, NUM_LABELS)

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        with type(self).looks():
            self(batch[0])
        return nn.functional.cross_entropy(self.other(self.body(batch[0])), batch[1])


class LookingUnderInference(Looking):
    looks = torch.inference_mode


class OfDicts(Toy):
    """Its batches are dicts."""

    @override
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step([batch["x"], batch["y"]], batch_idx)

    @override
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self(batch["x"])


class OfWords(Toy):
    """Its inputs are whole numbers, which an embedding layer takes."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(50, INPUT_DIM)

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(self.words(inputs))


class NextWord(Toy):
    """Has one target less than inputs in each sequence."""

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0])[:, :-1].flatten(0, 1), batch[1].flatten())

    @override
    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self(batch[0])


class Pooled(Toy):
    """A hook of the user's pools what the head gives out over the sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.head.register_forward_hook(lambda module, args, output: output.mean(dim=1))

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1][:, 0])

    @override
    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self(batch[0])


class NoInputs(Toy):
    """Finds nothing in any image that its head could be called for."""

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        found: Tensor = self(batch[0][:0])
        return found.sum()

    @override
    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self(batch[0][:0])


class OneVector(Toy):
    """Calls its head for a single vector."""

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0][0]), batch[1][0])

    @override
    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self(batch[0][0])


class Skipping(Toy):
    """Every other step has no loss."""

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        return None if batch_idx % 2 else loss


@functools.cache
def toy(change: Callable[[Any], object] | None = None, kind: type[Toy] = Toy, num_labels: int = NUM_LABELS) -> Callable[[], Toy]:
    """How to make a model, with something changed about it before the training; of the same arguments the same function."""

    def make() -> Toy:
        torch.manual_seed(0)
        model = kind() if num_labels == NUM_LABELS else kind(num_labels)
        with torch.no_grad():
            if change is not None:
                change(model)
        return model

    return make


HARMLESS_MODEL = toy()


def pad(model: Any) -> None:
    model.head.weight[:7] += 1
    model.head.weight[7:] = 0


def no_body(model: Any) -> None:
    nn.init.zeros_(model.body[0].weight)
    nn.init.zeros_(model.body[0].bias)


def no_weights(model: Any) -> None:
    no_body(model)
    nn.init.zeros_(model.head.weight)
    nn.init.zeros_(model.head.bias)


def nan_head(model: Any) -> None:
    model.head.weight.fill_(math.nan)


# Batches for training and validation


def dicts(*, vary: bool = False) -> tuple[Any, ...]:
    """Batches for training and validation that are dicts, of the same keys or with another one each."""
    both = loader(96), loader(60, seed=2)
    batches = [[{"x": x, "y": y} | {f"more {i}": i for i in [n] * vary} for n, (x, y) in enumerate(some)] for some in both]
    return tuple(DataLoader(some, batch_size=None) for some in batches)  # type: ignore[arg-type]


def sequences(num_batches: int, *, vary: bool) -> Any:
    """Batches of four sequences of five inputs, or of five to ten; one target less than inputs each."""
    lengths = [5 + batch % 6 * vary for batch in range(num_batches)]
    generator = torch.Generator().manual_seed(5)
    batches = [
        (torch.randn(4, n, INPUT_DIM, generator=generator), torch.randint(NUM_LABELS, (4, n - 1), generator=generator))
        for n in lengths
    ]
    return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]


def words(num_inputs: int) -> Any:
    return DataLoader(TensorDataset(torch.arange(num_inputs) % 50, torch.arange(num_inputs) % NUM_LABELS), batch_size=16)


def all_of_one(label: int, num_inputs: int) -> Any:
    inputs = torch.randn(num_inputs, INPUT_DIM, generator=torch.Generator().manual_seed(6))
    return DataLoader(TensorDataset(inputs, torch.full((num_inputs,), label)), batch_size=16)


def all_left_out() -> tuple[Any, ...]:
    """Label 3 is the target of every input."""
    return all_of_one(3, 96), all_of_one(3, 60)


def labeled(num_labels: int) -> tuple[Any, ...]:
    return loader(num_labels=num_labels), loader(60, num_labels=num_labels, seed=2)


def harmless_data() -> tuple[Any, ...]:
    return labeled(NUM_LABELS)


# What the monitor says


def message(text: str) -> str:
    return f"LabelSimilarityMonitor: {text}"


def remark(stage: str, text: str) -> str:
    return message(f"{stage}, watching head: {text}.")


ALL_SCALARS = (
    *chain(*zip(OF_RAW, OF_CENTERED, OF_CORRELATION, OF_VARIANCE, strict=True)),
    GAP_TRANSLATION,
    GAP_GEOMETRY,
    GAP_BEHAVIOR,
    RELIABILITY,
    RESIDUAL_SCALE,
    OVERLAP_MEAN,
    COMMON_MODE_RATIO,
)
"""In the order in which messages list them."""


def undefined_message(stage: str, reasons: Reasons) -> str:
    """What is said of scalars that are undefined, those of one reason together."""
    by_reason = [(sorted(names, key=ALL_SCALARS.index), why) for why, names in reasons.items()]
    by_reason.sort(key=lambda names_why: ALL_SCALARS.index(names_why[0][0]))
    what = "; ".join(f"{', '.join(names)} ({why})" for names, why in by_reason)
    callbacks = "Callbacks that watch them get the last defined value or, if there is none, 1 for gaps and 0 for others."
    return message(f"cossim_{stage}: undefined scalars: {what}. Loggers get no value for them. {callbacks}")


PADDING_MOVES = median_move(toy(pad, num_labels=19)().head.weight, range(7, 19))
STAGES = ("train", "val")
NO_TARGETS = "the targets cannot be read, so all inputs count. Expected `targets_key` to be the key of the targets in a batch"
TOO_FEW_TARGETS = message(
    "watching head: it was called for 20 inputs, but the batch has 16 targets at `targets_key`, so all inputs count; "
    "if a position learns the target of the next position, pass `shift_targets=True`."
)


# The table


@dataclass(frozen=True)
class Run:
    """A row, as told at the top: a training, what is said in it and what is left of it."""

    what: str
    _: KW_ONLY
    model: Callable[[], Toy] = HARMLESS_MODEL
    monitor: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    data: Callable[[], tuple[Any, ...]] = harmless_data
    says: tuple[str, ...] = ()
    reports: Mapping[str, int] = field(default_factory=lambda: {"train": 32, "val": 60})
    undefined: Mapping[str, Reasons] = field(default_factory=dict)
    exact: bool = False


def ends_in_nan(what: str, model: Callable[[], Toy], in_first_window: int = 32, first: Reasons = NAN_HEAD, **more: Any) -> Run:
    """A row whose head is NaN in the end, so that both stages lack what `NAN_HEAD` lists and tell of inputs and rows left out.

    The first window that ends so leaves out `in_first_window` inputs and lacks `first`.
    """
    return Run(
        what,
        model=model,
        says=(
            remark("train", left_out(in_first_window, 32)),
            remark("train", not_finite("0 to 7")),
            remark("val", left_out(60, 60)),
            remark("val", not_finite("0 to 7")),
            undefined_message("train", first),
        ),
        reports={"train": 0, "val": 0},
        undefined=dict.fromkeys(STAGES, NAN_HEAD),
        **more,
    )


def too_few_for_blocks(train: int, val: int) -> dict[str, Reasons]:
    """Reports of so many inputs, too few to fill the eight blocks."""
    return {"train": {too_few_groups(train): (RELIABILITY,)}, "val": {too_few_groups(val): (RELIABILITY,)}}


RUNS = [
    # Values that are not finite
    ends_in_nan("a loss that becomes NaN, in the first batch of a window", toy(kind=NaNLoss), 16, NO_LIVE_LABEL),
    ends_in_nan("weights that become NaN", toy(kind=NaNWeights)),
    ends_in_nan("weights that are NaN from the start", toy(nan_head)),
    ends_in_nan(
        "weights that are NaN from the start, with labels to choose from",
        toy(nan_head),
        monitor={"labels": LabelSelection(max_tracked=5)},
    ),
    Run("a bias of -inf", model=toy(lambda model: model.head.bias[3:4].fill_(-math.inf)), exact=True),
    Run("a label masked with -inf in place", model=toy(kind=Masked), data=lambda: labeled(7), exact=True),
    # Precision
    Run("bf16 mixed", settings={"precision": "bf16-mixed"}, exact=True),
    Run("bf16 throughout", settings={"precision": "bf16-true"}, exact=True),
    Run("float16 throughout", settings={"precision": "16-true"}, exact=True),
    Run("float64 throughout", settings={"precision": "64-true"}, exact=True),
    # Heads
    Run(
        "a sigmoid head of one logit",
        model=toy(kind=OneLogit),
        monitor={"link": "sigmoid"},
        says=(TWO_CALLS, undefined_message("train", ONE_LOGIT)),
        undefined=dict.fromkeys(STAGES, ONE_LOGIT),
    ),
    Run(
        "two labels",
        model=toy(num_labels=2),
        data=lambda: labeled(2),
        says=(undefined_message("train", TWO_LABELS),),
        undefined=dict.fromkeys(STAGES, TWO_LABELS),
        exact=True,
    ),
    Run(
        "a padded vocabulary",
        model=toy(pad, Still, 19),
        says=tuple(remark(stage, padding("zero", "7 to 18", PADDING_MOVES)) for stage in STAGES),
        exact=True,
    ),
    Run("the same with its padding ignored", model=toy(pad, Still, 19), monitor={"labels": LabelSelection(ignore=range(7, 19))}),
    Run(
        "all labels ignored",
        monitor={"labels": LabelSelection(ignore=range(8))},
        says=(undefined_message("train", NO_LIVE_LABEL),),
        undefined=dict.fromkeys(STAGES, NO_LIVE_LABEL),
    ),
    Run(
        "a model of zeros",
        model=toy(no_weights, Still),
        says=(undefined_message("train", zero_head(28)),),
        undefined=dict.fromkeys(STAGES, zero_head(28)),
    ),
    Run(
        "a body of zeros, so that no logit varies but by its bias",
        model=toy(no_body, Still),
        says=(undefined_message("train", equal_embeddings(28)),),
        undefined=dict.fromkeys(STAGES, equal_embeddings(28)),
    ),
    Run("a head that is frozen", model=toy(lambda model: model.head.requires_grad_(requires_grad=False)), exact=True),
    Run("a head that is called without gradients", model=toy(kind=Looking), monitor={"head": "head"}, exact=True),
    Run(
        "a head that is called under inference mode", model=toy(kind=LookingUnderInference), monitor={"head": "head"}, exact=True
    ),
    Run(
        "a head whose output is pooled by a hook, in sequences of many lengths",
        model=toy(kind=Pooled),
        data=lambda: (sequences(6, vary=True), sequences(4, vary=True)),
        says=(
            message(
                "watching head: its input has shape (4, 5, 5) and its output (4, 8), so outputs cannot be matched to inputs."
            ),
            undefined_message("train", NOTHING_SEEN),
        ),
        reports={"train": 0, "val": 0},
        undefined=dict.fromkeys(STAGES, NOTHING_SEEN),
    ),
    # Batches
    Run(
        "one input a batch",
        data=lambda: (loader(18, 1), loader(5, 1, seed=2)),
        monitor={"labels": LabelSelection(min_probability=0)},
        says=(undefined_message("train", {too_few_groups(2): (RELIABILITY,)}),),
        reports={"train": 2, "val": 5},
        undefined=too_few_for_blocks(2, 5),
        exact=True,
    ),
    Run(
        "a single vector a step",
        model=toy(kind=OneVector),
        says=(undefined_message("train", {too_few_groups(2): (RELIABILITY,)}),),
        reports={"train": 2, "val": 4},
        undefined=too_few_for_blocks(2, 4),
    ),
    Run(
        "a head that is called for nothing",
        model=toy(kind=NoInputs),
        says=(undefined_message("train", NOTHING_SEEN),),
        reports={"train": 0, "val": 0},
        undefined=dict.fromkeys(STAGES, NOTHING_SEEN),
    ),
    Run("a loss of None in every other step", model=toy(kind=Skipping), exact=True),
    Run("whole numbers into an embedding layer", model=toy(kind=OfWords), data=lambda: (words(96), words(60)), exact=True),
    Run("batches that are dicts", model=toy(kind=OfDicts), data=dicts),
    # Targets
    Run(
        "batches that are dicts, with a key of the targets",
        model=toy(kind=OfDicts),
        monitor={"labels": LabelSelection(targets_key="y")},
        data=dicts,
    ),
    Run(
        "a key of the targets that is not there",
        model=toy(kind=OfDicts),
        monitor={"labels": LabelSelection(targets_key="labels")},
        data=dicts,
        says=(message(f"{NO_TARGETS}, got 'labels', but the batch has the keys 'x', 'y'."),),
    ),
    Run(
        "a key of the targets that is not there, in batches of other keys each time",
        model=toy(kind=OfDicts),
        monitor={"labels": LabelSelection(targets_key="labels")},
        data=lambda: dicts(vary=True),
        says=(message(f"{NO_TARGETS}, got 'labels', but the batch has the keys 'x', 'y', 'more 0'."),),
    ),
    Run(
        "a place of the targets that is not there",
        monitor={"labels": LabelSelection(targets_key=2)},
        says=(message(f"{NO_TARGETS}, got 2, but the batch has the keys 0 to 1."),),
    ),
    Run(
        "targets that are no whole numbers",
        monitor={"labels": LabelSelection(targets_key=0)},
        says=(message(f"{NO_TARGETS}, a tensor of integers, got 0, which holds a tensor of torch.float32."),),
    ),
    Run(
        "a target too few in each sequence",
        model=toy(kind=NextWord),
        monitor={"labels": LabelSelection(targets_key=1)},
        data=lambda: (sequences(6, vary=False), sequences(4, vary=False)),
        says=(TOO_FEW_TARGETS,),
        reports={"train": 40, "val": 80},
    ),
    Run(
        "a target too few in each sequence, of many lengths",
        model=toy(kind=NextWord),
        monitor={"labels": LabelSelection(targets_key=1)},
        data=lambda: (sequences(6, vary=True), sequences(4, vary=True)),
        says=(TOO_FEW_TARGETS,),
        reports={"train": 4 * (9 + 10), "val": 4 * (5 + 6 + 7 + 8)},
    ),
    Run(
        "all inputs left out by their target",
        monitor={"labels": LabelSelection(targets_key=1, ignore_index=3)},
        data=all_left_out,
        says=(undefined_message("train", NOTHING_SEEN),),
        reports={"train": 0, "val": 0},
        undefined=dict.fromkeys(STAGES, NOTHING_SEEN),
    ),
    Run(
        "all inputs left out by their target, with labels to choose from",
        monitor={"labels": LabelSelection(targets_key=1, ignore_index=3, max_tracked=5)},
        data=all_left_out,
        says=(undefined_message("train", NOTHING_SEEN),),
        reports={"train": 0, "val": 0},
        undefined=dict.fromkeys(STAGES, NOTHING_SEEN),
    ),
    # Trainers
    Run("no validation loader", data=lambda: (loader(),), reports={"train": 32}),
    Run("an empty validation set", data=lambda: (loader(), all_of_one(0, 0)), reports={"train": 32}),
    Run("limit_val_batches=0", settings={"limit_val_batches": 0}, reports={"train": 32}),
    Run("limit_train_batches=0", settings={"limit_train_batches": 0}, reports={}),
    Run("max_epochs=0", settings={"max_epochs": 0}, reports={}),
    Run("fast_dev_run", settings={"fast_dev_run": True}, reports={"train": 16, "val": 16}),
    Run("logger=False", settings={"logger": False}, exact=True),
    Run("barebones", settings={"barebones": True, "logger": False, "log_every_n_steps": 0}, exact=True),
    Run("detect_anomaly", settings={"detect_anomaly": True}, exact=True),
]


class Trained(NamedTuple):
    model: Toy
    trainer: pl.Trainer
    said: Counter[str]
    """All that was said in it, by whomever, and how often."""


def fit(run: Run, *callbacks: LabelSimilarityMonitor) -> Trained:
    model = run.model()
    pl.seed_everything(3, verbose=False)
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        trained = trainer(callbacks=[*callbacks], **{"max_epochs": 2, "logger": MemoryLogger(), **run.settings})
        trained.fit(model, *run.data())
    return Trained(model, trained, Counter(str(warning.message) for warning in record))


@functools.cache
def unwatched(model: Callable[[], Toy], data: Callable[[], tuple[Any, ...]], *settings: tuple[str, Any]) -> Trained:
    """A training without the monitor, once for all rows that train alike."""
    return fit(Run("unwatched", model=model, data=data, settings=dict(settings)))


def ours(said: Counter[str]) -> list[str]:
    return sorted(text for text in said.elements() if text.startswith("LabelSimilarityMonitor"))


def often(**settings: Any) -> LabelSimilarityMonitor:
    return LabelSimilarityMonitor(
        schedule=Schedule(train_every_n_steps=2, train_batches=2), thresholds=FEW, display=ALWAYS, **settings
    )


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.what)
def test_a_training_goes_on_and_says_what_is_odd_once(run: Run) -> None:
    """The same steps to the same weights as without the monitor; what it says, each once; what it reports, and why not."""
    monitor = often(**run.monitor)
    alone = unwatched(run.model, run.data, *run.settings.items())
    watched = fit(run, monitor)

    assert watched.trainer.global_step == alone.trainer.global_step
    for one, other in zip(alone.model.parameters(), watched.model.parameters(), strict=True):
        assert torch.equal(one.nan_to_num(7.0), other.nan_to_num(7.0))
    assert ours(watched.said) == sorted(run.says)
    assert watched.said - Counter(ours(watched.said)) <= alone.said  # nor does anything that it calls say more

    assert {stage: report.num_inputs for stage, report in monitor.last_report.items()} == run.reports
    assert {stage: told(report) for stage, report in monitor.last_report.items()} == {
        stage: as_sets(run.undefined.get(stage, {})) for stage in run.reports
    }
    for logger in watched.trainer.loggers:
        entries = logger.entries if isinstance(logger, MemoryLogger) else []
        written = chain.from_iterable(metrics.items() for _, metrics in entries)
        assert all(math.isfinite(value) for tag, value in written if tag.startswith("cossim"))
    if run.exact:
        assert_of_the_formulas(monitor.last_report["val"], watched.model, run)


def assert_of_the_formulas(report: GapReport, model: Toy, run: Run) -> None:
    """The overlap and the cosines, of the final weights, as they are rounded, on the whole validation set."""
    mixed = run.settings.get("precision") == "bf16-mixed"
    model.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        batches = [batch[0] for batch in run.data()[1]]
        floating = [batch.to(model.head.weight.dtype) if batch.is_floating_point() else batch for batch in batches]
        z = np.concatenate([array(model(batch)) for batch in floating])
    kept = np.ix_(*[report.kept.numpy()] * 2)
    pair = np.triu_indices(int(report.kept.sum()), 1)
    wanted = {
        "raw_cosine": reference.cosine(array(model.head.weight), centered=False),
        "centered_cosine": reference.cosine(array(model.head.weight), centered=True),
        "overlap": reference.bhattacharyya(reference.softmax(z)),
    }
    for rung, similarity in wanted.items():
        shown = array(report.matrix(rung))[kept][pair]
        np.testing.assert_allclose(shown, similarity[kept][pair], atol=2e-5, err_msg=rung)


class Moody(Still):
    """Its head changes with every window: as it was, of zeros, of equal rows, of NaN, one that knows one label, or three."""

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        mood = self.batches_seen // 2 % 6
        with torch.no_grad():
            self.head.weight.copy_(torch.randn(NUM_LABELS, EMBEDDING_DIM, generator=torch.Generator().manual_seed(1)))
            self.head.bias.zero_()
            if mood == 1:
                self.head.weight.zero_()
            elif mood == 2:
                self.head.weight[1:] = self.head.weight[0]
            elif mood == 3:
                self.head.weight.fill_(math.nan)
            elif mood > 3:
                self.head.bias[: 1 if mood == 4 else 3] = 60
        super().training_step(batch, batch_idx)
        return next(self.body.parameters()).sum()


def test_a_head_that_falls_from_one_fault_into_the_next_is_no_storm() -> None:
    """In 48 windows and as many validations, what is odd is told once a stage, and that a scalar is undefined once at all."""
    monitor = often()
    run = Run(
        "moody",
        model=toy(kind=Moody),
        settings={"max_epochs": 16, "val_check_interval": 2},
        data=lambda: (loader(), loader(60, 60, seed=2)),
    )
    _, trained, said = fit(run, monitor)
    assert (trained.global_step, monitor.last_report["train"].step) == (96, 95)
    of_scalars = [text for text in ours(said) if ": undefined scalars: " in text]
    assert sorted(name for text in of_scalars for name in ALL_SCALARS if name in text) == sorted(ALL_SCALARS)
    inputs = [remark("train", left_out(32, 32)), remark("val", left_out(60, 60))]
    rows = [remark(stage, not_finite("0 to 7")) for stage in STAGES]
    assert [text for text in ours(said) if text not in of_scalars] == sorted([*inputs, *rows])
