"""From observed batches to the evidence of a report: references, probabilities, order, memory and failures, without Lightning.

The head is the identity, so that the logits of every input are those of its batch. Shapes: K labels, N inputs, B rows of a batch,
T positions of a row.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from typing_extensions import override

from lightning_cossim import Evidence, LabelSelection
from lightning_cossim.capture import vocabulary_window
from lightning_cossim.capture.collector import Collector
from lightning_cossim.capture.distributed import ALONE, Processes
from lightning_cossim.capture.evidence import views as views_module
from lightning_cossim.capture.evidence import window as window_module
from lightning_cossim.capture.evidence.keeper import EvidenceKeeper
from lightning_cossim.capture.evidence.place import Place
from lightning_cossim.capture.evidence.references import DatasetOrder
from lightning_cossim.capture.evidence.store import EvidenceStore
from lightning_cossim.capture.evidence.texts import TokenReader
from lightning_cossim.capture.evidence.views import Viewer
from lightning_cossim.capture.head import Head, Observation
from lightning_cossim.config.evidence import Evidence as Settings
from lightning_cossim.functional.links import Link, Response
from lightning_cossim.functional.overlap import Overlap
from lightning_cossim.report import WindowKey
from lightning_cossim.report.evidence import RANKINGS, Example, PairEvidence, PairsWithEvidence
from lightning_cossim.report.wanted_pairs import WantedPairs

K = 9
KEY = WindowKey("val")
OWN_TARGETS = LabelSelection(targets_key="y", shift_targets=False)
PAIRS = [(one, other) for other in range(K) for one in range(other)]
Batch = Any


class Table(Dataset[dict[str, Any]]):
    """Items with random logits and targets; `step` rounds the logits, so that many inputs have equal probabilities."""

    def __init__(self, num: int, *, step: float = 0.0, places: tuple[int, ...] = (), seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        logits = torch.randn(num, *places, K, generator=generator) * 2
        self.logits = (logits / step).round() * step if step else logits
        self.targets = torch.randint(K, (num, *places), generator=generator)

    def __len__(self) -> int:
        return len(self.logits)

    @override
    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"z": self.logits[index], "y": self.targets[index], "name": f"item {index}", "number": index}


class Rig:
    """A collector with a keeper, and what it warned about."""

    def __init__(
        self,
        *,
        link: Link = "softmax",
        max_inputs: int = 10_000,
        labels: LabelSelection = OWN_TARGETS,
        with_views: bool = False,
        has_names: bool = False,
        is_vocabulary: bool = False,
        processes: Processes = ALONE,
        **settings: Any,
    ) -> None:
        self.told: list[str] = []
        self.layer = nn.Linear(K, K, bias=False)
        self.layer.weight.data.copy_(torch.eye(K))
        evidence = Settings(**settings)
        viewer = Viewer(evidence, labels.read_names(K), has_names=has_names, warn=self.told.append) if with_views else None
        self.keeper = EvidenceKeeper(evidence, K, link, viewer, self.told.append, is_vocabulary=is_vocabulary)
        self.processes = processes
        self.collector = Collector(
            Head("fc", self.layer, "its path", response=Response(link)),
            labels=labels,
            overlap=Overlap.of(K, link=link),
            max_inputs=max_inputs,
            warn=self.told.append,
            evidence=self.keeper,
        )

    def watch(
        self,
        batches: Sequence[Batch],
        call: Callable[[nn.Module, Batch], Any] | None = None,
        place: Any = None,
        key: WindowKey = KEY,
    ) -> "Rig":
        """Add batches to an open window; `place` is an order or a function of the number of the batch."""
        for number, batch in enumerate(batches):
            where = place(number) if callable(place) else Place(0, number, place)
            self.collector.begin_batch(key, batch, where)
            self.layer(batch["z"]) if call is None else call(self.layer, batch)
            self.collector.end_batch(key)
        return self

    def open(self, key: WindowKey = KEY) -> "Rig":
        self.collector.open(key, processes=self.processes)
        return self

    def close(
        self,
        flagged: Sequence[tuple[int, int]] = (),
        key: WindowKey = KEY,
    ) -> PairsWithEvidence:
        self.collector.close(key, self.processes)
        wanted = WantedPairs([*PAIRS], [*flagged])
        found = self.collector.evidence(key, wanted, self.processes)
        assert found is not None
        return found


def seen(
    batches: Sequence[Batch], call: Callable[[nn.Module, Batch], Any] | None = None, place: Any = None, **settings: Any
) -> PairsWithEvidence:
    """The evidence of one window of batches."""
    return Rig(**settings).open().watch(batches, call, place).close()


def examples(found: PairsWithEvidence) -> Iterator[tuple[PairEvidence, str, Example]]:
    for pair in found.pairs:
        for ranking, those in pair.examples.items():
            for one in those:
                yield pair, ranking, one


def check_values(pair: PairEvidence, ranking: str, one: Example, logits: Tensor, target: int) -> None:
    """An example has the probabilities, the prediction and the target of an input with these logits."""
    probs = logits.double().softmax(dim=0)
    assert one.predicted == int(probs.argmax())
    assert one.target == target
    likely = {*probs.topk(8).indices.tolist(), target}
    for label, prob in zip(pair.labels, one.probabilities, strict=True):
        assert prob == pytest.approx(probs[label].item() if label in likely else float("nan"), abs=1e-5, nan_ok=True)
    if ranking == "suspect_label":
        assert {one.target, one.predicted} == {*pair.labels}


# References


@pytest.mark.parametrize(
    "settings",
    [{"batch_size": 16}, {"batch_size": 7}, {"batch_size": 16, "drop_last": True}, {"batch_size": 1}, {"batch_size": 300}],
)
@pytest.mark.parametrize("max_inputs", [10_000, 5])
@pytest.mark.parametrize("ids_key", [None, "name", "number"])
def test_the_item_at_a_reference_is_the_input(settings: dict[str, Any], max_inputs: int, ids_key: str | None) -> None:
    table = Table(150)
    loader: Any = DataLoader(table, **settings)
    found = seen(list(loader), place=DatasetOrder.of(loader), max_inputs=max_inputs, ids_key=ids_key)
    all_examples = list(examples(found))
    assert {ranking for _, ranking, _ in all_examples} == {*RANKINGS}
    for pair, ranking, one in all_examples:
        where = one.reference
        assert where.index is not None
        assert where.batch is not None
        check_values(pair, ranking, one, table.logits[where.index], int(table.targets[where.index]))
        assert (where.loader, where.position, where.process) == (0, None, 0)
        assert where.batch * settings["batch_size"] + where.row == where.index
        assert where.id == {None: None, "name": f"item {where.index}", "number": str(where.index)}[ids_key]


def test_the_first_inputs_of_every_ranking_are_those_of_a_full_sort() -> None:
    """Against all pairs of all inputs, in float64."""
    table = Table(200)
    loader: Any = DataLoader(table, batch_size=32)
    found = seen(list(loader), place=DatasetOrder.of(loader), per_pair=3)
    p_NK = table.logits.double().softmax(dim=1)
    likely_NK = torch.zeros_like(p_NK).scatter(1, p_NK.topk(8).indices, 1) * p_NK
    predicted_N = p_NK.argmax(dim=1)
    for one, other in PAIRS:
        value_N = (likely_NK[:, one] * likely_NK[:, other]).sqrt()
        is_wrong_N = (predicted_N == one) & (table.targets == other) | (predicted_N == other) & (table.targets == one)
        target_N = p_NK.gather(1, table.targets[:, None])[:, 0]
        wanted = {
            "overlap": value_N.topk(3).indices.tolist(),
            "confident": [*p_NK[:, one].topk(3).indices.tolist(), *p_NK[:, other].topk(3).indices.tolist()],
            "suspect_label": [place for place in target_N.argsort().tolist() if is_wrong_N[place]],
        }
        mine = {ranking: [each.reference.index for each in those] for ranking, those in found[one, other].examples.items()}
        assert mine == {ranking: places for ranking, places in wanted.items() if places}


def test_a_place_that_nobody_knows_stays_unknown() -> None:
    found = seen([{"z": Table(4).logits, "y": Table(4).targets}], place=lambda number: Place())
    for _, _, one in examples(found):
        assert (one.reference.loader, one.reference.batch, one.reference.index) == (None, None, None)
        assert one.reference.row is not None


def test_without_targets_none_is_claimed() -> None:
    found = seen([{"z": Table(40).logits}], labels=LabelSelection())
    assert {one.target for *_, one in examples(found)} == {None}
    assert {ranking for _, ranking, _ in examples(found)} == {"overlap", "confident"}


def test_planted_wrong_targets_are_the_first_suspects() -> None:
    """Separable labels; items 3, 50 and 77 of label 2 are said to be of label 5, the last one most clearly wrong."""
    targets = torch.arange(90) % 3 + 2
    strength = torch.full((90,), 3.0)
    strength[[3, 50, 77]] = torch.tensor([5.0, 6.0, 7.0])
    targets[[3, 50, 77]] = 2
    logits = nn.functional.one_hot(targets, K) * strength[:, None]
    wrong = targets.clone()
    wrong[[3, 50, 77]] = 5
    loader: Any = DataLoader(Table(90), batch_size=20)
    batches = [{"z": z, "y": y} for z, y in zip(torch.split(logits, 20), torch.split(wrong, 20), strict=True)]
    found = seen(batches, place=DatasetOrder.of(loader))
    assert [one.reference.index for one in found[2, 5].examples["suspect_label"]] == [77, 50, 3]
    assert not any("suspect_label" in pair.examples for pair in found.pairs if pair.labels != (2, 5))


# Rows and positions in sequences

B, T = 6, 4
Call = Callable[[nn.Module, Batch], Any]


def masked(layer: nn.Module, batch: Batch) -> Any:
    return layer(batch["z"][batch["y"] != -100])


CALLS: dict[str, tuple[Call, int, tuple[bool, bool]]] = {
    "whole": (lambda layer, batch: layer(batch["z"]), T, (True, True)),
    "flattened": (lambda layer, batch: layer(batch["z"].flatten(0, 1)), T, (False, False)),
    "one by one in a third dimension": (lambda layer, batch: layer(batch["z"][:, :, None]), T, (True, True)),
    "time first": (lambda layer, batch: layer(batch["z"].transpose(0, 1)), T, (False, False)),
    "time first, as many as rows": (lambda layer, batch: layer(batch["z"].transpose(0, 1)), B, (False, False)),
    "time first, flattened": (lambda layer, batch: layer(batch["z"].transpose(0, 1).flatten(0, 1)), T, (False, False)),
    "the last": (lambda layer, batch: layer(batch["z"][:, -1:]), T, (True, False)),
    "the last, without its dimension": (lambda layer, batch: layer(batch["z"][:, -1]), T, (False, False)),
    "from the second": (lambda layer, batch: layer(batch["z"][:, 1:]), T, (True, False)),
    "all but the last": (lambda layer, batch: layer(batch["z"][:, :-1]), T, (True, False)),
    "every second": (lambda layer, batch: layer(batch["z"][:, ::2]), T, (True, False)),
    "backward": (lambda layer, batch: layer(batch["z"].flip(1)[:, :3]), T, (True, False)),
    "masked": (masked, T, (False, False)),
    "one position": (lambda layer, batch: layer(batch["z"]), 1, (True, True)),
}


def sequences(length: int, sizes: Sequence[int] = (B, B, 5), *, masks: bool = True) -> tuple[Table, list[Batch]]:
    """Batches of token ids and targets, some ignored."""
    table = Table(sum(sizes), places=(length,))
    tokens = torch.arange(table.targets.numel()).view_as(table.targets)
    if masks:
        table.targets[tokens % 3 == 1] = -100
    parts = [torch.split(part, list(sizes)) for part in (table.logits, tokens, table.targets)]
    return table, [{"z": z, "tokens": tokens, "y": y} for z, tokens, y in zip(*parts, strict=True)]


def true_places(table: Table, found: PairsWithEvidence) -> Iterator[tuple[Example, int, int]]:
    """Every example with the row of its item in the table and its position, by its probabilities."""
    probs = table.logits.double().softmax(dim=-1)
    for pair, _, one in examples(found):
        wanted = torch.tensor(one.probabilities, dtype=torch.float64)
        distance = (probs[..., list(pair.labels)] - wanted).nan_to_num(0).abs().amax(dim=-1)
        distance += (probs.argmax(dim=-1) != one.predicted) * 1.0
        if one.target is not None:
            distance += (table.targets != one.target) * 1.0
        near = (distance < 1e-6).nonzero()
        if len(near) == 1:
            yield one, int(near[0, 0]), int(near[0, 1])


@pytest.mark.parametrize("max_inputs", [10_000, 6])
@pytest.mark.parametrize("with_labels", [True, False])
@pytest.mark.parametrize("case", CALLS)
def test_rows_and_positions_are_right_or_unknown(case: str, with_labels: bool, max_inputs: int) -> None:
    call, length, (has_row, has_position) = CALLS[case]
    table, batches = sequences(length)
    labels = LabelSelection(targets_key="y", shift_targets=False) if with_labels else LabelSelection()
    found = seen(batches, call, labels=labels, max_inputs=max_inputs)
    checked = 0
    for one, row, position in true_places(table, found):
        where = one.reference
        assert (where.batch, where.process) == (row // B, 0)
        assert where.row == (row % B if has_row else None)
        assert where.position == (position if has_position else None)
        checked += 1
    assert checked > 50


@pytest.mark.parametrize("sizes", [(B,), (B, B), (B, B, 3)])
def test_masked_positions_as_many_as_rows_have_no_row(sizes: tuple[int, ...]) -> None:
    """Every batch has as many masked positions as rows, but the first row has two of them, and the last one none."""
    _, batches = sequences(T, sizes, masks=False)
    for batch in batches:
        ignored = torch.ones_like(batch["y"], dtype=torch.bool)
        ignored[torch.arange(len(ignored)), torch.arange(len(ignored)) % T] = False
        ignored[-1], ignored[0, :2] = True, False
        batch["y"].masked_fill_(ignored, -100)
    found = seen(batches, masked)
    assert len(found.pairs) > 10
    assert {(one.reference.row, one.reference.position, one.reference.index) for *_, one in examples(found)} == {
        (None, None, None)
    }


def test_one_call_of_another_number_of_rows_costs_the_rows_identifiers_and_views_of_a_window() -> None:
    """The other batches have as many masked positions as rows; lengths stand beside the sequences."""
    _, batches = sequences(T, (B, B, B))
    rig = Rig(ids_key="name", with_views=True, show=lambda batch, row: batch["name"][row])
    counts = [B, B + 2, B]
    for batch, count in zip(batches, counts, strict=True):
        batch["y"].fill_(-100).view(-1)[:count] = 0
        batch |= {"length": torch.full((B,), T), "name": [f"row {row}" for row in range(B)]}
    found = list(examples(rig.open().watch(batches, masked).close()))
    assert found
    for *_, one in found:
        assert (one.reference.row, one.reference.position, one.reference.id, one.view) == (None,) * 4
    assert rig.told == []


def test_labels_for_a_part_of_the_sequence_do_not_make_it_the_whole() -> None:
    """Targets (B, T - 1) have the shape of the call, but the head saw the positions from the second one on."""
    _, batches = sequences(T, masks=False)
    for batch in batches:
        batch["y"] = batch["y"][:, 1:].contiguous()
    found = seen(batches, lambda layer, batch: layer(batch["z"][:, 1:]), labels=LabelSelection())
    assert {one.reference.position for *_, one in examples(found)} == {None}
    assert {one.reference.row for *_, one in examples(found)} == {*range(B)}


def test_a_part_that_once_is_the_whole_has_no_position_in_the_window_and_no_marked_text() -> None:
    """Sequences are cut to the longest of the batch in one batch, and the head sees the first three positions in both."""
    _, batches = sequences(T, (B, B), masks=False)
    batches[0] = {name: part[:, :3] for name, part in batches[0].items()}
    rig = Rig(with_views=True, decode=lambda ids: " ".join(map(str, ids)), input_key="tokens")
    found = rig.open().watch(batches, lambda layer, batch: layer(batch["z"][:, :3])).close()
    texts = [(one.reference, one.view) for *_, one in examples(found)]
    assert {where.position for where, _ in texts} == {None}
    assert {where.row for where, _ in texts} == {*range(B)}
    assert all(view is None for where, view in texts if where.batch == 0)


@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
@pytest.mark.parametrize("dim", [(), (2,)])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_sequences_in_nested_tensors_show_no_position(layout: torch.layout, dim: tuple[int, ...]) -> None:
    """The model pads them. Selected places may be as many as rows."""
    table, _ = sequences(T, masks=False)
    parts = [torch.zeros(length, *dim, dtype=torch.float32 if dim else torch.int64) for length in (1, T, 2, 3, 3, T)]
    batch = {"words": torch.nested.nested_tensor(parts, layout=layout)}
    rig = Rig(labels=LabelSelection())
    padded = rig.open().watch([batch], lambda layer, _: layer(table.logits[:B])).close()
    assert {(one.reference.row, one.reference.position) for *_, one in examples(padded)} == {(row, None) for row in range(B)}
    selected = rig.open().watch([batch], lambda layer, _: layer(table.logits[:B, 0])).close()
    assert {one.reference.row for *_, one in examples(selected)} == ({*range(B)} if dim else {None})
    assert rig.told == []


def test_outputs_of_an_image_that_have_no_position_stay_apart() -> None:
    """A detector gives 20 outputs for each image; all are inputs, though row and index are the same."""
    table = Table(6, places=(20,))
    loader: Any = DataLoader(Table(6), batch_size=3)
    batches = [{"image": torch.zeros(3, 3, 4, 4), "z4": z} for z in torch.split(table.logits, 3)]
    found = seen(batches, lambda layer, batch: layer(batch["z4"]), DatasetOrder.of(loader), labels=LabelSelection(), per_pair=8)
    # Without `z4`, nothing in the batch shows the places of the call.
    left = iter(torch.split(table.logits, 3))
    hidden = seen(
        [{"image": batch["image"]} for batch in batches],
        lambda layer, batch: layer(next(left)),
        DatasetOrder.of(loader),
        labels=LabelSelection(),
        per_pair=8,
    )
    for one, other in zip(examples(found), examples(hidden), strict=True):
        assert one[2].probabilities == pytest.approx(other[2].probabilities, nan_ok=True)
        assert one[2].reference._replace(position=None) == other[2].reference
        assert one[2].reference.position is not None
    assert all(len(pair.examples["overlap"]) == 8 for pair in hidden.pairs)


def test_positions_in_images_are_those_of_the_flattened_output() -> None:
    table = Table(6, places=(4, 5))
    batches = [
        {"image": torch.zeros(3, 3, 4, 5), "y": y, "z": z}
        for z, y in zip(torch.split(table.logits, 3), torch.split(table.targets, 3), strict=True)
    ]
    found = seen(batches)
    for pair, ranking, one in examples(found):
        where = one.reference
        assert where.position is not None
        item, (line, column) = where.batch * 3 + where.row, divmod(where.position, 5)  # type: ignore[operator]
        check_values(pair, ranking, one, table.logits[item, line, column], int(table.targets[item, line, column]))


# The same for every split


class Threads:
    """A strategy whose processes are threads."""

    root_device = torch.device("cpu")

    def __init__(self, num: int) -> None:
        self.barrier, self.slots = threading.Barrier(num, timeout=60), dict[int, Any]()
        self.local = threading.local()

    def gathered(self, value: Any) -> list[Any]:
        self.slots[self.local.rank] = value
        self.barrier.wait()
        found = [self.slots[rank] for rank in sorted(self.slots)]
        self.barrier.wait()
        return found

    def broadcast(self, value: Any, src: int) -> Any:
        return self.gathered(value)[src]

    def reduce(self, tensor: Tensor, reduce_op: str) -> Tensor:
        total = torch.stack(self.gathered(tensor.clone())).sum(dim=0)
        tensor.copy_(total)
        return total


def in_processes(num: int, work: Callable[[int, Processes], PairsWithEvidence]) -> list[PairsWithEvidence]:
    """What each of several processes finds."""
    strategy, found, failures = Threads(num), dict[int, PairsWithEvidence](), list[BaseException]()

    def run(rank: int) -> None:
        strategy.local.rank = rank
        try:
            found[rank] = work(rank, Processes(strategy, num, rank) if num > 1 else ALONE)
        except BaseException as error:  # noqa: BLE001 - of a thread
            failures.append(error)
            strategy.barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(num)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return [found[rank] for rank in range(num)]


def order_of(found: PairsWithEvidence, *, by: Callable[[Example], Any]) -> dict[Any, Any]:
    """Pair and ranking to the examples in their order."""
    return {
        (pair.labels, ranking): [by(one) for one in those] for pair in found.pairs for ranking, those in pair.examples.items()
    }


@pytest.mark.parametrize("is_vocabulary", [False, True])
@pytest.mark.parametrize("step", [0.0, 1.0])
@pytest.mark.parametrize("num", [1, 2, 3])
def test_the_split_into_batches_and_processes_does_not_matter(num: int, step: float, *, is_vocabulary: bool) -> None:
    """The last batch of each process repeats items, as a distributed sampler does. With rounded logits, many inputs are equal."""
    table, settings = Table(76, step=step), dict[str, Any](per_pair=5, is_vocabulary=is_vocabulary)
    whole: Any = DataLoader(table, batch_size=1000)
    wanted = order_of(seen(list(whole), place=DatasetOrder.of(whole), **settings), by=lambda one: one.reference.index)
    for size in (1, 7, 64, 1000):

        def work(rank: int, processes: Processes, size: int = size) -> PairsWithEvidence:
            sampler: Any = torch.utils.data.DistributedSampler(table, num_replicas=num, rank=rank, shuffle=False)
            loader: Any = DataLoader(table, batch_size=size, sampler=sampler)
            return seen(list(loader), place=DatasetOrder.of(loader), processes=processes, **settings)

        for found in in_processes(num, work):
            assert order_of(found, by=lambda one: one.reference.index) == wanted
            for pair, ranking, one in examples(found):
                assert one.reference.index is not None
                assert one.reference.process == one.reference.index % num or one.reference.index < num
                check_values(pair, ranking, replace(one, predicted=one.predicted), *_item(table, one.reference.index, one, step))


def _item(table: Table, index: int, one: Example, step: float) -> tuple[Tensor, int]:
    """An item; where several labels are equally likely, which one is predicted is left open."""
    logits = table.logits[index].clone()
    if step and logits[one.predicted] == logits.max():
        logits = logits.double()
        logits[one.predicted] += 1e-9
    return logits, int(table.targets[index])


@pytest.mark.parametrize("call", ["whole", "flattened"])
def test_sequences_of_equal_inputs_have_one_order_for_every_split(call: str) -> None:
    """The targets tell the inputs apart, whose probabilities are all equal; the rows of flattened calls are unknown."""
    table = Table(24, places=(T,))
    table.logits[:] = torch.linspace(0, 2, K)
    found = []
    for size in (1, 7, 24):
        batches = [
            {"z": z, "y": y} for z, y in zip(torch.split(table.logits, size), torch.split(table.targets, size), strict=True)
        ]
        found.append(order_of(seen(batches, CALLS[call][0], per_pair=30), by=lambda one: one.target))
    assert found[0][(7, 8), "overlap"] == table.targets.flatten()[:30].tolist()
    assert found[1:] == found[:1] * 2


@pytest.mark.parametrize("odd_one", [0, 1])
def test_rows_are_unknown_on_all_processes_if_they_are_on_one(odd_one: int) -> None:
    """On the other process, each batch had as many masked positions as rows."""

    def work(rank: int, processes: Processes) -> PairsWithEvidence:
        _, batches = sequences(T, (B, B))
        for batch in batches:
            batch["y"].fill_(-100).view(-1)[: B + 2 * (rank == odd_one)] = rank
            batch |= {"length": torch.full((B,), T), "name": [f"row {row}" for row in range(B)]}
        rig = Rig(ids_key="name", with_views=True, show=lambda batch, row: batch["name"][row], processes=processes)
        return rig.open().watch(batches, masked).close()

    for found in in_processes(2, work):
        those = [one for *_, one in examples(found)]
        assert {one.reference.process for one in those} == {0, 1}
        assert {(one.reference.row, one.reference.id, one.view) for one in those} == {(None, None, None)}


def test_a_failure_costs_the_evidence_of_its_process_only() -> None:
    def work(rank: int, processes: Processes) -> PairsWithEvidence:
        table = Table(30, seed=rank)
        rig = Rig(processes=processes, ids_key="missing" if rank == 0 else None)
        found = rig.open().watch([{"z": table.logits, "y": table.targets}]).close()
        assert len(rig.told) == (rank == 0)
        return found

    for found in in_processes(2, work):
        assert {one.reference.process for *_, one in examples(found)} == {1}


# What does not count


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_inputs_that_are_not_finite_never_enter(bad: float) -> None:
    table = Table(40)
    z = table.logits.clone()
    z[3, 4], z[17, :] = bad, bad
    rig = Rig(ids_key="name")
    names = [f"item {index}" for index in range(40)]
    found = rig.open().watch([{"z": z, "y": table.targets, "name": names}]).close()
    indices = {(one.reference.row, one.reference.id) for *_, one in examples(found)}
    assert indices <= {(row, f"item {row}") for row in range(40) if row not in {3, 17}}
    assert len(indices) > 20


def test_inputs_whose_embedding_is_not_finite_never_enter() -> None:
    rig = Rig().open()
    table = Table(6)
    embedding = table.logits.clone()
    embedding[2, 1] = torch.nan
    rig.keeper.add(KEY, Observation(rig.layer.weight, table.logits, embedding, (6,)), {"z": embedding}, Place(0, 0))
    assert {one.reference.row for *_, one in examples(rig.close())} == {0, 1, 3, 4, 5}


def test_masked_labels_do_not_matter() -> None:
    """A model gives labels that cannot be right the logit -inf."""
    table = Table(40)
    z = table.logits.masked_fill(torch.arange(K) == 4, -torch.inf)
    rig = Rig(labels=LabelSelection()).open()
    rig.keeper.add(KEY, Observation(rig.layer.weight, z, None, (40,)), {"z": z}, Place(0, 0))
    found = rig.close()
    assert (3, 5) in {pair.labels for pair in found.pairs}
    assert not any(
        one.probabilities[0] > 0 for pair in found.pairs if pair.labels[0] == 4 for one in pair.examples.get("overlap", ())
    )


def test_sigmoids_have_no_suspects() -> None:
    table = Table(50)
    found = seen([{"z": table.logits, "y": table.targets}], link="sigmoid")
    assert {ranking for _, ranking, _ in examples(found)} == {"overlap", "confident"}
    for pair, _, one in examples(found):
        probs = table.logits[one.reference.row].double().sigmoid()
        likely = set(probs.topk(8).indices.tolist())
        for label, prob in zip(pair.labels, one.probabilities, strict=True):
            assert label not in likely or prob == pytest.approx(probs[label].item(), abs=1e-5)


def test_only_batches_that_a_vocabulary_window_observes_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary_window, "_MAX_INPUTS", 16)
    table = Table(160)
    labels = LabelSelection(targets_key="y", max_tracked=4)
    loader: Any = DataLoader(table, batch_size=4)
    rig = Rig(labels=labels, per_pair=64).open()
    observed = list[int]()
    real = HeadTakes(rig.collector, observed)
    with mock.patch.object(rig.keeper, "add", real.add):
        rig.watch(list(loader), place=DatasetOrder.of(loader))
    found = rig.close()
    assert len(observed) < 40
    assert {one.reference.batch for *_, one in examples(found)} == {*observed}
    for pair, ranking, one in examples(found):
        assert one.reference.index is not None
        check_values(pair, ranking, one, table.logits[one.reference.index], int(table.targets[one.reference.index]))


class HeadTakes:
    """Records the batches that are added."""

    def __init__(self, collector: Collector, observed: list[int]) -> None:
        keeper: Any = collector._evidence
        self.real, self.observed = keeper.add, observed

    def add(self, key: WindowKey, seen: Any, batch: Any, place: Place) -> None:
        assert place.batch is not None
        self.observed.append(place.batch)
        self.real(key, seen, batch, place)


# Settings, failures and memory


@pytest.mark.parametrize("max_bytes", [0, 100])
def test_without_memory_nothing_is_kept(max_bytes: int) -> None:
    rig = Rig(max_bytes=max_bytes, ids_key="name", with_views=True).open()
    found = rig.watch(list(DataLoader(Table(40), batch_size=8))).close()
    assert not found.pairs
    rig.open().watch(list(DataLoader(Table(8), batch_size=8))).close()
    wanted = f"Expected `max_bytes` of `Evidence` to have room for the inputs of {K} labels, got 100."
    assert rig.told == ([f"{wanted} No inputs are kept. The default is 64000000."] if max_bytes else [])


def test_pairs_flagged_in_the_last_report_come_first_in_the_next_window_with_the_key() -> None:
    firsts: list[Any] = []

    def store(*args: Any, **kwargs: Any) -> EvidenceStore:
        firsts.append([tuple(pair) for pair in kwargs["first"]])
        return EvidenceStore(*args, **kwargs)

    test = WindowKey("test")
    with mock.patch.object(window_module, "EvidenceStore", store):
        rig = Rig().open().open(test)
        rig.close([(1, 2), (0, 4)])
        rig.close([(5, 6)], test)
        firsts.clear()
        for key in (KEY, test, WindowKey("val", 1)):
            rig.open(key)
    assert firsts == [[(1, 2), (0, 4)], [(5, 6)], []]


def test_a_window_begins_empty() -> None:
    rig, table = Rig(), Table(40)
    batch = [{"z": table.logits, "y": table.targets}]
    first = order_of(rig.open().watch(batch).close(), by=lambda one: one.reference)
    rig.open().watch(batch)
    rig.collector.drop(KEY)
    assert order_of(rig.open().watch(batch).close(), by=lambda one: one.reference) == first
    assert not rig.open().close().pairs


@pytest.mark.parametrize("what", ["missing", "a column for each row", "too few"])
def test_bad_identifiers_cost_the_evidence_and_one_warning(what: str) -> None:
    table = Table(40)
    given: dict[str, Any] = {"missing": {}, "a column for each row": {"id": torch.zeros(40, 3)}, "too few": {"id": ["a"]}}
    batch = {"z": table.logits, "y": table.targets, **given[what]}
    rig = Rig(ids_key="id").open().watch([batch] * 3)
    assert not rig.close().pairs
    assert not rig.open().watch([batch]).close().pairs
    (text,) = rig.told
    assert "Expected `ids_key` to be the key" in text
    assert rig.collector.num_looked_at[KEY] == 40


@pytest.mark.parametrize("method", ["__init__", "add", "select"])
def test_a_failure_of_the_store_costs_the_evidence_and_one_warning(method: str) -> None:
    rig, batches = Rig(), list(DataLoader(Table(40), batch_size=8))
    real = EvidenceStore.__init__

    def failing(self: EvidenceStore, *args: Any, **kwargs: Any) -> None:
        if kwargs["max_bytes"]:
            raise MemoryError("no memory")
        real(self, *args, **kwargs)

    broken: Any = failing if method == "__init__" else mock.Mock(side_effect=MemoryError("no memory"))
    original = EvidenceStore.select
    if method == "select":  # the empty store that stands in still works

        def broken(self: EvidenceStore, pairs: Any) -> Any:
            if self.num_bytes:
                raise MemoryError("no memory")
            return original(self, pairs)

    with mock.patch.object(EvidenceStore, method, broken):
        assert not rig.open().watch(batches).close().pairs
        assert not rig.open().watch(batches).close().pairs
    assert len(rig.told) == 1
    assert "MemoryError: no memory" in rig.told[0]


def test_another_default_device_or_dtype_changes_nothing() -> None:
    """Observations lie where the model is, whatever new tensors would do."""
    table = Table(40)
    batch = {"z": table.logits, "y": table.targets}
    given = Observation(torch.eye(K), table.logits, table.logits, (40,), targets=table.targets)
    loader: Any = DataLoader(table, batch_size=40)
    order = DatasetOrder.of(loader)
    plain = Rig().open()
    plain.keeper.add(KEY, given, batch, Place(0, 0, order))
    other = Rig().open()
    with torch.device("meta"), torch.inference_mode():
        torch.set_default_dtype(torch.float16)
        try:
            other.keeper.add(KEY, given, batch, Place(0, 0, order))
        finally:
            torch.set_default_dtype(torch.float32)
    assert other.told == []
    found = [order_of(rig.close(), by=lambda one: (one.reference, one.probabilities)) for rig in (plain, other)]
    assert found[0]
    assert str(found[0]) == str(found[1])


@pytest.mark.parametrize("kind", ["half", "bfloat16", "double"])
def test_logits_of_every_precision_have_their_own_probabilities(kind: Literal["half", "bfloat16", "double"]) -> None:
    table = Table(40)
    z = getattr(table.logits, kind)()
    rig = Rig().open()
    rig.keeper.add(KEY, Observation(torch.eye(K), z, None, (40,), targets=table.targets), {"z": z}, Place(0, 0))
    for pair, ranking, one in examples(rig.close()):
        if z[one.reference.row].unique().numel() == K:
            check_values(pair, ranking, one, z[one.reference.row].double(), int(table.targets[one.reference.row]))


def test_memory_of_identifiers_and_views_is_bounded() -> None:
    """Values that do not fit are left out; the references stay."""
    table = Table(400)
    rig = Rig(ids_key="name", with_views=True, show=lambda batch, row: f"row {row}", max_bytes=400_000, per_pair=2)
    batch = {"z": table.logits, "y": table.targets, "name": ["x" * 150 + str(row) for row in range(400)]}
    found = rig.open().watch([batch]).close()
    ids = [(one.reference.row, one.reference.id) for *_, one in examples(found)]
    assert any(name is None for _, name in ids) or len({row for row, _ in ids}) * 200 < 100_000
    assert all(name is None or name == "x" * 150 + str(row) for row, name in ids)
    assert all(one.view is None or one.view.text == f"row {one.reference.row}" for *_, one in examples(found))


def test_settings_are_the_public_ones() -> None:
    assert Evidence is Settings


# Pairs whose labels are rarely likely together


def rare() -> Tensor:
    """(200, K), logits under which label 8 is never among the eight most likely ones."""
    z = torch.randn(200, K, generator=torch.Generator().manual_seed(5))
    z[:, 8] = -6
    return z


def test_a_vocabulary_has_inputs_of_pairs_whose_labels_are_not_both_likely() -> None:
    z = rare()
    p = z.double().softmax(dim=1)
    order = DatasetOrder.of(DataLoader(TensorDataset(z), batch_size=50))
    batches = [{"z": part} for part in torch.split(z, 50)]
    few, more = (Rig(is_vocabulary=wide).open().watch(batches, place=order).close() for wide in (False, True))
    assert "overlap" not in few[0, 8].examples
    examples = more[0, 8].examples["overlap"]
    wanted = (p[:, 0] * p[:, 8]).sqrt().argsort(descending=True)[:8].tolist()
    assert [one.reference.index for one in examples] == wanted
    for one in examples:
        row = p[one.reference.index]
        assert one.probabilities == pytest.approx((row[0].item(), row[8].item()), rel=1e-5)
    for pair in {pair.labels for pair in few.pairs} - {(label, 8) for label in range(8)}:
        before, now = (
            {ranking: [one.reference for one in some] for ranking, some in found[pair].examples.items()} for found in (few, more)
        )
        assert now == before


def test_an_input_that_is_not_finite_does_not_move_the_others_of_the_sample() -> None:
    z = rare()
    z[3] = torch.nan
    p = z.double().softmax(dim=1)
    place = Place(0, 0, DatasetOrder.of(DataLoader(TensorDataset(z), batch_size=200)))
    found = Rig(is_vocabulary=True).open().watch([{"z": z}], place=lambda number: place).close()
    for label in range(8):
        for one in found[label, 8].examples["overlap"]:
            assert one.probabilities == pytest.approx(p[one.reference.index, [label, 8]].tolist(), rel=1e-5)


def test_inputs_of_the_sample_keep_their_identifiers() -> None:
    """There is memory for about 1 600 identifiers and 300 inputs in the sample; 6 000 come."""
    z = rare().repeat(30, 1) + torch.randn(6_000, 1, generator=torch.Generator().manual_seed(2)) * torch.eye(K)[0]
    batches = [
        {"z": z[start : start + 100], "name": [f"item {start + row}" for row in range(100)]} for start in range(0, 6_000, 100)
    ]
    order = DatasetOrder.of(DataLoader(TensorDataset(z), batch_size=100))
    rig = Rig(is_vocabulary=True, ids_key="name", max_bytes=400_000, labels=LabelSelection())
    found = rig.open().watch(batches, place=order).close()
    examples = [one for label in range(8) for one in found[label, 8].examples["overlap"]]
    assert len(examples) == 64
    assert {one.reference.id for one in examples} == {f"item {one.reference.index}" for one in examples}
    assert rig.told == []


@pytest.mark.parametrize("decode", [None, lambda ids: " ".join(map(str, ids))], ids=["names", "decode"])
def test_inputs_of_the_sample_have_the_texts_that_others_have(decode: Any) -> None:
    z = rare().reshape(10, 20, K)
    tokens = torch.randint(K, (10, 20), generator=torch.Generator().manual_seed(1))
    labels = LabelSelection(names=[f"word {label}" for label in range(K)])
    rig = Rig(is_vocabulary=True, with_views=True, has_names=True, labels=labels, decode=decode)
    found = rig.open().watch([{"tokens": tokens, "z": z}]).close()
    reader = TokenReader(decode, labels.read_names(K), has_names=True)
    examples = found[0, 8].examples["overlap"]
    assert len(examples) == 8
    for one in examples:
        row, position = one.reference.row, one.reference.position
        assert row is not None
        assert position is not None
        assert one.view is not None
        assert one.view.text == reader.read(tokens[row].tolist(), [True] * 20, position)
    assert rig.told == []


def test_a_decoder_that_fails_on_the_sample_costs_its_texts_and_a_warning() -> None:
    def decode(ids: list[int]) -> str:
        raise RuntimeError("no such token")

    tokens = torch.zeros(10, 20, dtype=torch.int64)
    rig = Rig(is_vocabulary=True, with_views=True, labels=LabelSelection(), decode=decode)
    found = rig.open().watch([{"tokens": tokens, "z": rare().reshape(10, 20, K)}]).close()
    assert [one.view for one in found[0, 8].examples["overlap"]] == [None] * 8
    assert len(rig.told) == 1
    assert "no such token" in rig.told[0]


def test_tokens_that_cannot_be_read_cost_the_texts_of_the_sample_and_a_warning() -> None:
    tokens = torch.zeros(10, 20, dtype=torch.int64)
    labels = LabelSelection(names=[f"word {label}" for label in range(K)])
    rig = Rig(is_vocabulary=True, with_views=True, has_names=True, labels=labels)
    with mock.patch.object(views_module, "around", side_effect=RuntimeError("an odd batch")):
        found = rig.open().watch([{"tokens": tokens, "z": rare().reshape(10, 20, K)}]).close()
    assert None in [one.view for one in found[0, 8].examples["overlap"]]  # others are in the store, with a text
    assert rig.told == ["the texts of inputs are off for a batch: RuntimeError: an odd batch"]
