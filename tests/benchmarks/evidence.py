"""What evidence costs: `OMP_NUM_THREADS=1 python -m tests.benchmarks.evidence`, on an idle machine, a quarter of an hour.

A ratio is the median over rounds of what a validation takes with evidence and without, `Evidence(max_bytes=0)`. Both see each
batch in turn, in one process and on one thread. The seconds are those of the processor, because other work on the machine
disturbs the clock more. The second ratio, of two validations without evidence, tells the noise. A step is real work: products of
matrices. Of the targets, 15 % are not the model's prediction.
"""

import argparse
import statistics
import time
import tracemalloc
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import override

from lightning_cossim import Evidence, LabelSelection
from lightning_cossim.capture.collector import Collector
from lightning_cossim.capture.distributed import ALONE
from lightning_cossim.capture.evidence.place import Place
from lightning_cossim.capture.evidence.store import EvidenceStore, Inputs
from lightning_cossim.capture.evidence.views import Viewer
from lightning_cossim.capture.head_settings import HeadSettings
from lightning_cossim.functional.most_likely import most_likely
from lightning_cossim.report import WindowKey
from lightning_cossim.report.wanted_pairs import WantedPairs

DIM = 64
KEY = WindowKey("val")


class Case(NamedTuple):
    """A validation."""

    shape: tuple[int, ...]
    """Of a batch; two dimensions of whole numbers are tokens."""
    num_labels: int
    num_batches: int
    width: int
    """Of the model; it decides how long a step takes."""


CASES = (
    Case((256, 1, 28, 28), 10, 390, 1500),
    Case((64, 3, 64, 64), 100, 400, 1300),
    Case((128, 64), 512, 400, 2300),
    Case((4, 64), 50_257, 12, 512),
)


class Model(nn.Module):
    """Embeds inputs, and has a head whose logits differ by some units, as those of a trained model."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.is_of_tokens = case.num_labels > 10_000
        size = DIM if self.is_of_tokens else int(np.prod(case.shape[1:]))
        self.tokens = nn.Embedding(case.num_labels if self.is_of_tokens else 1, DIM)
        self.body = nn.Sequential(
            nn.Linear(size, case.width), nn.ReLU(), nn.Linear(case.width, case.width), nn.ReLU(), nn.Linear(case.width, DIM)
        )
        self.head = nn.Linear(DIM, case.num_labels)
        nn.init.normal_(self.head.weight, std=4)

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        x = self.tokens(inputs) if self.is_of_tokens else inputs.flatten(1)
        logits: Tensor = self.head(nn.functional.normalize(self.body(x), dim=-1))
        return logits


def batches_of(case: Case, model: Model) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(case.num_batches):
        if model.is_of_tokens:
            inputs = torch.randint(case.num_labels, case.shape, generator=generator)
        else:
            inputs = torch.randn(case.shape, generator=generator)
        likely = model(inputs).topk(2, dim=-1).indices
        is_wrong = torch.rand(likely.shape[:-1], generator=generator) < 0.15
        found.append((inputs, torch.where(is_wrong, likely[..., 1], likely[..., 0])))
    return found


def collector_of(model: Model, evidence: Evidence) -> Collector:
    """As the callback makes one."""
    return HeadSettings(head="head").collector(
        model,
        LabelSelection(),
        max_inputs=1024,
        summarize=(),
        warn=lambda text: None,
        inform=lambda text: None,
        evidence=evidence if evidence.max_bytes else None,
    )


def of_validation(case: Case, rounds: int) -> None:
    """Print what a validation with evidence takes of one without."""
    torch.manual_seed(0)
    model = Model(case).eval()
    batches = batches_of(case, model)
    one, other = sorted(model(batches[0][0]).flatten(0, -2)[0].topk(2).indices.tolist())
    likely = [(one, other)]
    collectors = [collector_of(model, evidence) for evidence in (Evidence(), Evidence(max_bytes=0), Evidence(max_bytes=0))]
    measured = []
    for turn in range(rounds + 1):
        spent = np.zeros((len(batches), 3))
        for collector in collectors:
            collector.open(KEY)
        for number, batch in enumerate(batches):
            for which in np.roll(range(3), number):
                began = time.process_time()
                collectors[which].begin_batch(KEY, batch, Place(0, number))
                nn.functional.cross_entropy(model(batch[0]).flatten(0, -2), batch[1].flatten())
                collectors[which].end_batch(KEY)
                spent[number, which] = time.process_time() - began
        for collector in collectors:
            collector.close(KEY, ALONE)
        found = collectors[0].evidence(KEY, WantedPairs(likely, []), ALONE)
        assert found
        if turn:  # what is done once in a process does not count
            measured.append(spent)
    with_evidence, noise = (statistics.median((one[:, which].sum() / one[:, 1].sum()) for one in measured) for which in (0, 2))
    late, step = (
        statistics.median(values)
        for values in (
            [np.median(one[-len(one) // 4 :, 0] / one[-len(one) // 4 :, 1]) for one in measured],
            [np.median(one[:, 1]) for one in measured],
        )
    )
    print(
        f"{case.shape!s:18} {case.num_labels:6} labels, {case.num_batches:3} steps of {1e3 * step:6.1f} ms: with/without "
        f"{with_evidence:.3f}, in the last quarter {late:.3f}; without/without {noise:.3f}",
        flush=True,
    )


def milliseconds(work: Callable[[], Any]) -> float:
    """Of the processor."""
    began = time.thread_time()
    work()
    return 1e3 * (time.thread_time() - began)


def inputs_of(logits: Tensor, first: int, generator: torch.Generator) -> Inputs:
    """As the keeper makes them, with 15 % of the targets not predicted."""
    likely, num = most_likely(logits, "softmax", 8), len(logits)
    is_wrong = torch.rand(num, generator=generator) < 0.15
    target = torch.where(is_wrong, likely.labels[:, 1], likely.labels[:, 0])
    target_prob = torch.where(is_wrong, likely.probs[:, 1], likely.probs[:, 0])
    zeros, rows = np.zeros(num, dtype=np.int32), np.arange(num)
    columns = (likely.labels, likely.probs, target, target_prob)
    labels, probs, targets, target_probs = (column.numpy() for column in columns)
    return Inputs(labels, probs, targets, target_probs, zeros, zeros, rows, zeros - 1, first + rows, first + rows)


def of_parts(num: int, num_labels: int, num_batches: int) -> None:
    """Print what `most_likely` and `EvidenceStore.add` take per batch, and how many inputs get thumbnails."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(num_labels, DIM, generator=generator)
    store = EvidenceStore(num_labels, per_pair=8, max_bytes=32_000_000)
    adding, finding, num_entered = [], [], 0
    for batch in range(num_batches):
        target = torch.randint(num_labels, (num,), generator=generator)
        logits = (weight[target] + torch.randn(num, DIM, generator=generator)) @ weight.T / 5
        finding.append(milliseconds(partial(most_likely, logits, "softmax", 8)))
        inputs = inputs_of(logits, batch * num, generator)
        began = time.thread_time()
        num_entered += len(store.add(inputs).shown)
        adding.append(1e3 * (time.thread_time() - began))
    late = statistics.median(adding[-(num_batches // 4) :])
    print(
        f"{num:4} inputs, {num_labels:6} labels, ms per batch: most_likely {statistics.median(finding):6.2f}; add, mean "
        f"{statistics.mean(adding):6.2f}, last quarter {late:6.2f}; entered {num_entered} of {num * num_batches}",
        flush=True,
    )


def of_views(*shape: int, dtype: torch.dtype = torch.float32) -> None:
    """Print what the views of 50 rows take."""
    images = torch.rand(*shape, generator=torch.Generator().manual_seed(0))
    batch = ((255 * images).to(dtype) if dtype == torch.uint8 else images * 2 - 1, torch.zeros(len(images)))
    viewer = Viewer(Evidence(), ["a"], has_names=False, warn=print)
    rows, positions = torch.arange(50), torch.full((50,), -1)
    spent = statistics.median(milliseconds(lambda: viewer.views(batch, rows, positions)) for _ in range(30))
    print(f"views of 50 rows of {shape} {dtype}: {spent:.2f} ms", flush=True)


def of_memory(num_labels: int, max_bytes: int) -> None:
    """Print the memory of a store with 100 000 inputs: what it says, and its measured peak."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(num_labels, DIM, generator=generator)
    batches = []
    for batch in range(98):
        target = torch.randint(num_labels, (1024,), generator=generator)
        logits = (weight[target] + torch.randn(1024, DIM, generator=generator)) @ weight.T / 5
        batches.append(inputs_of(logits, 1024 * batch, generator))
    tracemalloc.start()
    store = EvidenceStore(num_labels, per_pair=8, max_bytes=max_bytes)
    for inputs in batches:
        store.add(inputs)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(f"{num_labels:6} labels, max_bytes {max_bytes:>10,}: num_bytes {store.num_bytes:>10,}, peak {peak:>10,}", flush=True)


def main(rounds: int, parts: list[str]) -> None:
    """Print the table."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, numpy {np.__version__}, 1 thread")
    with torch.inference_mode():
        if "parts" in parts:
            for sizes in ((256, 10, 390), (64, 100, 400), (128, 512, 400), (256, 512, 390), (256, 1000, 390), (1024, 50_257, 20)):
                of_parts(*sizes)
        if "views" in parts:
            for shape in ((256, 1, 28, 28), (64, 3, 64, 64), (64, 3, 224, 224)):
                of_views(*shape)
                of_views(*shape, dtype=torch.uint8)
        if "memory" in parts:
            for num_labels in (10, 512, 50_257):
                for max_bytes in (1_000_000, 32_000_000):
                    of_memory(num_labels, max_bytes)
        if "validation" in parts:
            for case in CASES:
                of_validation(case, rounds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="of each validation; default 5")
    names = ["parts", "views", "memory", "validation"]
    parser.add_argument("parts", nargs="*", default=names, help=f"some of {', '.join(names)}; default all")
    main(**vars(parser.parse_args()))
