"""Folders of saved transformers models: head, bias, link and names out of JSON and tensors. No transformers is needed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_cossim import analyze
from lightning_cossim.analysis.checkpoints import read_head
from lightning_cossim.analysis.cli import main
from lightning_cossim.analysis.final_logits import unknown_settings
from lightning_cossim.errors import CheckpointError
from tests import reference

DRAWN = torch.Generator().manual_seed(0)
W_KD, F_ND = torch.randn(9, 5, generator=DRAWN), torch.randn(300, 5, generator=DRAWN)
B_K = torch.linspace(-2, 2, 9)
CAUSAL = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 9}
EMBEDDING = {
    "model.embed_tokens.weight": W_KD,
    "model.layers.0.mlp.up.weight": torch.ones(9, 5),
    "model.norm.weight": torch.ones(5),
}


def folder_of(folder: Path, config: Any, tensors: dict[str, Tensor], **files: Any) -> Path:
    """A saved model, with other JSON files by their names."""
    folder.mkdir(exist_ok=True)
    contents = {"config": config, **files}
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    torch.save(tensors, folder / "pytorch_model.bin")
    return folder


def overlap_of(logits: Tensor) -> np.ndarray:
    """Of all pairs, in float64 and slowly."""
    return reference.bhattacharyya(reference.softmax(logits.double().numpy()))


HEADS: dict[str, tuple[dict[str, Any], dict[str, Tensor], str, str | None]] = {
    "tied": ({**CAUSAL, "tie_word_embeddings": True}, EMBEDDING, "model.embed_tokens.weight", None),
    "tied by default": (CAUSAL, EMBEDDING, "model.embed_tokens.weight", None),
    "untied": (CAUSAL, {**EMBEDDING, "lm_head.weight": W_KD}, "lm_head.weight", None),
    "with a bias": (CAUSAL, {**EMBEDDING, "lm_head.weight": W_KD, "lm_head.bias": B_K}, "lm_head.weight", "lm_head.bias"),
    "tied, with a bias elsewhere": (
        {"architectures": ["BertForMaskedLM"], "vocab_size": 9},
        {
            "bert.embeddings.word_embeddings.weight": W_KD,
            "bert.embeddings.position_embeddings.weight": torch.ones(9, 5),
            "cls.predictions.transform.dense.bias": torch.ones(9),
            "cls.predictions.transform.dense.weight": torch.ones(9, 9),
            "cls.predictions.bias": B_K,
        },
        "bert.embeddings.word_embeddings.weight",
        "cls.predictions.bias",
    ),
    "encoder and decoder": (
        {"architectures": ["BartForConditionalGeneration"], "vocab_size": 9, "is_encoder_decoder": True},
        {
            "model.shared.weight": W_KD,
            "model.encoder.embed_tokens.weight": W_KD,
            "model.decoder.embed_tokens.weight": W_KD,
            "final_logits_bias": B_K[None],
        },
        "model.shared.weight",
        "final_logits_bias",
    ),
    "a decoder of its own": (
        {"architectures": ["WhisperForConditionalGeneration"], "vocab_size": 9},
        {"model.encoder.embed_tokens.weight": 0 * W_KD, "model.decoder.embed_tokens.weight": W_KD},
        "model.decoder.embed_tokens.weight",
        None,
    ),
    "an inner configuration": (
        {"architectures": ["Gemma3ForConditionalGeneration"], "text_config": {"vocab_size": 9}},
        {"model.language_model.embed_tokens.weight": W_KD, "model.vision.embeddings.weight": torch.ones(4, 5)},
        "model.language_model.embed_tokens.weight",
        None,
    ),
    "a padded vocabulary": (
        {**CAUSAL, "vocab_size": 8},
        {"lm_head.weight": W_KD, "model.embed_tokens.weight": W_KD},
        "lm_head.weight",
        None,
    ),
    "a sequence classifier": (
        {
            "architectures": ["LlamaForSequenceClassification"],
            "vocab_size": 7,
            "id2label": {str(k): f"LABEL_{k}" for k in range(9)},
        },
        {"score.weight": W_KD, "model.embed_tokens.weight": torch.ones(7, 5), "model.layers.0.up.weight": torch.ones(9, 5)},
        "score.weight",
        None,
    ),
    "one of two layers": (
        {"architectures": ["RobertaForSequenceClassification"], "num_labels": 9},
        {
            "classifier.dense.weight": torch.ones(9, 9),
            "classifier.out_proj.weight": W_KD,
            "classifier.out_proj.bias": B_K,
            "roberta.embeddings.token_type_embeddings.weight": torch.ones(9, 5),
        },
        "classifier.out_proj.weight",
        "classifier.out_proj.bias",
    ),
}


@pytest.mark.parametrize("case", HEADS)
def test_the_configuration_tells_the_head(case: str, tmp_path: Path) -> None:
    """Of the folder, and of the file in it; with its bias, the overlap is that of the logits."""
    config, tensors, weight, bias = HEADS[case]
    folder = folder_of(tmp_path / "model", config, tensors)
    wanted = overlap_of(F_ND @ W_KD.T + (0 if bias is None else B_K))
    for path in (folder, folder / "pytorch_model.bin"):
        assert read_head(path).name == weight
        report = analyze(path, embeddings=F_ND, min_probability=0)
        assert report.matrix("overlap").numpy() == pytest.approx(wanted, abs=1e-5)
        assert not report.remarks


NO_HEADS: dict[str, tuple[dict[str, Any], dict[str, Tensor], str]] = {
    "no head at all": (
        {"architectures": ["LlamaModel"], "vocab_size": 9},
        {"embed_tokens.weight": W_KD, "layers.0.up.weight": W_KD},
        "If the model ties its head to its embedding, pass head='embed_tokens'.",
    ),
    "another head": (
        {**CAUSAL, "tie_word_embeddings": False},
        EMBEDDING,
        (
            "expected the head of LlamaForCausalLM, got none, and config.json has tie_word_embeddings=false. "
            "Pass head='model.embed_tokens' to use the embedding."
        ),
    ),
    "two embeddings": (
        CAUSAL,
        {"a.embed_tokens.weight": W_KD, "b.embed_tokens.weight": W_KD},
        "expected one embedding that the head is tied to, got 2. Pass head='a.embed_tokens' or head='b.embed_tokens'.",
    ),
    "two biases": (
        {"architectures": ["BertForMaskedLM"], "vocab_size": 9},
        {"bert.word_embeddings.weight": W_KD, "cls.a.bias": B_K, "cls.b.bias": B_K},
        "expected one bias for the head, got 2. Pass one of bias='cls.a.bias', bias='cls.b.bias'.",
    ),
    "a discriminator": (
        {"architectures": ["ElectraForPreTraining"], "vocab_size": 9},
        {"electra.embeddings.word_embeddings.weight": W_KD, "discriminator_predictions.dense.weight": torch.ones(5, 5)},
        "expected one layer with a common head name, got 0.",
    ),
    "two classifiers": (
        {"architectures": ["DeiTForImageClassificationWithTeacher"], "num_labels": 9},
        {"cls_classifier.weight": W_KD, "distillation_classifier.weight": W_KD},
        "Pass `head`, one of cls_classifier, distillation_classifier.",
    ),
}


@pytest.mark.parametrize("case", NO_HEADS)
def test_a_head_that_is_in_doubt_is_told(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, tensors, said = NO_HEADS[case]
    folder = folder_of(tmp_path / "model", config, tensors)
    assert main(["analyze", str(folder)]) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert len(printed.err.splitlines()) == 1


# Logits


CHANGES: dict[str, tuple[dict[str, Any], float | None, float]] = {
    "a cap": ({"final_logit_softcapping": 3.0}, 3.0, 1.0),
    "another's cap": ({"logits_soft_cap": 2}, 2.0, 1.0),
    "a third's cap": ({"output_logit_soft_cap": 2.5}, 2.5, 1.0),
    "an inner cap": ({"text_config": {"final_logit_softcapping": 3.0, "vocab_size": 9}}, 3.0, 1.0),
    "a default cap": ({"model_type": "gemma2"}, 30.0, 1.0),
    "a multiplier": ({"lm_head_multiplier": 0.25}, None, 0.25),
    "a scale": ({"logit_scale": 0.5}, None, 0.5),
    "a divisor": ({"logits_scaling": 4.0, "model_type": "granite"}, None, 0.25),
    "no divisor": ({"logits_scaling": 4.0, "model_type": "hyperclovax"}, None, 4.0),
    "a scale and a cap": ({"output_multiplier": 2.0, "final_logit_softcapping": 3.0}, 3.0, 2.0),
    "nothing": ({"final_logit_softcapping": None, "logit_scale": None, "attn_logit_softcapping": 50.0}, None, 1.0),
}


@pytest.mark.parametrize("case", CHANGES)
def test_caps_and_scales_of_the_configuration_are_used(case: str, tmp_path: Path) -> None:
    """With embeddings, with logits, and of a file beside the configuration."""
    more, cap, scale = CHANGES[case]
    folder = folder_of(tmp_path / "model", {**CAUSAL, "model_type": "other", **more}, EMBEDDING)
    logits = scale * (F_ND @ W_KD.T)
    logits = logits if cap is None else cap * torch.tanh(logits / cap)
    for path in (folder, folder / "pytorch_model.bin"):
        for given in ({"embeddings": F_ND}, {"logits": logits}, {"embeddings": F_ND, "logits": logits}):
            report = analyze(path, min_probability=0, **given)  # type: ignore[arg-type]
            assert report.link == ("softmax" if cap is None else "softcap")
            assert report.matrix("overlap").numpy() == pytest.approx(overlap_of(logits), abs=1e-5)
            assert not report.remarks
    if scale != 1:
        variance = reference.log_odds_variance_of_inputs((scale * W_KD).double().numpy(), np.zeros(9), F_ND.double().numpy())
        assert analyze(folder, embeddings=F_ND, min_probability=0).matrix("log_odds_variance").numpy() == pytest.approx(
            variance, rel=1e-4
        )


def test_what_the_user_says_goes_first_and_is_told(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "model", {**CAUSAL, "final_logit_softcapping": 3.0}, EMBEDDING)
    report = analyze(folder, embeddings=F_ND, link="softmax")
    assert report.remarks["link"] == "the report uses link='softmax', although the model's config implies 'softcap'"
    report = analyze(folder, embeddings=F_ND, link_cap=2.0)
    assert report.link == "softcap"
    assert report.remarks["link"] == "the report uses `link_cap=2`, although the model's config has the cap 3"
    assert report.matrix("overlap").numpy() == pytest.approx(overlap_of(2 * torch.tanh(F_ND @ W_KD.T / 2)), abs=1e-5)
    assert not analyze(folder, embeddings=F_ND, link="softcap").remarks


def test_heads_that_are_no_language_models_have_neither_cap_nor_scale(tmp_path: Path) -> None:
    """Of a classifier, or of another layer of the model."""
    more = {"final_logit_softcapping": 3.0, "logit_scale": 0.5}
    classifier = {**CAUSAL, **more, "architectures": ["Gemma2ForSequenceClassification"], "num_labels": 9}
    report = analyze(folder_of(tmp_path / "a", classifier, {"score.weight": W_KD}), embeddings=F_ND, min_probability=0)
    assert report.link == "softmax"
    assert report.matrix("overlap").numpy() == pytest.approx(overlap_of(F_ND @ W_KD.T), abs=1e-5)
    other = folder_of(tmp_path / "b", {**CAUSAL, **more}, {**EMBEDDING, "value.weight": W_KD[:4]})
    assert analyze(other, head="value", embeddings=F_ND, min_probability=0).link == "softmax"


def test_settings_that_nobody_knows_are_told(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "model", {**CAUSAL, "logits_temperature": 0.5, "attention_logit_cap": 5.0}, EMBEDDING)
    said = "the model's config has logits_temperature=0.5: if that changes its logits after the head, pass the final `logits`"
    assert analyze(folder).remarks == {"config": said}
    assert not unknown_settings({"router_logits_scale": 3.0, "logit_scale_init_value": 2.6, "output_scale": True, "logit_cap": 0})


@pytest.mark.parametrize(
    ("problem", "link", "told"),
    [
        ("multi_label_classification", "sigmoid", set()),
        ("single_label_classification", "softmax", set()),
        ("regression", "softmax", {"config"}),
        (None, "softmax", set()),
    ],
)
def test_the_kind_of_a_classifier_tells_the_link(problem: str | None, link: str, told: set[str], tmp_path: Path) -> None:
    config = {"architectures": ["BertForSequenceClassification"], "num_labels": 9, "problem_type": problem}
    report = analyze(
        folder_of(tmp_path / "model", config, {"classifier.weight": W_KD, "classifier.bias": B_K}),
        embeddings=F_ND,
        min_probability=0,
    )
    assert report.link == link
    assert report.remarks.keys() == told


def test_alerts_of_the_command_go_by_the_link_of_the_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = folder_of(tmp_path / "model", {**CAUSAL, "final_logit_softcapping": 3.0}, EMBEDDING)
    (tmp_path / "t.yaml").write_text("alerts: [{scalar: gap_translation, above: 0.5}]\n")
    assert main(["analyze", str(folder), "--fail-on", str(tmp_path / "t.yaml")]) == 2
    assert "gap_translation, which is undefined under softcap" in capsys.readouterr().err


# Names


TOKENS = ["<s>", "a", "Ġthe", "b"]
ROWS = {token: row for row, token in enumerate(TOKENS)}
ADDED = {"added_tokens_decoder": {"5": {"content": "<pad>"}}}
NAMES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "of tokenizer.json": ({"tokenizer": {"model": {"vocab": ROWS}}}, TOKENS),
    "with scores": ({"tokenizer": {"model": {"vocab": [[token, -1.5] for token in TOKENS]}}}, TOKENS),
    "added": ({"tokenizer": {"model": {"vocab": ROWS}, "added_tokens": [{"id": 4, "content": "<x>"}]}}, [*TOKENS, "<x>"]),
    "added elsewhere": ({"vocab": ROWS, "tokenizer_config": ADDED}, [*TOKENS, "4", "<pad>"]),
    "added in a file": ({"vocab": ROWS, "added_tokens": {"<y>": 4}}, [*TOKENS, "<y>"]),
    "of vocab.json": ({"vocab": ROWS}, TOKENS),
    "with a gap": ({"vocab": {"a": 0, "c": 2}}, ["a", "1", "c"]),
    "the surest first": ({"tokenizer": {"model": {"vocab": ROWS}}, "vocab": {"z": 0}}, TOKENS),
    "more than rows": ({"vocab": {f"t{row}": row for row in range(20)}}, [f"t{row}" for row in range(9)]),
    "of several languages": ({"vocab": {"eng": ROWS}}, []),
    "none": ({}, []),
}


@pytest.mark.parametrize("case", NAMES)
def test_labels_are_named_by_the_tokenizer(case: str, tmp_path: Path) -> None:
    """Rows beyond it have their numbers."""
    files, names = NAMES[case]
    report = analyze(folder_of(tmp_path / "model", CAUSAL, EMBEDDING, **files))
    assert list(report.names) == [*names, *map(str, range(len(names), 9))]
    assert not report.remarks


def test_labels_are_named_by_lines(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "model", CAUSAL, EMBEDDING)
    (folder / "vocab.txt").write_text("[PAD]\nder\nü\n", encoding="utf-8")
    assert analyze(folder).names[:4] == ("[PAD]", "der", "ü", "3")
    assert analyze(folder, names=list("abcdefghi")).names == tuple("abcdefghi"), "the user's go first"


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({str(k): f"kind {k}" for k in range(9)}, [f"kind {k}" for k in range(9)]),
        ({str(k): f"LABEL_{k}" for k in range(9)}, [str(k) for k in range(9)]),
        ({str(k): "x" for k in range(8)}, [str(k) for k in range(9)]),
        ({**{str(k): "x" for k in range(8)}, "10": "y"}, [str(k) for k in range(9)]),
    ],
    ids=["given", "default", "too few", "others"],
)
def test_a_classifier_is_named_by_its_configuration(given: dict[str, str], names: list[str], tmp_path: Path) -> None:
    """And never by the tokens beside it."""
    config = {"architectures": ["BertForTokenClassification"], "id2label": given, "vocab_size": 9}
    folder = folder_of(tmp_path / "model", config, {"classifier.weight": W_KD}, vocab=ROWS)
    assert list(analyze(folder, head="classifier").names) == names


@pytest.mark.parametrize(
    "content", ["{", "[1]", '{"a": ' + "9" * 5000 + "}", "[" * 100_000], ids=["cut", "a list", "a number", "deep"]
)
def test_a_tokenizer_that_cannot_be_read_costs_the_names_alone(content: str, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "model", CAUSAL, EMBEDDING, vocab=content)
    report = analyze(folder, embeddings=F_ND, min_probability=0)
    assert report.names[0] == "0"
    assert report.remarks["names"].startswith("labels have numbers as names, because the tokenizer cannot be read: ")
    assert report.remarks["names"].isprintable()


# Files of the folder


def test_a_configuration_that_cannot_be_read_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a folder it is needed; beside a file it is not."""
    folder = folder_of(tmp_path / "model", "{", {**EMBEDDING, "lm_head.weight": W_KD})
    assert main(["analyze", str(folder)]) == 2
    assert capsys.readouterr().err.startswith(f"{folder / 'config.json'}: expected a readable JSON object, got ")
    report = analyze(folder / "pytorch_model.bin")
    assert report.remarks["config"].startswith("the configuration beside the file is not used: ")


@pytest.mark.parametrize(
    "config", [{"lr": 0.1, "vocab_size": 9, "logit_scale": 3.0}, {"model": {"final_logit_softcapping": 3.0}}]
)
def test_a_configuration_of_somebody_else_means_nothing(config: dict[str, Any], tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "model", config, {"head.weight": W_KD})
    report = analyze(folder / "pytorch_model.bin", embeddings=F_ND, min_probability=0)
    assert report.link == "softmax"
    assert report.matrix("overlap").numpy() == pytest.approx(overlap_of(F_ND @ W_KD.T), abs=1e-5)


def test_tensors_may_lie_in_shards(tmp_path: Path) -> None:
    """Of torch or of safetensors; shards without the head need not be there once the head is named."""
    from safetensors.torch import save_file

    for end, save in ((".bin", torch.save), (".safetensors", save_file)):
        folder = tmp_path / end
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({**CAUSAL, "final_logit_softcapping": 3.0}))
        places = {"model.embed_tokens.weight": f"one{end}", "model.norm.weight": f"two{end}"}
        for name, file in places.items():
            save({name: EMBEDDING[name]}, folder / file)
        index = "pytorch_model.bin.index.json" if end == ".bin" else "model.safetensors.index.json"
        (folder / index).write_text(json.dumps({"weight_map": places}))
        for path in (folder, folder / index):
            found = read_head(path)
            assert torch.equal(found.unembedding, W_KD)
            assert (found.link, found.settings.cap) == ("softcap", 3.0)
        (folder / f"two{end}").unlink()
        assert torch.equal(read_head(folder, "model.embed_tokens").unembedding, W_KD)
        with pytest.raises(
            CheckpointError, match=rf"expected two{end} beside it, which holds model.norm.weight, got no such file\.$"
        ):
            read_head(folder)


@pytest.mark.parametrize("shard", ["../one.bin", "config.json", "one.npy"])
def test_an_index_names_shards_beside_it_alone(shard: str, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "model", CAUSAL, EMBEDDING)
    torch.save({"lm_head.weight": W_KD}, tmp_path / "one.bin")
    np.save(folder / "one.npy", W_KD.numpy())
    (folder / "x.index.json").write_text(json.dumps({"weight_map": {"lm_head.weight": shard}}))
    with pytest.raises(CheckpointError, match=r"got no such file|expected shards of type"):
        read_head(folder / "x.index.json", "lm_head")


def test_a_folder_without_weights_is_told(tmp_path: Path) -> None:
    remedy = "Pass the file, or a folder with model.safetensors, pytorch_model.bin, or an index of one."
    with pytest.raises(CheckpointError) as caught:
        read_head(tmp_path)
    assert str(caught.value) == f"{tmp_path}: expected a file or the folder of a saved model, got a folder. {remedy}"
    for name in ("a.pt", "b.ckpt"):
        torch.save(EMBEDDING, tmp_path / name)
    with pytest.raises(CheckpointError) as caught:
        read_head(tmp_path)
    assert (
        str(caught.value)
        == f"{tmp_path}: expected a file or the folder of a saved model, got a folder with a.pt, b.ckpt. {remedy}"
    )
    with pytest.raises(CheckpointError, match=r"expected a file with one array of embeddings, got a folder\.$"):
        analyze(tmp_path / "a.pt", head="model.embed_tokens", embeddings=tmp_path)
