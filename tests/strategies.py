"""Hypothesis strategies: heads, embeddings, and the transformations that the symmetries of THEORY §2-3 speak of.

What is drawn is a seed, from which NumPy makes generic values: no accidental ties, zeros or parallel rows.
"""

from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


class Head(NamedTuple):
    """What gives logits: `W` (K, D), `b` (K,), and `f` (N, D)."""

    W: Array
    b: Array
    f: Array


def generators() -> st.SearchStrategy[np.random.Generator]:
    """Seeded generators, all different."""
    return st.integers(0, 2**32 - 1).map(np.random.default_rng)


def scales(low: int = -3, high: int = 3) -> st.SearchStrategy[float]:
    """Powers of ten."""
    return st.integers(low, high).map(lambda power: 10.0**power)


@st.composite
def unembeddings(draw: st.DrawFn, dtype: type[np.floating[Any]] = np.float64) -> Array:
    """(K, D), K from 5 to 12 and D from 2 to 8; rows of lengths between 1/2 and 2 times a scale from 1e-3 to 1e3."""
    rng, scale = draw(generators()), draw(scales())
    rows = rng.normal(size=(draw(st.integers(5, 12)), draw(st.integers(2, 8))))
    lengths = rng.uniform(0.5, 2, size=(len(rows), 1))
    W: Array = scale * lengths * rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return W.astype(dtype)


@st.composite
def embeddings(draw: st.DrawFn, dim: int, dtype: type[np.floating[Any]] = np.float64) -> Array:
    """(N, dim), N from 20 to 60: correlated, off the origin, of a spread about 1."""
    rng = draw(generators())
    f: Array = rng.normal(size=(draw(st.integers(20, 60)), dim)) @ _invertible(rng, dim) + rng.normal(size=dim)
    return f.astype(dtype)


def vectors(size: int) -> st.SearchStrategy[Array]:
    """(size,) around 0: biases and translations."""
    return generators().map(lambda rng: rng.normal(size=size))


def invertible_matrices(dim: int) -> st.SearchStrategy[Array]:
    """(dim, dim) of condition number at most 9."""
    return generators().map(lambda rng: _invertible(rng, dim))


def orthogonal_matrices(dim: int) -> st.SearchStrategy[Array]:
    """(dim, dim) with Q Q^T = 1."""
    return generators().map(lambda rng: _orthogonal(rng, dim))


def permutations(size: int) -> st.SearchStrategy[NDArray[np.intp]]:
    """The numbers below `size`, shuffled."""
    return generators().map(lambda rng: rng.permutation(size))


def row_scales(size: int) -> st.SearchStrategy[Array]:
    """(size, 1), from 0.2 to 5: one positive factor a row."""
    return generators().map(lambda rng: np.exp(rng.uniform(-1.6, 1.6, size=(size, 1))))


@st.composite
def heads(draw: st.DrawFn, scale: float | None = None) -> Head:
    """Unembedding, bias and embeddings that belong together; with a `scale`, rows of about that length."""
    W = draw(unembeddings())
    if scale is not None:
        W = W * (scale / np.sqrt(np.mean(np.sum(W**2, axis=1))))
    return Head(W, draw(vectors(len(W))), draw(embeddings(W.shape[1])))


def _orthogonal(rng: np.random.Generator, dim: int) -> Array:
    Q: Array = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    return Q


def _invertible(rng: np.random.Generator, dim: int) -> Array:
    return _orthogonal(rng, dim) * rng.uniform(1 / 3, 3, size=dim) @ _orthogonal(rng, dim)
