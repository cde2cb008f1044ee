"""THEORY §2-3: what leaves each rung of the ladder unchanged, and, on fixed examples, what does not.

Every transformation takes a head (unembedding, bias, embeddings) to another; what the model cannot see is checked by running
the softmax of both.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_cossim.functional import label_cosine_similarity, log_odds_variance, logit_correlation, probability_overlap
from lightning_cossim.functional.logit_geometry import embedding_covariance, embedding_moments
from lightning_cossim.functional.overlap import log_probabilities
from tests import reference, strategies
from tests.strategies import Array, Head

Draw = Callable[[st.SearchStrategy[Array]], Array]


def probabilities(head: Head) -> Array:
    return log_probabilities(torch.from_numpy(head.f @ head.W.T + head.b)).exp().numpy()


def rung(name: str, head: Head) -> Array:
    """One rung of the ladder for a head, from nothing but its unembedding, its embeddings, or its probabilities."""
    W = torch.from_numpy(head.W)
    if name in ("raw_cosine", "centered_cosine"):
        return label_cosine_similarity(W, centered=name == "centered_cosine").numpy()
    if name == "overlap":
        return probability_overlap(torch.from_numpy(probabilities(head))).numpy()
    geometry = {"logit_correlation": logit_correlation, "log_odds_variance": log_odds_variance}[name]
    return geometry(W, embedding_covariance=embedding_covariance(embedding_moments(torch.from_numpy(head.f)))).numpy()


def assert_unchanged(after: Array, before: Array) -> None:
    """To 1e-9 of the largest entry; every entry is known."""
    assert np.isfinite(before).all()
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-9 * np.abs(before).max())


# ---- transformations


def translate(head: Head, v: Array) -> Head:
    return head._replace(W=head.W + v)


def stretch_rows(head: Head, lengths: Array) -> Head:
    return head._replace(W=head.W * lengths)


def heat(head: Head, c: float) -> Head:
    return head._replace(W=head.W * c, b=head.b * c)


def map_linearly(head: Head, A: Array) -> Head:
    return head._replace(W=head.W @ A, f=head.f @ np.linalg.inv(A).T)


def move_embeddings(head: Head, c: Array) -> Head:
    return head._replace(f=head.f + c, b=head.b - head.W @ c)


def raise_bias(head: Head, c: float) -> Head:
    return head._replace(b=head.b + c)


def size(head: Head) -> float:
    return float(np.abs(head.W).max())


TRANSFORMATIONS: dict[str, Callable[[Head, Draw], Head]] = {
    "translation": lambda head, draw: translate(head, 10 * size(head) * draw(strategies.vectors(head.W.shape[1]))),
    "row lengths": lambda head, draw: stretch_rows(head, draw(strategies.row_scales(len(head.W)))),
    "global scale": lambda head, draw: heat(head, float(draw(strategies.row_scales(1))[0, 0])),
    "rotation": lambda head, draw: map_linearly(head, draw(strategies.orthogonal_matrices(head.W.shape[1]))),
    "linear map": lambda head, draw: map_linearly(head, draw(strategies.invertible_matrices(head.W.shape[1]))),
    "moved embeddings": lambda head, draw: move_embeddings(head, draw(strategies.vectors(head.W.shape[1]))),
    "raised bias": lambda head, draw: raise_bias(head, float(draw(strategies.vectors(1))[0])),
}
INVISIBLE = ("translation", "rotation", "linear map", "moved embeddings", "raised bias")
UNCHANGED_BY = {
    "raw_cosine": ("row lengths", "global scale", "rotation", "moved embeddings", "raised bias"),
    "centered_cosine": ("translation", "global scale", "rotation", "moved embeddings", "raised bias"),
    "logit_correlation": (*INVISIBLE, "global scale"),
    "log_odds_variance": INVISIBLE,
    "overlap": INVISIBLE,
}


@pytest.mark.parametrize(
    ("name", "transformation"), [(name, how) for name, unchanged in UNCHANGED_BY.items() for how in unchanged]
)
@given(data=st.data())
def test_a_rung_is_unchanged_by(name: str, transformation: str, data: st.DataObject) -> None:
    """The table of THEORY §3, cell by cell."""
    head = data.draw(strategies.heads(scale=1) if name == "overlap" else strategies.heads())
    moved = TRANSFORMATIONS[transformation](head, data.draw)
    assert_unchanged(rung(name, moved), rung(name, head))


@pytest.mark.parametrize("transformation", INVISIBLE)
@given(data=st.data())
def test_the_model_cannot_see(transformation: str, data: st.DataObject) -> None:
    """No probability moves although the parameters do."""
    head = data.draw(strategies.heads(scale=1))
    moved = TRANSFORMATIONS[transformation](head, data.draw)
    np.testing.assert_allclose(probabilities(moved), probabilities(head), rtol=0, atol=1e-11)
    np.testing.assert_allclose(probabilities(moved), reference.softmax(head.f @ head.W.T + head.b), rtol=0, atol=1e-11)
    assert max(np.abs(new - old).max() for new, old in zip(moved, head, strict=True)) > 1e-3


@pytest.mark.parametrize("name", UNCHANGED_BY)
@given(data=st.data())
def test_renaming_labels_renames_results(name: str, data: st.DataObject) -> None:
    head = data.draw(strategies.heads(scale=1))
    order = data.draw(strategies.permutations(len(head.W)))
    renamed = head._replace(W=head.W[order], b=head.b[order])
    assert_unchanged(rung(name, renamed), rung(name, head)[np.ix_(order, order)])


@given(data=st.data())
def test_log_odds_variance_does_not_depend_on_which_other_labels_exist(data: st.DataObject) -> None:
    head = data.draw(strategies.heads())
    some = data.draw(strategies.permutations(len(head.W)))[:3]
    alone = head._replace(W=head.W[some], b=head.b[some])
    whole = rung("log_odds_variance", head)
    np.testing.assert_allclose(
        rung("log_odds_variance", alone), whole[np.ix_(some, some)], rtol=0, atol=1e-9 * np.abs(whole).max()
    )


@pytest.mark.parametrize("c", [0.25, 3.0])
@given(head=strategies.heads())
def test_temperature_multiplies_log_odds_variance_by_its_square(c: float, head: Head) -> None:
    assert_unchanged(rung("log_odds_variance", heat(head, c)), c**2 * rung("log_odds_variance", head))


# ---- what is no invariance: fixed examples, far beyond rounding

RNG = np.random.default_rng(0)
HEAD = Head(RNG.normal(size=(6, 3)), RNG.normal(size=6), RNG.normal(size=(60, 3)) * [2.0, 1.0, 0.5] + 0.5)
TRANSLATED = translate(HEAD, np.array([3.0, -2.0, 1.0]))
STRETCHED = stretch_rows(HEAD, np.array([[4.0], [1.0], [0.3], [2.0], [0.5], [1.0]]))
MAPPED = map_linearly(HEAD, np.array([[4.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 2.0, 0.25]]))
HEATED = heat(HEAD, 3.0)
COLDER_BIAS = HEAD._replace(b=np.array([3.0, -3.0, 0.0, 0.0, 0.0, 0.0]))


def change(name: str, after: Head, before: Head = HEAD) -> float:
    """The largest change of an entry, in units of the rung's largest."""
    old, new = rung(name, before), rung(name, after)
    assert np.isfinite([old, new]).all()
    return float(np.abs(new - old).max() / np.abs(old).max())


@pytest.mark.parametrize("moved", [TRANSLATED, MAPPED], ids=["translation", "linear map"])
def test_with_identical_probabilities_the_raw_cosine_changes(moved: Head) -> None:
    """And so is no function of what the model does."""
    np.testing.assert_allclose(probabilities(moved), probabilities(HEAD), rtol=0, atol=1e-13)
    assert change("raw_cosine", moved) > 0.5


def test_with_identical_probabilities_the_centered_cosine_changes_under_a_linear_map() -> None:
    """THEORY §2: never call it simply "invariant". The rungs above it stay."""
    np.testing.assert_allclose(probabilities(MAPPED), probabilities(HEAD), rtol=0, atol=1e-13)
    assert change("centered_cosine", MAPPED) > 0.5
    for name in ("logit_correlation", "log_odds_variance", "overlap"):
        assert change(name, MAPPED) < 1e-12


@pytest.mark.parametrize("name", ["centered_cosine", "logit_correlation", "log_odds_variance", "overlap"])
def test_row_lengths_change_every_rung_but_the_raw_cosine(name: str) -> None:
    """They carry information that a cosine throws away: the probabilities move too."""
    assert change("raw_cosine", STRETCHED) < 1e-12
    assert np.abs(probabilities(STRETCHED) - probabilities(HEAD)).max() > 0.3
    assert change(name, STRETCHED) > 0.2


@pytest.mark.parametrize("name", ["overlap", "log_odds_variance"])
def test_temperature_changes_the_overlap_and_the_log_odds_variance_alone(name: str) -> None:
    assert change(name, HEATED) > 0.1
    for other in ("raw_cosine", "centered_cosine", "logit_correlation"):
        assert change(other, HEATED) < 1e-12


def test_the_bias_changes_the_overlap_alone() -> None:
    """No similarity of the weights sees it."""
    assert change("overlap", COLDER_BIAS) > 0.02
    for name in [*UNCHANGED_BY][:-1]:
        assert change(name, COLDER_BIAS) == 0


@pytest.mark.parametrize("name", ["logit_correlation", "log_odds_variance", "overlap"])
def test_other_inputs_change_what_is_taken_over_inputs(name: str) -> None:
    """The cosines are functions of the weights alone."""
    elsewhere = HEAD._replace(f=HEAD.f * [0.3, 1.0, 4.0])
    assert change(name, elsewhere) > 0.1
    assert change("raw_cosine", elsewhere) == change("centered_cosine", elsewhere) == 0


@pytest.mark.parametrize("name", ["centered_cosine", "logit_correlation"])
def test_another_label_changes_what_is_centered(name: str) -> None:
    """The mean row moves; raw cosines and log-odds variances between the old labels do not."""
    one_more = HEAD._replace(W=np.vstack([HEAD.W, [[5.0, -4.0, 3.0]]]), b=np.append(HEAD.b, 0.0))
    assert np.abs(rung(name, one_more)[:6, :6] - rung(name, HEAD)).max() > 0.2
    for other in ("raw_cosine", "log_odds_variance"):
        assert_unchanged(rung(other, one_more)[:6, :6], rung(other, HEAD))


def test_without_centering_a_translation_changes_the_logit_correlation() -> None:
    """Centering is what removes the origin: for a sigmoid head, where the origin is real, it is left out."""
    S = torch.from_numpy(reference.covariance(HEAD.f))
    before, after = (
        logit_correlation(torch.from_numpy(head.W), embedding_covariance=S, centered=False) for head in (HEAD, TRANSLATED)
    )
    assert (after - before).abs().max() > 0.5
