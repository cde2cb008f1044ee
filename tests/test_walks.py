"""Data has one way through the package: it takes the walks of docs/how_it_is_built.md, and returns to no earlier folder.

A walk is traced while the package works: which functions are handed the thing that is followed, or what has become of it, as an
argument, by whom, and in which order.
"""

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import lightning_cossim
from lightning_cossim import Display, LabelSimilarityMonitor, Thresholds
from lightning_cossim.analysis.checkpoints import SavedHead
from lightning_cossim.analysis.cli import main
from lightning_cossim.callback.report_queue import ReportQueue
from lightning_cossim.capture.head import Observation, Weights
from lightning_cossim.loggers.publisher import Publisher
from lightning_cossim.loggers.wire import Step
from lightning_cossim.report import GapReport, Statistics, Verdict
from lightning_cossim.report.evidence import Example, PairEvidence, PairsWithEvidence, View
from lightning_cossim.report.pair_table import PairTable
from tests.toys import INPUT_DIM, MemoryLogger, Toy, few_inputs, trainer

ROOT = Path(__file__).parent.parent
PACKAGE = Path(lightning_cossim.__file__).parent
LAYERS: Final = (
    {"analysis"},
    {"callback"},
    {"capture", "loggers"},
    {"metrics"},
    {"report"},
    {"config"},
    {"functional"},
    {"errors.py"},
)
"""From the top down, as the contracts in pyproject.toml have them."""
NUM_LABELS, NUM_INPUTS = 13, 29
"""No other tensor has these sizes."""
STRANGER = 0.0123
"""No other threshold is that."""

Follows = Callable[[Any], bool]


class Walk:
    """What was handed on, in the order in which it happened.

    Args:
        stages: what is followed and what becomes of it, in order: name to whether an argument is it.
    """

    def __init__(self, stages: dict[str, Follows]) -> None:
        self._stages = stages
        self.files: list[str] = []
        """Those that were handed it, in the order in which they first were."""
        self.stages: list[str] = []
        """What was handed on, each time that it is another than before."""
        self.returns: list[str] = []
        """Calls from a room to one that is not below it."""

    def see(self, frame: FrameType, event: str, _: Any) -> None:
        """What `sys.setprofile` calls."""
        file = file_of(frame)
        if event != "call" or file is None:
            return
        count = frame.f_code.co_argcount + frame.f_code.co_kwonlyargcount
        arguments = [frame.f_locals.get(name) for name in frame.f_code.co_varnames[:count] if name not in {"self", "cls"}]
        stage = next((name for name, follows in self._stages.items() if any(map(follows, arguments))), None)
        if stage is None:
            return
        if file not in self.files:
            self.files.append(file)
        if self.stages[-1:] != [stage]:
            self.stages.append(stage)
        giver = giver_of(frame)
        if giver is not None and not leads_down(giver, file):
            self.returns.append(f"{giver} hands {stage} to {file}: {frame.f_code.co_qualname}")


def file_of(frame: FrameType) -> str | None:
    """The file of the package that a frame runs in; None for anybody else's."""
    path = Path(frame.f_code.co_filename)
    return path.relative_to(PACKAGE).as_posix() if path.is_relative_to(PACKAGE) else None


def giver_of(frame: FrameType) -> str | None:
    """The file of the package that made a call, itself or through somebody else's code."""
    caller = frame.f_back
    while caller is not None:
        file = file_of(caller)
        if file is not None:
            return file
        caller = caller.f_back
    return None


def leads_down(giver: str, taker: str) -> bool:
    rooms = [file.partition("/")[0] for file in (giver, taker)]
    one, other = (next(floor for floor, layer in enumerate(LAYERS) if room in layer) for room in rooms)
    return rooms[0] == rooms[1] or one < other


@contextmanager
def traced(stages: dict[str, Follows]) -> Iterator[Walk]:
    walk = Walk(stages)
    before = sys.getprofile()
    sys.setprofile(walk.see)
    try:
        yield walk
    finally:
        sys.setprofile(before)


def kind(*kinds: type[Any]) -> Follows:
    return lambda value: (
        isinstance(value, kinds) or (isinstance(value, list | tuple) and any(isinstance(one, kinds) for one in value))
    )


def documented(title: str) -> list[str]:
    """The files of a walk in docs/how_it_is_built.md, in order."""
    section = (ROOT / "docs" / "how_it_is_built.md").read_text(encoding="utf-8").split(f"### {title}\n")[1].split("\n#")[0]
    return re.findall(r"^\d+\. `([a-z_/]+\.py)`", section, flags=re.MULTILINE)


def in_order(files: Iterable[str], wanted: list[str]) -> list[str]:
    return [file for file in files if file in wanted]


# Logits, from the hook to a tag and to the tab's blob

LOGITS: Final[dict[str, Follows]] = {
    "logits": lambda value: isinstance(value, Tensor) and value.shape[-2:] == (NUM_INPUTS, NUM_LABELS),
    "an observation": kind(Observation),
    "a table of pairs": kind(PairTable),
    "statistics": kind(Statistics),
    "a report": kind(GapReport),
    "a step of the tab": kind(Step),
}


def validated(logger: Any, display: Display) -> LabelSimilarityMonitor:
    """A validation of one batch."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(NUM_INPUTS, INPUT_DIM, generator=generator)
    data = DataLoader(TensorDataset(inputs, torch.arange(NUM_INPUTS) % NUM_LABELS), batch_size=NUM_INPUTS)
    monitor = LabelSimilarityMonitor(display=display)
    trainer(callbacks=[monitor], logger=logger).validate(Toy(NUM_LABELS), data, verbose=False)
    return monitor


def test_logits_become_a_tag() -> None:
    logger = MemoryLogger()
    with traced(LOGITS) as walk:
        validated(logger, Display(max_overhead=None, tab=False))
    wanted = documented("Logits, from the hook to a tag")
    assert in_order(walk.files, wanted) == wanted
    assert walk.returns == []
    assert walk.stages[-1] == "a report"
    assert list(dict.fromkeys(walk.stages)) == list(LOGITS)[:-1]
    last_logits = max(place for place, stage in enumerate(walk.stages) if stage == "logits")
    assert last_logits < walk.stages.index("a table of pairs"), "what has become a number is no tensor of logits again"
    assert logger.curve("cossim_val/overlap_mean")


def test_logits_become_a_blob(tmp_path: Path) -> None:
    views = dict.fromkeys(("heatmaps", "scatter", "tables", "histograms"), False)
    with traced(LOGITS) as walk:
        validated(TensorBoardLogger(tmp_path), Display(max_overhead=None, **views))
    wanted = documented("Logits, from the hook to the tab's blob")
    assert in_order(walk.files, wanted) == wanted
    assert walk.returns == []


# An input, from the batch to the contact sheet


def test_an_input_becomes_a_picture_of_the_contact_sheet(tmp_path: Path) -> None:
    """The batch, its thumbnails, the evidence of a report, and the report that is drawn."""
    images = torch.randn(NUM_INPUTS, 1, 9, 7, generator=torch.Generator().manual_seed(0))
    picture: dict[str, Follows] = {
        "a batch": lambda value: (
            (isinstance(value, Tensor) and value.shape[-2:] == (9, 7))
            or (isinstance(value, list | tuple) and any(isinstance(one, Tensor) and one.shape[-2:] == (9, 7) for one in value))
        ),
        "a view": lambda value: (
            isinstance(value, View) or (isinstance(value, dict) and any(isinstance(one, View) for one in value.values()))
        ),
        "an example": kind(Example, PairEvidence),
        "evidence": kind(PairsWithEvidence),
        "a report": kind(GapReport),
    }
    model = Toy(NUM_LABELS)
    model.body = nn.Sequential(nn.Flatten(), nn.Linear(63, INPUT_DIM), model.body)
    data = DataLoader(TensorDataset(images, torch.arange(NUM_INPUTS) % NUM_LABELS), batch_size=NUM_INPUTS)
    thresholds = Thresholds(stranger=0.001, lookalike=0.001, outlier=0, min_inputs=0, min_reliability=0, min_joint_inputs=0)
    monitor = LabelSimilarityMonitor(display=Display(max_overhead=None, tab=False), thresholds=thresholds)
    with traced(picture) as walk, few_inputs():
        trainer(callbacks=[monitor], logger=TensorBoardLogger(tmp_path)).validate(model, data, verbose=False)
    wanted = documented("An input, from the batch to the contact sheet")
    assert in_order(walk.files, wanted) == wanted
    assert walk.returns == []


# A threshold, from YAML to a flag


def test_a_threshold_becomes_a_flag(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.yaml"
    path.write_text(f"stranger: {STRANGER}\nmin_inputs: 0\nmin_reliability: 0\n", encoding="utf-8")
    threshold: dict[str, Follows] = {
        "the path": lambda value: (
            value == str(path) if isinstance(value, str) else value == path if isinstance(value, Path) else False
        ),
        "the number": lambda value: isinstance(value, float) and value == STRANGER,
        "thresholds": lambda value: isinstance(value, Thresholds) and value.stranger == STRANGER,
        "a verdict": kind(Verdict),
        "a report": kind(GapReport),
    }
    with traced(threshold) as walk:
        inputs = torch.randn(NUM_INPUTS, INPUT_DIM, generator=torch.Generator().manual_seed(0))
        data = DataLoader(TensorDataset(inputs, torch.arange(NUM_INPUTS) % NUM_LABELS), batch_size=NUM_INPUTS)
        monitor = LabelSimilarityMonitor(thresholds_file=str(path), display=Display(max_overhead=None))
        trainer(callbacks=[monitor], logger=MemoryLogger()).validate(Toy(NUM_LABELS), data, verbose=False)
    wanted = documented("A threshold, from YAML to a flag")
    assert in_order(walk.files, wanted) == wanted
    assert walk.returns == []
    assert monitor.last_report["val"].verdict.thresholds == Thresholds(stranger=STRANGER, min_inputs=0, min_reliability=0)


# A checkpoint's path, to a printed report


def test_a_checkpoint_s_path_becomes_a_printed_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "head.pt"
    torch.save({"head.weight": torch.randn(NUM_LABELS, 5)}, path)
    logits = tmp_path / "logits.pt"
    torch.save(torch.randn(NUM_INPUTS, NUM_LABELS), logits)
    checkpoint: dict[str, Follows] = {
        "the path": lambda value: str(value) == str(path) if isinstance(value, str | Path) else False,
        "the saved head": kind(SavedHead),
        "weights": kind(Weights),
        "an observation": kind(Observation),
        "statistics": kind(Statistics),
        "a report": kind(GapReport),
    }
    with traced(checkpoint) as walk:
        assert main(["analyze", str(path), "--logits", str(logits)]) == 0
    wanted = documented("A checkpoint's path, to a printed report")
    assert in_order(walk.files, wanted) == wanted
    assert walk.returns == []
    assert f"{NUM_INPUTS} inputs" in capsys.readouterr().out


# The tracing itself


def test_a_planted_return_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A publisher that hands the report back to the queue."""
    publish, start = Publisher.publish, ReportQueue.start_run
    queues: list[ReportQueue] = []

    def start_run(self: ReportQueue) -> None:
        queues.append(self)
        start(self)

    monkeypatch.setattr(ReportQueue, "start_run", start_run)

    def back(self: Publisher, report: GapReport, *rest: Any) -> None:
        publish(self, report, *rest)
        hand_back(queues[-1], report)

    monkeypatch.setattr(Publisher, "publish", back)
    hand_back = compiled_within("loggers/publisher.py", "def hand_back(queue, report):\n    queue.replace([report])\n")[
        "hand_back"
    ]
    with traced(LOGITS) as walk:
        validated(MemoryLogger(), Display(max_overhead=None, tab=False))
    assert walk.returns == ["loggers/publisher.py hands a report to callback/report_queue.py: ReportQueue.replace"]


def compiled_within(file: str, source: str) -> dict[str, Any]:
    """What a source defines that pretends to stand in a file of the package."""
    space: dict[str, Any] = {}
    exec(compile(source, str(PACKAGE / file), "exec"), space)  # noqa: S102 - our own line
    return space
