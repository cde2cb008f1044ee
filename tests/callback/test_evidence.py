"""Evidence in real runs: references find the inputs again, for every loader and number of processes, and no run is harmed.

Every item of a dataset carries its own index, which the batches hold as identifier: an identifier tells which item an example is.
"""

import copy
import gc
import math
import multiprocessing
import os
import pickle
import random
import socket
import tempfile
import warnings
import weakref
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any
from unittest import mock

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities import CombinedLoader
from torch import Tensor, distributed, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate
from typing_extensions import override

from lightning_cossim import Display, Evidence, GapReport, LabelSelection, LabelSimilarityMonitor, Schedule
from lightning_cossim.callback import loaders
from lightning_cossim.capture import vocabulary_window
from lightning_cossim.report.evidence import RANKINGS, Example, PairEvidence
from tests.callback.test_processes import PATIENCE, found_by
from tests.toys import (
    FEW,
    INPUT_DIM,
    NUM_LABELS,
    Capped,
    Faces,
    LanguageToy,
    SegmentationToy,
    Sentences,
    Toy,
    images,
    loader,
    trainer,
)


class Items(Dataset[tuple[Tensor, Tensor, int]]):
    """Inputs, their labels by a random rule, and their indices. Some labels are wrong."""

    def __init__(self, num: int = 60, seed: int = 0, first: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.inputs = torch.randn(num, INPUT_DIM, generator=generator)
        rule = torch.randn(INPUT_DIM, NUM_LABELS, generator=torch.Generator().manual_seed(1))
        self.labels = (self.inputs @ rule).argmax(dim=1)
        self.labels[::7] = (self.labels[::7] + 3) % NUM_LABELS
        self.first = first

    def __len__(self) -> int:
        return len(self.inputs)

    @override
    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        return self.inputs[index], self.labels[index], self.first + index


class Plain(Toy):
    """Several loaders and several entries of a batch; no dropout, so that an input always has the same probabilities."""

    def __init__(self) -> None:
        torch.manual_seed(3)
        super().__init__()
        self.body[2] = nn.Identity()

    @override
    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self(batch[0])

    @override
    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self(batch[0])


TARGETS = LabelSelection(targets_key=1)


def monitor(*, evidence: Evidence | None = None, **settings: Any) -> LabelSimilarityMonitor:
    display = settings.pop("display", {})
    settings = {"labels": TARGETS, "schedule": Schedule(2, 2), "thresholds": FEW, **settings}
    evidence = Evidence(ids_key=2) if evidence is None else evidence
    return LabelSimilarityMonitor(display=Display(max_overhead=None, **display), evidence=evidence, **settings)


def examples(report: GapReport) -> Iterator[tuple[PairEvidence, str, Example]]:
    for pair in report.evidence.pairs:
        for ranking, those in pair.examples.items():
            for one in those:
                yield pair, ranking, one


def check(report: GapReport, model: Toy, datasets: list[Items]) -> int:
    """Every example of a report is the item at its reference. Returns how many examples there are."""
    num = 0
    for pair, ranking, one in examples(report):
        where = one.reference
        assert where.loader is not None
        assert where.index is not None
        dataset = datasets[where.loader]
        assert where.id == str(dataset.first + where.index)
        x, y, _ = dataset[where.index]
        with torch.no_grad():
            probs = model.eval()(x[None])[0].double().softmax(dim=0)
        likely = {*probs.topk(8).indices.tolist(), int(y)}
        for label, found in zip(pair.labels, one.probabilities, strict=True):  # a watched pair knows both probabilities
            assert found == pytest.approx(probs[label].item(), abs=1e-5) or (math.isnan(found) and label not in likely)
        assert one.predicted == int(probs.argmax())
        assert one.target == int(y)
        assert ranking != "suspect_label" or {one.target, one.predicted} == {*pair.labels}
        num += 1
    return num


# References


LOADERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "in order": ({"batch_size": 8}, {}),
    "drop_last": ({"batch_size": 8, "drop_last": True}, {}),
    "some batches": ({"batch_size": 8}, {"limit_val_batches": 3, "limit_test_batches": 3}),
    "workers": ({"batch_size": 8, "num_workers": 2}, {}),
    "one by one": ({"batch_size": 1}, {}),
}


@pytest.mark.parametrize("case", LOADERS)
@pytest.mark.parametrize("most", [1024, 3])
def test_references_find_the_inputs_of_every_run(case: str, most: int) -> None:
    of_loader, of_trainer = LOADERS[case]
    watch, model = monitor(schedule=Schedule(2, 2, max_inputs_per_batch=most)), Plain()
    given = Items(40), Items(61, seed=5, first=1000)
    training, other = (DataLoader(one, **of_loader) for one in given)
    run = trainer(callbacks=[watch], max_epochs=1, **of_trainer)
    run.fit(model, training, other)
    assert check(watch.last_report["val"], model, [given[1]]) > 100
    for *_, one in examples(watch.last_report["train"]):  # the weights have moved on
        assert one.reference.index is not None
        assert one.reference.id == str(one.reference.index)
        assert one.target == given[0].labels[one.reference.index]
    run.validate(model, other, verbose=False)
    assert check(watch.last_report["val"], model, [given[1]]) > 100
    run.test(model, training, verbose=False)
    found = list(examples(watch.last_report["test"]))
    assert check(watch.last_report["test"], model, [given[0]]) == len(found)
    assert {ranking for _, ranking, _ in found} == {*RANKINGS}


@pytest.mark.parametrize("apart", [True, False])
def test_references_tell_several_loaders_apart(apart: bool) -> None:
    datasets = [Items(30, seed=seed, first=1000 * seed) for seed in range(3)]
    given = [DataLoader(one, batch_size=size) for one, size in zip(datasets, (4, 7, 30), strict=True)]
    watch, model = monitor(display={"per_dataloader": apart}), Plain()
    trainer(callbacks=[watch]).validate(model, given, verbose=False)
    reports = watch.last_report
    assert len(reports) == (3 if apart else 1)
    for report in reports.values():
        assert check(report, model, datasets) > 50
    seen = {key: {one.reference.loader for *_, one in examples(report)} for key, report in reports.items()}
    assert [*seen.values()] == ([{0}, {1}, {2}] if apart else [{0, 1, 2}])


class Stream(IterableDataset[tuple[Tensor, Tensor, int]]):
    @override
    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, int]]:
        items = Items(40)
        return (items[index] for index in range(40))


def backward(items: list[Any]) -> Any:
    return default_collate(items[::-1])


class Permuting(Plain):
    @override
    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return [one.flip(0) for one in batch]


class Recorder(Callback):
    """The identifiers of every validation batch."""

    def __init__(self) -> None:
        self.ids: list[list[str]] = []

    @override
    def on_validation_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, *args: Any) -> None:
        assert len(self.ids) == batch_idx
        self.ids.append([str(one.item()) for one in batch[2]])


UNKNOWN: dict[str, tuple[Callable[[], Any], type[Plain]]] = {
    "stream": (lambda: DataLoader(Stream(), batch_size=8), Plain),
    "shuffled": (lambda: DataLoader(Items(40), batch_size=8, shuffle=True), Plain),
    "own collate": (lambda: DataLoader(Items(40), batch_size=8, collate_fn=backward), Plain),
    "batches sorted after their transfer": (lambda: DataLoader(Items(40), batch_size=8), Permuting),
}


@pytest.mark.parametrize("case", UNKNOWN)
@pytest.mark.filterwarnings("ignore:Your `val_dataloader`'s sampler has shuffling enabled")
@pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")
def test_without_a_known_order_there_is_no_index_and_the_rows_are_right(case: str) -> None:
    make, kind = UNKNOWN[case]
    watch, recorder, model = monitor(), Recorder(), kind()
    trainer(callbacks=[watch, recorder]).validate(model, make(), verbose=False)
    found = list(examples(watch.last_report["val"]))
    assert len(found) > 100
    for *_, one in found:
        where = one.reference
        assert where.index is None
        assert where.batch is not None
        assert where.row is not None
        assert where.id == recorder.ids[where.batch][where.row]
        assert one.target == int(Items(40).labels[int(where.id)])


class Changing(Plain):
    """A new loader for every epoch of two batches: first one in order, then a shuffled one."""

    @override
    def train_dataloader(self) -> Any:
        return DataLoader(Items(16), batch_size=8, shuffle=self.trainer.current_epoch > 0)


@pytest.mark.filterwarnings("ignore:The `train_dataloader`")
def test_a_window_over_two_epochs_looks_at_both_loaders() -> None:
    watch, model = monitor(schedule=Schedule(1000, 4, validation=False)), Changing()
    trainer(callbacks=[watch], max_epochs=2, reload_dataloaders_every_n_epochs=1, limit_val_batches=0).fit(model)
    found = [one.reference for *_, one in examples(watch.last_report["train"])]
    assert {where.index is None for where in found} == {True, False}
    assert all(where.index is None or where.id == str(where.index) for where in found)


# Several processes


def validated(num_processes: int = 1, size: int = 8, rank: int = 0) -> tuple[LabelSimilarityMonitor, Plain]:
    watch, model = monitor(evidence=Evidence(ids_key=2, per_pair=5)), Plain()
    several: Any = {"strategy": DDPStrategy(), "devices": num_processes} if num_processes > 1 else {}
    trainer(callbacks=[watch], **several).validate(model, DataLoader(Items(61), batch_size=size), verbose=False)
    return watch, model


def order_of(report: GapReport) -> dict[str, list[int | None]]:
    """Pair and ranking to the indices of its inputs."""
    return {
        f"{pair.labels} {ranking}": [one.reference.index for one in those]
        for pair in report.evidence.pairs
        for ranking, those in pair.examples.items()
    }


def work(rank: int, num_processes: int, folder: Path) -> None:
    """What one process sees of validations, for several sizes of batches."""
    torch.set_num_threads(1)
    os.environ["LOCAL_RANK"] = str(rank)
    meeting = f"file://{folder / 'meeting'}"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=num_processes, timeout=PATIENCE)
    orders, from_all = [], set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for size in (7, 64):
            watch, model = validated(num_processes, size)
            report = watch.last_report["val"]
            assert check(report, model, [Items(61)]) > 100
            orders.append(order_of(report))
            from_all |= {one.reference.process for *_, one in examples(report)}
    torch.save({"orders": orders, "processes": sorted(from_all)}, folder / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def _server() -> Iterator[None]:
    """A server that has imported everything, from which the processes come at once."""
    loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    with mock.patch.dict(os.environ, {"GLOO_SOCKET_IFNAME": loopback, "OMP_NUM_THREADS": "1"}):
        multiprocessing.set_forkserver_preload([__name__])
        yield
        forkserver._forkserver._stop()  # type: ignore[attr-defined]


@pytest.mark.usefixtures("_server")
@pytest.mark.parametrize("num_processes", [2, 3])
def test_processes_find_together_what_one_finds(num_processes: int, tmp_path: Path) -> None:
    """61 items: the sampler of Lightning repeats some, and each stands once in a ranking."""
    wanted = order_of(validated()[0].last_report["val"])
    for process in found_by(work, (num_processes,), num_processes, tmp_path):
        assert process["processes"] == [*range(num_processes)]
        for order in process["orders"]:
            assert order == wanted
            for indices in (indices for key, indices in order.items() if "confident" not in key):
                assert len(indices) == len({*indices})


@pytest.fixture
def _temporary(tmp_path: Path) -> Iterator[None]:
    with mock.patch.object(tempfile, "tempdir", str(tmp_path)), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Lightning, on processes and samplers
        yield


@pytest.mark.usefixtures("_temporary")
def test_evidence_comes_back_from_processes_that_lightning_starts() -> None:
    watch, model = monitor(), Plain()
    run = trainer(callbacks=[watch], strategy="ddp_fork", devices=2, max_epochs=1)
    run.fit(model, DataLoader(Items(40), batch_size=8), DataLoader(Items(61), batch_size=8))
    assert check(watch.last_report["val"], model, [Items(61)]) > 100


# Sequences and images


class Numbered(Sentences):
    @override
    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {**super().__getitem__(index), "id": torch.tensor(index)}


def test_positions_in_sentences_are_those_of_the_token() -> None:
    model, sentences = LanguageToy(), Numbered(24)
    watch = monitor(
        evidence=Evidence(ids_key="id", decode=lambda ids: " ".join(map(str, ids))), labels=LabelSelection(targets_key="labels")
    )
    trainer(callbacks=[watch]).validate(model, DataLoader(sentences, batch_size=5), verbose=False)
    num = 0
    for pair, _, one in examples(watch.last_report["val"]):
        where = one.reference
        assert where.index is not None
        assert where.position is not None
        assert where.id == str(where.index)
        with torch.no_grad():
            probs = model.eval()(sentences.words[where.index][None])[0, where.position].double().softmax(dim=0)
        wanted = [probs[label].item() for label in pair.labels]
        likely = {*probs.topk(8).indices.tolist(), one.target}
        for label, prob, value in zip(pair.labels, one.probabilities, wanted, strict=True):
            assert prob == pytest.approx(value if label in likely else float("nan"), abs=1e-5, nan_ok=True)
        assert one.target == sentences.targets[where.index, where.position]
        assert one.target is not None  # padding does not count
        assert one.view is not None
        assert str(sentences.words[where.index, where.position].item()) in str(one.view.text)
        num += 1
    assert num > 200


def test_positions_in_segmented_images_are_those_of_the_flattened_output() -> None:
    model, loader = SegmentationToy(), images(10)
    watch = monitor(evidence=Evidence())
    trainer(callbacks=[watch]).validate(model, loader, verbose=False)
    num = 0
    for pair, _, one in examples(watch.last_report["val"]):
        where = one.reference
        assert where.index is not None
        assert where.position is not None
        pixels, labels = loader.dataset[where.index]
        with torch.no_grad():
            probs = model.eval()(pixels[None])[0].flatten(1)[:, where.position].double().softmax(dim=0)
        assert one.probabilities == pytest.approx([probs[label].item() for label in pair.labels], abs=1e-5)
        assert one.target == labels.flatten()[where.position]
        num += 1
    assert num > 200


# No run is harmed


class Watcher(Callback):
    """The batches as they were, which nobody may change, and the global random numbers at the end."""

    def __init__(self) -> None:
        self.states: list[Any] = []
        self.before: list[Tensor] = []

    @override
    def setup(self, *args: Any, **kwargs: Any) -> None:
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002 - the global state is the subject
        torch.manual_seed(0)

    @override
    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.before = [one.clone() for one in batch]

    @override
    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        for one, before in zip(batch, self.before, strict=True):
            torch.testing.assert_close(one, before, rtol=0, atol=0)
        self.states.append(outputs["loss"].item())

    @override
    def on_fit_end(self, *args: Any) -> None:
        numpy_state = np.random.get_state()  # noqa: NPY002 - the global state is the subject
        self.states += [random.getstate(), torch.get_rng_state().tolist(), str(numpy_state)]


def fitted(watch: LabelSimilarityMonitor | None, model: Toy | None = None, **settings: Any) -> tuple[list[Tensor], list[Any]]:
    """The weights after a fit with dropout and shuffling, and what the watcher saw."""
    watcher = Watcher()
    torch.manual_seed(7)
    model = Toy() if model is None else model
    settings = {"max_epochs": 2, **settings}
    training = DataLoader(Items(40), batch_size=8, shuffle=True)
    callbacks = [watcher] if watch is None else [watch, watcher]
    trainer(callbacks=callbacks, **settings).fit(model, training, DataLoader(Items(24), batch_size=8))
    return list(model.state_dict().values()), watcher.states


def _fail(*args: Any) -> Any:
    raise RuntimeError("a fault of the user's function")


class Unreadable:
    """What nobody can read: every attribute and text fails."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    @override
    def __repr__(self) -> str:
        raise RuntimeError


SETTINGS: dict[str, Evidence] = {
    "default": Evidence(),
    "ids": Evidence(ids_key=2),
    "show": Evidence(show=lambda batch, row: batch[0][row].reshape(2, 3)),
    "show gives a text": Evidence(show=lambda batch, row: f"row {row}"),
    "show raises": Evidence(show=_fail),
    "show gives nothing": Evidence(show=lambda batch, row: None),
    "show gives junk": Evidence(show=lambda batch, row: Unreadable()),
    "show gives a broken image": Evidence(show=lambda batch, row: torch.full((3, 0, 4), torch.nan)),
    "decode raises": Evidence(input_key=2, decode=_fail),
    "no such key": Evidence(ids_key=5),
    "no such inputs": Evidence(input_key="image"),
    "little memory": Evidence(max_bytes=2000),
    "no memory": Evidence(max_bytes=0),
}


@pytest.mark.filterwarnings("ignore:.*(pictures|Evidence|evidence|texts|thumbnails).*")
@pytest.mark.parametrize("case", SETTINGS)
def test_a_training_is_bit_for_bit_the_same(case: str) -> None:
    watch = monitor(evidence=SETTINGS[case])
    weights, states = fitted(watch)
    wanted, wanted_states = fitted(None)
    assert all(map(torch.equal, weights, wanted))
    assert states == wanted_states
    assert watch.last_report["val"].num_inputs == 24
    has_evidence = case not in {"no such key", "no memory", "little memory"}
    assert bool(watch.last_report["val"].evidence.pairs) == has_evidence


def test_a_missing_key_costs_the_evidence_and_one_warning() -> None:
    watch = monitor(evidence=Evidence(ids_key="path"))
    with pytest.warns(UserWarning, match="off for the rest of this run. The error: Expected `ids_key`") as told:
        fitted(watch)
    assert len([one for one in told if "ids_key" in str(one.message)]) == 1
    assert {*watch.last_report} == {"train", "val"}
    assert not any(report.evidence.pairs for report in watch.last_report.values())


def test_without_display_nothing_is_kept() -> None:
    watch = monitor(display={"evidence": False}, evidence=Evidence(show=_fail, ids_key="missing"))
    fitted(watch)
    assert not watch.last_report["val"].evidence.pairs


def test_references_alone_have_no_views() -> None:
    watch = monitor(display={"evidence": "references"}, evidence=Evidence(show=_fail, ids_key=2))
    fitted(watch)
    found = [one for *_, one in examples(watch.last_report["val"])]
    assert len(found) > 50
    assert {one.view for one in found} == {None}
    assert all(one.reference.id == str(one.reference.index) for one in found)


class Hostile:
    """A loader of which nothing can be read, not even its class."""

    @property  # type: ignore[misc]
    @override
    def __class__(self) -> Any:
        raise RuntimeError("nobody may ask")


def test_a_loader_that_fails_when_it_is_looked_at_costs_the_index_only() -> None:
    """In the place of Lightning's loader, which Lightning itself could not read otherwise."""
    watch, real = monitor(), loaders.data_loaders
    with mock.patch.object(loaders, "data_loaders", lambda trainer, stage: [*real(trainer, stage)] and loaders._flat(Hostile())):
        trainer(callbacks=[watch]).validate(Plain(), DataLoader(Items(24), batch_size=8), verbose=False)
    found = [one.reference for *_, one in examples(watch.last_report["val"])]
    assert len(found) > 50
    assert {(where.loader, where.index) for where in found} == {(0, None)}
    assert all(where.id == str(where.batch * 8 + where.row) for where in found)  # type: ignore[operator]


def test_places_without_any_trainer_are_unknown() -> None:
    places = loaders.Places()
    places.start(object(), "val")
    assert places.of(object(), "val", 3, 1) == (1, 3, None)
    assert places.of(object(), "train", 3) == (None, 3, None)


# Models and trainings of other kinds


class ManyCalls(Plain):
    """The head is called for the two halves of a batch, then for all of it."""

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        for half in inputs.chunk(2):
            super().forward(half)
        return super().forward(inputs)


class Halves(Plain):
    """The head is called for the first half of a batch, then for the second."""

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        return torch.cat([super(Halves, self).forward(half) for half in inputs.chunk(2)])


class Manual(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    @override
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        optimizer: Any = self.optimizers()
        loss = super().training_step(batch, batch_idx)
        self.manual_backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        return loss


class Growing(Plain):
    """Gets a new head after its first epoch."""

    @override
    def on_train_epoch_end(self) -> None:
        if self.current_epoch == 0:
            self.head = nn.Linear(self.head.in_features, self.head.out_features + 2)


@pytest.mark.filterwarnings("ignore:.*(the head `head` was replaced|calls the head|called .* times).*")
@pytest.mark.parametrize("kind", [ManyCalls, Manual, Growing])
@pytest.mark.parametrize("accumulated", [1, 3])
def test_other_trainings_have_right_references(kind: type[Plain], accumulated: int) -> None:
    watch, model = monitor(), kind()
    settings = {} if kind is Manual else {"accumulate_grad_batches": accumulated}
    run = trainer(callbacks=[watch], max_epochs=3, **settings)
    run.fit(model, DataLoader(Items(40), batch_size=8), DataLoader(Items(61, first=500), batch_size=8))
    assert check(watch.last_report["val"], model, [Items(61, first=500)]) > 100
    trained = [one.reference for *_, one in examples(watch.last_report["train"])]
    assert trained
    assert all(where.id == str(where.index) for where in trained)


@pytest.mark.filterwarnings("ignore:.*watching head.*")
def test_halves_of_a_batch_have_no_row() -> None:
    watch = monitor()
    trainer(callbacks=[watch]).validate(Halves(), DataLoader(Items(40), batch_size=8), verbose=False)
    found = [one.reference for *_, one in examples(watch.last_report["val"])]
    assert {(where.row, where.index, where.id) for where in found} <= {(None, None, None)}


LINKS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "softcap": (Capped, {"link": "softcap", "link_cap": Capped.cap}),
    "cosine": (Faces, {"link": "cosine", "head": "head"}),
}


@pytest.mark.parametrize("case", LINKS)
def test_capped_logits_and_cosines_have_the_models_probabilities(case: str) -> None:
    kind, settings = LINKS[case]
    watch, model = monitor(**settings), kind()
    trainer(callbacks=[watch]).test(model, DataLoader(Items(40), batch_size=8), verbose=False)
    assert check(watch.last_report["test"], model, [Items(40)]) > 100


def test_large_vocabularies_keep_inputs_of_observed_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary_window, "_MAX_INPUTS", 16)
    watch, model = monitor(labels=LabelSelection(targets_key=1, max_tracked=4)), Plain()
    trainer(callbacks=[watch]).validate(model, DataLoader(Items(64), batch_size=4), verbose=False)
    assert check(watch.last_report["val"], model, [Items(64)]) > 20
    assert 1 < len({one.reference.batch for *_, one in examples(watch.last_report["val"])}) < 16


@pytest.mark.usefixtures("rare_labels_count")
@pytest.mark.parametrize(("most", "has_some"), [(11, True), (12, False)])
def test_only_a_vocabulary_has_inputs_on_which_the_labels_are_not_both_likely(most: int, *, has_some: bool) -> None:
    """With a low bias, label 0 is never among the eight most likely of twelve labels."""
    model = Toy(12)
    with torch.no_grad():
        model.head.bias[0] = -12
    watch = monitor(labels=LabelSelection(max_tracked=most, min_probability=0), evidence=Evidence())
    trainer(callbacks=[watch]).validate(model, loader(64, num_labels=12), verbose=False)
    pairs = [pair for pair in watch.last_report["val"].evidence.pairs if 0 in pair.labels]
    assert len(pairs) == 11
    assert all(("overlap" in pair.examples) == has_some for pair in pairs)


# What stays after a run


class Tracking(Callback):
    """Weak references to the tensors of every batch."""

    def __init__(self, stops_at: int | None = None) -> None:
        self.alive: list[Any] = []
        self.stops_at = stops_at

    @override
    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.alive += [weakref.ref(one) for one in batch]

    @override
    def on_validation_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, *args: Any) -> None:
        self.alive += [weakref.ref(one) for one in batch]
        if batch_idx == self.stops_at:
            raise KeyboardInterrupt

    @property
    def num_alive(self) -> int:
        gc.collect()
        return sum(one() is not None for one in self.alive)


class ImageToy(SegmentationToy):
    """One label for each image of 3x12x12 pixels."""

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(inputs).mean(dim=(2, 3), keepdim=True))[:, :, 0, 0]
        return logits


def pictures() -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (40, 3, 12, 12), generator=generator, dtype=torch.uint8).float() / 255
    return DataLoader(torch.utils.data.TensorDataset(pixels, torch.arange(40) % NUM_LABELS), batch_size=8)


def test_no_batch_stays_alive_after_a_run() -> None:
    """Though the reports with their pictures do, whose memory is their own."""
    watch, tracking = monitor(evidence=Evidence()), Tracking()
    run = trainer(callbacks=[watch, tracking], max_epochs=1)
    run.fit(attributed_head(ImageToy()), pictures(), pictures())
    assert tracking.alive
    assert tracking.num_alive == 0
    views = [one.view for *_, one in examples(watch.last_report["val"])]
    assert views
    for view in views:
        assert view is not None
        assert view.picture is not None
        assert view.picture.base is None or view.picture.base.nbytes <= 2 * view.picture.nbytes


def attributed_head(model: Any) -> Any:
    model.head = nn.Conv2d(model.head.in_channels, NUM_LABELS, 1)
    return model


def test_an_interrupted_validation_leaves_nothing_of_ours_and_the_next_is_whole() -> None:
    """Lightning itself keeps the batch in which it was interrupted."""
    watch, model, loader = monitor(), Plain(), DataLoader(Items(40), batch_size=8)
    num_alive = []
    for callbacks in ([], [watch]):
        tracking = Tracking(stops_at=2)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            trainer(callbacks=[*callbacks, tracking]).validate(model, loader, verbose=False)
        num_alive.append(tracking.num_alive)
    assert num_alive[1] == num_alive[0]
    assert "val" not in watch.last_report
    trainer(callbacks=[watch]).validate(model, loader, verbose=False)
    assert check(watch.last_report["val"], model, [Items(40)]) > 100
    assert {one.reference.batch for *_, one in examples(watch.last_report["val"])} == {*range(5)}


def test_reports_with_evidence_can_be_pickled_and_copied() -> None:
    watch = monitor(evidence=Evidence(show=lambda batch, row: batch[0][row].reshape(2, 3)))
    trainer(callbacks=[watch]).validate(Plain(), DataLoader(Items(40), batch_size=8), verbose=False)
    report = watch.last_report["val"]
    pickled = pickle.loads(pickle.dumps(report))  # noqa: S301 - our own bytes
    for copied in (pickled, copy.deepcopy(report), copy.copy(report)):
        assert order_of(copied) == order_of(report)
        for (*_, one), (*_, other) in zip(examples(copied), examples(report), strict=True):
            assert one.reference == other.reference
            assert one.probabilities == other.probabilities
            assert one.view is not None
            assert other.view is not None
            np.testing.assert_array_equal(one.view.picture, other.view.picture)


def test_planted_wrong_labels_come_first_among_the_suspects() -> None:
    """A model that knows the rule, and five items of label 2 that are said to be of label 6."""
    items = Items(200)
    rule = torch.randn(INPUT_DIM, NUM_LABELS, generator=torch.Generator().manual_seed(1))
    items.labels = (items.inputs @ rule).argmax(dim=1)
    planted = (items.labels == 2).nonzero().flatten()[:5]
    items.labels[planted] = 6
    model = Plain()
    model.body, model.head = nn.Sequential(nn.Identity()), nn.Linear(INPUT_DIM, NUM_LABELS, bias=False)
    model.head.weight.data.copy_(4 * rule.T)
    watch = monitor()
    trainer(callbacks=[watch]).validate(model, DataLoader(items, batch_size=32), verbose=False)
    suspects = watch.last_report["val"].evidence[2, 6].examples["suspect_label"]
    assert {one.reference.index for one in suspects} == {*planted.tolist()}
    assert [one.probabilities[1] for one in suspects] == sorted(one.probabilities[1] for one in suspects)


@pytest.mark.parametrize("tab", [True, False])
@pytest.mark.parametrize("evidence", [True, "references", False])
def test_references_are_written_with_and_without_the_tab(tmp_path: Path, tab: bool, evidence: Any) -> None:
    """At the end of a run, next to the event files."""
    watch = monitor(display={"tab": tab, "evidence": evidence})
    run = trainer(callbacks=[watch], logger=TensorBoardLogger(tmp_path))
    run.validate(Plain(), DataLoader(Items(61), batch_size=8), verbose=False)
    files = {path.name for path in tmp_path.rglob("cossim_val*")}
    pairs = {"cossim_val.csv", "cossim_val.json"} if tab else set()
    assert files == pairs | ({"cossim_val_evidence.csv"} if evidence else set())


# What a fresh attack found


class Sorts(Plain):
    """Sorts all tensors of its batch."""

    @override
    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        order = batch["x"][:, 0].argsort()
        for key in batch:
            batch[key] = batch[key][order]
        self(batch["x"])


class Pops(Plain):
    """Takes the identifiers out of its batch, as tokenized batches need it."""

    @override
    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        batch.pop("id")
        self(batch["x"])


class Records(Items):
    """The same items as dictionaries."""

    @override
    def __getitem__(self, index: int) -> Any:
        x, y, number = super().__getitem__(index)
        return {"x": x, "y": y, "id": number}


@pytest.mark.parametrize(("kind", "is_known"), [(Sorts, False), (Pops, True)])
def test_a_step_that_changes_its_batch(kind: type[Plain], is_known: bool) -> None:
    """Rows and identifiers are those of the batch before the step, or unknown."""
    watch = monitor(evidence=Evidence(ids_key="id"), labels=LabelSelection(targets_key="y"))
    trainer(callbacks=[watch]).validate(kind(), DataLoader(Records(61, first=500), batch_size=8), verbose=False)
    found = [one.reference for *_, one in examples(watch.last_report["val"])]
    assert found
    if is_known:
        assert all(where.id == str(500 + (where.index or 0)) for where in found)
        assert all(where.index is not None for where in found)
    else:
        assert {(where.row, where.index, where.id) for where in found} == {(None, None, None)}


class OfBoth(Plain):
    """Uses the second loader of a combined one."""

    @override
    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self(batch["b"][0])


@pytest.mark.parametrize("mode", ["min_size", "max_size", "max_size_cycle"])
def test_a_batch_that_combines_loaders_has_no_loader_and_no_index(mode: Any) -> None:
    loaders_ = {"a": DataLoader(Items(64), batch_size=8), "b": DataLoader(Items(64, seed=1, first=500), batch_size=8)}
    watch = monitor(evidence=Evidence(), labels=LabelSelection())
    trainer(callbacks=[watch]).validate(OfBoth(), CombinedLoader(loaders_, mode), verbose=False)
    found = [one.reference for *_, one in examples(watch.last_report["val"])]
    assert found
    assert {(where.loader, where.index) for where in found} == {(None, None)}


def test_a_function_that_draws_leaves_the_training_as_it_is() -> None:
    def weights(evidence: Evidence) -> Tensor:
        pl.seed_everything(1, verbose=False)
        model = Plain()
        run = trainer(callbacks=[monitor(evidence=evidence)], max_epochs=2)
        run.fit(model, DataLoader(Items(64), batch_size=8, shuffle=True), DataLoader(Items(61), batch_size=8))
        return model.head.weight.detach().clone()

    def drawn(batch: Any, row: int) -> Tensor:
        random.random()  # noqa: S311
        np.random.rand()  # noqa: NPY002 - what a user's function may call
        return torch.rand(8, 8)

    assert torch.equal(weights(Evidence()), weights(Evidence(show=drawn)))


@pytest.mark.parametrize("what", ["keeper.merged", "keeper.pairs_with"])
def test_a_failure_at_the_report_costs_the_evidence_and_one_warning(what: str) -> None:
    """The report comes, and so does the next one."""
    watch = monitor()
    run = trainer(callbacks=[watch], max_epochs=3)
    broken = mock.patch(f"lightning_cossim.capture.evidence.{what}", side_effect=MemoryError("planted"))
    with broken, warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        run.fit(Plain(), DataLoader(Items(40), batch_size=8), DataLoader(Items(61), batch_size=8))
    told = [str(one.message) for one in found if "evidence" in str(one.message) or "stopped" in str(one.message)]
    assert len(told) == 1
    assert "keeping inputs as evidence failed and is off for the rest of this run. The error: MemoryError: planted" in told[0]
    assert watch.last_report["val"].num_inputs == 61
    assert not watch.last_report["val"].evidence
