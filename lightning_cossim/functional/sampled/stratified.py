r"""A random sample of label pairs in a large vocabulary, in which the probability of every pair is known.

Some pairs are always in the sample. The others are drawn in two phases:

1. Choose candidates: the pairs with the largest overlaps (q = 1), and an even sample of all other pairs, each with probability q.
   Compute the similarities of the candidates.
2. Keep each candidate with probability π / q, independently of all others. Its π grows with the size

   .. math:: \frac{n_0}{N} + \sum_k \frac{c_k}{r_k}, \qquad \pi = \min(q, size)

   with N the number of pairs that are not always in the sample, and r_k the rank of the pair by the overlap and by every
   similarity. Rank 1 is the most alike pair.

A size of c / r draws the same number of pairs, c · ln 2, from every octave of ranks: 1 to 2, 2 to 4, 4 to 8, and so on. So the
sample contains the most alike pairs of every similarity as well as the pairs with the largest overlaps. Without the former, a fit
of overlap on similarity sees only high overlaps at high similarities. The term n_0 / N covers all other pairs evenly.

The expectation of a sum with weights 1/π is the sum over all pairs, for any ranks. The ranks affect only its standard error
(`Pairs.sampling_error`).

Source: Särndal, Swensson, Wretman, Model Assisted Survey Sampling (1992), 3.5 (Poisson sampling) and 9.3 (two phases).

Shapes: L labels, P pairs, C candidates.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_cossim.functional.pairs import Pairs

__all__ = ["Sizes", "stratified_pairs"]

_DECIMALS = 6
"""Similarities are rounded to this many decimals, so values that agree to 1e-6 share one rank."""


@dataclass(frozen=True)
class Sizes:
    """How many pairs the sample draws, in expectation unless stated otherwise."""

    candidates: int
    """Largest number of pairs in the even sample of the first phase, at least 0."""
    even: float
    """n_0, the number of pairs drawn evenly from all pairs that are not certain, at least 0."""
    by_overlap: float
    """c of the overlap, at least 0: c · ln 2 pairs per octave of ranks."""
    by_similarity: Mapping[str, float]
    """c of each similarity, at least 0, by its key."""


def stratified_pairs(
    certain: Sequence[Pairs],
    *,
    overlapping: Pairs,
    labels: Tensor,
    similarities: Callable[[Pairs], Mapping[str, Tensor]],
    sizes: Sizes,
    generator: torch.Generator,
) -> Pairs:
    """A sample of the pairs of `labels`: the certain pairs, and others drawn at random.

    Args:
        certain: pairs that are always in the sample. A pair that occurs several times counts once.
        overlapping: the pairs with the largest overlaps, the largest first.
        labels: integer (L,), ascending, the labels to compare.
        similarities: a function from pairs (C,) to their similarities, (C,) each, larger for more alike labels. NaN ranks last.
        sizes: how many pairs to draw.
        generator: the random generator, on the CPU.

    Returns:
        `Pairs` (P,) in ascending order, row < column, with weights 1/π, at least 1. If the sizes sum to at least the number of
        pairs that are not certain, all pairs without weights.
    """
    num_labels = len(labels)
    keys = _Keys(labels)
    certain_keys = torch.unique(torch.cat([torch.empty(0, dtype=torch.int64), *map(keys.of, certain)]))
    others = math.comb(num_labels, 2) - len(certain_keys)
    if others <= sizes.even + sizes.by_overlap + sum(sizes.by_similarity.values()):
        every = Pairs.of_all(num_labels)
        return Pairs(labels[every.row], labels[every.column])
    first_keys = keys.of(overlapping)
    known_keys = torch.unique(torch.cat([certain_keys, first_keys]))
    even_keys, q = _even_sample(known_keys, num_labels, sizes.candidates, generator)
    keys_C, order_C = torch.cat([known_keys, even_keys]).sort()
    q_C = torch.ones(len(keys_C), dtype=torch.float64)
    q_C[order_C >= len(known_keys)] = q
    size_C = torch.full_like(q_C, sizes.even / others)
    size_C[torch.searchsorted(keys_C, first_keys)] += sizes.by_overlap / torch.arange(1, len(first_keys) + 1, dtype=torch.float64)
    candidates = keys.pairs(keys_C)
    for key, similarity_C in similarities(candidates).items():
        size_C += sizes.by_similarity[key] / _ranks(similarity_C, 1 / q_C)
    probability_C = torch.minimum(q_C, size_C)
    probability_C[torch.searchsorted(keys_C, certain_keys)] = 1
    stays_C = torch.rand(len(keys_C), generator=generator, dtype=torch.float64) * q_C < probability_C
    return Pairs(candidates.row[stays_C], candidates.column[stays_C], 1 / probability_C[stays_C])


class _Keys:
    """A unique key for every pair of the labels; sorted keys give the pairs in order."""

    def __init__(self, labels: Tensor) -> None:
        self._labels = labels
        self._place = torch.zeros(int(labels.max()) + 1 if len(labels) else 0, dtype=torch.int64)
        self._place[labels] = torch.arange(len(labels))

    def of(self, pairs: Pairs) -> Tensor:
        """The keys (P,) of pairs."""
        row, column = self._place[pairs.row], self._place[pairs.column]
        return torch.minimum(row, column) * len(self._labels) + torch.maximum(row, column)

    def pairs(self, keys: Tensor) -> Pairs:
        """The pairs with the given keys (P,)."""
        return Pairs(self._labels[keys // len(self._labels)], self._labels[keys % len(self._labels)])


def _even_sample(known: Tensor, num_labels: int, num: int, generator: torch.Generator) -> tuple[Tensor, float]:
    """Keys of pairs outside `known`, drawn evenly without replacement, and the probability q of each such pair."""
    others = math.comb(num_labels, 2) - len(known)
    if others <= 2 * num:
        every = Pairs.of_all(num_labels)
        keys = every.row * num_labels + every.column
        keys = keys[~torch.isin(keys, known)]
        return keys[torch.randperm(others, generator=generator)[:num]], min(1.0, num / max(others, 1))
    drawn = torch.empty(0, dtype=torch.int64)
    while len(drawn) < num:  # more than half of the keys outside `known` are new
        one, other = torch.randint(num_labels, (2, 2 * num), generator=generator)
        keys = (torch.minimum(one, other) * num_labels + torch.maximum(one, other))[one != other]
        keys = torch.unique(keys[~torch.isin(keys, torch.cat([known, drawn]))])
        drawn = torch.cat([drawn, keys[torch.randperm(len(keys), generator=generator)]])[:num]
    return drawn, num / others


def _ranks(similarity: Tensor, stands_for: Tensor) -> Tensor:
    """(C,), the number of pairs that are at least as alike, the pair itself included, estimated with the weights `stands_for`."""
    _, level_C = torch.unique(similarity.double().round(decimals=_DECIMALS).nan_to_num(-torch.inf), return_inverse=True)
    up_to = torch.bincount(level_C, weights=stands_for).flip(0).cumsum(0).flip(0)
    return up_to[level_C]
