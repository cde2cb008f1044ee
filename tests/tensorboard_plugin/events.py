"""Event files with steps for the tab, written by the code that writes those of a training."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter

from lightning_cossim import GapReport, Thresholds
from lightning_cossim.loggers.label_order import LabelOrder
from lightning_cossim.loggers.recorder import Recorder
from lightning_cossim.metrics import SimilarityGap
from tests.toys import altered

LOW = Thresholds(stranger=0.03, lookalike=0.03, outlier=0, min_reliability=0.1)
CLOTHES = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Boot")
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    '"><script>alert(2)</script>',
    "=cmd|' /C calc'!A0",
    "{{7*7}}",
    "a,b;\"c'\nd",
    "שלום",
    "😀",
    "",
    "\x1b[31mred",
    "%00",
)


def reports(num_labels: int, num_steps: int, *, seed: int = 0, names: Sequence[str] = (), dim: int = 12) -> list[GapReport]:
    """Reports of a head that turns from one random head into another."""
    generator = torch.Generator().manual_seed(seed)
    first_KD, last_KD = torch.randn(2, num_labels, dim, generator=generator)
    f_ND = torch.randn(400, dim, generator=generator)
    made = []
    for number in range(num_steps):
        share = number / max(1, num_steps - 1)
        W_KD = (1 - share) * first_KD + share * last_KD
        metric = SimilarityGap(num_labels, dim)
        metric.update(W_KD, (0.3 + 0.4 * share) * f_ND @ W_KD.T, f_ND)
        called = tuple(names) or tuple(f"label {label}" for label in range(num_labels))
        made.append(altered(metric.report().judged(LOW), stage="val", step=10 * (number + 1), names=called))
    return made


def write(folder: Path, made: Sequence[GapReport], *, stages: Sequence[str] = ("val",), name: str | None = None) -> None:
    """Write reports as the steps of some stages into a run."""
    writer = SummaryWriter(str(folder))
    logger: Any = SimpleNamespace(experiment=writer)
    recorder = Recorder(name, LabelOrder())
    for report in made:
        for stage in stages:
            recorder.record(altered(report, stage=stage), logger)
    writer.close()
