"""What the local log-odds cost beside an update of the overlap: `python -m tests.benchmarks.local_log_odds`.

Both update on the same logits, in turns, so that a busy machine slows both. The ratios are medians.
"""

import statistics
from time import perf_counter

import torch
from torchmetrics import Metric

from lightning_cossim.metrics import LocalLogOdds, ProbabilityOverlap

NUM_INPUTS = 1024
ROUNDS = 15


def seconds(metric: Metric, logits: torch.Tensor) -> float:
    start = perf_counter()
    metric.update(logits)
    return perf_counter() - start


def main() -> None:
    torch.set_num_threads(2)
    print(f"`update` of {NUM_INPUTS} inputs, float32 logits, two threads, medians of {ROUNDS}; the log-odds sum in float64")
    print(f"{'labels':>8}{'overlap':>14}{'local log-odds':>18}{'ratio':>8}")
    for num_labels in (10, 100, 512, 2048):
        logits = 3 * torch.randn(NUM_INPUTS, num_labels, generator=torch.Generator().manual_seed(0))
        overlap, distance = ProbabilityOverlap(num_labels), LocalLogOdds(num_labels)
        times = [(seconds(overlap, logits), seconds(distance, logits)) for _ in range(ROUNDS + 1)][1:]
        one, other = (statistics.median(column) for column in zip(*times, strict=True))
        ratio = statistics.median(after / before for before, after in times)
        print(f"{num_labels:>8}{1e3 * one:>11.2f} ms{1e3 * other:>15.2f} ms{ratio:>8.1f}")


if __name__ == "__main__":
    main()
