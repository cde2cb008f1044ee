"""Files whose state dicts are nested in dictionaries: descended where one head is in question, else listed with their keys."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_cossim import analyze
from lightning_cossim.analysis.checkpoints import read_head
from lightning_cossim.analysis.cli import main
from lightning_cossim.analysis.nested_tensors import nested_tensors
from lightning_cossim.errors import CheckpointError


def state(seed: int = 0, num_labels: int = 7) -> dict[str, Tensor]:
    """Of a small classifier."""
    drawn = torch.Generator().manual_seed(seed)
    shapes = {"body.weight": (9, 5), "head.weight": (num_labels, 9), "head.bias": (num_labels,)}
    return {name: torch.randn(shape, generator=drawn) for name, shape in shapes.items()}


def adam() -> dict[str, Any]:
    """The state of an optimizer whose entries look like a head's."""
    model = torch.nn.Linear(9, 7)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 9)).sum().backward()
    optimizer.step()
    return {**optimizer.state_dict(), "head.weight": torch.ones(7, 9)}


@pytest.mark.parametrize(
    "keys",
    [["network"], ["params"], ["ema_state_dict"], ["model_ema", "module"], ["state_dict"], ["trainer", "agent", "net"]],
    ids="/".join,
)
def test_a_nested_state_dict_is_descended(keys: list[str], tmp_path: Path) -> None:
    """The optimizer's tensors beside it are no head, whatever they are called."""
    nested: Any = state()
    for key in reversed(keys):
        nested = {key: nested, "optimizer": adam(), "epoch": 3}
    torch.save(nested, tmp_path / "nested.pth")
    found = read_head(tmp_path / "nested.pth")
    torch.testing.assert_close(found.unembedding, state()["head.weight"], rtol=0, atol=0)
    torch.testing.assert_close(found.bias, state()["head.bias"], rtol=0, atol=0)
    for head in ("head", ".".join([*keys, "head"]), ".".join([*keys, "head.weight"])):
        assert torch.equal(read_head(tmp_path / "nested.pth", head).unembedding, found.unembedding)


def test_a_layer_in_dictionaries_of_its_own_is_found(tmp_path: Path) -> None:
    """As flax nests them: a dictionary for each layer, labels in columns."""
    layers = state()
    head = {"kernel": layers["head.weight"].T.contiguous(), "bias": layers["head.bias"]}
    torch.save({"params": {"body": {"kernel": layers["body.weight"]}, "head": head}}, tmp_path / "flax.pt")
    found = read_head(tmp_path / "flax.pt")
    assert found.name == "params.head.kernel"
    assert torch.equal(found.unembedding, layers["head.weight"])


@pytest.mark.parametrize(
    "keys", [("model", "ema"), ("state_dict", "state_dict_ema"), ("net.student", "net.teacher")], ids=" and ".join
)
def test_several_heads_are_listed_with_their_keys(
    keys: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And each of them can be had by what the list says."""
    nested: dict[str, Any] = {}
    for seed, key in enumerate(keys):
        *above, last = key.split(".")
        place = nested
        for one in above:
            place = place.setdefault(one, {})
        place[last] = state(seed)
    path = tmp_path / "two.pt"
    torch.save(nested, path)
    assert main(["analyze", str(path)]) == 2
    choices = f"{keys[0]}.head, {keys[1]}.head"
    assert (
        capsys.readouterr().err == f"{path}: expected one layer with a common head name, got 2. Pass `head`, one of {choices}.\n"
    )
    for seed, key in enumerate(keys):
        assert torch.equal(read_head(path, f"{key}.head").unembedding, state(seed)["head.weight"])
        assert main(["analyze", str(path), "--head", f"{key}.head"]) == 0
    with pytest.raises(CheckpointError, match=r"expected one weight of 'head', got 2\. Pass one of "):
        read_head(path, "head")


@pytest.mark.parametrize("loose", ["class_weights", "prototypes", "head.weight"])
def test_a_loose_matrix_beside_a_state_dict_is_no_head(loose: str, tmp_path: Path) -> None:
    """Which of them is meant has to be told."""
    path = tmp_path / "loose.pt"
    torch.save({"model": state(), loose: torch.randn(7, 2)}, path)
    with pytest.raises(CheckpointError) as caught:
        analyze(path)
    assert "model.head" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert torch.equal(read_head(path, "model.head").unembedding, state()["head.weight"])


def test_vectors_and_numbers_beside_a_state_dict_do_not_matter(tmp_path: Path) -> None:
    torch.save({"model": state(), "class_weights": torch.ones(7), "best": torch.tensor(0.5)}, tmp_path / "loose.pt")
    assert torch.equal(read_head(tmp_path / "loose.pt").unembedding, state()["head.weight"])


def test_the_state_dict_of_a_lightning_checkpoint_is_the_model(tmp_path: Path) -> None:
    """The weights that Lightning's averaging and callbacks keep beside it are not."""
    checkpoint = {
        "pytorch-lightning_version": "2.6.0",
        "global_step": 12,
        "state_dict": state(1),
        "current_model_state": state(2),
        "callbacks": {"EMA": {"head.weight": torch.zeros(7, 9)}},
        "optimizer_states": [adam()],
    }
    torch.save(checkpoint, tmp_path / "last.ckpt")
    found = read_head(tmp_path / "last.ckpt")
    assert (found.name, found.step) == ("head.weight", 12)
    assert torch.equal(found.unembedding, state(1)["head.weight"])


@pytest.mark.parametrize("key", ["optimizer", "optim_state", "opt", "generator_optimizer", "grad_scaler", "anything"])
def test_an_optimizer_is_never_a_head(key: str, tmp_path: Path) -> None:
    held = adam() if key == "anything" else {"head.weight": torch.ones(7, 9)}
    torch.save({key: held, "epoch": 1}, tmp_path / "optimizer.pt")
    with pytest.raises(CheckpointError, match=r"expected tensors by name, got none\.$"):
        read_head(tmp_path / "optimizer.pt")


def test_an_optimizer_alone_is_told(tmp_path: Path) -> None:
    torch.save(adam(), tmp_path / "optimizer.pt")
    with pytest.raises(
        CheckpointError, match=r"optimizer.pt: expected the weights of a model, got only the state of an optimizer\.$"
    ):
        read_head(tmp_path / "optimizer.pt")


def test_dictionaries_that_hold_themselves_end(tmp_path: Path) -> None:
    """Each is looked at once, as deep as twelve levels, and not more than so many."""
    path = tmp_path / "round.pt"
    around: dict[str, Any] = {"model": state()}
    around["self"] = around
    torch.save(around, path)
    assert torch.equal(read_head(path).unembedding, state()["head.weight"])
    deep: Any = state()
    for _ in range(2000):
        deep = {"down": deep}
    assert not nested_tensors(path, deep).tensors
    wide = {str(number): {"x": torch.tensor(math.pi)} for number in range(30_000)}
    with pytest.raises(CheckpointError, match=r"round.pt: expected at most 20,000 nested dictionaries, got more\."):
        nested_tensors(path, wide)
