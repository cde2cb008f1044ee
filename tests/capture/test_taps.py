"""What stands in for a head: where embeddings and logits come from, and what of them can be used."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from typing_extensions import override

from lightning_cossim.capture.head import Head, Observation
from lightning_cossim.capture.model_outputs import tensor_in
from lightning_cossim.capture.observer import HeadObserver
from lightning_cossim.capture.taps import in_words, taps_of
from lightning_cossim.errors import HeadError, InputError


class Model(nn.Module):
    """Four dimensions to three labels by hand, with a cap on the logits."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.cap = nn.LayerNorm(4), nn.Tanh()
        self.head = nn.Linear(4, 3)
        self.last: Any = None

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        last: Tensor = self.cap(nn.functional.linear(self.norm(inputs), self.head.weight, self.head.bias))
        self.last = last
        return last


def seen(model: Model, inputs: Tensor, **sources: Any) -> Observation | None:
    observer = HeadObserver(Head("head", model.head, "its path"), model, **sources)
    observer.arm()
    model(inputs)
    found = observer.take(100, torch.Generator())
    observer.detach()
    return found


def inputs(*shape: int) -> Tensor:
    return torch.randn(*shape, 4, generator=torch.Generator().manual_seed(1))


def test_embeddings_of_a_module_give_the_logits_that_the_weights_make_of_them() -> None:
    model, given = Model(), inputs(5)
    found = seen(model, given, embeddings_from="norm")
    assert found is not None
    assert found.problem is None
    hidden = model.norm(given)
    torch.testing.assert_close(found.embedding, hidden.detach())
    torch.testing.assert_close(found.logits, model.head(hidden).detach())


def test_logits_of_a_function_are_taken_and_embeddings_that_do_not_explain_them_left_out() -> None:
    model = Model()
    found = seen(model, inputs(5), embeddings_from="norm", logits_from=lambda module: module.last)
    assert found is not None
    assert torch.equal(found.logits if found.logits is not None else torch.empty(0), model.last)
    assert found.embedding is None
    assert found.problem is not None
    assert "the output of `logits_from` differs from `embedding @ weight.T + bias` by up to" in found.problem


def test_logits_alone_will_do() -> None:
    """A head that is never called, and logits that are somewhere."""
    found = seen(Model(), inputs(5), logits_from="cap")
    assert found is not None
    assert found.logits is not None
    assert found.logits.shape == (5, 3)
    assert (found.embedding, found.problem) == (None, None)


def test_nothing_is_seen_where_nothing_was_called() -> None:
    model = Model()
    assert seen(model, inputs(5)) is None  # the head itself is not called
    assert seen(model, inputs(5), embeddings_from=lambda module: None) is None


@pytest.mark.parametrize("shape", [(5,), (2, 6)])
def test_the_dimension_of_the_labels_is_found_by_its_size(shape: tuple[int, ...]) -> None:
    """Also where they come second, as in images."""
    model = Model()
    found = seen(model, inputs(*shape), logits_from=lambda module: module.last.movedim(-1, 1 if len(shape) > 1 else -1))
    assert found is not None
    assert torch.equal(found.logits if found.logits is not None else torch.empty(0), model.last.reshape(-1, 3).detach())


def test_two_dimensions_of_that_size_are_told_unless_an_earlier_call_was_plain() -> None:
    model = Model()
    found = seen(model, inputs(2, 3), logits_from="cap")
    assert found is not None
    wanted = "exactly one dimension of size 3 (one entry per label)"
    assert found.problem == f"expected logits from `logits_from` with {wanted}, got shape (2, 3, 3)"
    observer = HeadObserver(Head("head", model.head, "its path"), model, logits_from="cap")
    for number, problem in ((5, None), (3, None)):
        observer.arm()
        model(inputs(2, number))
        found = observer.take(100, torch.Generator())
        assert found is not None
        assert found.problem is problem
    observer.detach()


def test_in_a_matrix_of_as_many_inputs_as_labels_inputs_come_first() -> None:
    model = Model()
    found = seen(model, inputs(3), logits_from="cap")
    assert found is not None
    assert found.logits is not None
    assert torch.equal(found.logits, model.last)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("text", "the final logits have type str, but the monitor reads only tensors"),
        (torch.zeros(5, 7), "with exactly one dimension of size 3 (one entry per label), got shape (5, 7)"),
    ],
)
def test_logits_of_another_kind_are_told(given: Any, problem: str) -> None:
    found = seen(Model(), inputs(5), logits_from=lambda module: given)
    assert found is not None
    assert found.logits is None
    assert problem in str(found.problem)


def test_embeddings_of_another_size_are_told() -> None:
    found = seen(Model(), inputs(5), embeddings_from="cap")
    assert found is not None
    assert found.problem == "its embeddings have shape (5, 3), but the head takes 4 dimensions"


def test_a_path_that_leads_nowhere_is_told_at_once() -> None:
    model = Model()
    with pytest.raises(HeadError) as caught:
        taps_of(model, logits_from="cap", embeddings_from="nrom")
    assert not model.cap._forward_hooks
    assert str(caught.value) == (
        "Expected `embeddings_from` to be the dotted path of a module, got 'nrom', which does not exist. Did you mean `norm`?"
    )


def test_what_a_module_gives_is_searched_for_the_tensor_that_is_meant() -> None:
    z, other = torch.zeros(2, 3), torch.zeros(2)
    for output in (z, {"loss": other, "logits": z}, SimpleNamespace(logits=z), (other, z), [other, z], {"a": other, "b": z}):
        assert tensor_in(output, "logits", size=3) is z
    assert tensor_in(7, "logits", size=3) == 7


def test_a_source_is_called_by_its_name() -> None:
    assert in_words("model.norm") == "model.norm"
    assert in_words(inputs) == "inputs()"
    assert in_words(nn.Tanh()) == "Tanh()"


def test_an_output_that_cannot_be_copied_is_told_and_fails_nowhere() -> None:
    """The copy is made within the user's forward pass."""

    class Huge(Tensor):
        @override
        def clone(self, *args: Any, **kwargs: Any) -> Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory")

    layer = nn.Linear(4, 3)
    observer = HeadObserver(Head("head", layer, "its path"))
    layer.register_forward_hook(lambda module, args, output: output.as_subclass(Huge), prepend=True)
    observer.arm()
    with torch.inference_mode():
        layer(inputs(5))
    found = observer.take(100, torch.Generator())
    observer.detach()
    assert found is not None
    assert found.problem == (
        "its input has type Tensor and its output has type NoRoomForACopy, but the monitor reads only tensors"
    )


def test_a_function_of_the_user_that_fails_is_named() -> None:
    """What the monitor says when it is switched off tells which setting it was."""
    with pytest.raises(InputError) as caught:
        seen(Model(), inputs(5), logits_from=lambda module: module.nothing)
    assert str(caught.value) == (
        "Expected `logits_from` to be a function that takes the LightningModule and returns a tensor, got AttributeError: "
        "'Model' object has no attribute 'nothing'. The monitor calls it after the forward pass."
    )
