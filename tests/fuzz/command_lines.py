"""Arguments of the command: unknown, empty, unprintable, huge, in any order."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

import numpy as np
import torch

import lightning_cossim.analysis.demo
from tests.fuzz.commands import check_command
from tests.fuzz.mutations import bad_name, bad_number

__all__ = ["case"]

_OPTIONS: Final = {
    "analyze": (
        *(
            "--head",
            "--bias",
            "--transposed",
            "--no-transposed",
            "--logits",
            "--embeddings",
            "--names",
            "--ignore",
            "--no-neighbors",
        ),
        *(
            "--min-probability",
            "--max-tracked",
            "--labels-per-input",
            "--overlap",
            "--overlap-threshold",
            "--overlap-k",
            "--link",
        ),
        *(
            "--link-cap",
            "--link-scale",
            "--targets",
            "--inputs",
            "--out",
            "--thresholds",
            "--fail-on",
            "--reachability",
            "--max-pairs",
        ),
    ),
    "compare": ("--head", "--bias", "--logits", "--embeddings", "--names", "--ignore", "--max-tracked", "--link", "--overlap"),
    "config": ("--check", "--check", "--help"),
    "demo": ("--epochs", "--folder"),
}
_FLAGS: Final = {"--transposed", "--no-transposed", "--no-neighbors", "--reachability", "--help"}
_WORDS: Final = (
    "softmax",
    "sigmoid",
    "softcap",
    "cosine",
    "topk",
    "coactivation",
    "product",
    "fc",
    "fc.weight",
    "none",
    "1",
    "0.5",
    "30",
)


def case(draw: Random, folder: Path) -> Callable[[], object]:
    """Up to five options of a command, with good, bad and odd values. (The demo does not train here.)"""
    torch.save({"fc.weight": torch.randn(12, 2), "fc.bias": torch.zeros(12)}, folder / "x.pt")
    np.save(folder / "f.npy", np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32))
    (folder / "t.yaml").write_text("stranger: 0.01\nlookalike: 0.01\n", encoding="utf-8")
    (folder / "n.txt").write_text("\n".join("abcdefghijkl"), encoding="utf-8")
    lightning_cossim.analysis.demo.main = lambda *_: None  # type: ignore[assignment]  # in a child of its own
    command = draw.choice(
        ("analyze", "analyze", "analyze", "analyze", "compare", "config", "demo", bad_name(draw), bad_number(draw))
    )
    words = [command]
    if command in {"analyze", "compare"}:
        words += [draw.choice(("x.pt", "x.pt", "x.pt", "x.pt", _odd(draw))) for _ in range(1 + (command == "compare"))]
    if draw.random() < 0.5 and command in {"analyze", "compare"}:
        words += ["--embeddings", "f.npy", *(["f.npy"] if command == "compare" else [])]
    for _ in range(draw.choice((0, 1, 1, 2, 5))):
        option = draw.choice((*_OPTIONS.get(command, ()), draw.choice(_OPTIONS["analyze"])))
        if draw.random() < 0.05:
            option = f"--{_odd(draw)}"
        words.append(option)
        if option not in _FLAGS or draw.random() < 0.05:
            words += [draw.choice((*_WORDS, "x.pt", "f.npy", "t.yaml", "n.txt", "out", ".", _odd(draw), _odd(draw), _odd(draw)))]
    if draw.random() < 0.1:
        draw.shuffle(words)
    return lambda: check_command(*words)


def _odd(draw: Random) -> str:
    return draw.choice((bad_name(draw, long=100_000), bad_number(draw), f"={bad_name(draw, long=9)}", f"-{bad_number(draw)[:9]}"))
