"""Whose target a position of a sequence learns, held against the losses of transformers' own models."""

import functools
import importlib
import warnings
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from typing_extensions import override

from lightning_cossim import LabelSelection, LabelSimilarityMonitor
from lightning_cossim.capture.find import find_head
from lightning_cossim.capture.target_shift import shift_of
from tests import reference
from tests.toys import trainer

pytestmark = [pytest.mark.full, pytest.mark.filterwarnings("ignore")]

K, T, PROMPT = 24, 9, 4
SIZES: dict[str, Any] = {"vocab_size": K, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
BART: dict[str, Any] = {
    "vocab_size": K,
    "d_model": 16,
    "max_position_embeddings": 32,
    **{f"{part}_{name}": size for part in ("encoder", "decoder") for name, size in (("layers", 1), ("attention_heads", 2))},
    **{f"{part}_ffn_dim": 16 for part in ("encoder", "decoder")},
}
SPECIAL: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1, "decoder_start_token_id": 0}
CAUSAL: dict[str, dict[str, Any]] = {
    "Llama": {"intermediate_size": 16},
    "Qwen2": {"intermediate_size": 16, "num_key_value_heads": 1},
    "Mistral": {"intermediate_size": 16, "num_key_value_heads": 1},
    "Gemma": {"intermediate_size": 16, "num_key_value_heads": 1, "head_dim": 8},
    "GPTNeoX": {"intermediate_size": 16},
    "Phi": {"intermediate_size": 16},
    "OPT": {"ffn_dim": 16, "word_embed_proj_dim": 16, "max_position_embeddings": 32},
    "Bloom": {"n_layer": 1, "n_head": 2},
    "Roberta": {"intermediate_size": 16, "is_decoder": True, "max_position_embeddings": 32},
}
SEQ2SEQ = ("Bart", "MBart", "Pegasus", "Blenderbot", "PLBart", "Marian", "Mvp", "BigBirdPegasus")


def built(family: str, name: str, **sizes: Any) -> nn.Module:
    """A small model of a family, in evaluation mode."""
    package = importlib.import_module("transformers")
    torch.manual_seed(0)
    model: nn.Module = getattr(package, name)(getattr(package, f"{family}Config")(**{**SPECIAL, **sizes})).eval()
    return model


MODELS: dict[str, Callable[[], nn.Module]] = {
    **{
        f"{family}ForCausalLM": functools.partial(built, family, f"{family}ForCausalLM", **SIZES, **sizes)
        for family, sizes in CAUSAL.items()
    },
    **{
        f"{family}{kind}": functools.partial(built, family, f"{family}{kind}", **BART)
        for family in SEQ2SEQ
        for kind in ("ForCausalLM", "ForConditionalGeneration")
        if (family, kind) != ("Marian", "ForConditionalGeneration")  # it is called MarianMTModel
    },
    "GPT2LMHeadModel": lambda: built("GPT2", "GPT2LMHeadModel", vocab_size=K, n_embd=16, n_layer=1, n_head=2),
    "BertLMHeadModel": lambda: built("Bert", "BertLMHeadModel", **SIZES, intermediate_size=16, is_decoder=True),
    "BertForMaskedLM": lambda: built("Bert", "BertForMaskedLM", **SIZES, intermediate_size=16),
    "BertForTokenClassification": lambda: built(
        "Bert", "BertForTokenClassification", **SIZES, intermediate_size=16, num_labels=K
    ),
    "T5ForConditionalGeneration": lambda: built(
        "T5", "T5ForConditionalGeneration", vocab_size=K, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2
    ),
    "WhisperForCausalLM": lambda: built("Whisper", "WhisperForCausalLM", **BART, max_target_positions=32),
    "TrOCRForCausalLM": lambda: built("TrOCR", "TrOCRForCausalLM", **BART),
    "XLNetLMHeadModel": lambda: built("XLNet", "XLNetLMHeadModel", vocab_size=K, d_model=16, n_layer=1, n_head=2, d_inner=16),
}


def batch_of(num: int = 8, seed: int = 0) -> dict[str, Tensor]:
    """Instructions: a prompt, an answer of three words, padding."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(2, K, (num, T), generator=generator)
    ids[:, PROMPT + 3 :] = 0
    labels = ids.clone()
    labels[:, :PROMPT] = -100
    labels[:, PROMPT + 3 :] = -100
    return {"input_ids": ids, "labels": labels}


def shifted(labels: Tensor) -> Tensor:
    return nn.functional.pad(labels[:, 1:], (0, 1), value=-100)


def loss_of(logits: Tensor, labels: Tensor) -> float:
    return float(nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten()))


@pytest.mark.parametrize("name", MODELS)
def test_what_is_known_of_a_class_is_what_its_loss_does(name: str) -> None:
    """The loss of the model is that of its own logits and targets, either of the next position or of their own."""
    model, batch = MODELS[name](), batch_of()
    with torch.no_grad():
        out: Any = model(**batch)
    does = [loss_of(out.logits, labels) for labels in (batch["labels"], shifted(batch["labels"]))]
    shifts = abs(does[1] - float(out.loss)) < 1e-5
    assert shifts != (abs(does[0] - float(out.loss)) < 1e-5)
    assert shift_of(model, find_head(model, None).module) == (shifts, name)


class Tuner(pl.LightningModule):
    """A language model; what its loss sees in validation is kept."""

    def __init__(self, model: nn.Module, *, by_hand: bool = False, keeps: int = 0) -> None:
        super().__init__()
        self.model, self.by_hand, self.keeps = model, by_hand, keeps
        self.seen: list[Tensor] = []

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        labels = batch["labels"]
        out: Any = self.model(input_ids=batch["input_ids"], **({"logits_to_keep": self.keeps} if self.keeps else {}))
        following = labels if self.by_hand else shifted(labels)
        following = following[:, -self.keeps :] if self.keeps else following
        logits = out.logits[:, : following.shape[1]]
        self.seen.append(logits.detach()[following != -100])
        return nn.functional.cross_entropy(logits.flatten(0, 1), following.flatten())

    @override
    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        return self.loss(batch)

    @override
    def on_validation_epoch_start(self) -> None:
        self.seen = []

    @override
    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.loss(batch)

    @override
    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


@pytest.mark.parametrize("form", ["as they come", "logits_to_keep", "shifted by hand", "cut by hand"])
@pytest.mark.parametrize("name", ["LlamaForCausalLM", "GPT2LMHeadModel"])
def test_a_report_is_on_the_positions_that_the_loss_sees(name: str, form: str) -> None:
    """Without a warning, and with overlaps of a float64 reference on just these."""
    batches = [batch_of(16, seed) for seed in range(4)]
    if form == "shifted by hand":
        batches = [{**batch, "labels": shifted(batch["labels"])} for batch in batches]
    elif form == "cut by hand":
        batches = [{**batch, "labels": batch["labels"][:, 1:]} for batch in batches]
    data: DataLoader[Any] = DataLoader(batches, batch_size=None)  # type: ignore[arg-type]
    module = Tuner(MODELS[name](), by_hand="by hand" in form, keeps=6 if form == "logits_to_keep" else 0)
    monitor = LabelSimilarityMonitor(labels=LabelSelection(targets_key="labels", ignore_index=-100))
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        trainer(callbacks=[monitor], max_epochs=3).fit(module, data, data)
    assert [str(one.message) for one in record if "LabelSimilarityMonitor" in str(one.message)] == []
    probs = reference.softmax(torch.cat(module.seen).double().numpy())
    report = monitor.last_report["val"]
    assert report.num_inputs == len(probs) == 4 * 16 * 3  # of each answer, what comes before its words
    np.testing.assert_allclose(report.matrix("overlap").numpy(), reference.bhattacharyya(probs), atol=1e-4)
