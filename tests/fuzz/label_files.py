"""Files beside a checkpoint: names of labels, identifiers of inputs, embeddings, logits and targets."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import torch

from tests.fuzz.checkpoint_files import odd_entry
from tests.fuzz.commands import check_command
from tests.fuzz.mutations import bad_bytes, bad_name

__all__ = ["case"]


def case(draw: Random, folder: Path) -> Callable[[], object]:
    """A good checkpoint of three labels, and one or two damaged files beside it; one case of five writes results."""
    torch.save({"fc.weight": torch.randn(3, 2)}, folder / "x.pt")
    inputs = draw.choice((1, 4, 40))
    np.save(folder / "f.npy", np.random.default_rng(0).normal(size=(inputs, 2)).astype(np.float32))
    options: list[object] = ["--embeddings", folder / "f.npy"]
    for option in draw.sample(("--names", "--inputs", "--targets", "--logits", "--names", "--inputs"), draw.choice((1, 2))):
        if option not in options:
            options += [option, _file(draw, folder, option, inputs)]
    if draw.random() < 0.2:
        options += ["--out", folder / "out"]
    return lambda: check_command("analyze", folder / "x.pt", *options)


def _file(draw: Random, folder: Path, option: str, inputs: int) -> Path:
    if option in {"--targets", "--logits"}:
        path = folder / f"{option}.npy"
        shape = draw.choice(((inputs,), (inputs,), (inputs, 3), (inputs, 3), (0,), (inputs, 0), (), (inputs, 1), (3, inputs)))
        kind = draw.choice((np.int64, np.int8, np.uint64, np.float32, np.float64, np.bool_, np.complex64, np.float16))
        values = np.random.default_rng(draw.randrange(99)).integers(0, 99, shape).astype(kind)
        if values.size and kind in {np.float32, np.float64}:
            values.flat[0] = draw.choice((np.nan, np.inf, -np.inf, 1e38, -1e-40))
        elif values.size:
            values.flat[0] = draw.choice((0, 1, np.iinfo(kind).max if kind in {np.int64, np.uint64, np.int8} else 1))
        np.save(path, values)
        if draw.random() < 0.2:
            path.write_bytes(bad_bytes(draw, path.read_bytes()))
    else:
        path = folder / f"{option}{draw.choice(('.txt', '.json', ''))}"
        number = {"--names": 3, "--inputs": inputs}[option]
        lines = (
            [bad_name(draw) for _ in range(draw.choice((number, number, number, number, 0, 2, 300_000)) % 300_001)]
            if draw.random() < 0.7
            else []
        )
        joined = draw.choice(("\n", "\n", "\n", "\r\n", "\r", "\u2028")).join(line.replace("\n", " ") for line in lines[:400])
        text = draw.choice(
            (
                joined,
                f"{joined}\n",
                f"{joined}\n",
                json.dumps(lines[:400]),
                "a\n" * 3_000_000,
                "x" * 9_000_000,
                f"a\n{joined}\n\n",
            )
        )
        data = text.encode(draw.choice(("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin1")), "replace")
        path.write_bytes(bad_bytes(draw, data) if draw.random() < 0.2 else data)
    return odd_entry(draw, path) if draw.random() < 0.08 else path
