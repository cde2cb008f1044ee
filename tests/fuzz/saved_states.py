"""States of the monitor and of its metrics, as a damaged checkpoint of a training holds them."""

import copy
import logging
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Final

import torch

from lightning_cossim import LabelSimilarityMonitor, Thresholds
from lightning_cossim.config.thresholds import Alert
from lightning_cossim.metrics import LabelCosineSimilarity, SimilarityGap
from tests.fuzz.harness import Fault
from tests.fuzz.mutations import bad_name, bad_number

__all__ = ["case"]

torch.set_num_threads(1)
_THRESHOLDS: Final = Thresholds(alerts=(Alert("reliability", below=0.2),))


def case(draw: Random, folder: Path) -> Callable[[], object]:
    """The monitor loads a damaged state with one warning, and keeps its own; a metric raises an error of torch's or of ours."""
    assert not [*folder.iterdir()]
    return _of_monitor(draw) if draw.random() < 0.7 else _of_metric(draw)


def _of_monitor(draw: Random) -> Callable[[], object]:
    monitor = LabelSimilarityMonitor(thresholds=_THRESHOLDS)
    good = copy.deepcopy(monitor.state_dict())
    state: Any = copy.deepcopy(good)
    state["publisher"]["watched"] = {"val/a": {"x": 0.5}}
    state["publisher"]["labels"]["order"] = [1, 2]
    for _ in range(draw.choice((1, 1, 2, 4))):
        state = _damaged(draw, state)

    def attempt() -> None:
        records: list[logging.LogRecord] = []
        listener = logging.Handler()
        listener.emit = records.append  # type: ignore[method-assign, assignment]
        logging.getLogger("lightning_cossim").addHandler(listener)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            monitor.load_state_dict(state)
        if len(told) > 1:
            raise Fault(f"expected at most one warning, got {[str(one.message) for one in told]!r:.700}")
        texts = [str(warning.message) for warning in told] + [record.getMessage() for record in records]
        if not all(text.isprintable() and len(text) <= 600 for text in texts):
            raise Fault(f"expected a short printable warning, got {texts!r:.500}")
        if told and repr(monitor.state_dict()) != repr(good):
            raise Fault(f"expected the state from before after a warning, got {monitor.state_dict()!r:.500}")
        copy.deepcopy(monitor.state_dict())
        LabelSimilarityMonitor(thresholds=_THRESHOLDS).load_state_dict(monitor.state_dict())

    return attempt


def _of_metric(draw: Random) -> Callable[[], object]:
    metric: Any = SimilarityGap(num_labels=4, embedding_dim=2) if draw.random() < 0.5 else LabelCosineSimilarity()
    metric.persistent(mode=True)
    state: Any = dict(metric.state_dict())
    for _ in range(draw.choice((1, 2))):
        state = _damaged(draw, state)

    def attempt() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                metric.load_state_dict(state)
            except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
                if "enough memory" in str(error):
                    raise

    return attempt


def _damaged(draw: Random, state: Any) -> Any:
    """A state with one value in any depth replaced, doubled or gone."""
    if isinstance(state, dict) and state and draw.random() < 0.85:
        name = draw.choice(list(state))
        kind = draw.random()
        if kind < 0.1:
            return {key: value for key, value in state.items() if key != name}
        if kind < 0.2:
            return {**state, draw.choice((bad_name(draw, long=9_000), 1, None)): _odd(draw)}
        return {**state, name: _damaged(draw, state[name])}
    if isinstance(state, list) and state and draw.random() < 0.7:
        place = draw.randrange(len(state))
        return [*state[:place], _damaged(draw, state[place]), *state[place + 1 :], *state[: draw.choice((0, 0, 1))]]
    return _odd(draw)


def _odd(draw: Random) -> Any:
    deep: Any = []
    for _ in range(draw.choice((1, 500))):
        deep = [deep]
    endless: list[Any] = []
    endless.append(endless)
    numbers = (0, -1, 1, 2.5, True, math.nan, math.inf, 10**5_000, -(2**70), 1j, 1e308)
    others: tuple[Any, ...] = (
        None,
        "",
        b"x",
        {},
        {"a": {}},
        [None],
        (1,),
        {1},
        object(),
        deep,
        endless,
        [1] * 10_000,
        iter(()),
        float,
        Ellipsis,
    )
    tensors = (torch.ones(3), torch.ones(0), torch.tensor(1), torch.empty(10**9, device="meta"), torch.tensor(math.nan))
    return draw.choice((*numbers, *others, *tensors, bad_name(draw, long=99_999), bad_number(draw)))
