"""Weights that are stored in parts: what torch itself computes with them, or an error that names the parts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm
from typing_extensions import override

from lightning_cossim.analysis.checkpoints import read_head
from lightning_cossim.errors import CheckpointError

REMEDY = "Save the merged model: `model.merge_and_unload().save_pretrained(folder)`."


def pruned(layer: nn.Module) -> nn.Module:
    prune_smallest: Any = prune.l1_unstructured
    for name in ("weight", "bias"):
        prune_smallest(layer, name, amount=0.4)
    return layer


OF_ALL: Any = None
"""The dimension over which torch takes one length for the whole weight, of which its types do not tell."""


NORMS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "weight norm": parametrizations.weight_norm,
    "weight norm of all": lambda layer: parametrizations.weight_norm(layer, dim=OF_ALL),
    "weight norm of columns": lambda layer: parametrizations.weight_norm(layer, dim=1),
    "spectral norm": parametrizations.spectral_norm,
    "old weight norm": weight_norm,
    "old weight norm of all": lambda layer: weight_norm(layer, dim=OF_ALL),
    "old spectral norm": spectral_norm,
    "pruned": pruned,
}


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")
@pytest.mark.parametrize("make", [lambda: nn.Linear(5, 7), lambda: nn.Conv2d(5, 7, 1)], ids=["linear", "convolution"])
@pytest.mark.parametrize("norm", NORMS)
def test_parts_give_the_weight_that_torch_computes_with(norm: str, make: Callable[[], nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer = NORMS[norm](make())
    for name, value in layer.named_parameters():
        value.data.normal_()  # else lengths are those that the layer began with
        assert name
    shape = (3, 5) if isinstance(layer, nn.Linear) else (3, 5, 1, 1)
    layer(torch.randn(shape))  # old ones compute their weight at each call
    layer.eval()
    layer(torch.randn(shape))
    model = nn.ModuleDict({"body": nn.Linear(4, 4), "head": layer})
    torch.save(model.state_dict(), tmp_path / "model.pt")
    found = read_head(tmp_path / "model.pt")
    weight: Any = layer.weight
    bias: Any = layer.bias
    torch.testing.assert_close(found.unembedding, weight.detach().flatten(1), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(found.bias, bias.detach())


class Doubled(nn.Module):
    @override
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


@pytest.mark.parametrize(
    ("parametrized", "part"),
    [
        (parametrizations.orthogonal, "head.parametrizations.weight.original"),
        (lambda layer: parametrize.register_parametrization(layer, "weight", Doubled()), "head.parametrizations.weight.original"),
        (lambda layer: parametrizations.spectral_norm(parametrizations.weight_norm(layer)), "head.parametrizations.weight."),
    ],
    ids=["orthogonal", "one of the user's", "two of them"],
)
def test_other_parametrizations_are_refused_by_name(
    parametrized: Callable[[nn.Module], nn.Module], part: str, tmp_path: Path
) -> None:
    model = nn.ModuleDict({"head": parametrized(nn.Linear(7, 7))})
    path = tmp_path / "model.pt"
    torch.save(model.state_dict(), path)
    with pytest.raises(CheckpointError) as caught:
        read_head(path, "head")
    said = str(caught.value)
    assert said.startswith(f"{path}: expected a weight for head, or the parts of weight norm or spectral norm, got {part}")
    assert said.endswith("Call `torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight')` before you save.")
    assert "\n" not in said


def test_parts_that_do_not_fit_are_one_line(tmp_path: Path) -> None:
    """Of a norm, of a bias, of a mask; and a weight that is sparse."""
    weight, path = torch.ones(7, 5), tmp_path / "model.pt"
    cases: dict[str, dict[str, Tensor]] = {
        "expected both parts of weight norm, weight_g and weight_v, got only head.weight_v.": {"head.weight_v": weight},
        "expected a bias for head, got head.parametrizations.bias.original. Call `torch.": {
            "head.weight": weight,
            "head.parametrizations.bias.original": weight[:, 0],
        },
        "expected a complete .pt file, got The size of tensor a (5) must match": {
            "head.weight_orig": weight,
            "head.weight_mask": weight.T,
        },
        "expected head.weight to be dense, got sparse_coo.": {"head.weight": weight.to_sparse()},
    }
    for said, tensors in cases.items():
        torch.save({"body.weight": weight, **tensors}, path)
        with pytest.raises(CheckpointError) as caught:
            read_head(path, "head")
        assert str(caught.value).startswith(f"{path}: {said}")
        assert str(caught.value).isprintable()


# Adapters

DRAWN = torch.Generator().manual_seed(0)
BASE, DOWN, UP = (torch.randn(shape, generator=DRAWN) for shape in ((7, 5), (2, 5), (7, 2)))
LAYOUTS = {
    "of a wrapped model": {
        "base_model.model.lm_head.base_layer.weight": BASE,
        "base_model.model.lm_head.lora_A.default.weight": DOWN,
        "base_model.model.lm_head.lora_B.default.weight": UP,
    },
    "beside the weight": {"lm_head.weight": BASE, "lm_head.lora_A.weight": DOWN, "lm_head.lora_B.weight": UP},
    "as parameters": {"net.lm_head.weight": BASE, "net.lm_head.lora_A": DOWN, "net.lm_head.lora_B": UP},
}


def adapted(folder: Path, tensors: dict[str, Tensor], config: dict[str, Any] | None) -> Path:
    torch.save({"body.weight": torch.ones(5, 5), **tensors}, folder / "adapted.pt")
    if config is not None:
        (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder / "adapted.pt"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({"r": 2, "lora_alpha": 6}, 3.0),
        ({"r": 2, "lora_alpha": 6, "use_rslora": True}, 6 / 2**0.5),
        ({"r": 2, "lora_alpha": 1, "rank_pattern": {}, "use_dora": False}, 0.5),
    ],
    ids=["lora", "rslora", "small"],
)
def test_an_adapter_beside_its_base_is_merged(layout: str, config: dict[str, Any], scale: float, tmp_path: Path) -> None:
    path = adapted(tmp_path, LAYOUTS[layout], config)
    wanted = BASE.double() + scale * UP.double() @ DOWN.double()
    torch.testing.assert_close(read_head(path).unembedding.double(), wanted, rtol=1e-6, atol=1e-6)


def test_the_copy_that_was_trained_is_the_head(tmp_path: Path) -> None:
    """peft keeps the layer of before beside it."""
    tensors = {
        "model.classifier.original_module.weight": torch.zeros(7, 5),
        "model.classifier.original_module.bias": torch.zeros(7),
        "model.classifier.modules_to_save.default.weight": BASE,
        "model.classifier.modules_to_save.default.bias": BASE[:, 0],
    }
    found = read_head(adapted(tmp_path, tensors, None))
    assert torch.equal(found.unembedding, BASE)
    assert found.bias is not None
    assert torch.equal(found.bias, BASE[:, 0])


REFUSED: list[tuple[str, dict[str, Tensor], dict[str, Any] | None, str]] = [
    ("without its scale", LAYOUTS["beside the weight"], None, "without a readable adapter_config.json, which gives its scale"),
    (
        "of another rank",
        LAYOUTS["beside the weight"],
        {"r": 4, "lora_alpha": 6},
        "of rank 2, but adapter_config.json has another rank",
    ),
    ("with patterns", LAYOUTS["beside the weight"], {"r": 2, "lora_alpha": 6, "alpha_pattern": {"lm_head": 9}}, "alpha_pattern"),
    (
        "DoRA",
        {**LAYOUTS["beside the weight"], "lm_head.lora_magnitude_vector": UP[:, 0]},
        {"r": 2, "lora_alpha": 6},
        "of a kind that is not",
    ),
    (
        "of an embedding",
        {"lm_head.base_layer.weight": BASE, "lm_head.lora_embedding_A.default": DOWN},
        None,
        "of a kind that is not",
    ),
    (
        "IA3",
        {"lm_head.base_layer.weight": BASE, "lm_head.ia3_l.default": DOWN[:1]},
        {"r": 2, "lora_alpha": 6},
        "of a kind that is not",
    ),
    ("of an unknown kind", {"lm_head.base_layer.weight": BASE, "lm_head.delta.default": DOWN}, None, "of an unknown kind"),
    (
        "several",
        {**LAYOUTS["of a wrapped model"], "base_model.model.lm_head.lora_A.b.weight": DOWN},
        None,
        "not one pair of factors",
    ),
    (
        "of other shapes",
        {**LAYOUTS["beside the weight"], "lm_head.lora_B.weight": UP[:5]},
        {"r": 2, "lora_alpha": 6},
        "shapes that do not fit",
    ),
]


@pytest.mark.parametrize(("tensors", "config", "why"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_cannot_be_merged_is_refused_by_name(
    tensors: dict[str, Tensor], config: dict[str, Any] | None, why: str, tmp_path: Path
) -> None:
    path = adapted(tmp_path, tensors, config)
    with pytest.raises(CheckpointError) as caught:
        read_head(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: expected the merged weight of ")
    assert "an adapter beside it" in said
    assert why in said
    assert said.endswith(REMEDY)
    assert "\n" not in said


@pytest.mark.parametrize("head", [None, "lm_head", "base_model.model.lm_head"])
def test_an_adapter_without_its_base_is_refused(head: str | None, tmp_path: Path) -> None:
    """As peft saves it: the file of a folder that has an adapter alone."""
    tensors = {"base_model.model.lm_head.lora_A.weight": DOWN, "base_model.model.lm_head.lora_B.weight": UP}
    torch.save(tensors, tmp_path / "adapter_model.bin")
    (tmp_path / "adapter_config.json").write_text('{"r": 2, "lora_alpha": 6}')
    for path in (tmp_path, tmp_path / "adapter_model.bin"):
        with pytest.raises(CheckpointError) as caught:
            read_head(path, head)
        if head != "lm_head":
            assert "an adapter without its base model: base_model.model.lm_head.lora_A.weight" in str(caught.value)
            assert str(caught.value).endswith(REMEDY)
