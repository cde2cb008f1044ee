"""Heads of every make, and what the monitor can tell of each. Those of other packages are built from small configurations."""

import warnings
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm
from typing_extensions import override

from tests.compatibility.cells import NUM_LABELS, Cell, Watched
from tests.toys import ArcFace

__all__ = ["HEADS", "THIRD_PARTY"]

DIM: Final = 6
CAP: Final = 2.0


def mlp(head: nn.Module | None = None) -> nn.Module:
    return nn.Sequential(nn.Linear(8, DIM), nn.Tanh(), nn.Linear(DIM, NUM_LABELS) if head is None else head)


def linear(**settings: Any) -> nn.Linear:
    return nn.Linear(DIM, NUM_LABELS, **settings)


def wide() -> nn.Linear:
    """More dimensions than labels, as rows that are orthogonal need."""
    return nn.Linear(16, NUM_LABELS)


class Words(nn.Module):
    """Words to the logits of words, with a norm before the head."""

    def __init__(self, *, tied: bool = True) -> None:
        super().__init__()
        self.embed = nn.Embedding(NUM_LABELS, DIM)
        self.mix = nn.GRU(DIM, DIM, batch_first=True)
        self.norm = nn.LayerNorm(DIM)
        self.lm_head = nn.Linear(DIM, NUM_LABELS, bias=not tied)
        if tied:
            self.lm_head.weight = self.embed.weight

    def hidden(self, words: Tensor) -> Tensor:
        out: Tensor = self.norm(self.mix(self.embed(words))[0])
        return out

    @override
    def forward(self, words: Tensor) -> Tensor:
        logits: Tensor = self.lm_head(self.hidden(words))
        return logits


class Functional(Words):
    """A head that is no layer: the embedding's weight, multiplied by hand."""

    def __init__(self) -> None:
        super().__init__()
        del self.lm_head
        self.last: Tensor | None = None

    @override
    def forward(self, words: Tensor) -> Tensor:
        self.last = self.hidden(words)
        return nn.functional.linear(self.last, self.embed.weight)


class GoneAround(Words):
    """A fused loss takes the head's weight and never calls it."""

    @override
    def forward(self, words: Tensor) -> Tensor:
        return nn.functional.linear(self.hidden(words), self.lm_head.weight, self.lm_head.bias)


class Capped(nn.Module):
    """Logits that are capped after the head, as Gemma does; the output has them by name."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(8, DIM)
        self.head = linear()

    @override
    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        return {"hidden": inputs, "logits": CAP * torch.tanh(self.head(self.body(inputs)) / CAP)}


class Faces(nn.Module):
    """A network with such a head, as recognizers of faces have it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, DIM), nn.Tanh())
        self.margin = ArcFace(NUM_LABELS, DIM, s=8.0)

    @override
    def forward(self, inputs: Tensor, targets: Tensor | None = None) -> Tensor:
        logits: Tensor = self.margin(self.body(inputs), targets)
        return logits


class WithMargins(Watched):
    """Trained with targets, validated without."""

    @override
    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.model(*batch), batch[1])


class NormalizedByHand(nn.Module):
    """A cosine head made of a linear layer that is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, DIM), nn.Tanh())
        self.fc = linear(bias=False)

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        embedding, rows = nn.functional.normalize(self.body(inputs)), nn.functional.normalize(self.fc.weight)
        return 8 * nn.functional.linear(embedding, rows)


class TwoParts(nn.Module):
    """The head first, as it was written; the body after it."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = linear()
        self.body = nn.Linear(8, DIM)

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.body(inputs))
        return logits


class Named(nn.Module):
    """Two layers that could be the head; the model names one, as timm's do."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(8, DIM)
        self.last = linear()
        self.other = linear()

    def get_classifier(self) -> nn.Module:
        return self.last

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.last(self.body(inputs))
        return logits


class Bytes(nn.Linear):
    """A head whose weight is packed into bytes, as in bitsandbytes."""

    def __init__(self) -> None:
        super().__init__(DIM, NUM_LABELS)
        self.weight = nn.Parameter(torch.zeros(NUM_LABELS * DIM, 1, dtype=torch.uint8), requires_grad=False)


def packed() -> Any:
    """A head in torch's own eight bits."""
    from torch.ao.nn.quantized import dynamic

    layer: Any = dynamic.Linear
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return mlp(layer(DIM, NUM_LABELS))


def old_weight_norm() -> nn.Module:
    """With a word of torch's, that there is a new one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return mlp(weight_norm(linear()))


def segmenter() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, DIM, 3, padding=1), nn.Tanh(), nn.Conv2d(DIM, NUM_LABELS, 1))


def last_hidden(module: Any) -> Tensor | None:
    """A user's function."""
    last: Tensor | None = module.model.last
    return last


def orthogonal() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), parametrizations.orthogonal(wide()))


FUNCTIONAL: dict[str, Any] = {"inputs": "words", "head": "model.embed"}
NOT_CALLED = "the head was not called during a whole window, so only its weights are compared. A fused loss or a functional call"

HEADS: Final[list[Cell]] = [
    Cell("`nn.Linear`", mlp, head="model.2"),
    Cell("without a bias", lambda: mlp(linear(bias=False)), head="model.2"),
    Cell("the last layer of a `Sequential`, built before its body", TwoParts, head="model.classifier"),
    Cell("named by `get_output_embeddings()` or `get_classifier()`", Named, head="model.last"),
    Cell("a head of several layers", lambda: mlp(nn.Sequential(nn.Linear(DIM, 5), nn.ReLU(), nn.Linear(5, NUM_LABELS)))),
    Cell("tied to the embedding", Words, inputs="words", head="model.lm_head"),
    Cell("convolution of one pixel", segmenter, inputs="images", head="model.2"),
    Cell("`weight_norm`, new", lambda: mlp(parametrizations.weight_norm(linear()))),
    Cell("`weight_norm`, old", old_weight_norm),
    Cell("`spectral_norm`, new", lambda: mlp(parametrizations.spectral_norm(linear()))),
    Cell("`spectral_norm`, old", lambda: mlp(spectral_norm(linear()))),
    Cell("`orthogonal`", orthogonal),
    Cell(
        "`F.linear(h, embed.weight)`, with `embeddings_from=` the path of a module",
        Functional,
        settings={"head": "model.embed", "embeddings_from": "model.norm"},
        **FUNCTIONAL,
    ),
    Cell(
        "the same, with `embeddings_from=` a function",
        Functional,
        settings={"head": "model.embed", "embeddings_from": last_hidden},
        **FUNCTIONAL,
    ),
    Cell(
        "`F.linear(h, embed.weight)` without it",
        Functional,
        outcome="refused",
        settings={"head": "model.embed"},
        says="Expected `head` to be a linear layer, got 'model.embed', an Embedding. Pass `embeddings_from=`",
        inputs="words",
    ),
    Cell("a fused loss, with `embeddings_from=`", GoneAround, settings={"embeddings_from": "model.norm"}, inputs="words"),
    Cell("a fused loss without it", GoneAround, outcome="weights only", says=NOT_CALLED, inputs="words"),
    Cell(
        "soft-capped logits, with `logits_from=`",
        Capped,
        outcome="overlap and weights",
        settings={"logits_from": "model"},
        logits=lambda output: output["logits"],
        says="the output of `logits_from` differs from `embedding @ weight.T + bias` by up to",
    ),
    Cell(
        'soft-capped logits, with `link="softcap"`',
        Capped,
        outcome="every rung but the centered",
        settings={"link": "softcap", "link_cap": CAP},
        logits=lambda output: output["logits"],
    ),
    Cell(
        "the same, with `logits_from=`",
        Capped,
        outcome="every rung but the centered",
        settings={"link": "softcap", "link_cap": CAP, "logits_from": "model"},
        logits=lambda output: output["logits"],
    ),
    Cell(
        'ArcFace, trained with margins, with `link="cosine"`',
        Faces,
        outcome="every rung but the centered",
        settings={"link": "cosine"},
        head="model.margin",
        module=WithMargins,
    ),
    Cell(
        'a linear layer normalized by hand, with `link="cosine"` and `embeddings_from=`',
        NormalizedByHand,
        outcome="every rung but the centered",
        settings={"link": "cosine", "link_scale": 8.0, "head": "model.fc", "embeddings_from": "model.body"},
    ),
    Cell("quantized by torch", packed, outcome="refused", says="its weight is quantized (Linear). Leave the head out"),
    Cell("quantized into bytes", lambda: mlp(Bytes()), outcome="refused", says="its weight is quantized (torch.uint8)."),
]


# Of other packages


def logits_of(output: Any) -> Tensor:
    logits: Tensor = output.logits
    return logits


def gpt2(*, tied: bool) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"vocab_size": NUM_LABELS, "n_positions": 8, "n_embd": 12, "n_layer": 1, "n_head": 2}
    special = {"bos_token_id": 0, "eos_token_id": 0}
    return GPT2LMHeadModel(GPT2Config(**sizes, **special, tie_word_embeddings=tied))


SMALL: dict[str, Any] = {
    "vocab_size": NUM_LABELS,
    "hidden_size": 12,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 6,
    "max_position_embeddings": 8,
    "pad_token_id": None,  # else the monitor says that its row is zero
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def llama(*, tied: bool) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**SMALL, tie_word_embeddings=tied))


def gemma() -> Any:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    return Gemma2ForCausalLM(Gemma2Config(**SMALL, final_logit_softcapping=CAP, attn_implementation="eager"))


class Sentences(nn.Module):
    """BERT, with a label for each sentence: one for each of its words here, for the data's sake."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import BertConfig, BertForSequenceClassification

        sizes = {name: SMALL[name] for name in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers")}
        self.bert = BertForSequenceClassification(BertConfig(**sizes, num_attention_heads=2, num_labels=NUM_LABELS))

    @override
    def forward(self, words: Tensor) -> Tensor:
        logits: Tensor = self.bert(input_ids=words.reshape(-1, 1)).logits
        return logits


class Translator(nn.Module):
    """T5, whose tied head takes scaled embeddings."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import T5Config, T5ForConditionalGeneration

        sizes = {"vocab_size": NUM_LABELS, "d_model": 12, "d_kv": 6, "d_ff": 16, "num_layers": 1, "num_heads": 2}
        special = {"decoder_start_token_id": 0, "pad_token_id": 0}
        self.t5 = T5ForConditionalGeneration(T5Config(**sizes, **special, tie_word_embeddings=True))

    @override
    def forward(self, words: Tensor) -> Tensor:
        logits: Tensor = self.t5(input_ids=words, decoder_input_ids=words).logits
        return logits


def adapted(**settings: Any) -> Any:
    """A frozen model with an adapter."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=2, lora_alpha=4, init_lora_weights=False, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # 2026-11: peft 0.21 asks transformers 5.24 in the old way
        return get_peft_model(llama(tied=False), config)


def adapted_mlp() -> Any:
    """The adapter of the last layer has a bias of its own; so has that layer."""
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(mlp(), LoraConfig(r=2, lora_alpha=4, init_lora_weights=False, target_modules=["2"], lora_bias=True))
    model.get_submodule("base_model.model.2.lora_B.default").bias.data.copy_(torch.linspace(-1, 1, NUM_LABELS))
    return model


def dora() -> Any:
    """Rows get a length of their own, which is not the one they would have."""
    model: Any = adapted(target_modules=["lm_head"], use_dora=True)
    magnitudes = model.get_submodule("base_model.model.lm_head.lora_magnitude_vector.default").weight
    magnitudes.data.mul_(torch.linspace(0.5, 2, len(magnitudes)))
    return model


def saved() -> Any:
    return adapted(target_modules=["q_proj"], modules_to_save=["lm_head"])


def merged() -> Any:
    model: Any = adapted(target_modules=["lm_head"])
    model.merge_adapter()
    model.get_submodule("base_model.model.model.norm").requires_grad_(requires_grad=True)  # else nothing would train
    return model


def torchao_net() -> Any:
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    model = mlp()
    quantize_(model, Int8WeightOnlyConfig())
    return model


class MetricLearning(nn.Module):
    """A network whose rows lie in its loss, as in pytorch-metric-learning."""

    def __init__(self) -> None:
        super().__init__()
        from pytorch_metric_learning.losses import ArcFaceLoss

        self.body = nn.Sequential(nn.Linear(8, DIM), nn.Tanh())
        self.loss = ArcFaceLoss(num_classes=NUM_LABELS, embedding_size=DIM, scale=8)

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.loss.get_logits(self.body(inputs))
        return logits


class WithALoss(Watched):
    """Trained by the loss that holds the rows."""

    @override
    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        model: Any = self.model
        loss: Tensor = model.loss(model.body(batch[0]), batch[1])
        return loss


HF: dict[str, Any] = {"inputs": "words", "logits": logits_of}
THIRD_PARTY: Final[list[Cell]] = [
    Cell("GPT-2, tied", lambda: gpt2(tied=True), head="model.lm_head", **HF),
    Cell("GPT-2, untied", lambda: gpt2(tied=False), head="model.lm_head", **HF),
    Cell("Llama, tied", lambda: llama(tied=True), head="model.lm_head", **HF),
    Cell("Llama, untied", lambda: llama(tied=False), head="model.lm_head", **HF),
    Cell("BERT for sequences", Sentences, inputs="words", head="model.bert.classifier"),
    Cell("T5, tied and scaled", Translator, inputs="words", head="model.t5.lm_head"),
    Cell(
        'Gemma 2, soft-capped, with `link="softcap"`',
        gemma,
        outcome="every rung but the centered",
        settings={"link": "softcap"},
        **HF,
    ),
    Cell(
        '`ArcFaceLoss` of pytorch-metric-learning, with `link="cosine"` and `embeddings_from=`',
        MetricLearning,
        outcome="every rung but the centered",
        settings={"link": "cosine", "embeddings_from": "model.body"},
        head="model.loss",
        module=WithALoss,
    ),
    Cell("LoRA on the head", lambda: adapted(target_modules=["lm_head"]), **HF),
    Cell("LoRA on the head, merged", merged, **HF),
    Cell("LoRA on the head, with a bias of its own", adapted_mlp),
    Cell("DoRA on the head", dora, **HF),
    Cell("LoRA, the head in `modules_to_save`", saved, **HF),
    Cell("quantized by torchao", torchao_net, outcome="refused", says="its weight is quantized"),
]
