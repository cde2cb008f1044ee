"""What the monitor costs by its own clock, and what it can afford."""

import pytest

from lightning_cossim.callback.budget import Budget, Overhead, Work


class HandClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> HandClock:
    clock = HandClock()
    monkeypatch.setattr("lightning_cossim.callback.budget.perf_counter", clock)
    return clock


def work(overhead: Overhead, clock: HandClock, start: float, end: float) -> None:
    """The monitor works from `start` to `end`."""
    clock.now = start
    overhead.__enter__()
    clock.now = end
    overhead.__exit__()


def test_overhead_is_the_share_of_the_time_that_the_monitor_worked(clock: HandClock) -> None:
    overhead = Overhead()
    work(overhead, clock, 110, 112)
    work(overhead, clock, 120, 121)
    clock.now = 130
    overhead.__enter__()
    clock.now = 132
    assert overhead.share("train") == (2 + 1 + 2) / 32


def test_overhead_counts_from_when_the_stage_last_asked(clock: HandClock) -> None:
    """Every stage has its own reckoning, and what is done after a share was asked for falls into the next."""
    overhead = Overhead()
    clock.now = 101
    overhead.__enter__()
    clock.now = 102
    assert overhead.share("train") == 1 / 2
    clock.now = 104
    overhead.__exit__()
    clock.now = 110
    overhead.__enter__()
    clock.now = 112
    assert overhead.share("val") == (3 + 2) / 12
    assert overhead.share("train") == (2 + 2) / 10
    overhead.__exit__()
    work(overhead, clock, 115, 116)
    clock.now = 120
    overhead.__enter__()
    clock.now = 122
    assert overhead.share("val") == (1 + 2) / 10


def test_overhead_of_no_time_is_zero(clock: HandClock) -> None:
    """A clock too coarse to tell two questions apart divides by nothing."""
    overhead = Overhead()
    assert overhead.share("val") == 0
    assert overhead.share("val") == 0


def test_a_monitor_that_always_works_has_an_overhead_of_one(clock: HandClock) -> None:
    overhead = Overhead()
    overhead.__enter__()
    for clock.now in (101, 107, 108):
        assert overhead.share("train") == 1


def test_the_first_of_a_kind_fits_and_so_does_everything_without_a_share(clock: HandClock) -> None:
    overhead = Overhead()
    for share, again in ((0.0, False), (None, True)):
        budget = Budget(overhead, share)
        assert budget.allows("window")
        budget.begin("window")
        work(overhead, clock, clock.now, clock.now + 1)
        budget.finish("window")
        assert budget.allows("window") is again
        assert budget.allows("pictures")


@pytest.mark.parametrize(("later", "fits"), [(399.75, False), (400.25, True)])
def test_work_waits_until_its_part_of_the_share_has_room_for_it(clock: HandClock, later: float, fits: bool) -> None:
    """A second of pictures at 2 % takes four hundred seconds."""
    overhead = Overhead()
    budget = Budget(overhead, 0.02)
    budget.begin("pictures")
    work(overhead, clock, 110, 111)
    budget.finish("pictures")
    clock.now = 111 + later
    assert budget.allows("pictures") is fits


@pytest.mark.parametrize(("work_of", "seconds"), [("window", 400), ("pictures", 400), ("tab", 400)])
def test_what_the_steps_take_is_not_there_for_windows(clock: HandClock, work_of: Work, seconds: int) -> None:
    """A second of the hooks of steps; what pictures, windows and validations take is not theirs."""
    overhead = Overhead()
    budget = Budget(overhead, 0.02)
    budget.begin(work_of)
    work(overhead, clock, 110, 111)
    budget.finish(work_of)
    work(overhead, clock, 112, 113)  # the steps
    others: list[Work] = ["pictures" if work_of == "window" else "window", "validation"]
    for kind in others:
        budget.begin(kind)
        work(overhead, clock, clock.now, clock.now + 3)
        budget.finish(kind)
    for later, fits in ((-0.25, False), (0.25, True)):
        clock.now = 111 + seconds + later
        assert budget.allows(work_of) is fits


def test_work_within_work_is_counted_once(clock: HandClock) -> None:
    """A validation that falls into an open window, and its pictures: each costs what it took, whatever lies within."""
    overhead = Overhead()
    budget = Budget(overhead, 0.5)
    budget.begin("window")
    work(overhead, clock, 101, 102)
    budget.begin("validation")
    work(overhead, clock, 103, 105)
    budget.finish("validation")
    budget.begin("pictures")
    work(overhead, clock, 105, 115)
    budget.finish("pictures")
    work(overhead, clock, 116, 117)
    budget.finish("window")  # two seconds, so sixteen
    clock.now = 117 + 15.75
    assert not budget.allows("window")
    clock.now = 117 + 16.25
    assert budget.allows("window")
