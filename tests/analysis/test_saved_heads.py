"""Find the head and its bias among the tensors of a file, and remark on a possible bias that is not used."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_cossim import analyze
from lightning_cossim.analysis.checkpoints import read_head
from lightning_cossim.analysis.cli import main
from lightning_cossim.errors import CheckpointError
from tests import reference

DRAWN = torch.Generator().manual_seed(0)
W_KD, F_ND = torch.randn(7, 5, generator=DRAWN), torch.randn(300, 5, generator=DRAWN)
B_K = torch.linspace(-2, 2, 7)


def saved(path: Path, tensors: dict[str, Tensor]) -> Path:
    """A file of these tensors, of the kind that its name says."""
    if path.suffix == ".npz":
        np.savez(path, **{name: tensor.numpy() for name, tensor in tensors.items()})  # type: ignore[arg-type]
    else:
        torch.save(tensors, path)
    return path


def overlap_of(W: Tensor, b: Tensor) -> np.ndarray:
    """Of all pairs, in float64 and slowly."""
    logits = F_ND.double().numpy() @ W.double().numpy().T + b.double().numpy()
    return reference.bhattacharyya(reference.softmax(logits))


SIBLINGS = [
    ("head/kernel", "head/bias", True),
    ("linear/w", "linear/b", True),
    ("head._w", "head._b", False),
    ("out.W", "out.b", True),
    ("coef_", "intercept_", False),
    ("fc_weight", "fc_bias", False),
    ("clf_kernel", "clf_bias", True),
    ("W_out", "b_out", False),
    ("w2", "b2", True),
    ("fc.weight_orig", "fc.bias", False),
    ("fc.weight_orig", "fc.bias_orig", False),
    ("fc.parametrizations.weight.original1", "fc.bias", False),
    ("lm_head.base_layer.weight", "lm_head.base_layer.bias", False),
    ("fc.modules_to_save.default.weight", "fc.modules_to_save.default.bias", False),
]


@pytest.mark.parametrize("suffix", [".npz", ".pt"])
@pytest.mark.parametrize(("weight", "bias", "transposed"), SIBLINGS, ids=[f"{weight} {bias}" for weight, bias, _ in SIBLINGS])
def test_a_bias_is_found_beside_its_weight(weight: str, bias: str, transposed: bool, suffix: str, tmp_path: Path) -> None:
    """The overlap is that of the logits with it, and nothing is left to be said."""
    tensors = {weight: W_KD.T.contiguous() if transposed else W_KD, bias: B_K, "body/kernel": torch.zeros(3, 3)}
    if weight.endswith("original1"):
        tensors[weight.replace("original1", "original0")] = W_KD.norm(dim=1, keepdim=True)
    report = analyze(
        saved(tmp_path / f"head{suffix}", tensors), head=weight, transposed=transposed, embeddings=F_ND, min_probability=0
    )
    assert report.matrix("overlap").numpy() == pytest.approx(overlap_of(W_KD, B_K), abs=1e-5)
    assert not report.remarks


@pytest.mark.parametrize("names", [("head/kernel", "head/bias"), ("W", "b"), ("linear.w", "linear.b")], ids=" ".join)
def test_the_bias_tells_where_labels_stand(names: tuple[str, str], tmp_path: Path) -> None:
    """In rows or in columns; and a file of one layer needs no name."""
    for weight in (W_KD, W_KD.T.contiguous()):
        found = read_head(saved(tmp_path / "head.npz", dict(zip(names, (weight, B_K), strict=True))))
        assert torch.equal(found.unembedding, W_KD)
        assert found.bias is not None
        assert torch.equal(found.bias, B_K)


def test_a_kernel_without_a_bias_has_to_be_told_of(tmp_path: Path) -> None:
    path = saved(tmp_path / "head.npz", {"head/kernel": W_KD.T.contiguous()})
    with pytest.raises(CheckpointError) as caught:
        analyze(path)
    remedy = "If each label is a column, pass `transposed=True` (`--transposed`), else False (`--no-transposed`)"
    assert str(caught.value) == f"{path}: expected `transposed` for head/kernel, (5, 7), got none. {remedy}."
    assert torch.equal(read_head(path, transposed=True).unembedding, W_KD)


@pytest.mark.parametrize("shape", [(1, 7), (7, 1), (7,)], ids=str)
def test_a_bias_may_be_a_row_or_a_column(shape: tuple[int, ...], tmp_path: Path) -> None:
    path = saved(tmp_path / "head.pt", {"fc.weight": W_KD, "fc.bias": B_K.reshape(shape), "final_logits_bias": B_K.reshape(1, 7)})
    for bias in (None, "fc.bias", "final_logits_bias"):
        found = read_head(path, "fc", bias).bias
        assert found is not None
        assert torch.equal(found, B_K)


UNUSED: list[tuple[str, dict[str, Tensor], str]] = [
    ("a second vector in the module", {"fc.weight": W_KD, "fc.bias": B_K, "fc.prior": B_K}, "fc.prior"),
    ("one that is called otherwise", {"fc.weight": W_KD, "fc.offset": B_K}, "fc.offset"),
    ("one around the layer", {"cls.decoder.weight": W_KD, "cls.bias": B_K}, "cls.bias"),
    (
        "one of the whole model",
        {"model.fc.weight": W_KD, "body.weight": torch.ones(5, 5), "logit_adjustment.value": B_K},
        "logit_a",
    ),
    ("a norm behind the head", {"head.0.weight": W_KD, "head.1.weight": B_K, "head.1.running_mean": B_K}, "head.1.weight"),
]


@pytest.mark.parametrize(("tensors", "name"), [case[1:] for case in UNUSED], ids=[case[0] for case in UNUSED])
def test_a_vector_that_is_left_is_told(
    tensors: dict[str, Tensor], name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside embeddings, in a remark and by the command; `bias="none"` says that all is well."""
    path, head = saved(tmp_path / "head.pt", tensors), next(iter(tensors)).removesuffix(".weight")
    report = analyze(path, head=head, embeddings=F_ND, min_probability=0)
    assert report.remarks["bias"].startswith(name)
    assert "pass its name as `bias`" in report.remarks["bias"]
    np.save(tmp_path / "f.npy", F_ND.numpy())
    assert main(["analyze", str(path), "--head", head, "--embeddings", str(tmp_path / "f.npy")]) == 0
    assert "does not use this vector" in capsys.readouterr().out
    assert "bias" not in analyze(path, head=head).remarks, "weights alone have no use for it"
    assert not analyze(path, head=head, embeddings=F_ND, bias="none").remarks


def test_vectors_of_other_layers_are_not_told(tmp_path: Path) -> None:
    """Also where a layer of the body is as wide as there are labels."""
    tensors = {
        "fc.weight": W_KD,
        "fc.bias": B_K,
        "body.weight": torch.ones(7, 7),
        "body.bias": B_K,
        "body.norm.weight": torch.ones(5),
        "body.1.weight": torch.ones(7),
        "body.1.bias": torch.ones(7),
    }
    assert not analyze(saved(tmp_path / "head.pt", tensors), embeddings=F_ND, min_probability=0).remarks
    classes = {"coef_": W_KD, "intercept_": B_K, "classes_": torch.arange(7)}
    assert not analyze(saved(tmp_path / "classes.npz", classes), embeddings=F_ND, min_probability=0).remarks
    square = {"fc.weight": torch.ones(5, 5), "norm.weight": torch.ones(5), "layers.0.norm.weight": torch.ones(5)}
    assert "bias" not in analyze(saved(tmp_path / "square.pt", square), embeddings=F_ND, min_probability=0).remarks


CHOICES: list[tuple[str, dict[str, tuple[int, ...]], str]] = [
    (
        "convolutions",
        {"a.weight": (7, 5, 1, 1), "b.weight": (7, 5, 1), "c.weight": (7, 5, 3, 3)},
        "0. Pass `head`, one of a, b.",
    ),
    ("in three dimensions", {"a.weight": (7, 5, 1, 1, 1), "b.weight": (7, 5)}, "0. Pass `head`, one of a, b."),
    ("odd names", {"proto": (7, 5), "model.rows": (7, 5), "gamma": (7, 1, 1)}, "0. Pass `head`, one of proto, model.rows."),
    ("kernels", {"a/kernel": (5, 7), "b/kernel": (7, 4)}, "0. Pass `head`, one of a, b."),
    (
        "usual ones",
        {"x.head.weight": (7, 5, 1, 1), "y.fc_weight": (7, 5), "z": (7, 5)},
        "2. Pass `head`, one of x.head, y.fc_weight.",
    ),
    ("none", {"a.weight": (7, 5, 3, 3), "a.bias": (7,)}, "0. The file has no matrix of shape (K, D)."),
]


@pytest.mark.parametrize(("shapes", "said"), [case[1:] for case in CHOICES], ids=[case[0] for case in CHOICES])
def test_all_that_could_be_the_head_is_listed(
    shapes: dict[str, tuple[int, ...]], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And each can be passed."""
    path = saved(tmp_path / "head.pt", {name: torch.ones(shape) for name, shape in shapes.items()})
    assert main(["analyze", str(path)]) == 2
    assert capsys.readouterr().err == f"{path}: expected one layer with a common head name, got {said}\n"
    for head in said.rpartition("one of ")[2].strip(" .").split(", ") if "no matrix" not in said else ():
        assert read_head(path, head, transposed=False).unembedding.ndim == 2


@pytest.mark.parametrize("shape", [(7, 5, 1), (7, 5, 1, 1), (7, 5, 1, 1, 1)], ids=str)
def test_a_convolution_of_one_pixel_is_a_head(shape: tuple[int, ...], tmp_path: Path) -> None:
    tensors = {"head.weight": W_KD.reshape(shape), "head.bias": B_K, "stem.weight": torch.ones(5, 5)}
    assert torch.equal(read_head(saved(tmp_path / "head.pt", tensors)).unembedding, W_KD)


@pytest.mark.parametrize("name", ["model.embed_tokens", "transformer.wte", "bert.embeddings.word_embeddings", "shared"])
def test_an_embedding_is_named_as_what_a_tied_head_shares(name: str, tmp_path: Path) -> None:
    """Where nothing in the file or beside it tells; and it can be passed."""
    path = saved(
        tmp_path / "model.pt", {f"{name}.weight": W_KD, "model.norm.weight": torch.ones(5), "up.weight": torch.ones(9, 5)}
    )
    with pytest.raises(CheckpointError) as caught:
        analyze(path)
    tied = f"If the model ties its head to its embedding, pass head={name!r}. Otherwise, pass one of up as `head`."
    assert str(caught.value) == f"{path}: expected one layer with a common head name, got 0. {tied}"
    assert torch.equal(read_head(path, name).unembedding, W_KD)


def test_names_that_nobody_can_print_are_one_line(tmp_path: Path) -> None:
    path = saved(tmp_path / "odd.pt", {"\x1b[2J\na.weight": W_KD, "b\u202e.weight": W_KD})
    calls: list[Any] = [lambda: analyze(path), lambda: analyze(path, head="c"), lambda: analyze(path, head="b", bias="x")]
    for call in calls:
        with pytest.raises(CheckpointError) as caught:
            call()
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["temperature", "logit_scale", "model.temp", "model.fc.log_temperature"])
def test_a_number_that_may_scale_the_logits_is_told(tmp_path: Path, name: str) -> None:
    """As temperature scaling leaves it in a state dict."""
    path, given = tmp_path / "scaled.pt", torch.randn(300, 4, generator=torch.Generator().manual_seed(1))
    tensors = {"model.fc.weight": torch.randn(6, 4), "model.body.attention.temperature": torch.tensor(3.0)}
    torch.save({**tensors, name: torch.tensor([2.0])}, path)
    told = f"{name}: the report does not use this scale. If the model does, pass its final `logits`"
    assert analyze(path, embeddings=given).remarks.get("scale") == told
    assert "scale" not in analyze(path).remarks
    torch.save(tensors, path)
    assert "scale" not in analyze(path, embeddings=given).remarks
