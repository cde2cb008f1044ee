"""When a training window opens and closes, and the x of the loggers' curves."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lightning_cossim.callback.fit_length import FitEnd, batches_of_fit
from lightning_cossim.callback.schedule import StepCounter, WindowClock

Window = tuple[int, int]
"""The batches with which a window opens and closes."""


def windows_of_fit(
    clock: WindowClock, batches: int, *, accumulate: int = 1, total: float | None = None, done: int = 0
) -> list[Window]:
    """The closed windows of a fit, with `accumulate` batches a step; what a clock leaves open at the end is an error if known."""
    closed, opened = [], None
    total = batches if total is None else total
    for batch in range(done, batches):
        if clock.start_batch(batch // accumulate, total - batch):
            opened = batch if opened is None else opened
            if clock.finish_batch():
                closed.append((opened, batch))
                opened = None
    assert math.isinf(total) or (opened is None and clock.batches_left == 0)
    return closed


def planned(batches: int, *, every: int, window: int, accumulate: int, known: bool) -> list[Window]:
    """The same, planned from a bird's eye: regular windows as far as they leave room for the last."""
    length = min(window, batches) if known else window
    first, plan = 0, []
    while first + length <= (batches - length if known else batches):
        plan.append((first, first + length - 1))
        first = max(first + length, (first // accumulate + every) * accumulate)
    return [*plan, (batches - length, batches - 1)] if known else plan


@pytest.mark.parametrize(
    ("batches", "every", "window", "windows"),
    [
        pytest.param(20, 10, 3, [(0, 2), (10, 12), (17, 19)], id="first at once, then every ten, then the end"),
        pytest.param(20, 5, 3, [(0, 2), (5, 7), (10, 12), (17, 19)], id="one that would run into the last is left out"),
        pytest.param(16, 5, 3, [(0, 2), (5, 7), (10, 12), (13, 15)], id="one that just ends before the last is not"),
        pytest.param(18, 5, 3, [(0, 2), (5, 7), (10, 12), (15, 17)], id="the last where a regular one is due"),
        pytest.param(14, 2, 4, [(0, 3), (4, 7), (10, 13)], id="due again before the window is over: back to back"),
        pytest.param(2, 200, 8, [(0, 1)], id="a fit shorter than a window is one window"),
        pytest.param(1, 1, 1, [(0, 0)], id="one batch"),
        pytest.param(3, 1, 1, [(0, 0), (1, 1), (2, 2)], id="every batch"),
        pytest.param(8, 200, 8, [(0, 7)], id="a fit as long as a window"),
        pytest.param(15, 200, 8, [(7, 14)], id="no room for two: the last alone"),
        pytest.param(16, 200, 8, [(0, 7), (8, 15)], id="room for two"),
        pytest.param(1000, 200, 8, [(0, 7), (200, 207), (400, 407), (600, 607), (800, 807), (992, 999)], id="defaults"),
    ],
)
def test_windows_of_a_fit(batches: int, every: int, window: int, windows: list[Window]) -> None:
    assert windows_of_fit(WindowClock(every, window), batches) == windows


def test_windows_are_due_by_steps_and_counted_in_batches() -> None:
    """With four batches a step and a window every two steps, one opens every eight batches and has three of them."""
    windows = [(0, 2), (8, 10), (16, 18), (24, 26), (32, 34), (37, 39)]
    assert windows_of_fit(WindowClock(2, 3), 40, accumulate=4) == windows


def test_a_window_may_reach_over_several_steps() -> None:
    assert windows_of_fit(WindowClock(4, 5), 30, accumulate=2) == [(0, 4), (8, 12), (16, 20), (25, 29)]


def test_a_fit_of_unknown_length_has_no_last_window() -> None:
    """The window that is open when it ends gives no report."""
    assert windows_of_fit(WindowClock(10, 3), 22, total=math.inf) == [(0, 2), (10, 12)]


def test_a_window_that_is_late_opens_as_soon_as_it_can() -> None:
    """Windows are "next due": steps are counted from where the last one opened, and none is missed by a modulo."""
    clock = WindowClock(10, 3)
    assert windows_of_fit(clock, 3, total=math.inf) == [(0, 2)]
    assert windows_of_fit(clock, 27, total=math.inf, done=14) == [(14, 16), (24, 26)]


@settings(deadline=None, derandomize=True)
@given(
    batches=st.integers(1, 300),
    every=st.integers(1, 60),
    window=st.integers(1, 64),
    accumulate=st.integers(1, 8),
    known=st.booleans(),
)
@example(batches=9, every=1, window=8, accumulate=1, known=True)
@example(batches=24, every=1, window=8, accumulate=4, known=True)
def test_windows_of_any_fit(batches: int, every: int, window: int, accumulate: int, *, known: bool) -> None:
    """All windows are whole, none overlaps another, regular ones are as many steps apart as wanted, and the last ends the fit."""
    total = batches if known else math.inf
    windows = windows_of_fit(WindowClock(every, window), batches, accumulate=accumulate, total=total)
    assert windows == planned(batches, every=every, window=window, accumulate=accumulate, known=known)
    assert all(last - first + 1 == min(window, total) for first, last in windows)
    assert all(last < first for (_, last), (first, _) in pairwise(windows))
    regular = windows[:-1] if known else windows
    assert all(later // accumulate - earlier // accumulate >= every for (earlier, _), (later, _) in pairwise(regular))
    if known:
        assert windows[-1][1] == batches - 1


def test_a_dropped_window_gives_no_report_and_the_next_comes_when_it_is_due() -> None:
    clock = WindowClock(10, 3)
    assert clock.start_batch(0, math.inf)
    assert not clock.finish_batch()
    clock.drop_window(0)
    assert not clock.start_batch(1, math.inf)
    assert windows_of_fit(clock, 15, total=math.inf, done=2) == [(10, 12)]


def test_a_resumed_fit_goes_on_with_what_was_due() -> None:
    """A clock that takes over `next_due` from a checkpoint does not begin again with a first window."""
    clock = WindowClock(10, 3)
    clock.next_due = 20
    assert windows_of_fit(clock, 40, done=14) == [(20, 22), (30, 32), (37, 39)]


def test_a_fit_resumed_within_its_last_window_reports_on_what_is_left_of_it() -> None:
    """The last report of a fit comes always."""
    assert windows_of_fit(WindowClock(10, 8), 40, done=33) == [(33, 39)]


@pytest.mark.parametrize(
    ("num_batches", "accumulate", "due", "step", "total", "report"),
    [
        (8, 1, 0, 0, math.inf, 7),
        (8, 4, 0, 0, math.inf, 1),
        (1, 1, 0, 0, math.inf, 0),
        (8, 1, 200, 57, math.inf, 207),
        (8, 1, 200, 300, math.inf, 307),
        (9, 4, 200, 0, math.inf, 202),
        (8, 1, 0, 0, 16, 7),
        (8, 1, 0, 0, 15, 14),
        (8, 1, 0, 0, 3, 2),
        (8, 1, 200, 50, 100, 99),
        (8, 4, 200, 10, 100, 24),
    ],
)
def test_step_of_the_next_report(num_batches: int, accumulate: int, due: int, step: int, total: float, report: int) -> None:
    """The step within which the last batch of the window falls; of the last window, where no other comes before it."""
    clock = WindowClock(200, num_batches)
    clock.next_due = due
    assert clock.next_report(step, total - step * accumulate, accumulate) == report


# Windows that want so many inputs


def windows_with_inputs(
    clock: WindowClock, sizes: list[int], *, per_epoch: float = math.inf, known: bool = True, done: int = 0
) -> list[Window]:
    """The closed windows of a fit whose batches have so many inputs, one batch a step."""
    closed, opened = [], None
    total = len(sizes) if known else math.inf
    for batch in range(done, len(sizes)):
        phase = 0 if math.isinf(per_epoch) else int(batch % per_epoch)
        if not clock.start_batch(batch, total - batch, phase, per_epoch):
            continue
        opened = batch if opened is None else opened
        if clock.is_new and not clock.fix_length(sizes[batch]):
            opened = None
        elif clock.finish_batch():
            closed.append((opened, batch))
            opened = None
    assert opened is None or not known
    return closed


@pytest.mark.parametrize(
    ("clock", "sizes", "per_epoch", "windows"),
    [
        pytest.param(WindowClock(100, 8, 256), [32] * 300, math.inf, [(0, 7), (100, 107), (200, 207), (292, 299)], id="8 x 32"),
        pytest.param(
            WindowClock(100, 8, 256), [64] * 300, math.inf, [(0, 7), (100, 107), (200, 207), (292, 299)], id="at least 8"
        ),
        pytest.param(WindowClock(100, 8, 256), [16] * 300, math.inf, [(0, 15), (100, 115), (200, 215), (284, 299)], id="16 x 16"),
        pytest.param(WindowClock(100, 8, 256), [15] * 300, math.inf, [(0, 17), (100, 117), (200, 217), (282, 299)], id="18 x 15"),
        pytest.param(WindowClock(100, 8, 256), [1] * 300, math.inf, [(0, 63), (100, 163), (236, 299)], id="at most 64"),
        pytest.param(WindowClock(100, 8, 256), [0] * 300, math.inf, [(0, 7), (100, 107), (200, 207), (292, 299)], id="none seen"),
        pytest.param(WindowClock(100, 8, 0), [1] * 300, math.inf, [(0, 7), (100, 107), (200, 207), (292, 299)], id="none wanted"),
        pytest.param(WindowClock(100, 2, 64), [32, 32, 32, 32, 1] * 20, 5, [(0, 1), (97, 99)], id="the end of an epoch"),
        pytest.param(WindowClock(3, 2, 64), [32, 32, 32, 32, 1] * 2, 5, [(0, 1), (3, 5), (7, 9)], id="two of them"),
        pytest.param(WindowClock(100, 1, 1), [32] * 6, 3, [(0, 0), (5, 5)], id="one input is in any batch"),
        pytest.param(WindowClock(100, 1, 2), [2, 2, 1] * 2, 3, [(0, 0), (4, 5)], id="two are not"),
        pytest.param(WindowClock(100, 8, 256), [16] * 20, math.inf, [(4, 19)], id="no room for the first"),
        pytest.param(WindowClock(100, 8, 256), [16] * 32, math.inf, [(0, 15), (16, 31)], id="just room for both"),
        pytest.param(WindowClock(100, 8, 256), [16] * 12, math.inf, [(0, 11)], id="too few at all"),
        pytest.param(WindowClock(100, 8, 256), [16] * 5, math.inf, [(0, 4)], id="a short fit"),
        pytest.param(WindowClock(100, 8, 256), [256], 1, [(0, 0)], id="a single batch"),
        pytest.param(WindowClock(30, 8, 256), [96] * 50, 1, [(0, 7), (30, 37), (42, 49)], id="a single batch an epoch"),
        pytest.param(
            WindowClock(9, 8, 256),
            ([64] * 9 + [2]) * 5,
            10,
            [(0, 7), (9, 16), (18, 25), (27, 34), (42, 49)],
            id="a small one opens",
        ),
    ],
)
def test_windows_are_as_long_as_their_first_batch_tells(
    clock: WindowClock, sizes: list[int], per_epoch: float, windows: list[Window]
) -> None:
    assert windows_with_inputs(clock, sizes, per_epoch=per_epoch) == windows


def test_a_fit_of_unknown_length_has_such_windows_too() -> None:
    assert windows_with_inputs(WindowClock(50, 2, 64), [16] * 70, known=False) == [(0, 3), (50, 53)]


def test_a_window_goes_by_its_own_first_batch() -> None:
    """Batches that grow give shorter windows."""
    sizes = [8] * 40 + [32] * 60
    assert windows_with_inputs(WindowClock(40, 2, 64), sizes) == [(0, 7), (40, 41), (80, 81), (98, 99)]


def test_a_last_window_whose_first_batch_is_small_still_closes_with_the_fit() -> None:
    sizes = [32] * 98 + [1, 32]
    assert windows_with_inputs(WindowClock(200, 2, 64), sizes) == [(0, 1), (98, 99)]


def test_a_regular_window_that_turns_out_too_long_gives_way_to_the_last() -> None:
    """It opens where two batches would have done, sees a small one, and cannot be whole before the last one opens."""
    sizes = [32] * 50 + [4] * 20
    assert windows_with_inputs(WindowClock(50, 2, 64), sizes) == [(0, 1), (54, 69)]


def test_a_regular_window_in_the_place_of_the_last_is_the_last() -> None:
    sizes = [32] * 60 + [4] * 10
    assert windows_with_inputs(WindowClock(60, 2, 64), sizes) == [(0, 1), (60, 69)]


def test_a_resumed_fit_knows_how_large_batches_are() -> None:
    """Its windows are those of a fit that was not interrupted, from the first that it begins."""
    whole = windows_with_inputs(WindowClock(40, 2, 64), [16] * 150, per_epoch=25)
    assert whole == [(0, 3), (40, 43), (80, 83), (120, 123), (145, 149)]
    resumed = WindowClock(40, 2, 64)
    resumed.next_due, resumed.inputs_per_batch = 80, 16
    assert windows_with_inputs(resumed, [16] * 150, per_epoch=25, done=42) == whole[2:]


def test_a_dropped_window_asks_no_more() -> None:
    clock = WindowClock(10, 2, 64)
    assert clock.start_batch(0, math.inf)
    assert clock.is_new
    clock.drop_window(0)
    assert not clock.is_new


@settings(deadline=None, derandomize=True, max_examples=300)
@given(
    epochs=st.integers(1, 6),
    per_epoch=st.integers(1, 60),
    size=st.integers(1, 40),
    last=st.integers(1, 40),
    every=st.integers(1, 80),
    window=st.integers(1, 64),
    min_inputs=st.integers(0, 600),
)
def test_windows_see_the_inputs_that_are_wanted_if_there_are_so_many(
    epochs: int, per_epoch: int, size: int, last: int, every: int, window: int, min_inputs: int
) -> None:
    """In any fit, whose epochs may end with a smaller batch: enough inputs, or 64 batches, or all from where it opened."""
    sizes = ([size] * (per_epoch - 1) + [min(last, size)]) * epochs
    windows = windows_with_inputs(WindowClock(every, window, min_inputs), sizes, per_epoch=per_epoch)
    assert windows[-1][1] == len(sizes) - 1
    assert all(end < opens for (_, end), (opens, _) in pairwise(windows))
    for opens, end in windows:
        length, inputs = end - opens + 1, sum(sizes[opens : end + 1])
        assert length <= 64
        assert length >= window or (opens, end) == (0, len(sizes) - 1)
        assert inputs >= min_inputs or length == 64 or opens == 0 or sizes[opens] < size
        if sizes[opens] == size and end < len(sizes) - 1:
            assert length == window or sum(sizes[opens:end]) - size * (end // per_epoch - opens // per_epoch) < min_inputs


@pytest.mark.parametrize(
    ("global_steps", "steps"),
    [
        pytest.param([0, 1, 2, 3], [0, 1, 2, 3], id="one optimizer"),
        pytest.param([0, 2, 4, 6], [0, 1, 2, 3], id="two optimizers"),
        pytest.param([0, 0, 0, 1, 1, 1, 2], [0, 0, 0, 1, 1, 1, 2], id="three batches a step"),
        pytest.param([0, 0, 2, 2, 4], [0, 0, 1, 1, 2], id="two optimizers, two batches a step"),
        pytest.param([0, 2, 3, 5, 6], [0, 1, 2, 3, 4], id="the second optimizer steps with every other batch"),
        pytest.param([0, 1, 1, 2], [0, 1, 1, 2], id="a batch without a loss"),
    ],
)
def test_steps_of_batches(global_steps: list[int], steps: list[int]) -> None:
    """A step is a batch after which an optimizer stepped, however many did."""
    counter = StepCounter()
    counter.start_fit(0, 2)
    assert [counter.start_batch(global_step) for global_step in global_steps] == steps


@pytest.mark.parametrize(
    ("left_at", "global_step", "num_optimizers", "goes_on", "first_step"),
    [
        pytest.param((0, 0), 0, 1, True, 0, id="the first fit"),
        pytest.param((3, 3), 3, 1, True, 3, id="a second fit of the trainer"),
        pytest.param((3, 6), 6, 2, True, 3, id="a second fit, two optimizers"),
        pytest.param((3, 5), 5, 2, True, 3, id="optimizers that step unevenly: the count is its own"),
        pytest.param((2, 2), 3, 1, True, 3, id="a checkpoint written after the step that it had not counted"),
        pytest.param((2, 4), 6, 2, True, 3, id="such a checkpoint, two optimizers"),
        pytest.param((9, 9), 0, 1, False, 0, id="a new trainer"),
        pytest.param((9, 9), 4, 1, False, 4, id="back to an earlier checkpoint without own state"),
        pytest.param((0, 0), 100, 1, False, 100, id="a resume without own state"),
        pytest.param((0, 0), 100, 2, False, 50, id="such a resume, two optimizers"),
        pytest.param((0, 0), 100, 0, False, 100, id="no optimizer that Lightning knows of"),
    ],
)
def test_start_of_a_fit(
    left_at: tuple[int, int], global_step: int, num_optimizers: int, *, goes_on: bool, first_step: int
) -> None:
    """An earlier fit or a checkpoint left the counter at a step and a `trainer.global_step`."""
    counter = StepCounter()
    counter.step, counter.global_step = left_at
    assert counter.start_fit(global_step, num_optimizers) is goes_on
    assert counter.start_batch(global_step) == first_step
    assert counter.start_batch(global_step + max(1, num_optimizers)) == first_step + 1


@pytest.mark.parametrize(
    ("per_epoch", "max_epochs", "max_steps", "accumulate", "batches"),
    [
        (10, 3, -1, 1, 30),
        (10, 0, -1, 1, 0),
        (10, None, -1, 1, math.inf),
        (10, -1, -1, 1, math.inf),
        (math.inf, 3, -1, 1, math.inf),
        (math.inf, None, -1, 2, math.inf),
        (math.inf, None, 7, 4, 28),
        (math.inf, 3, 7, 4, 28),
        (10, 3, 7, 1, 7),
        (10, 3, 30, 1, 30),
        (10, 3, 31, 1, 30),
        (10, None, 25, 1, 25),
        (10, -1, 25, 1, 25),
        (10, None, 0, 1, 0),
        (10, None, 3, 4, 10),  # the last step of an epoch takes what is left
        (10, None, 4, 4, 14),
        (8, None, 5, 4, 20),
        (3, None, 2, 4, 6),  # an epoch shorter than a step
        (0, 3, 5, 1, 0),
        (0, None, 5, 1, 0),
    ],
)
def test_batches_of_a_fit(per_epoch: float, max_epochs: int | None, max_steps: int, accumulate: int, batches: float) -> None:
    assert batches_of_fit(per_epoch, max_epochs, max_steps, accumulate) == batches


def count_batches(per_epoch: int, max_epochs: int, max_steps: int, accumulate: int) -> int:
    """The batches of a fit, one after the other, as Lightning's loops go through them."""
    batches = steps = 0
    for _ in range(max_epochs):
        for batch in range(per_epoch):
            if 0 <= max_steps <= steps:
                return batches
            batches += 1
            steps += (batch + 1) % accumulate == 0 or batch + 1 == per_epoch
    return batches


@given(per_epoch=st.integers(1, 12), max_epochs=st.integers(0, 6), max_steps=st.integers(-1, 40), accumulate=st.integers(1, 15))
def test_batches_of_any_fit(per_epoch: int, max_epochs: int, max_steps: int, accumulate: int) -> None:
    counted = count_batches(per_epoch, max_epochs, max_steps, accumulate)
    assert batches_of_fit(per_epoch, max_epochs, max_steps, accumulate) == counted


def test_no_epochs_are_no_batches() -> None:
    assert batches_of_fit(math.inf, 0, -1, 1) == 0


def test_under_manual_optimization_every_batch_counts() -> None:
    """Whether or not an optimizer stepped; a fit that ends counts its last batch, and the next goes on from there."""
    counter = StepCounter()
    assert counter.start_fit(0, 1)
    assert [counter.start_batch(step, manual=True) for step in (0, 0, 0, 1)] == [0, 1, 2, 3]
    counter.finish_fit(1, manual=True)
    assert counter.step == 4
    assert counter.start_fit(1, 1)
    assert counter.start_batch(1, manual=True) == 4


@pytest.mark.parametrize(
    ("total", "windows"),
    [
        pytest.param(31, [(0, 2), (27, 29)], id="one batch more"),
        pytest.param(32, [(0, 2), (27, 29)], id="less than a window"),
        pytest.param(33, [(0, 2), (27, 29), (30, 32)], id="a window"),
        pytest.param(60, [(0, 2), (27, 29), (57, 59)], id="many"),
    ],
)
def test_a_fit_that_goes_on_after_its_last_window_has_another_if_there_is_room(total: int, windows: list[Window]) -> None:
    """It was to have thirty batches, and has some more."""
    clock = WindowClock(100, 3)
    found = windows_of_fit(clock, 30)
    assert found + windows_of_fit(clock, total, done=30) == windows


def test_a_fit_that_shrinks_to_less_than_a_window_has_a_short_one() -> None:
    clock = WindowClock(100, 3)
    assert windows_of_fit(clock, 20, total=math.inf) == [(0, 2)]
    assert windows_of_fit(clock, 22, done=20) == [(20, 21)]


def test_a_plan_beyond_one_period_is_forgotten() -> None:
    """A checkpoint of a run that looked rarely does not keep one that looks often from looking."""
    clock = WindowClock(4, 2)
    clock.next_due = 10_000
    clock.drop_window(30)
    assert clock.next_due == 34


# How long a fit is, while it changes


def trainer_says(**changes: Any) -> SimpleNamespace:
    """What a Trainer says at the first batch of three epochs of ten."""
    says = {"num_training_batches": 10, "max_epochs": 3, "max_steps": -1, "accumulate_grad_batches": 1, "current_epoch": 0}
    return SimpleNamespace(**{**says, "is_last_batch": False, "optimizers": [None], **changes})


def counted(step: int, global_step: int | None = None) -> StepCounter:
    steps = StepCounter()
    steps.step, steps.global_step = step, step if global_step is None else global_step
    return steps


def told_once(trainer: SimpleNamespace, batch_idx: int = 0, steps: StepCounter | None = None, *, manual: bool = False) -> float:
    end = FitEnd()
    end.start_fit(is_alone=True)
    return end.batches_left(trainer, batch_idx, steps or counted(0), manual=manual)


@pytest.mark.parametrize(
    ("says", "batch_idx", "steps", "left"),
    [
        pytest.param({}, 0, counted(0), 30, id="from the start"),
        pytest.param({"current_epoch": 2}, 7, counted(27), 3, id="in the last epoch"),
        pytest.param({"current_epoch": 2, "num_training_batches": 40}, 7, counted(27), 33, id="the loader has grown"),
        pytest.param({"current_epoch": 2, "num_training_batches": 1}, 0, counted(20), 1, id="it has shrunk to one batch"),
        pytest.param({"max_epochs": 6}, 5, counted(5), 55, id="twice as many epochs"),
        pytest.param({"max_epochs": 1, "current_epoch": 1}, 5, counted(15), 5, id="this epoch is one too many, and goes on"),
        pytest.param({"max_epochs": -1}, 5, counted(5), math.inf, id="no end"),
        pytest.param({"max_epochs": None}, 5, counted(5), math.inf, id="no end either"),
        pytest.param({"num_training_batches": math.inf}, 5, counted(5), math.inf, id="a stream"),
        pytest.param({"max_steps": 14}, 5, counted(5), 9, id="so many steps"),
        pytest.param({"max_steps": 3}, 5, counted(5), 1, id="more steps already"),
        pytest.param({"max_steps": 14, "num_training_batches": math.inf}, 5, counted(5), 9, id="so many steps of a stream"),
        pytest.param({"max_steps": 4, "accumulate_grad_batches": 4}, 5, counted(1), 9, id="10 batches are three steps"),
        pytest.param({"max_steps": 9, "accumulate_grad_batches": 4}, 5, counted(1), 25, id="three epochs of them, if there were"),
        pytest.param({"is_last_batch": True}, 5, counted(5), 25, id="the last batch of another epoch"),
        pytest.param({"is_last_batch": True, "current_epoch": 2}, 5, counted(25), 1, id="the loader says that it is the last"),
    ],
)
def test_batches_left(says: dict[str, Any], batch_idx: int, steps: StepCounter, left: float) -> None:
    """By hand: with four batches a step, an epoch of ten takes its steps after 4, 8 and 10."""
    assert told_once(trainer_says(**says), batch_idx, steps) == left


@pytest.mark.parametrize(
    ("steps", "left"),
    [
        pytest.param(counted(0), 60, id="before the first step: one of each of two optimizers"),
        pytest.param(counted(50, 100), 10, id="two a batch"),
        pytest.param(counted(50, 60), 50, id="six in five batches"),
        pytest.param(counted(300, 100), 60, id="one in three batches"),
        pytest.param(counted(50, 0), 10 * 1000 - 5, id="none yet"),
    ],
)
def test_steps_of_manual_optimization_go_on_as_before(steps: StepCounter, left: float) -> None:
    """Up to 120 steps of all optimizers, at the sixth batch of an epoch."""
    says = trainer_says(max_steps=120, max_epochs=1000, optimizers=[None, None])
    assert told_once(says, 5, steps, manual=True) == left


def lengths_of(end: FitEnd, lengths: Sequence[int], said: float = math.inf) -> list[list[float]]:
    """Batches left at each batch of a fit whose epochs have so many, of which a Trainer says something else."""
    left: list[list[float]] = []
    step = 0
    for epoch, length in enumerate(lengths):
        left.append([])
        for batch_idx in range(length):
            says = trainer_says(num_training_batches=said, current_epoch=epoch, is_last_batch=batch_idx + 1 == length)
            left[-1].append(end.batches_left(says, batch_idx, counted(step), manual=False))
            step += 1
    return left


@pytest.mark.parametrize("said", [math.inf, 8])
def test_a_process_alone_expects_epochs_like_the_last(said: float) -> None:
    """Three epochs of four, three and five batches; what lies beyond the length expected is as the Trainer says."""
    end = FitEnd()
    end.start_fit(is_alone=True)
    assert lengths_of(end, [4, 3, 5], said) == [
        [math.inf] * 4 if said > 8 else [24, 23, 22, 21],
        [8, 7, 6],
        [3, 2, 1, math.inf if said > 8 else 5, 1],
    ]


def test_one_of_several_processes_goes_by_what_all_of_them_know() -> None:
    end = FitEnd()
    end.start_fit(is_alone=False)
    assert lengths_of(end, [4, 3, 5], 8) == [[24, 23, 22, 21], [16, 15, 14], [8, 7, 6, 5, 4]]


def test_another_fit_expects_nothing_of_the_one_before() -> None:
    end = FitEnd()
    for _ in range(2):
        end.start_fit(is_alone=True)
        assert lengths_of(end, [4]) == [[math.inf] * 4]


def batches_of(lengths: Sequence[int], accumulates: Sequence[int], max_steps: int) -> Iterator[tuple[SimpleNamespace, int, int]]:
    """What a Trainer says at each batch of a fit, as Lightning's loops go through it; the place in the epoch; the step."""
    step = 0
    for epoch, (length, accumulate) in enumerate(zip(lengths, accumulates, strict=True)):
        for batch_idx in range(length):
            if 0 <= max_steps <= step:
                return
            says = trainer_says(
                num_training_batches=length,
                max_epochs=len(lengths),
                max_steps=max_steps,
                accumulate_grad_batches=accumulate,
                current_epoch=epoch,
            )
            yield says, batch_idx, step
            step += (batch_idx + 1) % accumulate == 0 or batch_idx + 1 == length


@settings(deadline=None, derandomize=True, max_examples=200)
@given(
    epochs=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 5)), min_size=1, max_size=8),
    max_steps=st.one_of(st.just(-1), st.integers(1, 150)),
    every=st.integers(1, 40),
    window=st.integers(1, 10),
    alone=st.booleans(),
)
def test_reports_of_any_fit_that_changes(
    epochs: list[tuple[int, int]], max_steps: int, every: int, window: int, *, alone: bool
) -> None:
    """Epochs of any length and accumulation: no period is without a report, and the end has one, or one of a whole window that
    was to be the last closed just before it."""
    clock, end, steps = WindowClock(every, window), FitEnd(), StepCounter()
    end.start_fit(is_alone=alone)
    reports, opened, last = [], [], (0, 0)
    lengths, accumulates = zip(*epochs, strict=True)
    for batch, (says, batch_idx, global_step) in enumerate(batches_of(lengths, accumulates, max_steps)):
        last = batch, steps.start_batch(global_step)
        left = end.batches_left(says, batch_idx, steps, manual=False)
        if clock.start_batch(last[1], left, batch_idx, end.per_epoch):
            opened += [last] if clock.has_opened else []
            if clock.finish_batch():
                reports.append(last)
    cut_short = clock.batches_left > 0  # its owner reports on it at the end of the fit
    ends = [*reports, last] if cut_short else reports
    assert last[0] - ends[-1][0] < window
    assert ends[0][0] < 2 * window
    assert all(later[1] - earlier[1] <= every + 2 * window for earlier, later in pairwise(ends))
    assert len(opened) == len(ends)
    assert all(close[0] - start[0] < window for start, close in zip(opened, ends, strict=True))
    regular = opened[:-1]
    early = sum(later[1] - earlier[1] < every for earlier, later in pairwise(regular))
    assert early <= len(epochs)  # an end that was expected, and did not come
