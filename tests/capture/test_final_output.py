"""Compare the logits taken from a head with the model's final output, and warn where they differ."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from lightning.pytorch.strategies.strategy import _ForwardRedirection
from torch import Tensor, nn
from torch._dynamo.utils import counters
from typing_extensions import override

from lightning_cossim.capture.head import Head, Observation
from lightning_cossim.capture.observer import HeadObserver
from lightning_cossim.capture.targets import CountedTargets
from lightning_cossim.functional.links import PLAIN, Response
from tests.toys import attributed

K, D, N, T = 7, 5, 6, 4
DIFFER = "the overlaps are those of the head's output, but the model's final logits differ: "


class Model(nn.Module):
    """A head, and what becomes of its output."""

    def __init__(self, finish: Callable[[Tensor], Any], head: nn.Module | None = None, config: Any = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(D, K) if head is None else head
        for weight in self.head.parameters():
            weight.data.normal_()
        self.finish = finish
        if config is not None:
            attributed(self, config=SimpleNamespace(**config))

    @override
    def forward(self, embeddings: Tensor) -> Any:
        return self.finish(self.head(embeddings))


class Outer(nn.Module):
    """What Lightning has around the model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    @override
    def forward(self, embeddings: Tensor) -> Any:
        return self.model(embeddings)


def inputs(*shape: int) -> Tensor:
    return torch.randn(*shape, D, generator=torch.Generator().manual_seed(1))


def observe(model: nn.Module, embeddings: Tensor, response: Response = PLAIN, **sources: Any) -> Observation:
    """What the first call of a window shows."""
    outer = Outer(model)
    head: Any = model.head
    observer = HeadObserver(Head("model.head", head, "its path", response), outer, **sources)
    try:
        observer.arm()
        outer(embeddings)
        seen = observer.take(1024, torch.Generator())
    finally:
        observer.detach()
    assert seen is not None
    return seen


class Output(NamedTuple):
    """As some packages have it."""

    loss: Tensor
    logits: Tensor


@dataclass(slots=True)
class Packed:
    """As programs of one's own have it."""

    hidden: Tensor
    scores: Tensor


def masked(z: Tensor) -> Tensor:
    return z.masked_fill(torch.arange(K) < 2, -torch.inf)


SAME: dict[str, Callable[[Tensor], Any]] = {
    "themselves": lambda z: z,
    "a copy": lambda z: z.clone(),
    "in float64": lambda z: z.double(),
    "in bfloat16": lambda z: z.bfloat16(),
    "softmax": lambda z: z.softmax(dim=-1),
    "log-softmax": lambda z: z.log_softmax(dim=-1),
    "another origin for each input": lambda z: z - z.max(dim=-1, keepdim=True).values,
    "a dict": lambda z: {"loss": z.sum(), "logits": z},
    "a dict of other names": lambda z: {"hidden": torch.zeros(N, 3), "scores": z},
    "an object": lambda z: SimpleNamespace(logits=z),
    "a named tuple": lambda z: Output(z.sum(), z),
    "a tuple": lambda z: (z.sum(), z),
    "of two heads": lambda z: (z * 2, z),
    "labels first": lambda z: z.T,
    "in another order, as of inputs sorted by length": lambda z: z.flip(0),
    "a dict in a tuple": lambda z: (z.sum(), {"scores": z}),
    "an object with slots": lambda z: Packed(z[:, :2], z),
    "probabilities beside them": lambda z: {"scores": z, "probabilities": (z / 2).softmax(dim=1)},
    "of two heads by name": lambda z: {"main": z, "auxiliary": z.square()},
    "logits, and scaled ones beside them": lambda z: {"logits": z, "sharpened": 3 * z},
}


@pytest.mark.parametrize("finish", SAME.values(), ids=SAME)
def test_the_same_probabilities_are_the_models(finish: Callable[[Tensor], Any]) -> None:
    assert observe(Model(finish), inputs(N)).notes == ()


SEQUENCES: dict[str, Callable[[Tensor], Any]] = {
    "flattened": lambda z: z.flatten(0, 1),
    "labels second": lambda z: z.movedim(-1, 1),
    "time first": lambda z: z.transpose(0, 1),
    "start and end of an answer": lambda z: {"start_logits": z[..., 0], "end_logits": z[..., 1]},
    "probabilities, labels second": lambda z: z.softmax(dim=-1).movedim(-1, 1),
}


@pytest.mark.parametrize("finish", SEQUENCES.values(), ids=SEQUENCES)
def test_the_order_of_dimensions_does_not_matter(finish: Callable[[Tensor], Any]) -> None:
    assert observe(Model(finish), inputs(N, T)).notes == ()


def test_a_map_of_logits_is_the_models() -> None:
    """A convolution's output has labels second."""
    model = Model(lambda z: z, nn.Conv2d(D, K, 1))
    assert observe(model, inputs(N, 3, 4).movedim(-1, 1)).notes == ()


CHANGES: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "scaled": (lambda z: 0.25 * z, "`model` multiplies the logits by 0.25. Pass `logits_from='model'`."),
    "negated": (lambda z: -z, "`model` multiplies the logits by -1. Pass `logits_from='model'`."),
    "biased": (lambda z: z + torch.arange(K) / 3, "`model` adds a constant vector to the logits. Pass `logits_from='model'`."),
    "capped": (
        lambda z: 2 * (z / 2).tanh(),
        "`model` soft-caps the logits at 2. Pass `link='softcap', link_cap=2`.",
    ),
    "masked": (masked, "`model` masks 2 of 7 labels. Pass `logits_from='model'`."),
    "scaled, in an object with slots": (
        lambda z: Packed(z[:, :2], 3 * z),
        "`model` multiplies the logits by 3. Pass `logits_from='model'`.",
    ),
    "scaled, in a dict in a dict": (
        lambda z: {"out": {"scores": 3 * z}},
        "`model` multiplies the logits by 3. Pass `logits_from='model'`.",
    ),
    "scaled, in a tuple in a tuple": (
        lambda z: (z[:, :2], (3 * z, z[:, :2])),
        "`model` multiplies the logits by 3. Pass `logits_from='model'`.",
    ),
    "scaled beside their own": (
        lambda z: {"raw": z, "scores": 0.5 * z},
        (
            "`model` multiplies the logits by 0.5 in 'scores' and also returns the unchanged logits. If 'scores' has the final "
            "logits, rename it to `logits` and pass the path of that module as `logits_from=`."
        ),
    ),
    "scaled beside features of as many dimensions": (
        lambda z: {"features": z.cos(), "scores": 0.5 * z},
        (
            "`model` multiplies the logits by 0.5 in 'scores'. If 'scores' has the final logits, rename it to `logits` and pass "
            "the path of that module as `logits_from=`."
        ),
    ),
    "sigmoid": (
        lambda z: z.sigmoid(),
        "`model` returns the sigmoid of the logits, but `link` is 'softmax'. Pass `link='sigmoid'`.",
    ),
    "sliced": (lambda z: z[:, :4], "`model` keeps the first 4 of 7 labels. Pass `logits_from='model'`."),
    "doubled": (
        lambda z: torch.cat([z, z]),
        "`model` returns logits of 12 inputs, but the last call of the head had 6. Pass `logits_from='model'`.",
    ),
    "normalized": (lambda z: z / z.norm(dim=1, keepdim=True), "`model` changes the logits by up to "),
    "another layer's": (
        lambda z: z @ torch.ones(K, 3),
        "`model` returns an output of shape (6, 3), but the head has 7 labels. If another layer gives the probabilities, pass",
    ),
}


@pytest.mark.parametrize(("finish", "text"), CHANGES.values(), ids=CHANGES)
def test_other_logits_are_named_with_the_remedy(finish: Callable[[Tensor], Any], text: str) -> None:
    (note,) = observe(Model(finish), inputs(N)).notes
    assert note.startswith(DIFFER + text)


BESIDE_IT: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "scaled": (lambda z: {"raw_logits": z, "logits": z / 2}, "`model` multiplies the logits by 0.5. Pass `logits_from='model'`."),
    "capped": (lambda z: {"raw": z, "logits": 2 * (z / 2).tanh()}, "`model` soft-caps the logits at 2. Pass `link='softcap'"),
    "averaged": (
        lambda z: SimpleNamespace(logits=(z + z.roll(1)) / 2, one_logits=z, other_logits=z.roll(1)),
        "`model` averages the outputs of 2 heads. Pass `logits_from='model'`.",
    ),
}


@pytest.mark.parametrize(("finish", "text"), BESIDE_IT.values(), ids=BESIDE_IT)
def test_final_logits_count_though_the_heads_own_stand_beside_them(finish: Callable[[Tensor], Any], text: str) -> None:
    """As in models that were distilled: the mean of two heads, and the output of each."""
    (note,) = observe(Model(finish), inputs(N)).notes
    assert note.startswith(DIFFER + text)


def test_logits_of_another_head_say_nothing() -> None:
    model = Model(lambda z: {"logits": z.roll(1) ** 2, "own_logits": z})
    assert observe(model, inputs(N)).notes == ()


POOLED: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "last": (lambda z: z[:, -1], "picks 6 of 24 outputs of the head"),
    "first": (lambda z: {"logits": z[:, 0]}, "picks 6 of 24 outputs of the head"),
    "all but the last": (lambda z: z[:, :-1], "picks 18 of 24 outputs of the head"),
    "mean": (lambda z: z.mean(dim=1), "averages 24 outputs of the head into 6"),
    "max": (lambda z: z.amax(dim=1), "pools 24 outputs of the head into 6"),
}


@pytest.mark.parametrize(("finish", "text"), POOLED.values(), ids=POOLED)
def test_pooled_logits_are_named(finish: Callable[[Tensor], Any], text: str) -> None:
    (note,) = observe(Model(finish), inputs(N, T)).notes
    assert note == f"{DIFFER}`model` {text}. Pass `logits_from='model'`."


def test_logits_changed_in_place_within_the_model_are_compared_as_they_came_from_the_head() -> None:
    (note,) = observe(Model(lambda z: z.mul_(3)), inputs(N)).notes
    assert note == f"{DIFFER}`model` multiplies the logits by 3. Pass `logits_from='model'`."


@pytest.mark.parametrize("inference", [False, True])
def test_what_is_done_to_an_output_after_the_model_gave_it_is_not_the_models(inference: bool) -> None:
    outer = Outer(Model(lambda z: z + 0))
    head: Any = outer.model.head
    observer = HeadObserver(Head("model.head", head, "its path"), outer)
    observer.arm()
    with torch.inference_mode(inference):
        outer(inputs(N)).mul_(5)
    seen = observer.take(1024, torch.Generator())
    assert seen is not None
    assert seen.notes == ()


def test_targets_that_leave_out_what_the_model_leaves_out_are_enough() -> None:
    """The model drops padding itself, and the user's targets say where it is."""
    counts = torch.arange(T) < 3
    outer = Outer(Model(lambda z: z[:, counts]))
    head: Any = outer.model.head
    for counted, differs in ((CountedTargets(counts.expand(N, T)), False), (None, True)):
        observer = HeadObserver(Head("model.head", head, "its path"), outer)
        observer.arm()
        outer(inputs(N, T))
        seen = observer.take(1024, torch.Generator(), counted)
        observer.detach()
        assert seen is not None
        assert bool(seen.notes) is differs


def test_the_remedy_names_the_module_that_changes_logits_and_not_one_around_it() -> None:
    inner = Model(lambda z: z / 3)
    outer = Outer(Outer(inner))
    head: Any = inner.head
    observer = HeadObserver(Head("model.model.head", head, "its path"), outer)
    observer.arm()
    outer(inputs(N))
    seen = observer.take(1024, torch.Generator())
    assert seen is not None
    assert seen.notes[0].endswith("Pass `logits_from='model.model'`.")


def test_the_forward_of_the_outermost_module_can_be_named() -> None:
    """`logits_from='forward'` means the LightningModule itself."""

    class Tempered(Outer):
        @override
        def forward(self, embeddings: Tensor) -> Any:
            return super().forward(embeddings) / 2

    outer = Tempered(Model(lambda z: z))
    head: Any = outer.model.head
    for sources, notes in (({}, 1), ({"logits_from": "forward"}, 0)):
        observer = HeadObserver(Head("model.head", head, "its path"), outer, **sources)
        observer.arm()
        final = outer(inputs(N))
        seen = observer.take(1024, torch.Generator())
        observer.detach()
        assert seen is not None
        assert seen.logits is not None
        assert len(seen.notes) == notes
        assert torch.equal(seen.logits, final) is (notes == 0)
        if notes:
            text = "the LightningModule's `forward` multiplies the logits by 0.5. Pass `logits_from='forward'`."
            assert seen.notes == (DIFFER + text,)


def test_the_module_within_is_named_where_forward_only_rearranges_its_logits() -> None:
    """Steps may call the inner module and go around `forward`."""

    class Flat(Outer):
        @override
        def forward(self, embeddings: Tensor) -> Any:
            return super().forward(embeddings)["logits"].movedim(1, -1).flatten(0, 1)

    outer = Flat(Model(lambda z: {"logits": (z / 2).movedim(-1, 1)}))
    head: Any = outer.model.head
    observer = HeadObserver(Head("model.head", head, "its path"), outer)
    observer.arm()
    outer(inputs(N, T))
    seen = observer.take(1024, torch.Generator())
    assert seen is not None
    assert seen.notes == (f"{DIFFER}`model` multiplies the logits by 0.5. Pass `logits_from='model'`.",)


def test_the_labels_that_a_padded_vocabulary_drops_are_never_probable() -> None:
    model = Model(lambda z: z[..., :4])
    seen = observe(model, inputs(N, T), logits_from="model")
    assert seen.logits is not None
    assert seen.problem is None
    assert seen.embedding is not None
    assert torch.equal(seen.logits[:, :4], model(inputs(N, T)).reshape(-1, 4))
    assert seen.logits[:, 4:].eq(-torch.inf).all()


@pytest.mark.parametrize(
    ("by_the_model", "text"),
    [
        (True, "`model` keeps the first 4 of 7 labels. Pass `logits_from='model'`."),
        (False, "the LightningModule's `forward` keeps the first 4 of 7 labels. Pass `logits_from='forward'`."),
    ],
)
def test_a_padded_vocabulary_is_noticed_in_any_arrangement(by_the_model: bool, text: str) -> None:
    """`forward` flattens positions. The innermost module that drops the padding is named."""

    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = Model(lambda z: z[..., :4] if by_the_model else [z])

        @override
        def forward(self, embeddings: Tensor) -> Any:
            output = self.model(embeddings)
            return (output if by_the_model else output[0][..., :4]).flatten(0, 1)

    outer = Flat()
    head: Any = outer.model.head
    for sources, notes in (({}, (DIFFER + text,)), ({"logits_from": "forward"}, ())):
        observer = HeadObserver(Head("model.head", head, "its path"), outer, **sources)
        observer.arm()
        final = outer(inputs(N, T))
        seen = observer.take(1024, torch.Generator())
        observer.detach()
        assert seen is not None
        assert seen.notes == notes
        if sources:
            assert seen.logits is not None
            assert torch.equal(seen.logits[:, :4], final)


@pytest.mark.parametrize("sources", [{}, {"logits_from": "forward"}], ids=str)
def test_a_step_that_a_strategy_runs_in_the_place_of_forward_is_not_forward(sources: dict[str, Any]) -> None:
    """As DDP does: the step's output is that of a call of the LightningModule, and `forward` is called within."""

    class Stepping(Outer):
        @override
        def forward(self, embeddings: Tensor) -> Any:
            return super().forward(embeddings) / 2

        def training_step(self, embeddings: Tensor) -> Any:
            return {"loss": self(embeddings).logsumexp(dim=1).mean(), "logits": torch.zeros(N, K)}

    outer: Any = Stepping(Model(lambda z: z))
    wrapper = Outer(outer)
    head: Any = outer.model.head
    observer = HeadObserver(Head("model.head", head, "its path"), outer, **sources)
    observer.arm()
    _ForwardRedirection()(wrapper, outer, "training_step", inputs(N))
    seen = observer.take(1024, torch.Generator())
    observer.detach()
    assert seen is not None
    assert num_hooks(outer) == 0
    if sources:
        assert seen.logits is not None
        assert torch.equal(seen.logits, outer(inputs(N)))
    else:
        text = "the LightningModule's `forward` multiplies the logits by 0.5. Pass `logits_from='forward'`."
        assert seen.notes == (DIFFER + text,)


def test_a_module_that_was_called_for_something_else_does_not_count() -> None:
    """`forward` gives features, and the step puts the head on them itself."""
    outer = Outer(nn.Sequential(nn.Linear(D, D), nn.Tanh()))
    attributed(outer, head=nn.Linear(D, K))
    head: Any = outer.head
    observer = HeadObserver(Head("head", head, "its path"), outer)
    observer.arm()
    for _ in range(2):  # before the head's only call, and after one
        head(outer(inputs(N)))
    seen = observer.take(1024, torch.Generator())
    assert seen is not None
    assert seen.notes == ()


def test_a_loss_or_a_prediction_says_nothing() -> None:
    for finish in (lambda z: z.sum(), lambda z: z.argmax(dim=1), lambda z: (z.sum(), z.argmax(dim=1)), lambda _: None):
        assert observe(Model(finish), inputs(N)).notes == ()


def test_links_are_held_against_their_own_logits() -> None:
    capped, sigmoid = Response.of("softcap", link_cap=2.0), Response("sigmoid")
    assert observe(Model(lambda z: 2 * (z / 2).tanh()), inputs(N), capped).notes == ()
    assert observe(Model(lambda z: z), inputs(N), capped).notes == ()  # the loss caps them
    (note,) = observe(Model(lambda z: 3 * (z / 3).tanh()), inputs(N), capped).notes
    assert note == f"{DIFFER}`model` soft-caps the logits at 3. Pass `link='softcap', link_cap=3`."
    for finish in (lambda z: z, lambda z: z.sigmoid(), nn.functional.logsigmoid):
        assert observe(Model(finish), inputs(N), sigmoid).notes == ()
    (note,) = observe(Model(lambda z: z.softmax(dim=1)), inputs(N), sigmoid).notes
    assert note == f"{DIFFER}`model` returns the softmax of the logits, but `link` is 'sigmoid'. Pass `link='softmax'`."


# What the model's configuration says


@pytest.mark.parametrize("name", ["lm_head_multiplier", "logit_scale"])
def test_a_scale_of_the_configuration_is_named_where_it_acts(name: str) -> None:
    (note,) = observe(Model(lambda z: 0.5 * z, config={name: 0.5}), inputs(N)).notes
    text = f"`model` multiplies the logits by 0.5 (`{name}=0.5` in the model's config). Pass `logits_from='model'`."
    assert note == DIFFER + text
    assert observe(Model(lambda z: z, config={name: 0.5}), inputs(N)).notes == ()  # a name that its code does not use


@pytest.mark.parametrize("name", ["final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap"])
@pytest.mark.parametrize("size", [1.0, 0.1])
def test_a_cap_of_the_configuration_shows_long_before_it_bends_anything(name: str, size: float) -> None:
    """As at the start of a training, when logits are small."""
    model, plain = Model(lambda z: 30 * (z / 30).tanh(), config={name: 30.0}), Model(lambda z: z, config={name: 30.0})
    with torch.no_grad():
        for weight in (*model.parameters(), *plain.parameters()):
            weight.mul_(size)
    (note,) = observe(model, inputs(N)).notes
    assert note == (
        f"{DIFFER}`model` soft-caps the logits (`{name}=30` in the model's config), so centering would be wrong. "
        "Pass `link='softcap'`."
    )
    assert observe(plain, inputs(N)).notes == ()
    assert observe(model, inputs(N), Response.of("softcap", link_cap=30.0)).notes == ()
    seen = observe(model, inputs(N), logits_from="model")  # seen, and centering would be wrong all the same
    assert "soft-cap" in f"{seen.problem} {seen.notes}"


@pytest.mark.parametrize(
    "finish",
    [lambda z: Packed(z[:, :2], 3 * z), lambda z: {"out": {"scores": 3 * z}}, lambda z: [3 * z]],
    ids=["slots", "nested", "list"],
)
def test_final_logits_are_taken_out_of_whatever_holds_them(finish: Callable[[Tensor], Any]) -> None:
    """The remedy of the warning leads to them."""
    model = Model(finish)
    seen = observe(model, inputs(N), logits_from="model")
    assert seen.logits is not None
    assert torch.equal(seen.logits, 3 * model.head(inputs(N)))


def test_another_order_matters_where_targets_say_which_inputs_count() -> None:
    outer = Outer(Model(lambda z: z.flip(0)))
    head: Any = outer.model.head
    observer = HeadObserver(Head("model.head", head, "its path"), outer)
    observer.arm()
    outer(inputs(N))
    seen = observer.take(1024, torch.Generator(), CountedTargets(torch.arange(N) > 1))
    assert seen is not None
    assert len(seen.notes) == 1


# Several calls


class Chunked(nn.Module):
    """A head that is called for a part of the inputs at a time."""

    def __init__(self, parts: int) -> None:
        super().__init__()
        self.head, self.parts = nn.Linear(D, K), parts

    @override
    def forward(self, embeddings: Tensor) -> Tensor:
        return torch.cat([self.head(part) for part in embeddings.chunk(self.parts)])


def test_several_calls_are_told_with_what_is_counted() -> None:
    notes = observe(Chunked(3), inputs(N)).notes
    assert notes == (
        f"{DIFFER}`model` returns logits of 6 inputs, but the last call of the head had 2. Pass `logits_from='model'`.",
        (
            "the head was called 3 times in one step; only the inputs of its last call are counted. To count all inputs, "
            "pass as `logits_from=` a module that is called once per step, or a function"
        ),
    )
    seen = observe(Chunked(3), inputs(N), logits_from="model")
    assert seen.logits is not None
    assert (len(seen.logits), seen.notes) == (N, ())


@pytest.mark.parametrize("is_half", [False, True])
def test_calls_and_heads_of_other_dtypes_are_compared_without_a_fault(is_half: bool) -> None:
    """Under autocast for a part of a step, and where logits of several heads are averaged in another dtype than they have."""
    outer = Outer(Model(lambda z: {"logits": z.float() + z.float().square() / 9, "one": z.clone(), "two": z.clone()}))
    head: Any = outer.model.head
    observer = HeadObserver(Head("model.head", head, "its path"), outer)
    observer.arm()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=not is_half):
        outer(inputs(N))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_half):
        outer(inputs(N))
    seen = observer.take(1024, torch.Generator())
    assert seen is not None
    assert any("was called 2 times in one step" in note for note in seen.notes)


def test_places_to_compare_are_exact_under_a_coarse_default_dtype() -> None:
    """In bfloat16, 1 023 is 1 024, which is no place."""
    head = nn.Linear(D, K)
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.bfloat16)
        assert observe(Model(lambda z: z + 0, head), inputs(1024).float()).notes == ()
    finally:
        torch.set_default_dtype(before)


def test_the_same_call_twice_is_no_matter() -> None:
    """For a loss and again for a metric."""
    outer = Outer(Model(lambda z: z))
    head: Any = outer.model.head
    observer = HeadObserver(Head("model.head", head, "its path"), outer)
    for embeddings, notes in ((inputs(N), 0), (2 * inputs(N), 1)):
        observer.check_again()
        observer.arm()
        outer(inputs(N))
        outer(embeddings)
        seen = observer.take(1024, torch.Generator())
        assert seen is not None
        assert len(seen.notes) == notes


# `logits_from=` gives the overlap, whatever the head was called with


@pytest.mark.parametrize("finish", [finish for finish, _ in POOLED.values()], ids=POOLED)
def test_final_logits_are_read_where_they_do_not_pair_with_embeddings(finish: Callable[[Tensor], Any]) -> None:
    model = Model(finish)
    seen = observe(model, inputs(N, T), logits_from="model")
    final = finish(model.head(inputs(N, T)))
    final = final["logits"] if isinstance(final, dict) else final
    assert seen.logits is not None
    assert torch.equal(seen.logits, final.reshape(-1, K))
    assert seen.embedding is None
    assert seen.problem == (
        f"embeddings of shape ({N}, {T}, {D}) and final logits of shape {tuple(final.shape)} do not match "
        "(pass `embeddings_from=` with one embedding per final logit vector); "
        "logit_correlation and log_odds_variance would be wrong and are left out"
    )


def test_final_logits_are_read_though_embeddings_or_weights_were_changed() -> None:
    class Restless(Model):
        @override
        def forward(self, embeddings: Tensor) -> Any:
            logits = super().forward(embeddings)
            with torch.no_grad():
                embeddings.add_(1)
                self.head.weight.mul_(2)  # type: ignore[operator]
            return logits

    seen = observe(Restless(lambda z: z), inputs(N), logits_from="model")
    assert seen.logits is not None
    assert seen.embedding is None
    assert "changed before the monitor saw the backward pass" in str(seen.problem)


# It costs nothing later, and leaves nothing behind


def num_hooks(module: nn.Module) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules())


def test_hooks_on_the_modules_around_are_there_for_the_first_batch_only() -> None:
    outer = Outer(Model(lambda z: z))
    head: Any = outer.model.head
    observer = HeadObserver(Head("model.head", head, "its path"), outer)
    for opens in (True, False, True):
        if opens:
            observer.check_again()
        for batch in range(3):
            observer.arm()
            assert num_hooks(outer) == (5 if opens and not batch else 1)
            outer(inputs(N))
            observer.take(1024, torch.Generator())
            assert num_hooks(outer) == 1
    observer.arm()
    observer.detach()
    assert num_hooks(outer) == 0


def test_a_copy_of_the_model_made_meanwhile_holds_nothing() -> None:
    outer = Outer(Model(lambda z: z))
    head: Any = outer.model.head
    observer = HeadObserver(Head("model.head", head, "its path"), outer)
    observer.arm()
    outer(inputs(N))
    twin = copy.deepcopy(outer)  # would fail if a hook held logits that have a gradient
    twin(inputs(N))
    seen = observer.take(1024, torch.Generator())
    assert seen is not None
    assert seen.notes == ()


def test_an_output_that_cannot_be_asked_is_left_alone() -> None:
    class Odd:
        @override
        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError(name)

    assert observe(Model(lambda _: Odd()), inputs(N)).notes == ()


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch's own, on its way to a graph
@pytest.mark.parametrize("in_place", [False, True])
def test_a_compiled_model_is_checked_without_another_graph(in_place: bool) -> None:
    torch.compiler.reset()
    counters.clear()
    graphs: list[Any] = []
    """One entry for each graph that has the head in it."""

    def backend(graph: Any, example_inputs: Any) -> Any:
        graphs.extend(node for node in graph.graph.nodes if "linear" in str(node.target))
        return graph.forward

    outer = Outer(Model(lambda z: z[:, :2].mean(dim=1)))
    head: Any = outer.model.head
    if in_place:
        outer.model.compile(backend=backend)
    else:
        compiled: Any = torch.compile(outer.model, backend=backend)
        outer.model = compiled
    observer = HeadObserver(Head("model.head", head, "its path"), outer)
    for batch in range(3):
        observer.arm()
        outer(inputs(N, T))
        seen = observer.take(1024, torch.Generator())
        assert seen is not None
        assert len(seen.notes) == (batch == 0)
        outer(inputs(N, T))
    assert len(graphs) == 2  # armed and not
    assert not counters["graph_break"]
    observer.detach()
