"""Simulated worlds whose population is known: a softmax head, inputs without end, and pairs with a gap of a wanted size.

Inputs of label y have embeddings f ~ N(W_y Σ, Σ), and the head gives their labels' exact probabilities: the overlap of two labels
is then the Bhattacharyya coefficient of two Gaussians, exp(-(W_i - W_j)ᵀ Σ (W_i - W_j) / 8). Where Σ is a multiple of the
identity, it follows from the cosine alone and no pair has a gap. Pairs are planted on top of that. Each of their labels has a
coordinate of its own in which its row is short and the embeddings reach far, so that its logit moves and its cosines hardly do:

- a *stranger* gets inputs between its two labels, with both logits raised above all others;
- of a *look-alike* the less likely label is pushed down on every input.

How large the gaps are, and whether there are others, is measured on the population and never assumed.

Shapes: K labels, D dimensions of the embeddings, N inputs, P pairs in the order of `Pairs.of_all`, C classes: the K labels, then
the planted strangers.
"""

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from scipy.stats import rankdata
from torch import Tensor

__all__ = ["WORLDS", "Draw", "Planted", "Truth", "World", "generator", "make_world", "measured"]

Kind = Literal["stranger", "look-alike"]
Array = NDArray[np.float64]

SHORT: Final = 0.1
"""Length of a row in the coordinate of its own, over its length in all others."""
MARGIN: Final = 3.0
"""Nats by which both labels of a stranger lie above all others on the inputs between them."""
NEAR: Final = 0.1
"""Spread of these inputs over that of the others."""
CHUNK: Final = 8192
MIN_PROBABILITY: Final = 0.1


@dataclass(frozen=True)
class Kinds:
    """What a kind of world is like."""

    distance: dict[int, float]
    """K to the length of a row: where Σ is the identity, how many standard deviations an embedding's mean is away from 0."""
    dims: dict[int, int]
    """K to the dimensions of the embeddings, planted coordinates apart."""
    cluster: int = 1
    """How many labels share a direction; 1: none do."""
    stretch: float = 0.1
    """Spread of log Σ: how much overlaps differ at one and the same cosine."""


WORLDS: Final = {
    "dense": Kinds(distance={10: 2.0, 100: 2.0, 512: 2.0}, dims={10: 6, 100: 8, 512: 10}),
    "sparse": Kinds(distance={10: 3.3, 100: 4.0, 512: 4.5}, dims={10: 16, 100: 48, 512: 96}, cluster=5),
    "stretched": Kinds(distance={10: 2.0, 100: 2.0, 512: 2.0}, dims={10: 6, 100: 8, 512: 10}, stretch=0.4),
}
"""Flat probabilities and many labels that overlap; confident ones and labels that overlap within clusters alone; and flat ones
with gaps of every size, since embeddings reach further in some directions than in others."""


@dataclass(frozen=True)
class Planted:
    """A pair of labels with a gap."""

    kind: Kind
    row: int
    column: int
    wanted: float
    """The size that the gap should have."""
    push: float
    """Nats by which logits are moved."""
    share: float = 0.0
    """Of a stranger, the share of the inputs that lie between its labels."""


@dataclass(frozen=True)
class Draw:
    """A sample of inputs."""

    logits: Tensor
    """(N, K)."""
    embedding: Tensor
    """(N, D)."""
    classes: Tensor
    """(N,), the label that each was drawn for; from K on the planted strangers."""

    def __getitem__(self, index: Tensor) -> "Draw":
        return Draw(self.logits[index], self.embedding[index], self.classes[index])


@dataclass(frozen=True, eq=False)
class World:
    """A head, and a distribution of inputs that can be drawn from without end."""

    rows: Tensor
    """(K, D), the unembedding without the planted coordinates."""
    prior: Tensor
    """(K,), the shares of the labels' own inputs, those between labels apart."""
    variance: Tensor
    """(D,), the diagonal of Σ."""
    planted: tuple[Planted, ...] = ()

    @cached_property
    def coordinate(self) -> dict[int, int]:
        """Planted label to its own coordinate."""
        return {label: place for place, label in enumerate(label for pair in self.planted for label in (pair.row, pair.column))}

    @cached_property
    def unembedding(self) -> Tensor:
        """(K, D), planted coordinates last."""
        own = torch.zeros(len(self.rows), len(self.coordinate))
        for label, place in self.coordinate.items():
            own[label, place] = SHORT * self.rows[label].norm()
        return torch.cat([self.rows, own], dim=1)

    @cached_property
    def bias(self) -> Tensor:
        """(K,), which makes the probabilities exact where nothing is planted."""
        return self.prior.log() - (self.rows.square() @ self.variance) / 2

    @cached_property
    def strangers(self) -> tuple[Planted, ...]:
        """The planted strangers, in the order of their classes."""
        return tuple(pair for pair in self.planted if pair.kind == "stranger")

    @cached_property
    def exact_overlap(self) -> Tensor:
        """(P,), the overlap where nothing is planted: exp(-(W_i - W_j)ᵀ Σ (W_i - W_j) / 8)."""
        row, column = torch.triu_indices(len(self.rows), len(self.rows), offset=1)
        scaled = self.rows.double() * self.variance.double().sqrt()
        return (-(scaled[row] - scaled[column]).square().sum(dim=1) / 8).exp()

    def draw(self, num_inputs: int, source: torch.Generator) -> Draw:
        """So many independent inputs."""
        shares = torch.tensor([pair.share for pair in self.strangers])
        weights = torch.cat([self.prior * (1 - shares.sum()), shares])
        classes = torch.multinomial(weights, num_inputs, replacement=True, generator=source)
        middles = [(self.rows[pair.row] + self.rows[pair.column]) / 2 for pair in self.strangers]
        means = torch.cat([self.rows, *(middle[None] for middle in middles)]) * self.variance
        spread = torch.where(classes < len(self.rows), 1.0, NEAR)[:, None] * self.variance.sqrt()
        embedding = means[classes] + spread * torch.randn(num_inputs, len(self.variance), generator=source)
        logits = torch.addmm(self.bias, embedding, self.rows.T)
        pushes = self._pushes(logits, classes)
        for label, place in self.coordinate.items():
            logits[:, label] += pushes[:, place]
        own = self.unembedding[:, len(self.variance) :].sum(dim=0)  # each coordinate has one row that is not 0 in it
        return Draw(logits, torch.cat([embedding, pushes / own], dim=1), classes)

    def _pushes(self, logits: Tensor, classes: Tensor) -> Tensor:
        """(N, planted labels), by how much the logit of each is moved."""
        pushes = logits.new_zeros(len(logits), len(self.coordinate))
        number = len(self.rows)
        for pair in self.planted:
            first, second = self.coordinate[pair.row], self.coordinate[pair.column]
            if pair.kind == "stranger":
                pushes[classes == number, first] = pair.push
                pushes[classes == number, second] = pair.push
                number += 1
            else:
                is_first = logits[:, pair.row] < logits[:, pair.column]
                pushes[:, first] = -pair.push * is_first
                pushes[:, second] = -pair.push * ~is_first
        return pushes


@dataclass(frozen=True, eq=False)
class Truth:
    """What the population says, pair by pair; NaN for pairs of labels that are not kept."""

    overlap: Array
    """(P,)."""
    expected: Array
    """(P,), cross-fitted."""
    place: Array
    """(P,), average rank of the centered cosine over the number of kept pairs."""
    rank_agreement: float
    """Of the centered cosine with the overlap."""
    unit_variance: Array
    """(P,), the variance of the overlap of N independent inputs, times N."""
    joint_rate: Array
    """(P,), the share of the inputs on which both labels are likely."""
    effective_rate: Array
    """(P,), effective inputs of the label that has fewer of them, over all inputs."""

    @property
    def gap(self) -> Array:
        """(P,), overlap minus expected overlap."""
        return self.overlap - self.expected

    @property
    def side(self) -> NDArray[np.int64]:
        """(P,): 1 for a gap whose cosine allows a stranger, -1 for one whose cosine allows a look-alike, 0 for any other."""
        stranger, lookalike = (self.gap > 0) & (self.place <= 0.9), (self.gap < 0) & (self.place > 0.5)
        return stranger.astype(np.int64) - lookalike.astype(np.int64)

    def error(self, num_inputs: int) -> Array:
        """(P,), the standard error of the overlaps of so many independent inputs."""
        return np.sqrt(self.unit_variance / num_inputs)


def generator(*what: object) -> torch.Generator:
    """A generator whose seed is made of what it is for, the same in every process."""
    return torch.Generator().manual_seed(zlib.crc32(repr(what).encode()))


def make_world(
    kind: str,
    num_labels: int,
    seed: int,
    *,
    strangers: Sequence[tuple[float, float]] = (),
    lookalikes: Sequence[tuple[float, float]] = (),
    uneven: float = 0.4,
) -> World:
    """A world, with pairs planted by the rank of their centered cosine; no label is in two of them.

    Args:
        kind: "dense", "sparse" or "stretched".
        num_labels: K: 10, 100 or 512.
        seed: which of many.
        strangers: for each its rank and the wanted size of its gap. The rank goes from 0, the smallest cosine, to 1, the largest
            of those below the top tenth.
        lookalikes: the same, the rank from 0, the smallest cosine of the upper half, to 1, the largest of all. Either rank is
            among the pairs that have room for such a gap; where none has, the gap is as large as there is room for.
        uneven: spread of the logarithms of the labels' shares.
    """
    what, source = WORLDS[kind], generator(kind, num_labels, seed)
    dim = what.dims[num_labels]
    rows = torch.randn(num_labels, dim, generator=source)
    if what.cluster > 1:
        shared = torch.randn(math.ceil(num_labels / what.cluster), dim, generator=source)
        shared /= shared.norm(dim=1, keepdim=True)
        load = 0.3 + 0.68 * torch.rand(num_labels, 1, generator=source)
        rows = rows / rows.norm(dim=1, keepdim=True)
        rows = load.sqrt() * shared.repeat_interleave(what.cluster, dim=0)[:num_labels] + (1 - load).sqrt() * rows
    for _ in range(100):  # of one length and centered, so that centered cosines are those of the rows
        rows = rows - rows.mean(dim=0)
        rows = rows / rows.norm(dim=1, keepdim=True)
    variance = (what.stretch * torch.randn(dim, generator=source)).exp()
    prior = (uneven * torch.randn(num_labels, generator=source)).exp()
    world = World(what.distance[num_labels] * rows, prior / prior.sum(), variance / variance.mean())
    if not strangers and not lookalikes:
        return world
    chosen = _chosen(world, strangers, lookalikes)
    pilot = world.draw(20_000, generator("pilot", kind, num_labels, seed)).logits.softmax(dim=1).double()
    planted = [_planted(world, pilot, *pair) for pair in chosen]
    scale = 1 / (1 + sum(pair.share for pair in planted))  # to shares of the whole
    return replace(world, planted=tuple(replace(pair, share=scale * pair.share) for pair in planted))


class Chosen(NamedTuple):
    """A pair that is to be planted."""

    kind: Kind
    row: int
    column: int
    size: float
    overlap: float
    """What it is to overlap."""


def _chosen(
    world: World, strangers: Sequence[tuple[float, float]], lookalikes: Sequence[tuple[float, float]]
) -> Iterator[Chosen]:
    """The pairs to be planted, look-alikes first since few pairs have room for them."""
    cosine, now = centered_cosine(world.rows).numpy(), world.exact_overlap.numpy()
    expected, order = cross_fitted(cosine.round(6), now), cosine.argsort()
    row, column = np.triu_indices(len(world.rows), 1)
    free = np.ones(len(world.rows), dtype=bool)
    kinds: tuple[tuple[Kind, Sequence[tuple[float, float]]], ...] = (("look-alike", lookalikes), ("stranger", strangers))
    for kind, wanted in kinds:
        is_stranger = kind == "stranger"
        places = order[: int(0.88 * len(order))] if is_stranger else order[len(order) // 2 + 1 :]
        room = 0.75 - np.maximum(expected, now) if is_stranger else np.minimum(expected, now) - 0.03
        for rank, most in wanted:
            pool = places[free[row[places]] & free[column[places]]]
            size = min(most, float(room[pool].max()))
            pool = pool[room[pool] >= size]
            pair = pool[round(rank * (len(pool) - 1))]
            free[[row[pair], column[pair]]] = False
            target = float(expected[pair]) + (size if is_stranger else -size)
            yield Chosen(kind, int(row[pair]), int(column[pair]), size, target)


def _planted(world: World, pilot: Tensor, kind: Kind, row: int, column: int, size: float, overlap: float) -> Planted:
    """How a pair is made to overlap as wanted; the share of a stranger is in units of all other inputs."""
    if kind == "look-alike":
        return Planted(kind, row, column, size, _push_down(pilot[:, row], pilot[:, column], overlap))
    p, q = pilot[:, row], pilot[:, column]
    mass = math.sqrt(float(p.mean() * q.mean()))
    now = float((p * q).sqrt().mean()) / mass
    share = 2 * mass * max(0.0, overlap - now) / (1 - overlap)  # half of these inputs is added to either mass
    return Planted(kind, row, column, size, _push_up(world, row, column), share)


def _push_up(world: World, row: int, column: int) -> float:
    """What raises both logits above all others on the inputs between two labels."""
    logits = world.rows @ ((world.rows[row] + world.rows[column]) / 2 * world.variance) + world.bias
    pair = [row, column]
    own = float(logits[pair].mean())
    logits[pair] = -math.inf
    return max(0.0, float(logits.logsumexp(dim=0)) - own) + MARGIN


def _push_down(p: Tensor, q: Tensor, overlap: float) -> float:
    """What lowers the less likely of two labels, of probabilities (N,) each, until they overlap as wanted."""
    push, wins = np.arange(0.0, 12, 0.05), p > q
    factor = np.exp(-push)
    joint = np.sqrt(factor) * float((p * q).sqrt().sum())
    masses = [float(one[won].sum()) + factor * float(one[~won].sum()) for one, won in ((p, wins), (q, ~wins))]
    off = np.abs(joint / np.sqrt(masses[0] * masses[1]) - overlap)
    return float(push[off.argmin()])


def centered_cosine(rows: Tensor) -> Tensor:
    """(P,), float64."""
    centered = rows.double() - rows.double().mean(dim=0)
    centered /= centered.norm(dim=1, keepdim=True)
    row, column = torch.triu_indices(len(rows), len(rows), offset=1)
    return (centered[row] * centered[column]).sum(dim=1)


def measured(world: World, num_inputs: int, seed: int) -> Truth:
    """The truth of a world, from so many inputs that no report sees.

    Variances, joint and effective inputs come from the first tenth of them.

    Source: THEORY §5 in float64; for the variance the delta method there.
    """
    num_labels, source = len(world.rows), generator("population", seed)
    joint, mass = torch.zeros(num_labels, num_labels, dtype=torch.float64), torch.zeros(num_labels, dtype=torch.float64)
    products, skewed, likely = torch.zeros_like(joint), torch.zeros_like(joint), torch.zeros_like(joint)
    few = 0
    for start in range(0, num_inputs, CHUNK):
        logits = world.draw(min(CHUNK, num_inputs - start), source).logits
        root = (logits.log_softmax(dim=1) / 2).exp()
        probs = root.square()
        joint += root.T @ root
        mass += probs.sum(dim=0, dtype=torch.float64)
        if start < num_inputs / 10:
            products += probs.T @ probs
            skewed += (probs * root).T @ root
            best = probs.topk(min(8, num_labels), dim=1).values
            are = (probs >= torch.maximum(best[:, -1:], best[:, :1] / 10)).float()
            likely += are.T @ are
            few += len(logits)
    row, column = torch.triu_indices(num_labels, num_labels, offset=1).numpy()
    m = mass.numpy() / num_inputs
    kept = m >= MIN_PROBABILITY / num_labels
    counts = kept[row] & kept[column]
    mean = np.sqrt(m[row] * m[column])
    overlap = np.where(counts, joint.numpy()[row, column] / num_inputs / mean, np.nan)
    A, B = products.numpy() / few, skewed.numpy() / few
    variance = (
        A[row, column] / mean**2
        + overlap**2 / 4 * (A[row, row] / m[row] ** 2 + A[column, column] / m[column] ** 2)
        - overlap / mean * (B[row, column] / m[row] + B[column, row] / m[column])
        + overlap**2 * A[row, column] / (2 * mean**2)
    )
    cosine = np.where(counts, centered_cosine(world.unembedding).numpy().round(6), np.nan)
    expected, place = np.full_like(overlap, np.nan), np.full_like(overlap, np.nan)
    expected[counts] = cross_fitted(cosine[counts], overlap[counts])
    place[counts] = rankdata(cosine[counts]) / counts.sum()
    agreement = rho_a(cosine[counts], overlap[counts])
    effective = m**2 / A.diagonal()
    rates = likely.numpy()[row, column] / few, np.minimum(effective[row], effective[column])
    return Truth(overlap, expected, place, agreement, variance, *rates)


def rho_a(one: Array, other: Array) -> float:
    """12 / (n³ - n) Σ (r - r̄) (s - s̄), average ranks."""
    n = len(one)
    r, s = rankdata(one) - (n + 1) / 2, rankdata(other) - (n + 1) / 2
    return float(12 / (n**3 - n) * (r @ s))


def cross_fitted(similarity: Array, overlap: Array) -> Array:
    """(P,), what the isotonic fit of the other pairs expects: each pair left out alone, in ten folds, or not at all."""
    num_pairs = len(overlap)
    if num_pairs > 20_000:
        return _fit(similarity, overlap, similarity)
    folds = np.arange(num_pairs)
    if num_pairs > 200:
        folds = np.random.default_rng(0).permutation(num_pairs) % 10
    expected = np.empty_like(overlap)
    for fold in range(folds.max() + 1):
        out = folds == fold
        expected[out] = _fit(similarity[~out], overlap[~out], similarity[out])
    return expected


def _fit(similarity: Array, overlap: Array, at: Array) -> Array:
    """The isotonic fit between its points by straight lines, beyond the ends the end's value; ties count as one point."""
    points, level, weight = np.unique(similarity, return_inverse=True, return_counts=True)
    mean = np.bincount(level, weights=overlap) / weight
    fit: Array = np.interp(at, points, isotonic_regression(mean, weights=weight).x)
    return fit
