"""Folders that transformers and peft write: `analyze` gives the numbers of the callback, without any other option."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_cossim import GapReport, analyze
from lightning_cossim.analysis.checkpoints import read_head
from lightning_cossim.analysis.cli import main
from lightning_cossim.errors import CheckpointError
from tests.compatibility.cells import NUM_LABELS, Cell, Examples, Result, watched
from tests.compatibility.heads import THIRD_PARTY, adapted
from tests.toys import FEW

pytestmark = pytest.mark.full

CELLS = {cell.what: cell for cell in THIRD_PARTY}
SHARDED: dict[str, Any] = {"max_shard_size": "1KB"}
SAVED: dict[str, tuple[Cell, str, dict[str, Any]]] = {
    "tied": (CELLS["Llama, tied"], "model", {}),
    "untied": (CELLS["Llama, untied"], "model", {}),
    "tied in another way": (CELLS["GPT-2, tied"], "model", {}),
    "encoder and decoder": (CELLS["T5, tied and scaled"], "model.t5", {}),
    "soft-capped": (CELLS['Gemma 2, soft-capped, with `link="softcap"`'], "model", {}),
    "a classifier of sequences": (CELLS["BERT for sequences"], "model.bert", {}),
    "sharded with an index": (CELLS["Llama, tied"], "model", SHARDED),
    "untied and sharded": (CELLS["GPT-2, untied"], "model", SHARDED),
}


def as_after_long(cell: Cell) -> Cell:
    """The cell with rows as long as a long training makes them: before it, overlaps are so much alike that rounding tells."""

    def built() -> Any:
        model = cell.build()
        for weight in model.parameters():
            if len(weight) == NUM_LABELS and weight.ndim == 2:
                weight.data.normal_(0, 0.7)
        return model

    return replace(cell, build=built)


def inputs_of_head(result: Result) -> Tensor:
    """What goes into the head in a validation run, in its order."""
    seen: list[Tensor] = []
    head = result.model.get_submodule(result.model.cell.head or "model.lm_head")
    handle = head.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0].flatten(0, -2)))
    result.model.eval()
    with torch.no_grad():
        for words, _ in DataLoader(Examples(result.model.cell.inputs, 40, seed=1), batch_size=8):
            result.model(words)
    handle.remove()
    return torch.cat(seen)


def assert_same(report: GapReport, of_monitor: GapReport) -> None:
    """To 1e-5, every similarity and every scalar but the overhead, and the reliability: a file knows no sequences."""
    assert report.rungs.keys() == of_monitor.rungs.keys()
    for rung, values in of_monitor.rungs.items():
        torch.testing.assert_close(report.rungs[rung], values, rtol=1e-5, atol=1e-5, equal_nan=True)
    for name, value in of_monitor.scalars.items():
        if name not in {"overhead_fraction", "reliability"}:
            assert report.scalars[name] == pytest.approx(value, rel=1e-5, abs=1e-5, nan_ok=True), name
    assert report.num_inputs == of_monitor.num_inputs
    assert report.link == of_monitor.link


@pytest.mark.parametrize("case", SAVED)
def test_a_folder_gives_the_numbers_of_the_callback(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From Python, from the file or the index in it, and by the command."""
    cell, path, options = SAVED[case]
    result = watched(as_after_long(cell))
    model: Any = result.model.get_submodule(path)
    model.save_pretrained(tmp_path / "saved", **options)
    files = {file.name for file in (tmp_path / "saved").iterdir()}
    assert bool(options) == ("model.safetensors.index.json" in files)
    embeddings = inputs_of_head(result)
    report = analyze(tmp_path / "saved", embeddings=embeddings, thresholds=FEW)
    assert_same(report, result.report)
    assert report.remarks.keys() == result.report.remarks.keys()
    file = tmp_path / "saved" / ("model.safetensors.index.json" if options else "model.safetensors")
    assert_same(analyze(file, embeddings=embeddings, thresholds=FEW), result.report)
    torch.save(embeddings, tmp_path / "embeddings.pt")
    capsys.readouterr()
    assert main(["analyze", str(tmp_path / "saved"), "--embeddings", str(tmp_path / "embeddings.pt")]) == 0
    assert capsys.readouterr().out == f"{analyze(tmp_path / 'saved', embeddings=embeddings)}\n"


def causal(kind: str, **settings: Any) -> Any:
    """A small language model of this kind, whose bias is not zero."""
    import transformers

    sizes = {"vocab_size": NUM_LABELS, "hidden_size": 12, "intermediate_size": 16, "num_hidden_layers": 1}
    attention = {"num_attention_heads": 2, "pad_token_id": None, "bos_token_id": 1, "eos_token_id": 2}
    config = getattr(transformers, f"{kind}Config")(**sizes, **attention, **settings)
    name = next(name for name in (f"{kind}ForCausalLM", f"{kind}ForMaskedLM") if hasattr(transformers, name))
    return getattr(transformers, name)(config)


MODELS: dict[str, Callable[[], Any]] = {
    "Cohere": lambda: causal("Cohere", num_key_value_heads=1, logit_scale=0.25),
    "Granite": lambda: causal("Granite", num_key_value_heads=1, logits_scaling=4.0),
    "GPTNeoX": lambda: causal("GPTNeoX"),
    "Bert": lambda: _first("BertForMaskedLM", "BertConfig"),
    "Roberta": lambda: _first("RobertaForMaskedLM", "RobertaConfig"),
    "Electra": lambda: _first("ElectraForMaskedLM", "ElectraConfig"),
}


def _first(model: str, config: str) -> Any:
    import transformers

    sizes = {"vocab_size": NUM_LABELS, "hidden_size": 12, "intermediate_size": 16, "num_hidden_layers": 1}
    return getattr(transformers, model)(getattr(transformers, config)(**sizes, num_attention_heads=2, max_position_embeddings=20))


@pytest.mark.parametrize("kind", MODELS)
def test_logits_of_other_models_are_worked_out(kind: str, tmp_path: Path) -> None:
    """Those that the model itself gives: the scale and the bias are used wherever they are."""
    torch.manual_seed(0)
    model = MODELS[kind]().eval()
    for weight in model.parameters():
        weight.data.normal_(0, 0.4)
    model.save_pretrained(tmp_path)
    seen: list[Tensor] = []
    layer = next(part for part in reversed([*model.modules()]) if getattr(part, "out_features", 0) == NUM_LABELS)
    layer.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0].flatten(0, -2)))
    with torch.no_grad():
        logits = model(input_ids=torch.randint(3, NUM_LABELS, (40, 6))).logits.flatten(0, 1)
    for given in ({"embeddings": seen[0]}, {"embeddings": seen[0], "logits": logits}):
        report = analyze(tmp_path, **given)
        wanted = analyze(tmp_path, logits=logits)
        torch.testing.assert_close(report.rungs["overlap"], wanted.rungs["overlap"], rtol=1e-5, atol=1e-5, equal_nan=True)
        assert not report.remarks


def test_tokens_are_those_of_the_tokenizer(tmp_path: Path) -> None:
    """As transformers names them, of a vocabulary with tokens added and of rows without any."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    tokens = ["<s>", "</s>", "a", "b", "ab"]
    vocabulary = {token: row for row, token in enumerate(tokens)}
    special = dict(zip(("bos_token", "eos_token"), tokens, strict=False))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE(vocabulary, [("a", "b")])), **special)
    tokenizer.add_tokens(["<added>"])
    tokenizer.save_pretrained(tmp_path)
    causal("Llama", num_key_value_heads=1).save_pretrained(tmp_path)
    names = [*tokenizer.convert_ids_to_tokens(range(6)), *map(str, range(6, NUM_LABELS))]
    assert list(analyze(tmp_path).names) == names


def test_a_classifier_has_the_names_of_its_configuration(tmp_path: Path) -> None:
    from transformers import BertConfig, BertForSequenceClassification

    names = {label: f"kind {label}" for label in range(4)}
    sizes = {"vocab_size": 20, "hidden_size": 12, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertForSequenceClassification(BertConfig(**sizes, id2label=names)).save_pretrained(tmp_path)
    assert analyze(tmp_path).names == tuple(names.values())


def test_adapters_of_peft_are_merged_or_refused(tmp_path: Path) -> None:
    """A state dict of the whole is merged as peft merges it; the folder of an adapter alone is refused, or holds the head."""
    model = adapted(target_modules=["lm_head"])
    torch.save(model.state_dict(), tmp_path / "whole.pt")
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    with pytest.raises(CheckpointError, match=r"got an adapter without its base model: .*`model\.merge_and_unload\(\)"):
        read_head(tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["lora_alpha"] == 4
    found = read_head(tmp_path / "whole.pt")
    model.save_pretrained(tmp_path / "with its base", save_embedding_layers=True)
    assert torch.equal(read_head(tmp_path / "with its base").unembedding, found.unembedding)
    merged = model.merge_and_unload()
    torch.testing.assert_close(found.unembedding, merged.lm_head.weight.detach(), rtol=1e-5, atol=1e-6)
    merged.save_pretrained(tmp_path / "merged")
    torch.testing.assert_close(read_head(tmp_path / "merged").unembedding, found.unembedding, rtol=1e-5, atol=1e-6)

    model = adapted(target_modules=["q_proj"], modules_to_save=["lm_head"])
    trained = model.get_submodule("base_model.model.lm_head.modules_to_save.default")
    trained.weight.data.add_(1.0)
    model.save_pretrained(tmp_path / "copy")
    torch.save(model.state_dict(), tmp_path / "copy.pt")
    for path in (tmp_path / "copy", tmp_path / "copy.pt"):
        assert torch.equal(read_head(path).unembedding, trained.weight)
    dora = adapted(target_modules=["lm_head"], use_dora=True)
    torch.save(dora.state_dict(), tmp_path / "dora.pt")
    with pytest.raises(CheckpointError, match=r"expected the merged weight of base_model\.model\.lm_head"):
        read_head(tmp_path / "dora.pt")
