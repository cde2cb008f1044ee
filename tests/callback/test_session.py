"""Processes that decide, add up and fail together; and a session, in which a failure waits until all can hear of it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from typing_extensions import override

from lightning_cossim.callback.session import Session
from lightning_cossim.capture.collector import Collector
from lightning_cossim.capture.distributed import ALONE, Processes
from lightning_cossim.capture.head import Head
from lightning_cossim.config.settings import LabelSelection
from lightning_cossim.errors import DistributedError
from lightning_cossim.functional.overlap import Overlap


class Strategy:
    """The part of a Lightning strategy that is asked, for this process and others that add and broadcast what a test says."""

    root_device = torch.device("cpu")

    def __init__(self, added: Tensor | None = None, broadcast: Any = None) -> None:
        self.added, self.value = added, broadcast
        self.asked: list[str] = []

    def reduce(self, tensor: Tensor, reduce_op: str) -> Tensor:
        self.asked.append(reduce_op)
        return tensor if self.added is None else tensor.add_(self.added)  # in place, as Lightning does

    def broadcast(self, value: Any, src: int) -> Any:
        self.asked.append(f"from {src}")
        return value if self.value is None else self.value


class Others(Strategy):
    """Others that add something to each sum in turn."""

    def __init__(self, *added: Tensor) -> None:
        super().__init__()
        self.adds = iter(added)

    @override
    def reduce(self, tensor: Tensor, reduce_op: str) -> Tensor:
        self.added = next(self.adds)
        return super().reduce(tensor, reduce_op)


def fail() -> None:
    raise MemoryError("planted")


def test_one_process_asks_nobody() -> None:
    tensor = torch.ones(3)
    assert ALONE.sums([tensor])[0] is tensor
    assert ALONE.each(7) == [7]
    assert ALONE.where(holds=True) == [0]
    assert ALONE.where(holds=False) == []
    assert ALONE.from_first("mine") == "mine"
    assert ALONE.together(lambda: 7) == 7
    assert ALONE.on_first(lambda: 7) == 7
    with pytest.raises(MemoryError, match="planted"):
        ALONE.together(fail)
    with pytest.raises(MemoryError, match="planted"):
        ALONE.on_first(fail)


def test_sums_are_of_all_and_leave_what_was_given() -> None:
    strategy = Others(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]), torch.tensor(5))
    mine = [torch.tensor([10.0, 20.0]), torch.tensor(3)]
    assert [total.tolist() for total in Processes(strategy, 2, 1).sums(mine)] == [[11, 22], 8]
    assert [given.tolist() for given in mine] == [[10, 20], 3]
    assert strategy.asked == ["sum", "sum", "sum"]


def test_sums_that_one_has_no_memory_for_are_begun_by_nobody() -> None:
    strategy = Strategy(torch.tensor([1, 0]), "OSError: full")
    with pytest.raises(DistributedError, match="full"):
        Processes(strategy, 2, 1).sums([torch.ones(3)])
    assert strategy.asked == ["sum", "from 0"]


def test_whole_numbers_and_what_holds_are_added_up() -> None:
    strategy = Others(torch.tensor([0, 4, 1]), torch.tensor([0, 1, 0]))
    assert Processes(strategy, 3, 0).each(3) == [3, 4, 1]
    assert Processes(strategy, 3, 0).where(holds=True) == [0, 1]


def test_the_first_decides() -> None:
    strategy = Strategy(broadcast="theirs")
    assert Processes(strategy, 2, 1).from_first("mine") == "theirs"
    assert strategy.asked == ["from 0"]


@pytest.mark.parametrize(
    ("rank", "work", "others", "heard", "text"),
    [
        (0, fail, [0, 0, 0], None, "MemoryError: planted (in process 0 of 3)"),
        (2, fail, [0, 0, 0], None, "MemoryError: planted (in process 2 of 3)"),
        (0, lambda: 7, [0, 0, 1], "OSError: full", "OSError: full (in process 2 of 3)"),
        (2, fail, [0, 1, 0], "OSError: full", "OSError: full (in process 1 of 3)"),
    ],
)
def test_work_that_fails_on_one_process_fails_on_all(
    rank: int, work: Callable[[], Any], others: list[int], heard: str | None, text: str
) -> None:
    """With the text of the first that failed, which that one tells."""
    strategy = Strategy(torch.tensor(others), heard)
    with pytest.raises(DistributedError) as caught:
        Processes(strategy, 3, rank).together(work)
    assert str(caught.value) == text
    assert strategy.asked == ["sum", f"from {text[-7]}"]


def test_work_that_succeeds_everywhere_is_told_of_by_nobody() -> None:
    strategy = Strategy(torch.tensor([0, 0]))
    assert Processes(strategy, 2, 0).together(lambda: 7) == 7
    assert strategy.asked == ["sum"]


@pytest.mark.parametrize("rank", [0, 1])
def test_work_on_the_first_is_done_there_alone_and_all_get_what_it_gives(rank: int) -> None:
    strategy, done = Strategy(torch.tensor([0, 0]), "found"), list[int]()

    def work() -> str:
        done.append(rank)
        return "found"

    assert Processes(strategy, 2, rank).on_first(work) == "found"
    assert done == [0][rank:]
    assert strategy.asked == ["sum", "from 0"]


@pytest.mark.parametrize(("rank", "others", "heard"), [(0, [0, 0], None), (1, [1, 0], "MemoryError: planted")])
def test_work_on_the_first_that_fails_fails_on_all(rank: int, others: list[int], heard: str | None) -> None:
    """And nothing is broadcast but why."""
    strategy = Strategy(torch.tensor(others), heard)
    with pytest.raises(DistributedError, match=r"^MemoryError: planted \(in process 0 of 2\)$"):
        Processes(strategy, 2, rank).on_first(fail)
    assert strategy.asked == ["sum", "from 0"]


def session(processes: Processes) -> Session:
    layer = nn.Linear(3, 4)
    head = Head("fc", layer, "its path")

    def build(labels: LabelSelection) -> Collector:
        return Collector(head, labels=labels, overlap=Overlap.of(4), max_inputs=9, warn=lambda text: None)

    return Session(build, LabelSelection(), processes, None)


def test_a_failure_of_the_only_process_is_raised_at_once() -> None:
    with pytest.raises(MemoryError):
        session(ALONE).alone(fail)


def test_a_failure_is_kept_until_all_can_hear_of_it() -> None:
    """Nothing is done after it, for what comes could be half of something."""
    mine = session(Processes(Strategy(), 2, 1))
    done: list[str] = []
    mine.alone(lambda: done.append("before"))
    mine.check()
    mine.collector._observer.arm()
    mine.alone(fail)
    mine.alone(lambda: done.append("after"))
    assert done == ["before"]
    assert mine.failure is not None
    assert mine.failure.__traceback__ is None  # it would hold what was at hand
    assert not mine.collector._observer.is_armed
    with pytest.raises(DistributedError, match=r"MemoryError: planted \(in process 1 of 2\)"):
        mine.check()


def test_a_failure_elsewhere_is_heard_of() -> None:
    mine = session(Processes(Strategy(torch.tensor([0, 1]), "OSError: full"), 2, 0))
    with pytest.raises(DistributedError, match="OSError: full"):
        mine.check()


@pytest.mark.parametrize(("first", "affords"), [(True, True), (False, False)])
def test_whether_a_window_is_affordable_is_for_the_first_to_say(first: bool, affords: bool) -> None:
    mine = session(Processes(Strategy(broadcast=None), 2, 1))
    mine.max_overhead = 0.02
    mine.processes.strategy.broadcast = lambda value, src: first
    assert mine.affords_window() is affords
