"""The final linear layer: found in a model, and read."""

import pytest
import torch
from torch import Tensor, nn

from lightning_cossim.errors import HeadError
from lightning_cossim.head import Head, find_head

USUAL_NAMES = ["classifier", "decoder", "fc", "head", "lm_head", "logits", "out", "output", "unembed"]


class MyLinear(nn.Linear):
    """A linear layer of somebody's own."""


def model_of(**parts: nn.Module) -> nn.Module:
    """A module with these parts, in this order."""
    model = nn.Module()
    for name, part in parts.items():
        model.add_module(name, part)
    return model


def refusal(model: nn.Module, path: str | None = None) -> str:
    """The text with which no head is found."""
    with pytest.raises(HeadError) as caught:
        find_head(model, path)
    return str(caught.value)


# Finding


def test_a_shared_layer_is_found_by_either_path() -> None:
    """`self.head = self.model.fc` gives one layer two paths."""
    model = model_of(a=nn.Linear(3, 4))
    model.add_module("b", model.get_submodule("a"))
    assert find_head(model, "a").module is find_head(model, "b").module
    assert find_head(model).path == "a"


def test_an_explicit_path_wins() -> None:
    """Also against a layer that would have been found by itself."""
    model = model_of(model=model_of(aux=nn.Linear(4, 8), fc=nn.Linear(8, 3)))
    head = find_head(model, "model.aux")
    assert head.module is model.get_submodule("model.aux")
    assert (head.path, head.found_by) == ("model.aux", "its path")


def test_a_wrong_path_names_the_paths_that_are_near() -> None:
    model = model_of(classifier=nn.Linear(8, 3), gate=nn.Linear(8, 3))
    text = "Expected `head` to be the dotted path of a linear layer, got 'clasifier', which is not there. "
    assert refusal(model, "clasifier") == text + "Linear layers: 'classifier'."


def test_a_path_like_no_other_names_the_last_layers() -> None:
    model = model_of(a=nn.Linear(2, 2), b=nn.Linear(2, 2), c=nn.Linear(2, 2), d=nn.Linear(2, 2))
    text = "Expected `head` to be the dotted path of a linear layer, got 'quux', which is not there. "
    assert refusal(model, "quux") == text + "Linear layers: 'b', 'c', 'd'."


def test_a_path_to_something_else_says_what_it_is() -> None:
    model = model_of(conv=nn.Conv2d(3, 8, 3), fc=nn.Linear(8, 3))
    text = "Expected `head` to be the dotted path of a linear layer, got 'conv', a Conv2d. Linear layers: 'fc'."
    assert refusal(model, "conv") == text


def test_a_path_in_a_model_without_linear_layers() -> None:
    text = "Expected `head` to be the dotted path of a linear layer, got 'fc', which is not there. "
    assert refusal(model_of(conv=nn.Conv2d(3, 8, 3)), "fc") == text + "The model has no linear layer."


def test_a_model_without_linear_layers() -> None:
    text = "Expected a model with a linear layer that gives the logits, got Sequential with none. "
    assert (
        refusal(nn.Sequential(nn.Conv2d(3, 8, 3))) == text + "Build it before the fit starts (`__init__` or `configure_model`)."
    )


@pytest.mark.parametrize(
    ("model", "path"),
    [
        pytest.param(model_of(anything=nn.Linear(4, 3)), "anything", id="one layer"),
        pytest.param(nn.Linear(4, 3), "", id="the model itself"),
        pytest.param(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)), "4", id="MLP"),
        pytest.param(
            model_of(conv=nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten()), last=nn.Linear(8, 10)), "last", id="CNN"
        ),
        pytest.param(model_of(fc=nn.Linear(4, 8), last=nn.Linear(8, 3)), "last", id="a usual name further up"),
        pytest.param(model_of(body=nn.Linear(3, 3), last=nn.Linear(3, 3)), "last", id="as many labels as embedding dimensions"),
    ],
)
def test_the_only_last_layer_is_found(model: nn.Module, path: str) -> None:
    head = find_head(model)
    assert head.module is model.get_submodule(path)
    assert (head.path, head.found_by) == (path, "being the only last linear layer")


@pytest.mark.parametrize("prefix", ["", "model."])
@pytest.mark.parametrize("name", USUAL_NAMES)
def test_of_several_last_layers_the_one_with_a_usual_name_is_found(name: str, prefix: str) -> None:
    """Wherever it stands, first or last."""
    for order in ({name: nn.Linear(8, 3), "gate": nn.Linear(8, 5)}, {"gate": nn.Linear(8, 5), name: nn.Linear(8, 3)}):
        model = model_of(**order)
        head = find_head(model_of(model=model) if prefix else model)
        assert head.module is order[name]
        assert (head.path, head.found_by) == (f"{prefix}{name}", "its name")


def test_a_head_built_before_its_body_is_found_by_its_name() -> None:
    assert find_head(model_of(head=nn.Linear(8, 3), body=nn.Linear(4, 8))).path == "head"


def test_siblings_that_are_equally_good_are_listed() -> None:
    model = model_of(body=nn.Linear(4, 8), left=nn.Linear(8, 3), right=MyLinear(8, 5))
    text = "Expected one final linear layer, got 2 that are equally good. "
    assert refusal(model) == text + "Pass one of head='left' (Linear 8→3), head='right' (MyLinear 8→5)."


def test_of_siblings_with_usual_names_only_those_are_listed() -> None:
    model = model_of(gate=nn.Linear(8, 1), a=model_of(fc=nn.Linear(8, 3)), b=model_of(head=nn.Linear(8, 5)))
    text = "Expected one final linear layer, got 2 that are equally good. "
    assert refusal(model) == text + "Pass one of head='a.fc' (Linear 8→3), head='b.head' (Linear 8→5)."


# Reading


def random_layer(num_labels: int = 5, dim: int = 4, *, bias: bool = True, seed: int = 0) -> nn.Linear:
    """A linear layer with weights of size 1."""
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Linear(dim, num_labels, bias=bias)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return layer


def random_inputs(num_inputs: int = 6, dim: int = 4, seed: int = 1) -> Tensor:
    return torch.randn(num_inputs, dim, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("bias", [True, False])
def test_a_head_is_read_without_a_graph_and_without_a_copy(*, bias: bool) -> None:
    layer = random_layer(bias=bias)
    head = find_head(model_of(fc=layer))
    assert (head.num_labels, head.embedding_dim) == (5, 4)
    assert head.unembedding.data_ptr() == layer.weight.data_ptr()
    assert not head.unembedding.requires_grad
    assert (head.bias is not None) == bias
    assert head.bias is None or (torch.equal(head.bias, layer.bias) and not head.bias.requires_grad)
    assert str(head) == "fc, Linear 4→5, found by being the only last linear layer"


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("autocast", [True, False])
@pytest.mark.parametrize(
    ("dtype", "wanted"), [(torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64, torch.float64)]
)
def test_logits_are_worked_out_in_full_precision(dtype: torch.dtype, wanted: torch.dtype, *, autocast: bool, bias: bool) -> None:
    """In float32 or better, whatever autocast would do."""
    layer, inputs = random_layer(dim=64, bias=bias).to(dtype), random_inputs(dim=64).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        logits = Head("fc", layer, "its path").logits(inputs)
    exact = inputs.double() @ layer.weight.detach().double().T + (layer.bias.detach().double() if bias else 0)
    assert logits.dtype == wanted
    torch.testing.assert_close(logits.double(), exact, rtol=1e-5, atol=1e-4 if wanted == torch.float32 else 1e-12)
