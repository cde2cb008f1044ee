"""Trainings of other kinds than a plain classifier: sequences, images, sigmoid heads, several loaders, resumed runs."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from typing_extensions import override

from lightning_cossim import LabelSelection, LabelSimilarityMonitor, Schedule
from lightning_cossim.functional.scalars import SHARES, scalars
from tests import reference
from tests.toys import (
    ALWAYS,
    FEW,
    NUM_LABELS,
    LanguageToy,
    MemoryLogger,
    SegmentationToy,
    Sentences,
    Toy,
    images,
    in_first_half,
    loader,
    matrices,
    trainer,
)

EVERY_BATCH = Schedule(train_every_n_steps=1, train_batches=1)
TEXT = LabelSelection(targets_key="labels")


def sentences(seed: int = 0) -> DataLoader[Any]:
    return DataLoader(Sentences(seed=seed), batch_size=8)


class SpectralToy(Toy):
    """A head under spectral norm, whose every look in training would be a step of its iteration."""

    def __init__(self) -> None:
        super().__init__()
        nn.utils.parametrizations.spectral_norm(self.head)


class CachedToy(Toy):
    """A head under weight norm, whose weight is worked out once a step."""

    def __init__(self) -> None:
        super().__init__()
        nn.utils.parametrizations.weight_norm(self.head)

    @override
    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        with nn.utils.parametrize.cached():
            return super().training_step(batch, batch_idx)


KINDS: dict[str, tuple[Callable[[], pl.LightningModule], Callable[[], Any], LabelSelection]] = {
    "language model": (LanguageToy, sentences, TEXT),
    "language model, some labels": (LanguageToy, sentences, LabelSelection(targets_key="labels", max_tracked=8)),
    "tied language model": (lambda: LanguageToy(tied=True), sentences, TEXT),
    "segmentation": (SegmentationToy, images, LabelSelection(targets_key=1)),
    "spectral norm": (SpectralToy, loader, LabelSelection()),
    "weight norm, cached": (CachedToy, loader, LabelSelection()),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("schedule", [EVERY_BATCH, Schedule(max_inputs_per_batch=30, train_batches=2)])
def test_training_is_bit_identical(kind: str, schedule: Schedule) -> None:
    """With and without the monitor: the same weights and buffers bit for bit, the same random numbers after."""
    build, data, labels = KINDS[kind]
    results = []
    monitor = LabelSimilarityMonitor(labels=labels, schedule=schedule, thresholds=FEW, display=ALWAYS)
    for callbacks in ([], [monitor]):
        pl.seed_everything(0, verbose=False)
        model = build()
        trainer(callbacks=callbacks).fit(model, data(), data())
        results.append((model.state_dict(), torch.get_rng_state()))
    (weights, state), (watched, watched_state) = results
    assert list(weights) == list(watched)
    assert all(torch.equal(weights[key], watched[key]) for key in weights)
    assert torch.equal(state, watched_state)
    assert monitor.last_report["train"].num_inputs > 0
    assert monitor.last_report["val"].num_inputs > 0


def test_positions_of_sequences_are_inputs_and_padding_is_not() -> None:
    """The validation report of a language model equals a float64 reference on the positions that have a target."""
    pl.seed_everything(0, verbose=False)
    model, monitor = (
        LanguageToy(),
        LabelSimilarityMonitor(labels=TEXT, schedule=Schedule(max_inputs_per_batch=10_000), thresholds=FEW, display=ALWAYS),
    )
    trainer(callbacks=[monitor]).fit(model, sentences(), sentences(1))
    report = monitor.last_report["val"]
    words, counted = Sentences(seed=1).words, Sentences(seed=1).targets != -100
    with torch.no_grad():
        f = model.eval().body(model.embed(words))[0][counted].double().numpy()
        probs = reference.softmax(model(words)[counted].double().numpy())
    W = model.lm_head.weight.detach().double().numpy()
    assert report.num_inputs == int(counted.sum())
    np.testing.assert_allclose(report.matrix("overlap"), reference.bhattacharyya(probs), atol=1e-5)
    np.testing.assert_allclose(
        report.matrix("logit_correlation"), reference.logit_correlation(W, reference.covariance(f)), atol=1e-4
    )
    sentence = counted.nonzero()[:, 0]
    batches = [sentence[sentence // 8 == batch] for batch in range(6)]
    first = in_first_half(batches, seed=report.step)  # whole sentences, and a window's blocks are those of its step
    counts = probs.mean(axis=0) >= 0.1 / probs.shape[1]
    halves = [reference.bhattacharyya(probs[half][:, counts]) for half in (first, ~first)]
    assert report.reliability == pytest.approx(reference.reliability(*halves), abs=1e-4)


def test_pixels_of_images_are_inputs() -> None:
    """The validation report of a segmentation model equals a float64 reference on all pixels."""
    pl.seed_everything(0, verbose=False)
    model, monitor = SegmentationToy(), LabelSimilarityMonitor(labels=LabelSelection(targets_key=1))
    trainer(callbacks=[monitor]).fit(model, images(), images(seed=1))
    pixels = torch.cat([batch[0] for batch in images(seed=1)])
    with torch.no_grad():
        z = model.eval()(pixels).movedim(1, -1).reshape(-1, NUM_LABELS).double().numpy()
        f = model.body(pixels).movedim(1, -1).reshape(-1, 5).double().numpy()
    W = model.head.weight.detach().flatten(1).double().numpy()
    report = monitor.last_report["val"]
    assert report.num_inputs == 24 * 30
    np.testing.assert_allclose(report.matrix("overlap"), reference.bhattacharyya(reference.softmax(z)), atol=1e-5)
    np.testing.assert_allclose(
        report.matrix("log_odds_variance"), reference.log_odds_variance(W, reference.covariance(f)), atol=1e-4
    )


def test_a_sigmoid_head_has_its_own_scalars() -> None:
    """What centering would tell is in no logger and under no key that others watch."""

    class MultiLabel(Toy):
        @override
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            tags = nn.functional.one_hot(batch[1], NUM_LABELS).float()
            return nn.functional.binary_cross_entropy_with_logits(self(batch[0]), tags)

    logger, monitor = MemoryLogger(), LabelSimilarityMonitor(link="sigmoid")
    run = trainer(callbacks=[monitor], logger=logger)
    run.fit(MultiLabel(), loader(), loader(60))
    wanted = {f"cossim_val/{name}" for name in scalars("sigmoid")}
    logged = {tag for _, metrics in logger.entries for tag in metrics if tag.startswith("cossim_val/")}
    assert {key for key in run.callback_metrics if key.startswith("cossim_val/")} == wanted
    assert logged == wanted - {f"cossim_val/{share}" for share in SHARES}  # of eight labels there is no verdict
    assert monitor.last_report["val"].link == "sigmoid"


def test_training_without_validation_has_training_reports_only() -> None:
    logger, monitor = MemoryLogger(), LabelSimilarityMonitor()
    trainer(callbacks=[monitor], logger=logger).fit(Toy(), loader())
    assert set(monitor.last_report) == {"train"}
    assert sorted(logger.curve("cossim_train/overlap_mean")) == [11]


def test_several_validation_loaders_are_pooled() -> None:
    class ManyLoaders(Toy):
        @override
        def validation_step(self, batch: list[Tensor], batch_idx: int, dataloader_idx: int = 0) -> None:
            self(batch[0])

    parts = [loader(40, seed=1), loader(20, seed=2)]
    inputs, labels = (torch.cat(tensors) for tensors in zip(*[tuple(batch) for part in parts for batch in part], strict=True))
    reports = []
    for loaders in (parts, [DataLoader(TensorDataset(inputs, labels), batch_size=16)]):
        pl.seed_everything(0, verbose=False)
        monitor = LabelSimilarityMonitor()
        trainer(callbacks=[monitor], max_epochs=1).fit(ManyLoaders(), loader(), loaders)
        reports.append(monitor.last_report["val"])
    several, one = reports
    assert several.num_inputs == one.num_inputs == 60
    for rung, similarity in matrices(several).items():
        torch.testing.assert_close(similarity, one.matrix(rung), atol=1e-5, rtol=1e-4)


class PlainToy(Toy):
    """Without dropout, so that a resumed training is the uninterrupted one."""

    def __init__(self) -> None:
        super().__init__()
        self.body[2] = nn.Identity()


@pytest.mark.parametrize("labels", [LabelSelection(), LabelSelection(max_tracked=6)])
def test_after_a_resume_the_curves_are_those_of_an_uninterrupted_run(tmp_path: Path, labels: LabelSelection) -> None:
    """Of every window begun after it, the inputs drawn at random too; only the monitor's own cost is another."""
    schedule = Schedule(train_every_n_steps=3, train_batches=2, max_inputs_per_batch=9)
    model = PlainToy()
    start = copy.deepcopy(model.state_dict())

    class Saving(Callback):
        @override
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            trainer.save_checkpoint(tmp_path / f"{trainer.global_step}.ckpt")

    curves = []
    for path in (None, tmp_path / "12.ckpt"):
        logger = MemoryLogger()
        monitor = LabelSimilarityMonitor(labels=labels, schedule=schedule, thresholds=FEW, display=ALWAYS)
        model.load_state_dict(start)
        run = trainer(callbacks=[monitor, Saving()], max_epochs=4, logger=logger)
        run.fit(model, loader(), loader(60, seed=2), ckpt_path=path)
        curves.append([(step, metrics) for step, metrics in logger.entries if any("cossim" in name for name in metrics)])
    whole, resumed = curves
    assert [step for step, _ in resumed] == [step for step, _ in whole if step is not None and step >= 12]
    assert len(resumed) >= 4
    for (step, found), (_, wanted) in zip(resumed, whole[-len(resumed) :], strict=True):
        same = {name: value for name, value in wanted.items() if "overhead" not in name}
        assert {name: found[name] for name in same} == same, step


def test_a_targets_key_that_leads_nowhere_is_told_once_and_all_inputs_count() -> None:
    monitor = LabelSimilarityMonitor(labels=LabelSelection(targets_key="y"), schedule=EVERY_BATCH, thresholds=FEW, display=ALWAYS)
    with pytest.warns(UserWarning) as record:
        trainer(callbacks=[monitor]).fit(LanguageToy(), sentences(), sentences())
    texts = [str(warning.message) for warning in record if "LabelSimilarityMonitor" in str(warning.message)]
    wanted = (
        "Expected `targets_key` to be the key of the targets in a batch, got 'y', but the batch has the keys 'words', 'labels'."
    )
    assert texts == [f"LabelSimilarityMonitor: the targets cannot be read, so all inputs count. {wanted}"]
    assert monitor.last_report["train"].num_inputs == 8 * 12


def test_targets_of_another_number_are_told_once() -> None:
    """However many the inputs are, which differs from batch to batch."""

    class OneShorter(LanguageToy):
        @override
        def loss(self, batch: dict[str, Tensor]) -> Tensor:
            return nn.functional.cross_entropy(self(batch["words"])[:, :-1].flatten(0, 1), batch["labels"].flatten())

    batches = [{"words": Sentences().words[:8, :n], "labels": Sentences().words[8:16, 1:n]} for n in (5, 7, 9, 12)]
    data: DataLoader[Any] = DataLoader(batches, batch_size=None)  # type: ignore[arg-type]
    monitor = LabelSimilarityMonitor(labels=TEXT, schedule=EVERY_BATCH, thresholds=FEW, display=ALWAYS)
    with pytest.warns(UserWarning) as record:
        trainer(callbacks=[monitor]).fit(OneShorter(), data, data)
    texts = [str(warning.message) for warning in record if "LabelSimilarityMonitor" in str(warning.message)]
    problem = "it was called for 40 inputs, but the batch has 32 targets at `targets_key`, so all inputs count"
    remedy = "if a position learns the target of the next position, pass `shift_targets=True`"
    assert texts == [f"LabelSimilarityMonitor: watching lm_head: {problem}; {remedy}."]


def test_padding_is_named_once_in_a_stage() -> None:
    """Ten rows that no label has, all zero and never trained: named for training and for validation, with the remedy."""

    class Padded(Toy):
        def __init__(self) -> None:
            super().__init__(NUM_LABELS + 10)
            with torch.no_grad():
                self.head.weight[:NUM_LABELS] += 3
                self.head.weight[NUM_LABELS:] = 0

        @override
        def on_before_optimizer_step(self, optimizer: Any) -> None:
            assert self.head.weight.grad is not None
            self.head.weight.grad[NUM_LABELS:] = 0

    monitor = LabelSimilarityMonitor(schedule=EVERY_BATCH, thresholds=FEW, display=ALWAYS)
    with pytest.warns(UserWarning) as record:
        trainer(callbacks=[monitor], max_epochs=3).fit(Padded(), loader(), loader(60))
    texts = [str(warning.message) for warning in record if "LabelSimilarityMonitor" in str(warning.message)]
    pattern = (
        r"LabelSimilarityMonitor: (train|val), watching head: rows of the head that are zero: 8 to 17; without them the median "
        r"centered cosine moves by [01]\.\d\d; if they are padding, add them to `ignore`\."
    )
    matches = [re.fullmatch(pattern, text) for text in texts]
    assert [match and match[1] for match in matches] == ["train", "val"]
    ignored = LabelSimilarityMonitor(labels=LabelSelection(ignore=range(8, 18)))
    trainer(callbacks=[ignored]).fit(Padded(), loader(), loader(60))
    assert ignored.last_report["val"].remarks == {}
    assert ignored.last_report["val"].num_live == NUM_LABELS
