"""Standard errors of a report's scalars: the jackknife over blocks, computed once more from the inputs."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_cossim.functional.blocks import NUM_BLOCKS, BlockAssignment
from lightning_cossim.metrics import SimilarityGap
from tests import reference

K, D, N = 12, 6, 900


def world(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    W = torch.randn(K, D, generator=generator) + 0.5
    f = torch.randn(N, D, generator=generator) * torch.linspace(0.5, 1.5, D)
    return W, f


def slow(W: Tensor, f: Tensor, *, sizes: list[int]) -> dict[str, tuple[float, float]]:
    """Scalar to its standard error and corrected value: everything again without each block, in float64."""
    assignment, start, blocks = BlockAssignment(0), 0, []
    for size in sizes:
        block_N, num = assignment.assign(size, start=start)
        blocks.append(block_N)
        start += num
    block = torch.cat(blocks).numpy()

    def scalars(rows: Any) -> dict[str, float]:
        w, e = W.double().numpy(), f.double().numpy()[rows]
        overlap = reference.bhattacharyya(reference.softmax(e @ w.T))
        covariance = reference.covariance(e)
        rungs = {
            "raw_cosine": reference.cosine(w, centered=False),
            "centered_cosine": reference.cosine(w, centered=True),
            "logit_correlation": reference.logit_correlation(w, covariance, centered=True),
            "log_odds_variance": -reference.log_odds_variance(w, covariance),
        }
        pair = np.triu_indices(K, 1)
        found = {f"explained_{key}": reference.explained_overlap(rung, overlap) for key, rung in rungs.items()}
        found |= {f"rank_agreement_{key}": reference.rank_agreement(rung, overlap) for key, rung in rungs.items()}
        found["gap_behavior"] = 1 - max(0.0, found["rank_agreement_centered_cosine"])
        found["gap_geometry"] = float(np.abs(rungs["centered_cosine"] - rungs["logit_correlation"])[pair].mean())
        found["overlap_mean"] = float(overlap[pair].mean())
        return found

    whole = scalars(np.arange(len(f)))
    without = [scalars(block != left) for left in range(NUM_BLOCKS)]
    h = len(f) / np.bincount(block, minlength=NUM_BLOCKS)
    found = {}
    for name, value in whole.items():
        left_out = np.array([one[name] for one in without])
        corrected = NUM_BLOCKS * value - ((1 - 1 / h) * left_out).sum()
        pseudo = h * value - (h - 1) * left_out
        found[name] = math.sqrt(((pseudo - corrected) ** 2 / (h - 1)).mean()), corrected
    return found


@pytest.mark.parametrize("sizes", [[900], [100] * 9, [32, 868], [300, 5, 595]])
def test_errors_are_those_of_leaving_out_each_block(sizes: list[int]) -> None:
    W, f = world()
    metric = SimilarityGap(K, D, min_probability=0)
    for rows in torch.split(f, sizes):
        metric.update(W, rows @ W.T, rows)
    report = metric.report()
    wanted = slow(W, f, sizes=sizes)
    for name, (error, corrected) in wanted.items():
        assert report.standard_errors[name] == pytest.approx(error, rel=2e-3, abs=1e-6), name
        assert report.corrected[name] == pytest.approx(corrected, rel=1e-3, abs=1e-4), name
    assert set(report.standard_errors) - set(wanted) == {"residual_scale"}
    assert not {"gap_translation", "common_mode_ratio", "reliability"} & set(report.standard_errors)


def test_few_inputs_have_no_errors() -> None:
    W, f = world()
    metric = SimilarityGap(K, D)
    metric.update(W, f[:224] @ W.T, f[:224])
    report = metric.report()
    assert report.standard_errors == {}
    assert report.overlap_error.isnan().all()
    assert report.undefined["reliability"] == "7 groups of inputs, 8 are needed"


def test_errors_of_overlaps_are_those_of_the_delta_method() -> None:
    """THEORY §5's check: both estimate one number, the jackknife from seven degrees of freedom; their ratio is about 1."""
    W, f = world()
    metric = SimilarityGap(K, D, min_probability=0)
    metric.update(W, f @ W.T, f)
    p = reference.softmax((f @ W.T).double().numpy())
    M, A = p.sum(axis=0), p.T @ p
    B = (p**1.5).T @ p**0.5
    o = reference.bhattacharyya(p)
    root = np.sqrt(np.outer(M, M))
    square = A / np.outer(M, M) + o**2 / 4 * (np.diag(A)[:, None] / M[:, None] ** 2 + np.diag(A) / M**2)
    square += -o / root * (B / M[:, None] + B.T / M) + o**2 * A / (2 * np.outer(M, M))
    delta = np.sqrt(square[np.triu_indices(K, 1)])
    ratio = metric.report().overlap_error.numpy() / delta
    assert 0.85 < np.median(ratio) < 1.15
    assert 0.85 < np.sqrt(np.mean(ratio**2)) < 1.15


def test_an_overlap_of_counts_is_never_certain() -> None:
    """Of inputs that all agree a jackknife finds no error: the error of a share of so many inputs takes its place."""
    W, f = world()
    metric = SimilarityGap(K, D, overlap="coactivation", overlap_threshold=0.1, min_probability=0)
    metric.update(W, f @ W.T * 8, f)
    report = metric.report()
    p = reference.softmax((f @ W.T * 8).double().numpy()) > 0.1
    both = (p.T.astype(float) @ p)[np.triu_indices(K, 1)]
    either = (p[:, :, None] | p[:, None, :]).sum(axis=0)[np.triu_indices(K, 1)]
    share = (both + 0.5) / (either + 1)
    least = np.sqrt(share * (1 - share) / either)
    error = report.overlap_error.numpy()
    assert (error >= least * (1 - 1e-5)).all()
    never = both == 0
    assert never.any()
    np.testing.assert_allclose(error[never], least[never], rtol=1e-4)
