"""The store of evidence keeps the inputs that a slow search over all of them finds, whatever the batches, within its memory."""

import itertools
import math
import pickle
import tracemalloc
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_cossim.capture.evidence.store import EvidenceStore, Inputs, Selection, merged
from lightning_cossim.report.evidence import RANKINGS

PLENTY = 64_000_000
Rows = list[tuple[Any, ...]]


def inputs_of(
    labels: Any,
    probs: Any,
    target: Any = None,
    target_prob: Any = None,
    order: Any = None,
    index: Any = None,
    loader: Any = None,
    position: Any = None,
) -> Inputs:
    """Inputs of one batch; what is not given is unknown, and their order is that of their rows."""
    labels, probs = np.array(labels), np.array(probs, dtype=np.float32)
    num = len(labels)
    rows = np.arange(num)

    def column(given: Any, default: Any, dtype: Any) -> Any:
        return np.array(np.full(num, default) if given is None else given, dtype=dtype)

    return Inputs(
        labels,
        probs,
        column(target, -1, np.int64),
        column(target_prob, math.nan, np.float32),
        column(loader, 0, np.int32),
        column(None, 0, np.int32),
        column(rows, 0, np.int32),
        column(position, -1, np.int32),
        column(index, -1, np.int64),
        column(order, 0, np.int64) if order is not None else rows.astype(np.int64),
    )


def part_of(inputs: Inputs, rows: Any) -> Inputs:
    return Inputs(*(column[rows] for column in inputs))


def random_inputs(seed: int, num: int, num_labels: int, *, spread: int = 0, growing: bool = True, grid: int = 6) -> Inputs:
    """Inputs with many ties, with zeros and NaN, and with targets that are known, unknown, likely and unlikely."""
    random = np.random.default_rng(seed)
    width = min(8, num_labels)
    near = min(num_labels, spread or num_labels)
    start = num_labels - near
    labels = start + np.array(
        [random.permutation(near)[:width] if near <= 4096 else random.choice(near, width) for _ in range(num)]
    )
    labels = labels.reshape(num, width)
    probs = -np.sort(-random.integers(0, grid, (num, width)) / (8 * grid), axis=1)
    probs[random.random(num) < 0.02, -1] = math.nan
    target = np.where(random.random(num) < 0.6, labels[:, 0], start + random.integers(0, near, num))
    target = np.where(random.random(num) < 0.1, random.choice([-1, -100, num_labels, num_labels + 3], num), target)
    target_prob = np.where(random.random(num) < 0.2, math.nan, random.integers(0, 4, num) / 16)
    is_likely = labels == target[:, None]
    target_prob = np.where(is_likely.any(1), probs[np.arange(num), is_likely.argmax(1)], target_prob)
    order = np.arange(num) if growing else random.integers(0, num, num)
    return inputs_of(labels, probs, target, target_prob, order)


# The slow search


def score(one: float, other: float) -> float:
    return float(np.sqrt(np.float32(one)) * np.sqrt(np.float32(other)))


def searched(inputs: Inputs, num_labels: int, pair: tuple[int, int], per_pair: int) -> dict[str, Rows]:
    """The inputs of a pair in each list, by a look at every input: number, probabilities of both labels, prediction, target."""
    lists: dict[str, list[Any]] = {"overlap": [], "first": [], "second": [], "suspect_label": []}
    for number in range(len(inputs.labels)):
        likely = dict(zip(inputs.labels[number].tolist(), inputs.probs[number].tolist(), strict=True))
        if any(math.isnan(prob) for prob in likely.values()):
            continue
        target, predicted = int(inputs.target[number]), int(inputs.labels[number, 0])
        target = target if 0 <= target < num_labels else -1
        target_prob = likely.get(target, float(inputs.target_prob[number]))
        known = {target: target_prob, **likely}
        shown = (number, *(known.get(label, math.nan) for label in pair), predicted, target)
        order = int(inputs.order[number])
        if all(likely.get(label, 0) > 0 for label in pair):
            lists["overlap"].append((-score(likely[pair[0]], likely[pair[1]]), order, number, shown))
        for label, name in zip(pair, ("first", "second"), strict=True):
            if likely.get(label, 0) > 0:
                lists[name].append((-likely[label], order, number, shown))
        if {target, predicted} == set(pair) and not math.isnan(target_prob):
            lists["suspect_label"].append((target_prob, order, number, shown))
    kept = {
        name: [one[-1] for one in sorted(found)[: 100 if name == "suspect_label" else per_pair]] for name, found in lists.items()
    }
    return {"overlap": kept["overlap"], "confident": kept["first"] + kept["second"], "suspect_label": kept["suspect_label"]}


def shown(selection: Selection, place: int, *, numbers: bool = True) -> dict[str, Rows]:
    """What a selection has of a pair, as `searched` gives it."""
    lists: dict[str, Rows] = {}
    for ranking in RANKINGS:
        found = selection.of(place, ranking)
        columns = (
            found.order if not numbers else found.number,
            found.first_prob,
            found.second_prob,
            found.predicted,
            found.target,
        )
        lists[ranking] = list(zip(*(column.tolist() for column in columns), strict=True))
    return lists


def assert_same(got: dict[str, Rows], wanted: dict[str, Rows]) -> None:
    for ranking in RANKINGS:
        assert len(got[ranking]) == len(wanted[ranking]), ranking
        for one, other in zip(got[ranking], wanted[ranking], strict=True):
            assert one == pytest.approx(other, rel=1e-7, nan_ok=True), ranking


def assert_same_selection(one: Selection, other: Selection) -> None:
    assert one.pairs == other.pairs
    assert one.is_complete.tolist() == other.is_complete.tolist()
    for mine, yours in zip(one.inputs, other.inputs, strict=True):
        np.testing.assert_array_equal(mine, yours)


def pairs_of(inputs: Inputs) -> list[tuple[int, int]]:
    """All pairs of likely labels, and of target and prediction, that occur."""
    found = {tuple(sorted(pair)) for row in inputs.labels.tolist() for pair in itertools.combinations(row, 2)}
    found |= {
        tuple(sorted(one)) for one in zip(inputs.target.tolist(), inputs.labels[:, 0].tolist(), strict=True) if min(one) >= 0
    }
    num = int(inputs.labels.max()) + 1
    return sorted((one, other) for one, other in found if one != other and other < num)


def batches_of(inputs: Inputs, cuts: Sequence[int]) -> Iterator[Inputs]:
    limits = [0, *sorted(min(cut, len(inputs.labels)) for cut in cuts), len(inputs.labels)]
    for first, last in itertools.pairwise(limits):
        yield part_of(inputs, slice(first, last))


def filled(inputs: Inputs, num_labels: int, cuts: Sequence[int] = (), **settings: Any) -> EvidenceStore:
    store = EvidenceStore(num_labels, **{"per_pair": 3, "max_bytes": PLENTY, **settings})
    for batch in batches_of(inputs, cuts):
        store.add(batch)
    return store


# What is kept


class Case(NamedTuple):
    inputs: Inputs
    num_labels: int


@st.composite
def cases(draw: st.DrawFn, most: int = 200) -> Case:
    num_labels = draw(st.sampled_from([2, 3, 7, 8, 9, 30, 512, 50_257, 257_000]))
    num = draw(st.integers(1, most))
    spread = draw(st.integers(8, 40))
    seed, growing = draw(st.integers(0, 10_000)), draw(st.booleans())
    return Case(random_inputs(seed, num, num_labels, spread=spread, growing=growing), num_labels)


cuts = st.lists(st.integers(0, 400), max_size=6)


@given(case=cases(), cuts=cuts, per_pair=st.sampled_from([1, 3, 8]))
def test_the_best_inputs_of_each_pair_are_kept(case: Case, cuts: list[int], per_pair: int) -> None:
    selection_pairs = pairs_of(case.inputs)[:: 1 + len(pairs_of(case.inputs)) // 12]
    selection = filled(case.inputs, case.num_labels, cuts, per_pair=per_pair).select(selection_pairs)
    assert selection.is_complete.all()
    for place, pair in enumerate(selection_pairs):
        assert_same(shown(selection, place), searched(case.inputs, case.num_labels, pair, per_pair))


@pytest.mark.parametrize("num_labels", [10, 512, 50_257])
def test_the_best_of_many_inputs_are_kept(num_labels: int) -> None:
    """Over several chunks, with inputs that are dropped in between."""
    inputs = random_inputs(1, 12_000, num_labels, spread=24, grid=1000)
    pairs = [pair for pair in pairs_of(inputs) if sum(pair) % 40 == 1][:7]
    cuts = range(0, 12_000, 250)
    selection = filled(inputs, num_labels, cuts, per_pair=8).select(pairs)
    for place, pair in enumerate(pairs):
        assert_same(shown(selection, place), searched(inputs, num_labels, pair, 8))


def test_rising_probabilities_push_out_the_inputs_before() -> None:
    """The hardest order: each input is better than all before it."""
    num = 9000
    high = np.linspace(0.5, 0.9, num)
    inputs = inputs_of(np.tile([3, 1], (num, 1)), np.stack([high, np.full(num, 0.1)], axis=1))
    store = filled(inputs, 10, range(0, num, 100))
    found = store.select([(1, 3)])
    assert found.of(0, "overlap").number.tolist() == [num - 1, num - 2, num - 3]
    assert len(store.used()) < num


@given(case=cases(most=100), cuts=cuts)
def test_batches_do_not_matter(case: Case, cuts: list[int]) -> None:
    pairs = pairs_of(case.inputs)
    one, *others = (
        filled(case.inputs, case.num_labels, split, per_pair=2).select(pairs)
        for split in (cuts, [], range(len(case.inputs.labels)))
    )
    for other in others:
        assert_same_selection(one, other)


@given(case=cases(), num_processes=st.integers(1, 3), cuts=cuts)
def test_processes_do_not_matter(case: Case, num_processes: int, cuts: list[int]) -> None:
    """Each sees a part of the inputs; together they keep what one process keeps. Equal orders are told apart by process."""
    inputs = case.inputs._replace(order=np.arange(len(case.inputs.labels)))
    pairs = pairs_of(inputs)
    selections = []
    for rank in range(num_processes):
        mine = part_of(inputs, slice(rank, None, num_processes))
        selections.append(filled(mine, case.num_labels, cuts).select(pairs))
    whole = merged(selections, 3)
    alone = filled(inputs, case.num_labels).select(pairs)
    for place in range(len(pairs)):
        assert_same(shown(whole, place, numbers=False), shown(alone, place, numbers=False))
    seen_by = whole.inputs.order % num_processes
    np.testing.assert_array_equal(whole.inputs.process, seen_by)
    np.testing.assert_array_equal(whole.inputs.number, whole.inputs.order // num_processes)


def test_an_input_that_two_processes_saw_counts_once() -> None:
    """A distributed sampler repeats inputs at its end. Those with unknown index, or of another loader or position, stay."""
    probs, labels = [[0.6, 0.3]] * 4, [[0, 1]] * 4
    settings = {"index": [7, 8, -1, 9], "position": [0, 1, 0, 0]}
    one = filled(inputs_of(labels, probs, [1] * 4, order=[0, 2, 4, 6], **settings), 5, per_pair=8).select([(0, 1)])
    other_settings = {"index": [7, 8, -1, 9], "position": [0, 2, 0, 0], "loader": [0, 0, 0, 1]}
    other = filled(inputs_of(labels, probs, [1] * 4, order=[1, 3, 5, 7], **other_settings), 5, per_pair=8).select([(0, 1)])
    both = merged([one, other], 8)
    for ranking, times in (("overlap", 1), ("confident", 2), ("suspect_label", 1)):
        assert both.of(0, ranking).order.tolist() == [0, 2, 3, 4, 5, 6, 7] * times  # type: ignore[arg-type]
    assert merged([one, other], 2).of(0, "overlap").process.tolist() == [0, 0]
    assert len(merged([one, one], 2).of(0, "suspect_label").order) == 5  # only the input without an index twice


def test_repeated_inputs_do_not_push_out_others() -> None:
    """Each process keeps enough for the merged list to be full without the repeated ones."""
    inputs = inputs_of([[0, 1]] * 6, [[0.9 - 0.1 * place, 0.05] for place in range(6)], order=range(6), index=range(6))
    stores = [filled(part_of(inputs, rows), 4, per_pair=3).select([(0, 1)]) for rows in ([0, 1, 2, 5], [0, 1, 3, 4])]
    assert merged(stores, 3).of(0, "overlap").order.tolist() == [0, 1, 2]


def test_equal_inputs_stand_in_their_order() -> None:
    order = [5, 3, 9, 3, 0]
    inputs = inputs_of([[2, 0]] * 5, [[0.5, 0.5]] * 5, [0] * 5, order=order)
    for split in ([], [1, 2, 3, 4]):
        found = filled(inputs, 3, split, per_pair=4).select([(0, 2)])
        assert found.of(0, "overlap").number.tolist() == [4, 1, 3, 0]
        assert found.of(0, "confident").number.tolist() == [4, 1, 3, 0] * 2
        assert found.of(0, "suspect_label").number.tolist() == [4, 1, 3, 0, 2]


def test_late_inputs_with_small_orders_win_ties() -> None:
    """After the store sorted its inputs away several times: the order decides, not the arrival."""
    num = 1200
    inputs = inputs_of([[0, 1]] * num, [[0.5, 0.25]] * num, [1] * num, order=np.arange(num)[::-1])
    store = EvidenceStore(600, per_pair=2, max_bytes=PLENTY)
    entered = [0 in store.add(part_of(inputs, slice(row, row + 1))).kept for row in range(num)]
    assert all(entered)
    found = store.select([(0, 1)])
    assert found.of(0, "overlap").order.tolist() == [0, 1]
    assert found.of(0, "suspect_label").order.tolist() == list(range(100))


def test_references_come_along() -> None:
    inputs = Inputs(
        np.array([[1, 0]]),
        np.array([[0.7, 0.2]], dtype=np.float32),
        *(np.array([value]) for value in (0, np.float32(0.2), 4, 5, 6, 7, 2**40, 2**50)),
    )
    for num_before in (0, 100):  # pending, and processed
        store = filled(inputs_of([[3, 2]] * num_before, [[0.5, 0.5]] * num_before), 4) if num_before else filled(inputs, 4)
        if num_before:
            store.add(inputs)
            store.add(inputs_of([[3, 2]] * 200, [[0.5, 0.5]] * 200, order=range(200)))
        for ranking in RANKINGS:
            found = store.select([(0, 1)]).of(0, ranking)
            wanted = (0, 4, 5, 6, 7, 2**40, 2**50, num_before)
            columns = (found.target, found.loader, found.batch, found.row, found.position, found.index, found.order, found.number)
            assert {row for row in zip(*(column.tolist() for column in columns), strict=True)} == {wanted}  # noqa: C416


# Targets


@pytest.mark.parametrize(
    ("target", "target_prob", "kept"),
    [
        (1, math.nan, [0.3]),  # likely: its probability is there
        (1, 0.9, [0.3]),
        (0, 0.6, []),  # predicted
        (3, 0.05, [0.05]),  # not likely, but its probability is known
        (3, 0.0, [0.0]),
        (3, -0.0, [0.0]),
        (3, math.nan, []),
        (3, math.inf, []),
        (3, -0.5, []),
        (-1, 0.2, []),
        (-100, 0.2, []),
        (4, 0.2, []),
        (2**40, 0.2, []),
    ],
)
def test_a_suspect_has_another_target_than_its_prediction(target: int, target_prob: float, kept: list[float]) -> None:
    for num_after in (0, 300):
        store = filled(inputs_of([[0, 1]], [[0.6, 0.3]], [target], [target_prob]), 4)
        store.add(
            inputs_of([[2, 1]] * num_after, [[0.5, 0.5]] * num_after)
            if num_after
            else inputs_of(np.zeros((0, 2)), np.zeros((0, 2)))
        )
        found = store.select([(target % 4, 0)] if target % 4 else [(0, 1)]).of(0, "suspect_label")
        assert found.value.tolist() == pytest.approx(kept)
        assert found.second_prob.tolist() == pytest.approx(kept)


def test_a_pair_has_at_most_100_suspects() -> None:
    num = 5000
    probs = np.random.default_rng(0).permutation(num) / (4 * num)
    inputs = inputs_of([[0, 1]] * num, [[0.6, prob] for prob in probs], [1] * num)
    store = EvidenceStore(10, per_pair=1, max_bytes=PLENTY)
    num_entered = sum(len(store.add(batch).kept) for batch in batches_of(inputs, range(0, num, 50)))
    assert store.select([(0, 1)]).of(0, "suspect_label").number.tolist() == np.argsort(probs)[:100].tolist()
    assert num_entered < num / 2


# Hostile inputs


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.25])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_input_without_valid_probabilities_never_enters(bad: float, place: int) -> None:
    probs = [0.5, 0.25, 0.125]
    probs[place] = bad
    store = EvidenceStore(5, per_pair=2, max_bytes=PLENTY)
    inputs = inputs_of([[0, 1, 2]] * 70, [probs] * 70, [1] * 70, [0.1] * 70)
    assert not len(store.add(inputs).kept)
    assert not len(store.select([(0, 1), (1, 2)]).inputs.number)


def test_a_probability_of_0_does_not_enter() -> None:
    found = filled(inputs_of([[0, 1]] * 70, [[1.0, 0.0]] * 70), 5).select([(0, 1)])
    assert not len(found.of(0, "overlap").number)
    assert found.of(0, "confident").number.tolist() == [0, 1, 2]


@pytest.mark.parametrize("num_labels", [2, 5, 50_257])
@pytest.mark.parametrize("width", [1, 2])
def test_few_likely_labels(num_labels: int, width: int) -> None:
    labels, probs = np.tile([1, 0], (80, 1))[:, :width], np.tile([0.7, 0.3], (80, 1))[:, :width]
    found = filled(inputs_of(labels, probs), num_labels).select([(0, 1)])
    assert len(found.of(0, "overlap").number) == (3 if width == 2 else 0)
    assert len(found.of(0, "confident").number) == 3 * width


def test_empty_batches_change_nothing() -> None:
    empty = inputs_of(np.zeros((0, 3), dtype=int), np.zeros((0, 3)))
    store = EvidenceStore(5, per_pair=2, max_bytes=PLENTY)
    assert not len(store.add(empty).kept)
    assert not len(store.used())
    assert not len(store.select([(0, 1)]).inputs.number)
    store.add(inputs_of([[0, 1, 2]], [[0.5, 0.3, 0.2]]))
    store.add(empty)
    assert store.used().tolist() == [0]


def test_given_arrays_are_not_touched() -> None:
    inputs = random_inputs(0, 300, 9)
    before = pickle.dumps(inputs)
    for column in inputs:
        column.setflags(write=False)
    store = filled(inputs, 9)
    store.select(pairs_of(inputs))
    assert pickle.dumps(inputs) == before


def test_a_pair_without_inputs_is_complete_and_empty() -> None:
    found = filled(random_inputs(0, 300, 50_257, spread=20), 50_257).select([(1, 0), (5, 40_000)])
    assert found.pairs == ((0, 1), (5, 40_000))
    assert found.is_complete.all()
    assert not len(found.inputs.number)


def test_pairs_in_either_order_and_twice() -> None:
    store = filled(random_inputs(0, 300, 9), 9)
    assert_same_selection(store.select([(7, 2), (3, 4)]), store.select([(2, 7), (4, 3)]))
    found = store.select([(2, 7), (7, 2)])
    assert shown(found, 0) == shown(found, 1)
    assert not store.select([]).pairs


def test_a_selection_can_be_pickled() -> None:
    store = filled(random_inputs(0, 3000, 9, grid=50), 9, per_pair=8)
    found = store.select([(0, 1), (2, 7)])
    sent = pickle.dumps(found)
    assert len(sent) < 50_000
    assert_same_selection(pickle.loads(sent), found)  # noqa: S301


@given(case=cases(), places=st.lists(st.integers(0, 400), max_size=4), memory=st.sampled_from([60_000, PLENTY]))
def test_a_look_changes_nothing(case: Case, places: list[int], memory: int) -> None:
    pairs = pairs_of(case.inputs)
    looked_at = EvidenceStore(case.num_labels, per_pair=2, max_bytes=memory)
    for batch in batches_of(case.inputs, places):
        looked_at.select(pairs[:3])
        looked_at.used()
        looked_at.used(only_mattering=True)
        looked_at.add(batch)
    alone = filled(case.inputs, case.num_labels, per_pair=2, max_bytes=memory)
    assert_same_selection(looked_at.select(pairs), alone.select(pairs))


# What the caller makes thumbnails of


@given(case=cases(), cuts=cuts)
def test_inputs_of_pairs_that_matter_were_returned_and_are_in_use(case: Case, cuts: list[int]) -> None:
    """With so few labels that all pairs matter, and with pairs that come first."""
    pairs = pairs_of(case.inputs)[:150]
    store = EvidenceStore(case.num_labels, per_pair=2, max_bytes=PLENTY, first=[pair[::-1] for pair in pairs])
    kept, shown, first = set(), set(), 0
    for batch in batches_of(case.inputs, cuts):
        entered = store.add(batch)
        kept |= set((first + entered.kept).tolist())
        shown |= set((first + entered.shown).tolist())
        first += len(batch.labels)
    selection = store.select(pairs)
    lists = [selection.of(pair, ranking).number.tolist() for pair in range(len(pairs)) for ranking in RANKINGS]
    assert set().union(*lists) <= kept <= set(range(first))
    first_suspects = {number for some in lists[RANKINGS.index("suspect_label") :: len(RANKINGS)] for number in some[:16]}
    others = {number for place, some in enumerate(lists) if RANKINGS[place % len(RANKINGS)] != "suspect_label" for number in some}
    assert first_suspects | others <= shown <= kept
    assert first_suspects | others <= set(store.used(only_mattering=True).tolist()) <= set(store.used().tolist())


def test_suspects_after_the_first_16_of_a_pair_are_kept_and_not_shown() -> None:
    """Once there are more than 100, they are sorted, and it is known which ones are the first."""
    num = 400
    probs = np.arange(num) / (4 * num)
    inputs = inputs_of([[0, 1]] * num, [[0.6, prob + 0.001] for prob in probs], [1] * num)
    store = EvidenceStore(600, per_pair=1, max_bytes=PLENTY, first=[(0, 1)])
    store.add(part_of(inputs, slice(0, 200)))
    store.add(part_of(inputs, slice(0, 1)))
    later = inputs_of([[2, 1, 0]] * 2, [[0.3, 0.2, 0.1]] * 2, order=[400, 401])
    late = inputs_of([[0, 1]] * 2, [[0.6, 0.00105], [0.6, 0.05]], [1] * 2, order=[402, 403])
    store.add(later)
    entered = store.add(late)
    assert entered.kept.tolist() == [0, 1]
    assert entered.shown.tolist() == [0]
    mine = store.select([(0, 1)]).of(0, "suspect_label").number.tolist()
    assert set(mine[:16]) <= set(store.used(only_mattering=True).tolist())
    assert not set(mine[16:]) & set(store.used(only_mattering=True).tolist()) - set(
        store.select([(0, 1)]).of(0, "overlap").number.tolist() + store.select([(0, 1)]).of(0, "confident").number.tolist()
    )


@given(case=cases(most=120), cuts=cuts)
def test_only_the_best_inputs_so_far_are_returned(case: Case, cuts: list[int]) -> None:
    """With equal scores, too. A suspect may be returned if it was among the first 100 a while before."""
    inputs = case.inputs._replace(target=np.full(len(case.inputs.labels), -1))
    store, first = EvidenceStore(case.num_labels, per_pair=2, max_bytes=PLENTY, first=pairs_of(inputs)), 0
    for batch in batches_of(inputs, cuts):
        returned = {first + row for row in store.add(batch).kept.tolist()}
        first += len(batch.labels)
        best = {number for number in store.used().tolist() if number >= first - len(batch.labels)}
        assert returned == best


def test_few_inputs_are_returned_late() -> None:
    """An input that every pair has better ones for is not returned, and not in use."""
    good = inputs_of([[0, 1]] * 64, [[0.6, 0.4]] * 64)
    store = filled(good, 600)
    bad = inputs_of([[0, 1]] * 64, [[0.5, 0.3]] * 64, order=range(64, 128))
    assert not len(store.add(bad).kept)
    assert store.used().tolist() == [0, 1, 2]
    assert store.add(inputs_of([[0, 1]] * 3, [[0.5, 0.3], [0.5, 0.45], [0.7, 0.1]], order=range(3))).kept.tolist() == [1, 2]


def test_only_pairs_that_matter_are_returned() -> None:
    """In a vocabulary, after the pairs with the largest joint mass are known."""
    random = np.random.default_rng(0)
    heavy = inputs_of(np.tile([0, 1], (500, 1)), np.tile([0.5, 0.5], (500, 1)))
    light = [inputs_of(random.choice(1000, (8, 2), replace=False) + 1000 * place, [[0.3, 1e-6]] * 8) for place in range(1, 50)]
    store = EvidenceStore(60_000, per_pair=2, max_bytes=PLENTY, first=[(59_999, 7)])
    for batch in (*light, heavy):
        store.add(batch)
    for _ in range(12):
        store.add(heavy)
    assert not len(store.add(inputs_of([[50_000, 51_000]], [[0.9, 0.1]])).kept)
    assert store.add(
        inputs_of([[50_000, 51_000], [7, 59_999], [1, 0]], [[0.9, 0.1], [0.1, 0.001], [0.8, 0.2]])
    ).kept.tolist() == [
        1,
        2,
    ]


# Memory


@pytest.mark.parametrize("memory", [40_000, 200_000])
@pytest.mark.parametrize("num_labels", [300, 50_257])
def test_pairs_that_are_marked_complete_are_complete(num_labels: int, memory: int) -> None:
    inputs = random_inputs(3, 1500, num_labels, spread=150, grid=50)
    pairs = pairs_of(inputs)
    selection = filled(inputs, num_labels, range(0, 1500, 70), max_bytes=memory).select(pairs)
    num_complete, num_dropped = int(selection.is_complete.sum()), 0
    assert num_complete < len(pairs)
    checked = [*np.flatnonzero(selection.is_complete)[:40], *np.flatnonzero(~selection.is_complete)[:40]]
    for place in checked:
        wanted, got = searched(inputs, num_labels, pairs[place], 3), shown(selection, int(place))
        if selection.is_complete[place]:
            assert_same(got, wanted)
        num_dropped += got != wanted
    assert num_dropped


def test_pairs_that_come_first_stay() -> None:
    """Although they are the lightest ones."""
    inputs = random_inputs(3, 1500, 50_257, spread=150, grid=50)
    first = [(0, 1), (40_000, 3)]
    rare = inputs_of([[1, 0], [3, 40_000]], [[1e-3, 1e-4], [1e-3, 1e-4]], [0, -1])
    for asked, is_kept in ((first, True), ((), False)):
        store = EvidenceStore(50_257, per_pair=3, max_bytes=40_000, first=asked)
        store.add(rare)
        for batch in batches_of(inputs, range(0, 1500, 70)):
            store.add(batch)
        found = store.select(first)
        assert found.is_complete.all() == is_kept
        assert found.of(0, "overlap").number.tolist() == [0] * is_kept
        assert found.of(1, "overlap").number.tolist() == [1] * is_kept
        assert found.of(0, "suspect_label").number.tolist() == [0] * is_kept


def test_the_heaviest_pair_stays() -> None:
    inputs = random_inputs(3, 1500, 50_257, spread=150, grid=50)
    labels = inputs.labels.copy()
    labels[::3, :2], labels[::3, 2:] = [1, 0], np.arange(10, 16)
    heavy = inputs._replace(labels=labels)
    found = filled(heavy, 50_257, max_bytes=60_000).select([(0, 1)])
    assert found.is_complete.all()
    assert_same(shown(found, 0), searched(heavy, 50_257, (0, 1), 3))


def test_more_pairs_come_first_than_fit() -> None:
    first = list(itertools.combinations(range(100), 2))
    inputs = random_inputs(3, 1500, 50_257, spread=150, grid=50)
    inputs = inputs._replace(labels=inputs.labels - (50_257 - 150))
    store = filled(inputs, 50_257, max_bytes=40_000, first=first)
    assert store.num_bytes <= 40_000
    assert len(store.select(first).inputs.number)


@pytest.mark.parametrize("memory", [0, 1, 1000])
@pytest.mark.parametrize("num_labels", [2, 512, 257_000])
def test_hardly_any_memory_keeps_nothing_and_says_so(memory: int, num_labels: int) -> None:
    inputs = random_inputs(0, 300, num_labels)
    store = filled(inputs, num_labels, [100, 200], max_bytes=memory)
    assert store.num_bytes <= memory
    found = store.select([(0, 1)])
    if not store.num_bytes:
        assert not found.is_complete.any()
        assert not len(found.inputs.number)
        assert not len(store.used())
        assert_same_selection(merged([found, found], 2), found)


@pytest.mark.parametrize("memory", [1_000_000, 16_000_000])
@pytest.mark.parametrize(("num_labels", "per_pair"), [(2, 8), (10, 8), (512, 8), (512, 100), (50_257, 8)])
def test_memory_stays_within_its_bound(num_labels: int, per_pair: int, memory: int) -> None:
    """What is allocated at any time, measured, with orders that do not grow: the worst case."""
    inputs = random_inputs(0, 1500, num_labels, growing=False, grid=1000)
    batches = list(batches_of(inputs, range(0, 1500, 500)))
    tracemalloc.start()
    try:
        store = EvidenceStore(num_labels, per_pair=per_pair, max_bytes=memory)
        for batch in batches:
            store.add(batch)
        assert store.num_bytes <= memory
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 1.05 * memory
