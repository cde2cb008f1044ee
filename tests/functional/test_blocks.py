"""Blocks of inputs: balanced, blind to an order in the data, whole runs and groups; and the jackknife over them."""

import math

import numpy as np
import pytest
import torch

from lightning_cossim.functional.blocks import NUM_BLOCKS, BlockAssignment, jackknife


def blocks_of(assignment: BlockAssignment, batches: list[int], rank: int = 0, world: int = 1) -> list[list[int]]:
    start, found = 0, []
    for size in batches:
        block_N, num_units = assignment.assign(size, start=start, rank=rank, world=world)
        start += num_units
        found.append(block_N.tolist())
    return found


def test_every_eight_units_fill_every_block_once() -> None:
    units = [block for (block, *_) in blocks_of(BlockAssignment(seed=3), [32] * 80)]
    for first in range(0, 80, NUM_BLOCKS):
        assert sorted(units[first : first + NUM_BLOCKS]) == list(range(NUM_BLOCKS))


def test_the_order_changes_from_eight_to_eight() -> None:
    """Data that alternate with any short period do not meet the same blocks again and again."""
    units = [block for (block, *_) in blocks_of(BlockAssignment(seed=3), [32] * 800)]
    orders = {tuple(units[first : first + NUM_BLOCKS]) for first in range(0, 800, NUM_BLOCKS)}
    assert len(orders) > 95
    for period in (2, 3, 4, 5, 8, 10):
        counts = np.bincount(units[::period], minlength=NUM_BLOCKS)
        expected = len(units[::period]) / NUM_BLOCKS
        assert abs(counts - expected).max() < 4.5 * math.sqrt(expected), period


@pytest.mark.parametrize("size", [1, 31, 32, 33, 64, 100])
def test_runs_of_32_stay_together(size: int) -> None:
    """And copies in runs of a power of two are never torn."""
    (block,) = blocks_of(BlockAssignment(), [size])
    runs = [block[first : first + 32] for first in range(0, size, 32)]
    assert all(len(set(run)) == 1 for run in runs)
    assert BlockAssignment().assign(size)[1] == len(runs)


def test_groups_stay_together() -> None:
    groups = torch.tensor([9, 9, 4, 4, 4, 7, 9, 100])
    block, num_units = BlockAssignment(seed=1).assign(len(groups), groups=groups)
    assert num_units == 4
    assert len({(group, at) for group, at in zip(groups.tolist(), block.tolist(), strict=True)}) == 4
    assert len(set(block.tolist())) == 4, "four units of one eight go to four blocks"


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_the_units_of_one(world: int) -> None:
    """Unit u of process r goes where unit u·world + r of a single process goes."""
    alone = [block for (block, *_) in blocks_of(BlockAssignment(seed=5), [32] * 24)]
    for rank in range(world):
        mine = [block for (block, *_) in blocks_of(BlockAssignment(seed=5), [32] * (24 // world), rank=rank, world=world)]
        assert mine == alone[rank::world]


def test_the_seed_decides_and_nothing_else() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one, same, other = (blocks_of(BlockAssignment(seed=seed), [320]) for seed in (1, 1, 2))
    assert one == same != other
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_error_of_a_mean_is_that_of_the_textbook() -> None:
    means = np.random.default_rng(0).normal(size=8)
    without = torch.tensor([np.delete(means, left).mean() for left in range(8)])
    error, corrected = jackknife(torch.tensor(means.mean()), without, torch.full((8,), 40))
    assert error.item() == pytest.approx(means.std(ddof=1) / math.sqrt(8))
    assert corrected.item() == pytest.approx(means.mean())


def test_equal_blocks_follow_the_formula_of_the_theory() -> None:
    """SE² = (G - 1)/G · Σ (o-g - ō)², corrected value G·o - (G - 1)·ō."""
    generator = torch.Generator().manual_seed(0)
    whole, without = torch.rand(5, generator=generator), torch.rand(8, 5, generator=generator)
    error, corrected = jackknife(whole, without, torch.full((8,), 3))
    mean = without.double().mean(dim=0)
    torch.testing.assert_close(error, (7 / 8 * (without - mean).square().sum(dim=0)).sqrt())
    torch.testing.assert_close(corrected, 8 * whole.double() - 7 * mean)


def test_unequal_blocks_are_weighted() -> None:
    """The error of a mean over 8 blocks of very different sizes covers as promised: the spread of the mean over many draws."""
    rng = np.random.default_rng(1)
    sizes = np.array([40, 40, 40, 40, 40, 40, 40, 5])
    errors, means = [], []
    for _ in range(400):
        blocks = [rng.normal(size=size) for size in sizes]
        every = np.concatenate(blocks)
        without = [np.concatenate(blocks[:left] + blocks[left + 1 :]).mean() for left in range(8)]
        error, corrected = jackknife(torch.tensor(every.mean()), torch.tensor(without), torch.tensor(sizes))
        assert corrected.item() == pytest.approx(every.mean())
        errors.append(error.item() ** 2)
        means.append(every.mean())
    assert math.sqrt(np.mean(errors)) == pytest.approx(1 / math.sqrt(sizes.sum()), rel=0.05)
    assert np.std(means) == pytest.approx(1 / math.sqrt(sizes.sum()), rel=0.1)


def test_an_empty_block_or_an_unknown_value_gives_no_error() -> None:
    without = torch.rand(8, 2, generator=torch.Generator().manual_seed(0))
    error, corrected = jackknife(torch.rand(2), without, torch.tensor([1, 1, 1, 1, 1, 1, 1, 0]))
    assert error.isnan().all()
    assert corrected.isnan().all()
    without[3, 1] = torch.nan
    error, _ = jackknife(torch.ones(2), without, torch.ones(8))
    assert error.isnan().tolist() == [False, True]
