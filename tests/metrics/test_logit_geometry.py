"""What metrics keep of the inputs: sums over logits or over embeddings, whichever are fewer, and in blocks."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torchmetrics import MetricCollection
from typing_extensions import override

from lightning_cossim.functional.ladder import weight_rungs
from lightning_cossim.functional.links import Link, Response
from lightning_cossim.functional.logit_covariance import LogitCovariance
from lightning_cossim.functional.symmetries import Symmetry
from lightning_cossim.metrics import LogitCorrelation, LogOddsVariance, SimilarityGap
from lightning_cossim.metrics.logit_geometry import EmbeddingGeometry
from tests.strategies import Array
from tests.toys import padded

D, N, SCALE, CAP = 6, 90, 7.0, 4.0
LINKS: list[Link] = ["softmax", "sigmoid", "softcap", "cosine"]
SIZES = [pytest.param(4, id="K < D"), pytest.param(D, id="K = D"), pytest.param(9, id="K > D")]
RUNGS = ("logit_correlation", "log_odds_variance")

Batch = tuple[Tensor, Tensor]
"""An unembedding (K, D), and the embeddings (N, D) that it met."""


def rows_of(num_labels: int, seed: int = 0) -> Tensor:
    return torch.randn(num_labels, D, generator=torch.Generator().manual_seed(seed)) + 0.6


def inputs_of(num_inputs: int = N, seed: int = 1) -> Tensor:
    spread = torch.tensor([1.5, 0.4, 0.8, 1.0, 0.3, 0.6])
    return torch.randn(num_inputs, D, generator=torch.Generator().manual_seed(seed)) * spread + 0.3


def array(tensor: Tensor) -> Array:
    values: Array = tensor.double().numpy()
    return values


def head_logits(link: Link, W: Array, f: Array, scale: float = SCALE) -> Array:
    """Those of the head itself: without a bias, before any cap."""
    if link == "cosine":
        lengths = np.linalg.norm(f, axis=1)[:, None] * np.linalg.norm(W, axis=1)
        cosines: Array = scale * (f @ W.T) / lengths
        return cosines
    return f @ W.T


def wanted(link: Link, z: Array) -> dict[str, Array]:
    """The rungs from the logits (N, K) seen, by their definitions."""
    away = z - z.mean(axis=1, keepdims=True) if link == "softmax" else z
    variance = np.array([[np.var(i - j) for j in z.T] for i in z.T])
    return {"logit_correlation": np.asarray(np.corrcoef(away.T)), "log_odds_variance": variance}


def gap_of(link: Link, batches: Sequence[Batch], scales: Sequence[float] | None = None, **settings: Any) -> SimilarityGap:
    num_labels, dim = batches[0][0].shape
    metric = SimilarityGap(num_labels, dim, link=link, link_scale=SCALE if link == "cosine" else None, **settings)
    for (W, f), scale in zip(batches, scales or [SCALE] * len(batches), strict=True):
        if link == "cosine":
            metric.use_response(Response.of(link, link_scale=scale))
        z = torch.from_numpy(head_logits(link, array(W), array(f), scale)).float()
        metric.update(W, CAP * torch.tanh(z / CAP) if link == "softcap" else z, f)
    return metric


def assert_rungs(metric: SimilarityGap, rungs: dict[str, Array], tolerance: float = 1e-5) -> None:
    """Of every two labels, to within so much of the largest."""
    off_diagonal = ~np.eye(len(metric.labels), dtype=bool)
    for rung in RUNGS:
        found, exact = array(metric.report().matrix(rung))[off_diagonal], rungs[rung][off_diagonal]
        np.testing.assert_allclose(found, exact, rtol=0, atol=tolerance * np.abs(exact).max(), err_msg=rung)


# ---- logits where labels are no more than dimensions, else embeddings


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("num_labels", SIZES)
def test_while_weights_stand_still_rungs_are_those_of_the_formulas(num_labels: int, link: Link) -> None:
    W, f = rows_of(num_labels), inputs_of()
    metric = gap_of(link, [(W, f[:31]), (W, f[31:])])
    assert isinstance(metric._moments.covariance(), LogitCovariance) == (num_labels <= D)
    assert_rungs(metric, wanted(link, head_logits(link, array(W), array(f))))


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("num_labels", SIZES)
def test_in_training_rungs_are_those_of_the_logits_seen_where_labels_are_few(num_labels: int, link: Link) -> None:
    """Each batch is seen at its own weights, and at its own scale; for K > D embeddings are pooled under the last weights."""
    f, scales = torch.split(inputs_of(), 30), [3.0, 7.0, 5.0]
    batches = [(rows_of(num_labels) + 0.5 * step * rows_of(num_labels, seed=7), part) for step, part in enumerate(f)]
    seen = [head_logits(link, array(W), array(part), scale) for (W, part), scale in zip(batches, scales, strict=True)]
    if num_labels > D:
        seen = [head_logits(link, array(batches[-1][0]), array(part), scales[-1]) for part in f]
    assert_rungs(gap_of(link, batches, scales), wanted(link, np.concatenate(seen)))


@pytest.mark.parametrize("num_labels", SIZES)
def test_the_two_metrics_give_what_the_gap_does(num_labels: int) -> None:
    batches = [(rows_of(num_labels, seed=step), inputs_of(40, seed=9 + step)) for step in range(3)]
    gap = gap_of("softmax", batches)
    alone = {"logit_correlation": LogitCorrelation(num_labels, D), "log_odds_variance": LogOddsVariance(num_labels, D)}
    together = MetricCollection({**alone}).clone()
    for W, f in batches:
        together.update(unembedding=W, embedding=f)
        for metric in alone.values():
            metric.update(W, f)
    assert len(together.compute_groups) == 1
    off_diagonal = ~torch.eye(num_labels, dtype=torch.bool)
    for rung, metric in alone.items():
        assert torch.equal(together.compute()[rung], metric.compute())
        torch.testing.assert_close(metric.compute()[off_diagonal], gap.report().matrix(rung)[off_diagonal], rtol=1e-6, atol=1e-6)


def test_halves_are_not_computed_in_half() -> None:
    """Rungs are those of the rounded rows and embeddings in float64."""
    W, f = rows_of(4).bfloat16(), inputs_of().bfloat16()
    metric = SimilarityGap(4, D)
    metric.update(W, f.float() @ W.float().T, f)
    assert_rungs(metric, wanted("softmax", array(f) @ array(W).T))


@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
@pytest.mark.parametrize("times", [10, 100, 1000])
def test_a_translation_of_all_rows_costs_no_digits(times: int, link: Link) -> None:
    """Nor do padded rows far from all others that are ignored, nor one that is NaN: logits are centered over those that count."""
    W, f = rows_of(3), inputs_of()
    moved = W + times * W.norm(dim=1).mean() * torch.nn.functional.normalize(torch.ones(D), dim=0)
    rows = torch.cat([moved, torch.zeros(2, D), torch.full((1, D), torch.nan)])
    metric = SimilarityGap(6, D, link=link, ignore=[3, 4], min_probability=0)
    for part in torch.split(f, 40):
        metric.update(rows, part @ rows.nan_to_num(0).T, part)
    exact = wanted(link, array(f) @ array(moved).T)
    for rung in RUNGS:
        found = metric.report().matrix(rung)
        assert found[3:, :3].isnan().all()
        off_diagonal = ~np.eye(3, dtype=bool)
        np.testing.assert_allclose(array(found)[:3, :3][off_diagonal], exact[rung][off_diagonal], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("default", [torch.float16, torch.float64], ids=str)
def test_nor_does_it_under_a_default_dtype_of_the_user(default: torch.dtype) -> None:
    """Halves would know neither the mean row nor the mean of the inputs."""
    W, f = rows_of(3).add(3e3), inputs_of().add(1e3)
    alone, under = LogOddsVariance(3, D), LogOddsVariance(3, D)
    alone.update(W, f)
    torch.set_default_dtype(default)
    try:
        under.update(W, f)
        assert torch.equal(under.compute(), alone.compute())
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("link", LINKS)
def test_a_label_whose_row_was_once_not_finite_is_unknown_and_no_other(link: Link) -> None:
    W, f = rows_of(5), inputs_of()
    broken = W.clone()
    broken[2, 1] = torch.inf
    metric = SimilarityGap(5, D, link=link, link_scale=SCALE if link == "cosine" else None)
    metric.update(broken, f[:30] @ W.T, f[:30])
    metric.update(W, f[30:] @ W.T, f[30:])
    others, z = [0, 1, 3, 4], head_logits(link, array(W), array(f))
    for rung, exact in wanted(link, z[:, others]).items():
        found = metric.report().matrix(rung)
        assert found[2, others].isnan().all()
        off_diagonal = ~np.eye(4, dtype=bool)
        np.testing.assert_allclose(array(found)[np.ix_(others, others)][off_diagonal], exact[off_diagonal], atol=1e-5)


class Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the most numbers that any tensor has."""

    numbers = 0

    @override
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return made


def test_few_labels_in_many_dimensions_keep_nothing_of_the_size_of_their_square() -> None:
    """A head of 20 labels in 3 000 dimensions: the square would be 9 million numbers, the embeddings are a fifth of a million."""
    generator = torch.Generator().manual_seed(0)
    W, f = torch.randn(20, 3000, generator=generator), torch.randn(64, 3000, generator=generator)
    with Largest() as largest:  # type: ignore[no-untyped-call]
        metrics = [LogitCorrelation(20, 3000), LogOddsVariance(20, 3000), SimilarityGap(20, 3000)]
        for metric in metrics[:2]:
            metric.update(W, f)
        metrics[2].update(W, f @ W.T, f)
        for metric in metrics:
            metric.compute()
    assert f.numel() <= largest.numbers < 2 * f.numel()


MEASURED = """
import re
from pathlib import Path
import torch
from lightning_cossim.metrics import SimilarityGap


def memory(kind):
    return int(re.search(kind + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])


K, D = 142, 19_560
W, f = torch.randn(K, D), torch.randn(512, D)
before = memory("VmRSS")
metric = SimilarityGap(K, D)
metric.update(W, f @ W.T, f)
metric.compute()
print(memory("VmHWM") - before)
"""


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="2026-11-30: peaks of memory are read from /proc, which Linux has"
)
def test_memory_is_that_of_the_head_and_the_inputs() -> None:
    """A head of 142 labels in 19 560 dimensions: one covariance of its embeddings alone would be 3 GB."""
    ran = subprocess.run([sys.executable, "-c", MEASURED], capture_output=True, text=True, encoding="utf-8", check=True)
    assert int(ran.stdout) < 500_000


# ---- blocks


class Blocked(EmbeddingGeometry):
    """The state alone: what goes to which block is given."""

    @property
    @override
    def invariances(self) -> frozenset[Symmetry]:
        return frozenset()

    @override
    def update(self, unembedding: Tensor, embedding: Tensor, block_N: Tensor, seen: Tensor | None = None) -> None:
        self._take_snapshot(unembedding)
        self._add_moments(embedding, unembedding, seen, block_N)

    @override
    def compute(self) -> dict[str, Tensor]:
        return rungs_of(self, self._moments.covariance())


def rungs_of(metric: Blocked, covariance: Tensor | LogitCovariance) -> dict[str, Tensor]:
    W, every = metric.unembedding, torch.arange(metric.num_labels)
    rungs = weight_rungs(W, label_subset=every, covariance=covariance, live=torch.ones(len(W), dtype=torch.bool))
    return {rung: rungs[rung] for rung in RUNGS}


def blocks_of(num_inputs: int, seed: int = 3) -> Tensor:
    """A block from 0 to 3 for each, or none."""
    return torch.randint(-1, 4, (num_inputs,), generator=torch.Generator().manual_seed(seed))


def blocked(num_labels: int, f: Tensor, block_N: Tensor, sizes: Sequence[int] = (40, 50)) -> Blocked:
    metric = Blocked(num_labels, D, num_blocks=4)
    for part, block in zip(torch.split(f, list(sizes)), torch.split(block_N, list(sizes)), strict=True):
        metric.update(rows_of(num_labels), part, block)
    return metric


def assert_close(one: Any, other: Any, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance, equal_nan=True)


@pytest.mark.parametrize("num_labels", SIZES)
def test_blocks_add_up_to_the_whole(num_labels: int) -> None:
    """Those of no block are left out."""
    f, block_N = inputs_of(), blocks_of(N)
    metric, whole = blocked(num_labels, f, block_N), Blocked(num_labels, D)
    whole.update(rows_of(num_labels), f[block_N >= 0], torch.zeros(int((block_N >= 0).sum()), dtype=torch.int64))
    assert metric.num_inputs_sums.tolist() == [int((block_N == block).sum()) for block in range(4)]
    for name in metric._sums:
        assert_close(getattr(metric, name).sum(dim=0), getattr(whole, name)[0])
    assert_close(metric.compute(), whole.compute())


@pytest.mark.parametrize("num_labels", SIZES)
@pytest.mark.parametrize("block", range(4))
def test_without_a_block_is_as_if_its_inputs_had_not_been_seen(num_labels: int, block: int) -> None:
    f, block_N = inputs_of(), blocks_of(N)
    metric, others = blocked(num_labels, f, block_N), (block_N >= 0) & (block_N != block)
    exact = wanted("softmax", array(f[others]) @ array(rows_of(num_labels)).T)
    without = metric._moments.covariance(block)
    assert isinstance(without, type(metric._moments.covariance()))
    for rung, found in rungs_of(metric, without).items():
        np.testing.assert_allclose(array(found), exact[rung], rtol=0, atol=1e-5 * np.abs(exact[rung]).max())


@pytest.mark.parametrize("num_labels", SIZES)
def test_blocks_do_not_depend_on_how_inputs_come(num_labels: int) -> None:
    """Batches one by one, in another order, and inputs that are not seen: their block does not matter."""
    f, block_N = inputs_of(), blocks_of(N)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(5))
    metric = blocked(num_labels, f, block_N)
    for other in (blocked(num_labels, f, block_N, [1] * N), blocked(num_labels, f[order], block_N[order])):
        for name in metric._sums:
            assert_close(getattr(other, name), getattr(metric, name))
    more = Blocked(num_labels, D, num_blocks=4)
    with_bad = torch.cat([f, torch.full((2, D), torch.nan), f[:9]])
    seen = torch.arange(N + 11) < N
    more.update(rows_of(num_labels), with_bad, torch.cat([block_N, torch.ones(11, dtype=torch.int64)]), seen)
    for name in metric._sums:
        assert_close(getattr(more, name), getattr(metric, name))


@pytest.mark.parametrize("num_labels", SIZES)
def test_blocks_of_two_processes_are_those_of_one(num_labels: int) -> None:
    f, block_N = inputs_of(), blocks_of(N)
    one, two = blocked(num_labels, f[:40], block_N[:40], [40]), blocked(num_labels, f[40:], block_N[40:], [50])
    merged, whole = Blocked(num_labels, D, num_blocks=4), blocked(num_labels, f, block_N)
    merged.update(rows_of(num_labels), f[:0], block_N[:0])
    for state, reduction in one._reductions.items():
        assert callable(reduction)
        setattr(merged, state, reduction(torch.stack([getattr(one, state), getattr(two, state)])))
    assert_close(merged.compute(), whole.compute())
    for block in range(4):
        assert_close(rungs_of(merged, merged._moments.covariance(block)), rungs_of(whole, whole._moments.covariance(block)))


def test_large_batches_are_added_bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that float64 copies of the embeddings stay small; blocks or not, the sums are the same."""
    f, block_N = inputs_of(), blocks_of(N)
    for num_labels in (4, 9):
        wanted_sums = blocked(num_labels, f, block_N)
        whole = gap_of("softmax", [(rows_of(num_labels), f)])
        with monkeypatch.context() as patch:
            patch.setattr("lightning_cossim.metrics.logit_geometry._NUMBERS", 7 * D)
            for name in wanted_sums._sums:
                assert_close(getattr(blocked(num_labels, f, block_N), name), getattr(wanted_sums, name))  # float32 sums
            in_bits = gap_of("softmax", [(rows_of(num_labels), f)])
        for rung in RUNGS:
            assert_close(in_bits.report().matrix(rung), whole.report().matrix(rung))


def test_without_the_only_block_nothing_is_known() -> None:
    for num_labels in (4, 9):
        metric = Blocked(num_labels, D)
        metric.update(rows_of(num_labels), inputs_of(), torch.zeros(N, dtype=torch.int64))
        off_diagonal = ~torch.eye(num_labels, dtype=torch.bool)
        for rung in rungs_of(metric, metric._moments.covariance(0)).values():
            assert rung[off_diagonal].isnan().all()


def test_how_many_blocks_there_are_is_no_argument_of_a_public_metric() -> None:
    with pytest.raises(TypeError):
        LogitCorrelation(4, D, num_blocks=2)
    assert LogitCorrelation(4, D).outer_sums.shape == (1, 5, 5)
    assert Blocked(4, D, num_blocks=8).outer_sums.shape == (8, 5, 5)


def test_more_dimensions_say_the_same() -> None:
    """Zeros beyond those of the head: sums over embeddings and sums over logits give one and the same."""
    batches = [(rows_of(9), inputs_of())]
    many = gap_of("softmax", [(padded(W, 12), padded(f, 12)) for W, f in batches])
    few = gap_of("softmax", batches)
    assert (many.outer_sums.shape, few.outer_sums.shape) == ((8, 10, 10), (8, D, D))
    for rung in RUNGS:
        assert_close(many.report().matrix(rung), few.report().matrix(rung))
