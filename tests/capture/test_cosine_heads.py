"""Cosine heads: found among the layers of a model, called in every way, and held against what they give.

Shapes: K labels, D embedding dimensions, N inputs.
"""

import math
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from typing_extensions import override

from lightning_cossim.capture.find import find_head
from lightning_cossim.capture.head import Head, Observation
from lightning_cossim.capture.observer import HeadObserver
from lightning_cossim.errors import HeadError
from lightning_cossim.functional.links import Response
from tests.toys import ArcFace, Faces, attributed


class Bare(nn.Module):
    """A cosine head without a number of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 5))

    @override
    def forward(self, embedding: Tensor) -> Tensor:
        return nn.functional.linear(nn.functional.normalize(embedding), nn.functional.normalize(self.weight))


# What a cosine head shows


def observed(module: Any, *args: Any, scale: float = 8.0, training: bool = False, **kwargs: Any) -> Observation:
    head = Head("head", module, "its path", Response.of("cosine", link_scale=scale))
    module.train(training)
    observer = HeadObserver(head)
    observer.arm()
    module(*args, **kwargs)
    seen = observer.take(1024, torch.Generator())
    observer.detach()
    assert seen is not None
    return seen


def wanted_logits(module: Any, embedding: Tensor, scale: float = 8.0) -> Tensor:
    return scale * nn.functional.cosine_similarity(embedding[:, None], module.weight.detach(), dim=2)


class Loss(ArcFace):
    """The head and its loss in one, as in metric learning: a number comes out."""

    @override
    def forward(self, embedding: Tensor, targets: Tensor | None = None) -> Tensor:
        assert targets is not None
        return nn.functional.cross_entropy(super().forward(embedding, targets), targets)


class Both(ArcFace):
    @override
    def forward(self, embedding: Tensor, targets: Tensor | None = None) -> Any:
        return super().forward(embedding, targets), embedding


FACES = torch.randn(20, 5, generator=torch.Generator().manual_seed(1))
TARGETS = torch.arange(20) % 8


@pytest.mark.parametrize(
    ("build", "call"),
    [
        (lambda: ArcFace(8, 5, s=8.0), {}),
        (lambda: ArcFace(8, 5, s=8.0), {"training": True, "targets": TARGETS}),
        (Bare, {}),
        (lambda: Loss(8, 5, s=8.0), {"targets": TARGETS}),
        (lambda: Loss(8, 5, s=8.0), {"training": True, "targets": TARGETS}),
        (lambda: Both(8, 5, s=8.0), {}),
    ],
    ids=["scaled", "with margins", "cosines alone", "a loss", "a loss, training", "a tuple"],
)
def test_whatever_a_cosine_head_gives_its_evaluation_logits_are_worked_out(build: Any, call: dict[str, Any]) -> None:
    module = build()
    seen = observed(module, FACES, **call)
    assert seen.problem is None
    assert seen.embedding is not None
    assert seen.logits is not None
    torch.testing.assert_close(seen.embedding, FACES)
    torch.testing.assert_close(seen.logits, wanted_logits(module, FACES), rtol=1e-5, atol=1e-5)


def test_embeddings_may_come_by_name() -> None:
    seen = observed(ArcFace(8, 5, s=8.0), targets=TARGETS, embedding=FACES, training=True)
    assert seen.embedding is not None
    torch.testing.assert_close(seen.embedding, FACES)


def test_another_scale_is_told() -> None:
    """Not where the cosines come alone: the loss may scale them."""
    seen = observed(ArcFace(8, 5, s=30.0), FACES)
    text = "the head's output is 30 times the cosines, but `link_scale` is 8; the probabilities are computed with `link_scale`"
    assert seen.problem == text
    assert seen.logits is not None
    assert "output is 8.06 times the cosines" in (observed(ArcFace(8, 5, s=8.06), FACES).problem or ""), "small ones too"
    assert observed(ArcFace(8, 5, s=1.0), FACES).problem is None
    assert observed(ArcFace(8, 5, s=8.0).bfloat16(), FACES.bfloat16()).problem is None


@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.Linear(5, 8),
        lambda: ArcFace(8, 5, s=-8.0),
        lambda: attributed(ArcFace(8, 5, s=8.0), forward=lambda embedding: -torch.cdist(embedding, torch.ones(8, 5))),
    ],
    ids=["a linear layer", "turned round", "distances"],
)
def test_what_are_no_cosines_is_told_and_only_the_weights_are_compared(build: Any) -> None:
    seen = observed(build(), FACES)
    assert (seen.logits, seen.embedding) == (None, None)
    assert seen.problem is not None
    assert "the head's output is not a multiple of the cosines of embeddings and rows (likely causes: several" in seen.problem
    assert seen.problem.endswith("pass `embeddings_from=`); only its weights are compared")


@pytest.mark.parametrize("training", [False, True])
def test_a_linear_layer_is_none_in_training_either(*, training: bool) -> None:
    """It adds no margin, so there is nothing to wait for; nor does a convolution."""
    assert "not a multiple" in (observed(nn.Linear(5, 8), FACES, training=training).problem or "")
    pixels = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(0))
    assert "not a multiple" in (observed(nn.Conv2d(5, 8, 1), pixels, training=training).problem or "")


@pytest.mark.parametrize("training", [False, True])
def test_a_margin_on_the_target_hides_nothing(*, training: bool) -> None:
    """A loss of validation wants the targets too."""
    module = ArcFace(8, 5, s=8.0, m=0.3)
    seen = observed(module, FACES, TARGETS, training=training)
    assert seen.problem is None
    assert seen.logits is not None
    torch.testing.assert_close(seen.logits, wanted_logits(module, FACES), rtol=1e-5, atol=1e-5)


def test_rounding_to_half_precision_hides_nothing() -> None:
    """Under autocast, whatever dtype comes out."""
    for dim in (8, 64, 512):
        module = ArcFace(8, dim, s=8.0)
        with torch.autocast("cpu", torch.bfloat16):
            seen = observed(attributed(module, forward=lambda f, m=module: ArcFace.forward(m, f).float()), torch.randn(20, dim))
        assert seen.problem is None, dim
        assert seen.logits is not None


@pytest.mark.parametrize("num_labels", [2, 3, 4])
def test_few_labels_with_a_margin_are_known_by_the_scale(num_labels: int) -> None:
    module = ArcFace(num_labels, 5, s=8.0, m=0.3)
    assert observed(module, FACES, torch.arange(20) % num_labels).problem is None
    assert "not a multiple" in (observed(nn.Linear(5, num_labels), FACES).problem or "")


def test_an_output_of_another_size_is_told() -> None:
    """It is no head: what it holds is not what labels have."""
    module = attributed(ArcFace(7, 5, s=8.0), forward=lambda embedding: embedding)
    seen = observed(module, FACES)
    assert seen.logits is None
    assert seen.problem == "its output has 5 labels, but its weight has 7"


@pytest.mark.parametrize("scale", [0.0, -3.0, math.nan])
def test_a_learned_scale_may_be_anything(scale: float) -> None:
    """Logits are those of the model; what cosines alone tell stays as it is."""
    module = attributed(ArcFace(8, 5, s=1.0), s=nn.Parameter(torch.tensor(scale)))
    head = Head("head", module.eval(), "its path", Response("cosine", None, 1.0), scale_name="s")
    observer = HeadObserver(head)
    observer.arm()
    logits = module(FACES)
    seen = observer.take(1024, torch.Generator())
    assert seen is not None
    assert seen.problem is None
    assert seen.logits is not None
    torch.testing.assert_close(seen.logits, logits.detach(), rtol=1e-5, atol=1e-5, equal_nan=True)
    assert seen.response is not None
    assert seen.response.rows(head.unembedding).isfinite().all()


def test_a_linear_layer_is_called_by_name_too() -> None:
    class Cosines(nn.Linear):
        @override
        def forward(self, embedding: Tensor, targets: Tensor | None = None) -> Tensor:
            return nn.functional.linear(nn.functional.normalize(embedding), nn.functional.normalize(self.weight))

    seen = observed(Cosines(5, 8), targets=TARGETS, embedding=FACES)
    assert seen.problem is None
    assert seen.embedding is not None


def test_inputs_that_are_not_finite_are_no_difference() -> None:
    faces = FACES.clone()
    faces[3, 1], faces[4, 0] = math.nan, math.inf
    assert observed(ArcFace(8, 5, s=8.0), faces).problem is None


@pytest.mark.parametrize("call", [{}, {"targets": TARGETS}, {"embedding": FACES[:, :3]}])
def test_a_call_without_embeddings_is_told(call: dict[str, Any]) -> None:
    module = attributed(ArcFace(8, 5, s=8.0), forward=lambda **given: torch.zeros(()))
    seen = observed(module, **call)
    assert (seen.logits, seen.embedding) == (None, None)
    assert seen.problem == "no argument of the head's call can be its embeddings; pass `embeddings_from=`"


@pytest.mark.parametrize("order", ["by place", "by name"])
def test_targets_are_no_embeddings_even_where_they_are_as_many(order: str) -> None:
    """Five faces of five dimensions, the targets first."""
    module = attributed(ArcFace(8, 5, s=8.0), forward=lambda targets, embedding: torch.zeros(()))
    faces, targets = FACES[:5], TARGETS[:5]
    seen = observed(module, targets, faces) if order == "by place" else observed(module, targets=targets, embedding=faces)
    assert seen.embedding is not None
    torch.testing.assert_close(seen.embedding, faces)


def test_an_embedding_by_name_that_was_written_before_the_call_is_no_problem() -> None:
    faces = FACES.clone()
    faces.relu_()
    module = ArcFace(8, 5, s=8.0)
    assert observed(module, embedding=faces).problem is None


class Behind(nn.Module):
    """A cosine head, and what comes behind it."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.head, self.out, self.factor = ArcFace(8, 5, s=8.0), nn.Identity(), factor

    @override
    def forward(self, embedding: Tensor, targets: Tensor | None = None) -> Tensor:
        final: Tensor = self.out(self.factor * self.head(embedding, targets))
        return final


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_final_logits_that_are_given_are_held_against_the_cosines(factor: float) -> None:
    """Where they are others, they count, and what the weights would say of them does not."""
    model = Behind(factor).eval()
    head = Head("head", model.head, "its path", Response.of("cosine", link_scale=8.0))
    observer = HeadObserver(head, model, logits_from="out")
    observer.arm()
    model(FACES)
    seen = observer.take(1024, torch.Generator())
    assert seen is not None
    assert seen.logits is not None
    torch.testing.assert_close(seen.logits, factor * wanted_logits(model.head, FACES), rtol=1e-5, atol=1e-5)
    text = "the output of `logits_from` is 16 times the cosines, but `link_scale` is 8; logit_correlation and log_odds_variance"
    assert (seen.embedding is None) == (factor != 1)
    assert seen.problem is None if factor == 1 else (seen.problem or "").startswith(text)


def test_final_logits_of_a_head_that_is_not_called_are_taken_as_they_are() -> None:
    """In evaluation; nothing tells the embeddings."""
    model = nn.ModuleDict({"head": ArcFace(8, 5, s=8.0), "out": nn.Identity()}).eval()
    head = Head("head", model["head"], "its path", Response.of("cosine", link_scale=8.0))
    observer = HeadObserver(head, model, logits_from="out")
    observer.arm()
    final = model["out"](wanted_logits(head.module, FACES))
    seen = observer.take(1024, torch.Generator())
    assert seen is not None
    assert (seen.embedding, seen.problem) == (None, None)
    assert seen.logits is not None
    assert torch.equal(seen.logits, final)
    model.train()
    observer.arm()
    model["out"](final)
    assert observer.take(1024, torch.Generator()) is None, "margins could be in it"


def test_embeddings_of_zero_tell_nothing() -> None:
    """Their cosines are zero, as the model's are; what comes later is checked."""
    module = ArcFace(8, 5, s=30.0).eval()
    observer = HeadObserver(Head("head", module, "its path", Response.of("cosine", link_scale=8.0)))
    problems = []
    for faces in (torch.zeros(4, 5), FACES):
        observer.arm()
        module(faces)
        seen = observer.take(1024, torch.Generator())
        assert seen is not None
        assert seen.logits is not None
        problems.append(seen.problem)
    assert problems[0] is None
    assert "30 times the cosines" in (problems[1] or "")


def test_final_logits_are_not_asked_for_in_training() -> None:
    """A function may have nothing to tell there; logits are worked out, since margins are in those."""
    model = Behind(1.0)
    head = Head("head", model.head, "its path", Response.of("cosine", link_scale=8.0))
    observer = HeadObserver(head, model, logits_from=lambda model: model.set_in_validation_only)
    observer.arm()
    model(FACES, TARGETS)
    seen = observer.take(1024, torch.Generator())
    assert seen is not None
    assert seen.problem is None
    assert seen.logits is not None
    torch.testing.assert_close(seen.logits, wanted_logits(model.head, FACES), rtol=1e-5, atol=1e-5)


# Finding what holds the rows


def test_the_only_module_with_rows_of_its_own_is_the_head() -> None:
    model = Faces()
    head = find_head(model, has_cosines=True)
    assert (head.path, head.num_labels, head.embedding_dim) == ("head", 8, 5)
    assert str(head) == "head, ArcFace 5→8, found by its rows, one vector per label"
    named = find_head(model, "head", has_cosines=True)
    assert str(named) == "head, ArcFace 5→8, found by its path"


class Extra(nn.Module):
    """A layer of the user's own that is no head."""

    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out, dim))


def modules(**parts: nn.Module) -> nn.ModuleDict:
    return nn.ModuleDict(parts)


@pytest.mark.parametrize(
    ("model", "path"),
    [
        (modules(body=nn.Linear(6, 5), mix=Extra(5, 5), head=ArcFace(12, 5, s=8.0)), "head"),
        (modules(mix=Extra(6, 5), fc=nn.Linear(5, 12)), "fc"),
        (modules(body=nn.Linear(6, 5), only=Extra(5, 12)), "only"),
        (modules(margin=ArcFace(12, 5, s=8.0), body=nn.Linear(6, 5)), "margin"),
        (modules(body=nn.Linear(6, 5), margin=parametrizations.orthogonal(ArcFace(5, 5, s=8.0))), "margin"),
        (modules(one=ArcFace(8, 5, s=8.0), head=ArcFace(8, 5, s=8.0)), "head"),
        (modules(body=nn.Linear(6, 5), loss=type("Loss", (ArcFace, nn.CrossEntropyLoss), {})(12, 5, s=8.0)), "loss"),
        (modules(positions=type("Positions", (nn.Embedding,), {})(9, 5), fc=nn.Linear(5, 8)), "fc"),
        (modules(norm=type("Norm", (nn.LayerNorm,), {})((4, 5)), fc=nn.Linear(5, 8)), "fc"),
    ],
)
def test_of_the_last_layers_the_one_with_rows_of_its_own_is_found(model: nn.Module, path: str) -> None:
    assert find_head(model, has_cosines=True).path == path


def test_paths_lead_to_rows_as_they_lead_to_layers() -> None:
    """To the module itself, through another name, or to what contains it."""
    model = modules(inner=modules(body=nn.Linear(6, 5), margin=ArcFace(12, 5, s=8.0)))
    model["alias"] = model["inner"].get_submodule("margin")
    for path in ("inner.margin", "alias", "inner"):
        assert find_head(model, path, has_cosines=True).num_labels == 12
    near = (
        "Expected `head` to be the dotted path of a linear layer or of a module with one vector per label, got "
        "'inner.margn', which does not exist. "
    )
    with pytest.raises(HeadError, match=re.escape(f"{near}Candidates: 'inner.margin'")):
        find_head(model, "inner.margn", has_cosines=True)
    blocks = modules(body=nn.Linear(6, 5), attention=Extra(5, 7), last=nn.Linear(5, 8))
    with pytest.raises(HeadError, match=r"equally good. Pass one of head='attention' \(Extra 5→7\), head='last' \(Linear 5→8\)."):
        find_head(blocks, has_cosines=True)
    several = modules(one=ArcFace(8, 5, s=8.0), two=ArcFace(8, 5, s=8.0))
    with pytest.raises(HeadError, match=r"equally good. Pass one of head='one' \(ArcFace 5→8\), head='two' \(ArcFace 5→8\)."):
        find_head(several, has_cosines=True)


def test_under_other_links_such_a_module_is_not_looked_for() -> None:
    with pytest.raises(HeadError, match="Expected `head` to be the dotted path of a linear layer, got 'head', an ArcFace"):
        find_head(Faces(), "head")


class Columns(nn.Module):
    """As pytorch-metric-learning keeps them: `W` (D, K), and `num_classes` says so. Others call it `kernel`."""

    def __init__(self, num_labels: int, dim: int, name: str, rows_a_label: int = 1) -> None:
        super().__init__()
        setattr(self, name, nn.Parameter(torch.randn(dim, rows_a_label * num_labels)))
        if name == "W":
            self.num_classes = num_labels


@pytest.mark.parametrize("dim", [5, 8])
@pytest.mark.parametrize("name", ["W", "kernel"])
def test_rows_that_lie_in_columns_are_turned(name: str, dim: int) -> None:
    """Also where there are as many of the one as of the other."""
    module = Columns(8, dim, name)
    head = find_head(modules(body=nn.Linear(3, dim), loss=module), has_cosines=True)
    assert (head.path, head.num_labels, head.embedding_dim) == ("loss", 8, dim)
    assert torch.equal(head.unembedding, getattr(module, name).T)


SIZES: list[dict[str, int]] = [
    *({name: 8} for name in ("num_classes", "out_features", "num_labels", "n_classes", "classnum")),
    *({name: 5} for name in ("in_features", "embedding_size", "embedding_dim", "in_feats", "feat_dim")),
]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("name", ["weight", "W", "kernel"])
def test_what_a_module_says_of_its_sizes_decides(name: str, sizes: dict[str, int]) -> None:
    """Whatever the name."""
    for shape in ((8, 5), (5, 8)):
        rows = nn.Parameter(torch.randn(shape))
        head = Head("head", attributed(type("Rows", (nn.Module,), {})(), **{name: rows}, **sizes), "its path")
        assert (head.num_labels, head.embedding_dim) == (8, 5)
        assert torch.equal(head.unembedding, rows if shape == (8, 5) else rows.T)


@pytest.mark.parametrize(("name", "shape"), [("weight", (8, 5)), ("W", (5, 8)), ("kernel", (5, 8))])
def test_where_nothing_is_said_the_name_decides_and_a_call_tells_if_that_was_wrong(name: str, shape: tuple[int, int]) -> None:
    usual, other = (
        attributed(
            type("Rows", (nn.Module,), {"forward": lambda self, embedding, targets=None: embedding.sum()})(), **{name: rows}
        )
        for rows in (nn.Parameter(torch.randn(shape)), nn.Parameter(torch.randn(shape[::-1])))
    )
    assert observed(usual, FACES).problem is None
    turned = observed(other, FACES, TARGETS).problem
    what = "columns" if name == "weight" else "rows"
    text = (
        f"its `{name}` was read as 5 labels of 8 dimensions, but its embeddings have 5 dimensions, so its {what} seem to be the "
        "labels: "
    )
    assert (turned or "").startswith(text)


def test_several_rows_a_label_are_refused() -> None:
    text = r"got loss, Columns 5→24: it has 3 rows for each of 8 labels \(sub-centers\), but the monitor needs one row per label"
    with pytest.raises(HeadError, match=text):
        find_head(modules(loss=Columns(8, 5, "W", rows_a_label=3)), has_cosines=True)
    rows = attributed(ArcFace(24, 5, s=8.0), out_features=8)
    with pytest.raises(HeadError, match="it has 3 rows for each of 8 labels"):
        find_head(modules(loss=rows), has_cosines=True)


def test_a_head_has_the_dtype_of_its_rows() -> None:
    """Whatever else it has."""
    module = attributed(ArcFace(8, 5, s=8.0))
    module.first = nn.Parameter(torch.zeros(1, dtype=torch.bfloat16))
    module._parameters = dict(reversed(module._parameters.items()))
    assert Head("head", module, "its path").dtype == torch.float32


def test_of_a_parametrized_cosine_head_the_rows_in_effect_are_read() -> None:
    module = parametrizations.orthogonal(ArcFace(5, 5, s=8.0))
    head = find_head(modules(margin=module), has_cosines=True)
    effective: Any = module.weight
    torch.testing.assert_close(head.unembedding, effective.detach())


def test_a_bias_beside_cosines_does_not_count() -> None:
    layer = nn.Linear(5, 8)
    head = Head("fc", layer, "its path", Response.of("cosine", link_scale=8.0))
    assert head.bias is None
    torch.testing.assert_close(head.logits(FACES), wanted_logits(layer, FACES), rtol=1e-5, atol=1e-5)
