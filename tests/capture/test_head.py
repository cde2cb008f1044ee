"""The final linear layer: found in a model, and read."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchmetrics import Metric
from typing_extensions import override

from lightning_cossim.capture import layers
from lightning_cossim.capture.find import find_head
from lightning_cossim.capture.head import Head
from lightning_cossim.errors import HeadError

COMMON_NAMES = ["classifier", "decoder", "fc", "head", "lm_head", "logits", "out", "output", "score", "unembed"]


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
    text = "Expected `head` to be the dotted path of a linear layer, got 'clasifier', which does not exist. "
    assert refusal(model, "clasifier") == text + "Linear layers: 'classifier'."


def test_a_path_like_no_other_names_the_last_layers() -> None:
    model = model_of(a=nn.Linear(2, 2), b=nn.Linear(2, 2), c=nn.Linear(2, 2), d=nn.Linear(2, 2))
    text = "Expected `head` to be the dotted path of a linear layer, got 'quux', which does not exist. "
    assert refusal(model, "quux") == text + "Linear layers: 'b', 'c', 'd'."


def test_a_path_to_something_else_says_what_it_is() -> None:
    model = model_of(norm=nn.BatchNorm1d(8), fc=nn.Linear(8, 3))
    text = "Expected `head` to be the dotted path of a linear layer, got 'norm', a BatchNorm1d. Linear layers: 'fc'."
    assert refusal(model, "norm") == text


def test_a_path_in_a_model_without_linear_layers() -> None:
    text = "Expected `head` to be the dotted path of a linear layer, got 'fc', which does not exist. "
    assert refusal(model_of(conv=nn.Conv2d(3, 8, 3)), "fc") == text + "The model has no linear layer."


def test_a_model_without_linear_layers() -> None:
    text = "Expected a model with a linear layer that gives the logits, got Sequential with none. "
    text += "Build the layer before the fit starts (in `__init__` or `configure_model`)."
    assert refusal(nn.Sequential(nn.BatchNorm1d(3))) == text


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
    assert (head.path, head.found_by) == (path, "its position as the only final linear layer")


@pytest.mark.parametrize("prefix", ["", "model."])
@pytest.mark.parametrize("name", COMMON_NAMES)
def test_of_several_last_layers_the_one_with_a_usual_name_is_found(name: str, prefix: str) -> None:
    """Wherever it stands, first or last."""
    for order in ({name: nn.Linear(8, 3), "gate": nn.Linear(8, 5)}, {"gate": nn.Linear(8, 5), name: nn.Linear(8, 3)}):
        model = model_of(**order)
        head = find_head(model_of(model=model) if prefix else model)
        assert head.module is order[name]
        assert (head.path, head.found_by) == (f"{prefix}{name}", "its name")


def test_a_layer_of_the_user_s_own_is_as_large_as_it_says() -> None:
    """However its weight lies."""

    class GraphConvolution(nn.Module):
        def __init__(self, in_features: int, out_features: int) -> None:
            super().__init__()
            self.in_features, self.out_features = in_features, out_features
            self.weight = nn.Parameter(torch.randn(in_features, out_features))

    class Gated(GraphConvolution):
        def __init__(self, in_features: int, out_features: int) -> None:
            super().__init__(in_features, out_features)
            self.weight = nn.Parameter(torch.randn(9, 7))  # of the gates

    for kind in (GraphConvolution, Gated):
        model = model_of(a=nn.Linear(6, 16), mix=kind(16, 10), b=nn.Linear(10, 3))
        for has_cosines in (False, True):
            assert find_head(model, has_cosines=has_cosines).path == "b"


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


# The user's head, and not another layer


def frozen(module: nn.Module) -> nn.Module:
    return module.requires_grad_(requires_grad=False)


class Named(nn.Module):
    """A model that names its own head, as those of timm do."""

    def __init__(self, body: nn.Module, fc: nn.Linear) -> None:
        super().__init__()
        self.body, self.fc = body, fc

    def get_classifier(self) -> nn.Module:
        return self.fc


def backbone(num_labels: int = 9) -> Named:
    return Named(nn.Linear(6, 8), nn.Linear(8, num_labels))


class Similarity(Metric):
    """A metric with a network inside."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.net = backbone()

    @override
    def update(self) -> None:
        pass

    @override
    def compute(self) -> None:
        pass


OTHERS: dict[str, tuple[Callable[[], nn.Module], str, tuple[str, ...]]] = {
    "a frozen teacher that names its head": (
        lambda: model_of(teacher=frozen(backbone(3)), student=nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 3))),
        "student.1",
        ("teacher.fc (frozen)",),
    ),
    "a frozen teacher that comes later": (
        lambda: model_of(student=nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 3)), teacher=frozen(backbone(3))),
        "student.1",
        ("teacher.fc (frozen)",),
    ),
    "a frozen teacher of one layer with a usual name": (
        lambda: model_of(head=frozen(nn.Linear(6, 3)), student=nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 3))),
        "student.1",
        ("head (frozen)",),
    ),
    "a teacher whose inputs are as wide as there are labels": (
        lambda: model_of(student=nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 6)), teacher=frozen(backbone(3))),
        "student.1",
        ("teacher.fc (frozen)",),
    ),
    "an averaged copy": (
        lambda: model_of(online=backbone(), average=frozen(backbone())),
        "online.fc",
        ("average.fc (frozen)",),
    ),
    "a frozen backbone": (
        lambda: model_of(backbone=frozen(backbone(1000)), mine=nn.Linear(8, 3)),
        "mine",
        ("backbone.fc (frozen)",),
    ),
    "a layer behind a backbone's own": (lambda: model_of(backbone=backbone(100), mine=nn.Linear(100, 3)), "mine", ()),
    "a block behind a backbone's own": (
        lambda: model_of(backbone=backbone(100), mine=nn.Sequential(nn.ReLU(), nn.Linear(100, 20), nn.ReLU(), nn.Linear(20, 3))),
        "mine.3",
        (),
    ),
    "a recurrent layer behind a backbone's own": (
        lambda: model_of(backbone=backbone(100), mix=nn.GRU(100, 12), mine=nn.Linear(12, 3)),
        "mine",
        (),
    ),
    "a network within a metric": (
        lambda: model_of(body=nn.Linear(6, 8), mine=nn.Linear(8, 3), similarity=Similarity()),
        "mine",
        (),
    ),
    "a frozen classifier": (lambda: model_of(body=nn.Linear(6, 8), fixed=frozen(nn.Linear(8, 3))), "fixed", ()),
    "a frozen model": (lambda: frozen(model_of(model=backbone())), "model.fc", ()),
    "a value head beside": (lambda: model_of(model=backbone(), value=nn.Linear(8, 1)), "model.fc", ()),
    "a projection beside": (
        lambda: model_of(body=nn.Linear(6, 8), fc=nn.Linear(8, 9), projection=nn.Linear(8, 4)),
        "fc",
        ("projection",),
    ),
}


@pytest.mark.parametrize(("build", "path", "others"), OTHERS.values(), ids=OTHERS)
def test_the_users_own_head_is_found_and_the_others_are_named(
    build: Callable[[], nn.Module], path: str, others: tuple[str, ...]
) -> None:
    head = find_head(build())
    assert (head.path, head.others) == (path, others)
    assert str(head).endswith(f" (other candidates for `head=`: {', '.join(others)})" if others else head.found_by)


def test_an_explicit_path_wins_over_all_of_it() -> None:
    model = model_of(teacher=frozen(backbone(3)), student=nn.Linear(6, 3), metric=Similarity())
    for path in ("teacher.fc", "metric.net.fc"):
        assert find_head(model, path).path == path
    assert find_head(model, "teacher").path == "teacher.fc"


def test_a_backbone_that_names_its_head_beside_another_one_is_ambiguous() -> None:
    """Both train, and nobody can tell which one is meant."""
    model = model_of(backbone=backbone(9), other=model_of(fc=nn.Linear(8, 3)))
    text = "Expected one final linear layer, got 2 that are equally good. "
    assert refusal(model) == text + "Pass one of head='backbone.fc' (Linear 8→9), head='other.fc' (Linear 8→3)."


def test_a_backbone_that_names_a_layer_before_a_probe_is_ambiguous() -> None:
    """Both train, and the layer's usual name says no more than the backbone's getter."""
    model = model_of(backbone=backbone(9), probe=nn.Linear(8, 3))
    text = "Expected one final linear layer, got 2 that are equally good. "
    assert refusal(model) == text + "Pass one of head='backbone.fc' (Linear 8→9), head='probe' (Linear 8→3)."


def test_a_decoder_that_gives_as_much_as_the_model_takes_is_no_head_by_its_name() -> None:
    """An autoencoder's; a language model's gives words and takes vectors."""
    model = model_of(encoder=nn.Linear(20, 8), decoder=nn.Linear(8, 20), cls=nn.Linear(8, 3))
    text = "Expected one final linear layer, got 2 that are equally good. "
    assert refusal(model) == text + "Pass one of head='decoder' (Linear 8→20), head='cls' (Linear 8→3)."
    words = model_of(encoder=nn.Embedding(20, 8), mix=nn.Linear(8, 8), decoder=nn.Linear(8, 20), gate=nn.Linear(8, 3))
    assert find_head(words).path == "decoder"


class WithAdapter(nn.Module):
    """As peft wraps a layer."""

    def __init__(self, base_layer: nn.Linear) -> None:
        super().__init__()
        self.base_layer = frozen(base_layer)
        self.in_features, self.out_features = base_layer.in_features, base_layer.out_features
        self.lora_A = nn.ParameterDict({"default": torch.zeros(2, self.in_features)})

    def get_delta_weight(self, name: str) -> Tensor:
        return torch.zeros(self.out_features, self.in_features)


@pytest.mark.parametrize("names_its_head", [True, False])
def test_the_frozen_head_of_a_model_whose_layers_are_adapted_is_its_head(names_its_head: bool) -> None:
    """Its attention has a layer for fewer key than query heads, whose output fits no later layer."""
    attention = model_of(query=WithAdapter(nn.Linear(8, 8)), key=WithAdapter(nn.Linear(8, 4)), out=frozen(nn.Linear(8, 8)))
    model = Named(attention, nn.Linear(8, 11)) if names_its_head else model_of(attention=attention, lm_head=nn.Linear(8, 11))
    frozen(model.get_submodule("fc" if names_its_head else "lm_head"))
    assert find_head(model_of(model=model)).path == ("model.fc" if names_its_head else "model.lm_head")


ONLY_POINTWISE = "only an ordinary convolution with kernel size 1, stride 1 and no padding has one row for each label"
NO_HEADS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "bilinear": (
        lambda: model_of(body=nn.Linear(6, 8), last=nn.Bilinear(8, 8, 3)),
        "'last', a Bilinear: it has a matrix for each label, not a row",
    ),
    "adaptive": (
        lambda: model_of(body=nn.Linear(6, 8), loss=nn.AdaptiveLogSoftmaxWithLoss(8, 20, [5, 10], div_value=2.0)),
        "'loss', an AdaptiveLogSoftmaxWithLoss: it splits its labels over several layers",
    ),
    "convolution": (
        lambda: model_of(gate=nn.Linear(8, 5), body=nn.Conv2d(3, 8, 3), last=nn.Conv2d(8, 3, 3)),
        f"'last', a Conv2d: {ONLY_POINTWISE}",
    ),
    "transposed convolution": (
        lambda: model_of(body=nn.Conv2d(3, 8, 3), last=nn.ConvTranspose2d(8, 3, 2)),
        f"'last', a ConvTranspose2d: {ONLY_POINTWISE}",
    ),
    "grouped convolution": (
        lambda: model_of(body=nn.Conv2d(3, 8, 3), last=nn.Conv2d(8, 4, 1, groups=2)),
        "'last', a Conv2d: it has several groups, so each label uses only a part of the embedding",
    ),
}


@pytest.mark.parametrize(("build", "text"), NO_HEADS.values(), ids=NO_HEADS)
def test_a_last_layer_that_cannot_be_a_head_is_named_with_the_reason(build: Callable[[], nn.Module], text: str) -> None:
    """No other layer is offered in its place."""
    model = build()
    wanted = f"Expected a final linear layer with a row for each label, got {text}."
    assert refusal(model) == f"{wanted} The monitor cannot watch it. If another layer gives the logits, pass its path as `head=`."
    path = text.split("'")[1]
    assert refusal(model, path) == f"Expected `head` to be the dotted path of a linear layer, got {text}."


def test_a_layer_that_cannot_be_a_head_is_no_matter_beside_one_with_a_usual_name() -> None:
    assert find_head(model_of(fc=nn.Linear(8, 3), similarity=nn.Bilinear(8, 8, 2))).path == "fc"
    assert find_head(model_of(fc=nn.Linear(8, 3), similarity=frozen(nn.Bilinear(8, 8, 2)))).path == "fc"


def test_a_layer_that_is_not_built_yet_says_so() -> None:
    text = "its size is known only after its first call. Call the model once before the fit, or give the layer its `in_features`"
    assert text in refusal(model_of(fc=nn.LazyLinear(3)))


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
    assert str(head) == "fc, Linear 4→5, found by its position as the only final linear layer"


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


# Convolutions, containers and parametrized layers


def test_a_convolution_of_kernel_1_is_found_behind_the_last_linear_layer() -> None:
    """As a segmentation model has it; a body of convolutions and a linear gate do not come into question."""
    model = model_of(
        body=nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, 1)),
        gate=nn.Sequential(nn.Linear(16, 4), nn.Linear(4, 16)),
        up=nn.ConvTranspose2d(16, 8, 2),
        classify=nn.Conv2d(8, 5, 1),
    )
    head = find_head(model)
    assert (head.path, head.num_labels, head.embedding_dim) == ("classify", 5, 8)
    assert str(head) == "classify, Conv2d 8→5, found by its position as the only final linear layer"


def test_convolutions_before_a_linear_layer_are_its_body() -> None:
    """A branch of kernel 1 whose output is concatenated fits nothing by its size, and is no head all the same."""
    model = model_of(branch=nn.Conv2d(3, 7, 1), body=nn.Conv2d(3, 9, 3), classify=nn.Linear(16, 5))
    assert find_head(model).path == "classify"


@pytest.mark.parametrize("options", [{"stride": 2}, {"padding": 1}, {"groups": 2}, {"padding": "same", "kernel_size": 3}])
def test_a_convolution_that_is_no_matrix_product_is_not_a_head(options: dict[str, Any]) -> None:
    model = model_of(classify=nn.Conv2d(4, 6, **{"kernel_size": 1, **options}))
    why = "it has several groups" if "groups" in options else ONLY_POINTWISE
    assert f"got 'classify', a Conv2d: {why}" in refusal(model, "classify")
    assert f"Expected a final linear layer with a row for each label, got 'classify', a Conv2d: {why}" in refusal(model)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_convolution_is_read_as_a_matrix(dims: int) -> None:
    """Its weight times a vector, plus its bias, is what it makes of that place."""
    layer: Any = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1](4, 5, 1)
    images = torch.randn(2, 4, *[3] * dims)
    head = find_head(model_of(classify=layer), "classify")
    wanted = layer(images).detach().movedim(1, -1).reshape(-1, 5)
    assert head.axis == -1 - dims
    torch.testing.assert_close(head.logits(images.movedim(1, -1).reshape(-1, 4)), wanted)


def test_a_path_to_a_container_means_its_own_last_layer() -> None:
    """An MLP head, or a dropout before the layer."""
    model = model_of(aux=nn.Linear(8, 3), mlp=nn.Sequential(nn.Linear(8, 6), nn.Dropout(), nn.Linear(6, 3)))
    assert find_head(model, "mlp").path == "mlp.2"
    model.add_module("siblings", nn.ModuleList([nn.Linear(8, 3), nn.Linear(8, 4)]))
    text = "got 2 that are equally good. Pass one of head='siblings.0' (Linear 8→3), head='siblings.1' (Linear 8→4)."
    assert refusal(model, "siblings") == f"Expected one final linear layer, {text}"


def test_a_tied_head_is_read_like_any_other() -> None:
    """Its weight is that of the embedding layer."""
    model = model_of(embed=nn.Embedding(7, 4), lm_head=nn.Linear(4, 7, bias=False))
    head = find_head(model)
    head.module.weight = model.get_submodule("embed").weight
    assert head.unembedding.data_ptr() == model.get_parameter("embed.weight").data_ptr()
    assert head.bias is None


PARAMETRIZATIONS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "weight_norm": nn.utils.parametrizations.weight_norm,
    "spectral_norm": nn.utils.parametrizations.spectral_norm,
    "orthogonal": nn.utils.parametrizations.orthogonal,
}


@pytest.mark.parametrize("name", PARAMETRIZATIONS)
@pytest.mark.parametrize("layer", [nn.Linear(6, 4), nn.Conv2d(6, 4, 1)])
def test_a_parametrized_weight_is_the_one_in_effect(name: str, layer: nn.Module) -> None:
    """That of the last call; found, named and read as what it was before."""
    layer = PARAMETRIZATIONS[name](copy.deepcopy(layer))
    head = find_head(model_of(fc=layer))
    inputs = torch.randn(5, 6) if isinstance(layer, nn.Linear) else torch.randn(5, 6, 1, 1)
    output = layer(inputs).detach().flatten(1)
    torch.testing.assert_close(head.logits(inputs.flatten(1)), output)
    assert str(head).startswith(f"fc, {'Linear' if isinstance(layer, nn.Linear) else 'Conv2d'} 6→4, ")


@pytest.mark.parametrize("name", PARAMETRIZATIONS)
def test_looking_at_a_parametrized_weight_leaves_no_trace(name: str) -> None:
    """Spectral norm counts a look in training as a step of its iteration; a cached weight has to keep its gradient."""
    layer = PARAMETRIZATIONS[name](nn.Linear(6, 4, bias=False))
    head = find_head(model_of(fc=layer))
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    written = head.num_writes
    with nn.utils.parametrize.cached():
        assert not head.unembedding.requires_grad
        assert layer(torch.randn(5, 6)).requires_grad
    if name != "spectral_norm":  # whose own call in training is a step
        assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())
    with torch.no_grad():  # an iteration that has converged would move no more
        for parameter in layer.parameters():
            parameter.add_(torch.randn(parameter.shape))
    before, written = {key: value.clone() for key, value in layer.state_dict().items()}, head.num_writes
    assert torch.equal(head.unembedding, head.unembedding)
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())
    assert all(module.training for module in layer.modules())
    assert head.num_writes == written


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")  # the old one is still in use
def test_the_old_weight_norm_is_read_as_of_the_last_call() -> None:
    layer: Any = nn.utils.weight_norm(nn.Linear(6, 4))
    head = find_head(model_of(fc=layer))
    with torch.no_grad():
        layer.weight_g.mul_(3)
    inputs = torch.randn(5, 6)
    torch.testing.assert_close(layer(inputs).detach(), head.logits(inputs))


def test_writing_into_any_of_its_parameters_is_counted() -> None:
    """That is how a change of the weights after the forward pass is noticed."""
    for layer in (nn.Linear(3, 2), nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))):
        head = find_head(model_of(fc=layer))
        for number, parameter in enumerate(layer.parameters(), 1):
            with torch.no_grad():
                parameter.mul_(2)
            assert head.num_writes >= number


# What other packages make of a layer


class NamesItsHead(nn.Module):
    """Two equally good layers, of which the model names one."""

    def __init__(self, answer: str) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 3), nn.Linear(4, 3)
        self.answer = answer

    def get_output_embeddings(self) -> nn.Module | None:
        return getattr(self, self.answer, None)


def test_a_model_that_names_its_head_is_believed() -> None:
    """Wherever in the LightningModule it lies."""
    head = find_head(model_of(inner=NamesItsHead("two")))
    assert (head.path, head.found_by) == ("inner.two", "`get_output_embeddings()`")


def test_models_that_name_none_or_different_ones_are_not() -> None:
    assert "got 2 that are equally good" in refusal(model_of(inner=NamesItsHead("none")))
    assert "got 4 that are equally good" in refusal(model_of(a=NamesItsHead("one"), b=NamesItsHead("two")))


def test_a_question_that_fails_is_no_answer() -> None:
    class Fails(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 3)

        def get_classifier(self) -> nn.Module:
            raise NotImplementedError

    assert find_head(Fails()).found_by == "its position as the only final linear layer"


class Adapted(nn.Module):
    """What peft's LoRA looks like from outside."""

    def __init__(self, base: nn.Linear, *names: str) -> None:
        super().__init__()
        self.base_layer, self.in_features, self.out_features = base, base.in_features, base.out_features
        self.lora_A = nn.ModuleDict({name: nn.Linear(base.in_features, 2, bias=False) for name in names})
        self.lora_B = nn.ModuleDict({name: nn.Linear(2, base.out_features, bias=False) for name in names})
        self.active_adapters, self.merged_adapters, self.disable_adapters = list(names), list[str](), False

    def get_delta_weight(self, name: str) -> Tensor:
        first, second = self.lora_A[name].weight, self.lora_B[name].weight
        assert isinstance(first, Tensor)
        assert isinstance(second, Tensor)
        return second @ first


def test_the_weight_of_an_adapted_layer_is_that_in_effect() -> None:
    """All active adapters added to the base, those merged already but once, none while they are switched off."""
    layer = Adapted(nn.Linear(5, 3), "a", "b")
    head = find_head(model_of(body=nn.Linear(4, 5), fc=layer))
    base, a, b = layer.base_layer.weight, layer.get_delta_weight("a"), layer.get_delta_weight("b")
    assert (head.path, head.num_labels, head.embedding_dim) == ("fc", 3, 5)
    torch.testing.assert_close(head.unembedding, base + a + b)
    assert not head.unembedding.requires_grad
    layer.merged_adapters = ["a"]
    torch.testing.assert_close(head.unembedding, base + b)
    layer.merged_adapters, layer.active_adapters = [], ["b", "unknown here"]
    torch.testing.assert_close(head.unembedding, base + b)
    layer.disable_adapters = True
    torch.testing.assert_close(head.unembedding, base)
    assert torch.equal(head.bias if head.bias is not None else torch.empty(0), layer.base_layer.bias)


def test_the_copy_that_is_trained_takes_the_place_of_a_layer() -> None:
    """peft's `modules_to_save`."""

    class Saved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.original_module = nn.Linear(4, 3)
            self.modules_to_save = nn.ModuleDict({"default": nn.Linear(4, 3)})
            self.active_adapter, self.disable_adapters = ["default"], False

    wrapper = Saved()
    model = model_of(fc=wrapper)
    assert find_head(model).module is find_head(model, "fc").module is wrapper.modules_to_save["default"]
    wrapper.disable_adapters = True
    assert find_head(model).module is wrapper.original_module


def test_wrappers_do_not_show_in_paths() -> None:
    """A compiled model's layers are called as before."""
    inner = model_of(fc=nn.Linear(4, 3))
    model = model_of(net=model_of(_orig_mod=inner))
    assert find_head(model).path == "net.fc"
    for path in ("net.fc", "net._orig_mod.fc"):
        assert find_head(model, path).module is inner.get_submodule("fc")


def test_an_embedding_is_a_head_only_where_it_is_not_called() -> None:
    model = model_of(embed=nn.Embedding(7, 4), body=nn.Linear(4, 4))
    head = find_head(model, "embed", is_called=False)
    assert (head.num_labels, head.embedding_dim, str(head)) == (7, 4, "embed, Embedding 4→7, found by its path")
    text = "Expected `head` to be a linear layer, got 'embed', an Embedding. Pass `embeddings_from=`, the path of the module "
    assert refusal(model, "embed") == text + "whose output is multiplied by its weight."


ONLY_A_PART = "this process holds only a part of the weight"


def test_a_part_of_a_weight_is_refused() -> None:
    """What FSDP1 or DeepSpeed leave in a process."""
    layer = nn.Linear(4, 3)
    layer.weight = nn.Parameter(torch.zeros(6))
    text = refusal(model_of(fc=layer))
    assert f"got fc, Linear 4→3: its weight has the shape (6,): {ONLY_A_PART} (FSDP1, DeepSpeed)." in text


# Attributes that no longer tell what the weight is: somebody has replaced it


def replaced(layer: Any, *shape: int, bias: int | None = None) -> nn.Module:
    """The layer, with another weight and, if wanted, another bias."""
    layer.weight = nn.Parameter(torch.randn(*shape, generator=torch.Generator().manual_seed(0)))
    if bias is not None:
        layer.bias = nn.Parameter(torch.arange(float(bias)))
    return layer  # type: ignore[no-any-return]


STALE: dict[str, tuple[Callable[[], nn.Module], tuple[int, int]]] = {
    "more labels": (lambda: replaced(nn.Linear(8, 10), 12, 8, bias=12), (12, 8)),
    "fewer labels": (lambda: replaced(nn.Linear(8, 10), 6, 8, bias=6), (6, 8)),
    "wider embeddings": (lambda: replaced(nn.Linear(8, 10), 10, 16), (10, 16)),
    "both": (lambda: replaced(nn.Linear(8, 10, bias=False), 12, 16), (12, 16)),
    "one number for all": (lambda: replaced(nn.Linear(8, 10), 12, 8, bias=1), (12, 8)),
    "of somebody's own": (lambda: replaced(MyLinear(8, 10), 12, 8, bias=12), (12, 8)),
    "a convolution": (lambda: replaced(nn.Conv2d(8, 10, 1), 12, 8, 1, 1, bias=12), (12, 8)),
}


@pytest.mark.parametrize("what", STALE)
def test_the_weight_tells_its_size(what: str) -> None:
    """PyTorch computes with it, whatever `out_features` or `in_features` say."""
    build, (num_labels, dim) = STALE[what]
    layer = build()
    head = find_head(model_of(body=nn.Linear(3, dim), fc=layer))
    assert (head.num_labels, head.embedding_dim) == tuple(head.unembedding.shape) == (num_labels, dim)
    f_ND = torch.randn(5, dim)
    wanted = layer(f_ND[:, :, None, None])[:, :, 0, 0] if isinstance(layer, nn.Conv2d) else layer(f_ND)
    torch.testing.assert_close(head.logits(f_ND), wanted)
    assert head.bias is None or head.bias.shape == (num_labels,)


def test_rows_added_to_an_embedding_count() -> None:
    """Of a functional head: its weight was resized by hand."""
    embedding = nn.Embedding(7, 4)
    embedding.weight = nn.Parameter(torch.zeros(9, 4))
    head = find_head(model_of(embed=embedding), "embed", is_called=False)
    assert (head.num_labels, head.embedding_dim) == (9, 4)


def test_a_later_layer_that_takes_the_output_goes_by_its_weight_too() -> None:
    """Neither layer is what its attributes say: the first gives what the second takes."""
    model = model_of(body=replaced(nn.Linear(3, 5), 8, 3, bias=8), last=replaced(nn.Linear(4, 10), 12, 8, bias=12))
    assert find_head(model).path == "last"


def test_a_kernel_that_grew_is_no_matrix_product() -> None:
    layer = replaced(nn.Conv2d(8, 10, 1), 10, 8, 3, 3)
    assert f"got 'fc', a Conv2d: {ONLY_POINTWISE}" in refusal(model_of(fc=layer))


def test_a_layer_that_is_not_built_yet_keeps_what_it_says() -> None:
    lazy = nn.LazyLinear(10)
    assert (layers.gives(lazy), layers.takes(lazy)) == (10, 0)


@pytest.mark.parametrize("bias", [10, 13])
def test_a_bias_that_does_not_fit_is_told(bias: int) -> None:
    text = refusal(model_of(fc=replaced(nn.Linear(8, 10, bias=True), 12, 8, bias=bias)))
    assert text == (
        f"Expected a head whose weight can be read, got fc, Linear 8→12: its bias has the shape ({bias},), but its weight "
        "has 12 rows. Give the bias one entry per row."
    )


@pytest.mark.parametrize("shape", [(0,), (40,), (0, 8)])
def test_what_is_flat_or_empty_is_a_part(shape: tuple[int, ...]) -> None:
    """Of a weight that FSDP1 or DeepSpeed has split."""
    layer = nn.Linear(8, 10)
    layer.weight = nn.Parameter(torch.zeros(*shape))
    assert f"got fc, Linear 8→10: its weight has the shape {shape}: {ONLY_A_PART}" in refusal(model_of(fc=layer))


def test_of_several_processes_a_smaller_weight_may_be_a_part_and_a_larger_one_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("is_initialized", True), ("get_world_size", 2)):
        monkeypatch.setattr(torch.distributed, name, lambda value=value: value)
    assert f"its weight has the shape (5, 8): {ONLY_A_PART}" in refusal(model_of(fc=replaced(nn.Linear(8, 10), 5, 8)))
    assert find_head(model_of(fc=replaced(nn.Linear(8, 10), 12, 8, bias=12))).num_labels == 12
