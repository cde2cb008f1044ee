"""How long reachability takes, and by what means: `python -m tests.benchmarks.reachability [--head FILE.npz]`.

On an idle machine. Random heads of 10 000 labels, and 1 000 pairs of 50 257: half of them nearest neighbors, as flagged pairs
are, half of any two. A real head is a file with `W` (K, D) and, where it has them, `b` (K,) and `names` (K,): all its labels, and
as many pairs. Every answer is proven again, in NumPy, by its witness or its certificate.
"""

import argparse
import textwrap
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lightning_cossim.functional import Reachability, label_reachability, nearest_neighbors, pair_reachability
from tests.functional.reachability.test_reachability import prove

NUM_PAIRS = 1000


def told(name: str, decide: Callable[[], Reachability], W: Tensor, b: Tensor | None = None) -> Reachability:
    """Verdicts, with the time they took and what came of each means."""
    began = time.perf_counter()
    result = decide()
    took = time.perf_counter() - began
    num = len(result.verdicts)
    print(f"{name}: {num} in {took:.1f} s, {result.verdicts.count('undecided')} undecided")
    for (verdict, means), count in Counter(zip(result.verdicts, result.means, strict=True)).most_common():
        print(f"  {verdict:>9} {f'by {means}' if means else '':12} {count:6} ({count / num:.1%})")
    residuals = [one.residual for one in result.certificates if one is not None]
    if residuals:
        size = np.median([len(one.rivals) for one in result.certificates if one is not None])
        print(f"  residuals up to {max(residuals):.1e}, median {np.median(residuals):.1e}; {size:.0f} rivals in a mixture")
    margins = result.margins[result.margins.isfinite()]
    if len(margins):
        print(f"  margins from {margins.min():.1e}, median {margins.median():.1e}")
    prove(result, W, b)
    print("  all proven", flush=True)
    return result


def pairs_of(W: Tensor) -> Tensor:
    """Half of them a label and its nearest neighbor by centered cosine, half any two."""
    generator = torch.Generator().manual_seed(0)
    pairs = torch.randint(len(W), (2 * NUM_PAIRS, 2), generator=generator)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]][:NUM_PAIRS]
    near = nearest_neighbors(W[:20_000], k=1).labels[:, 0]
    label = (near >= 0).nonzero().flatten()
    label = label[torch.randperm(len(label), generator=generator)[: NUM_PAIRS // 2]]
    pairs[: len(label)] = torch.stack([label, near[label]], dim=1)
    return pairs


def main(head: Path | None) -> None:
    torch.set_num_threads(2)
    generator = torch.Generator().manual_seed(0)
    for dim in (128, 16, 8):
        W = torch.randn(10_000, dim, generator=generator)
        told(f"All labels of a random head, 10 000 x {dim}", lambda: label_reachability(W), W)  # noqa: B023
    W = torch.randn(50_257, 768, generator=generator)
    pairs = pairs_of(W)
    told("Pairs of a random head, 50 257 x 768", lambda: pair_reachability(W, pairs=pairs), W)
    if head is None:
        return
    file = np.load(head)
    W, b = torch.from_numpy(file["W"]), torch.from_numpy(file["b"]) if "b" in file else None
    result = told(f"All labels of {head.stem}, {W.shape[0]} x {W.shape[1]}", lambda: label_reachability(W, bias=b), W, b)
    names = file["names"] if "names" in file else np.arange(len(W)).astype(str)
    never = [str(names[label]) for label, verdict in zip(result.labels.tolist(), result.verdicts, strict=True) if verdict == "no"]
    print(f"  {len(never)} can never come out on top:")
    print(textwrap.fill(" ".join(never), 120, initial_indent="    ", subsequent_indent="    "))
    pairs = pairs_of(W)
    told(f"Pairs of {head.stem}", lambda: pair_reachability(W, pairs=pairs, bias=b), W, b)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--head", type=Path, help="a real head, an .npz file with `W`, and perhaps `b` and `names`")
    main(**vars(parser.parse_args()))
