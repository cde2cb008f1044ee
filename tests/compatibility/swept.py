"""A small random model of transformers: how it is built, and what it is fed.

Shapes: B sequences, images or sounds, T positions, K labels, N inputs.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

__all__ = ["ABSENT", "NUM_LABELS", "NUM_WORDS", "TEXT", "FromTimm", "Group", "Inputs", "Swept"]

NUM_WORDS: Final = 37
"""Size of a vocabulary. No layer but the head and the embedding has this size."""
NUM_LABELS: Final = 7
"""Labels of a classifier."""

Group = Literal["language models", "masked words", "translation", "sequences", "tokens", "answers", "images", "sounds"]
"""What a model is for."""
Inputs = Literal[
    "words",
    "padded words",
    "ended words",
    "choices",
    "translation",
    "transcription",
    "transposed transcription",
    "images",
    "timm images",
    "videos",
    "sounds",
    "spectra",
]

TEXT: Final[dict[str, Any]] = {
    "vocab_size": NUM_WORDS,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
"""The configuration of a model that reads words, by the usual names."""
ABSENT: Final = object()
"""The value of a usual name that a configuration does not have."""


def logits_of(output: Any) -> Tensor:
    logits: Tensor = output.logits
    return logits


def unaltered(model: Any) -> None:
    """As transformers made it."""


@dataclass(frozen=True)
class Swept:
    """A model, and what its user gets."""

    name: str
    """As docs/where_it_runs.md has it."""
    group: Group
    task: str
    """Its class in transformers."""
    inputs: Inputs = "words"
    sizes: Mapping[str, Any] = field(default_factory=dict)
    """Its configuration, beside `TEXT`."""
    behind: str = ""
    """What the model does to the output of its head, in words; empty: nothing, the overlaps are right without a warning."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the monitor, where several layers could be the head."""
    final: Callable[[Any], Tensor] = logits_of
    """The final logits, in what the model gives."""
    axis: int = -1
    """The dimension of the labels in them."""
    alter: Callable[[Any], None] = unaltered
    """What a longer training would have changed."""

    @property
    def num_labels(self) -> int:
        """K."""
        if self.group in {"language models", "masked words", "translation"}:
            return NUM_WORDS
        return 2 if self.group == "answers" else NUM_LABELS

    def build(self) -> Any:
        """The model. Its head's rows are drawn anew: as made, they are too short to tell labels apart."""
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # transformers warns of sizes this small, and of kernels that are not installed
            model = self.make()
            self._draw_head(model)
        self.alter(model)
        return model.train()

    def make(self) -> Any:
        """As its package makes it."""
        import transformers

        task = getattr(transformers, self.task)
        return task(task.config_class(**self._config))

    def batch(self, num: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Random arguments of the model, by their names."""
        return INPUTS[self.inputs](num, generator)

    @property
    def _config(self) -> dict[str, Any]:
        reads_words = self.inputs in {"words", "padded words", "ended words", "choices"}
        labels = {} if self.num_labels == NUM_WORDS else {"num_labels": self.num_labels}
        sizes = {**(TEXT if reads_words else {}), **labels, **self.sizes}
        return {name: value() if callable(value) else value for name, value in sizes.items() if value is not ABSENT}

    def _draw_head(self, model: Any) -> None:
        """Draw the head's rows. A classifier's get the length, and the bias, with which logits have mean 0 and deviation 2."""
        heads = [part for part in model.modules() if _is_head(part, self.num_labels)]
        for head in heads:
            head.weight.data.normal_(0, 0.7)
        if self.num_labels == NUM_WORDS:
            return
        for part in model.modules():
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                part.momentum = None  # the mean over all batches, so that a short training is enough
        batch = self.batch(8, torch.Generator().manual_seed(0))
        with torch.no_grad():
            model.train()(**batch)
            logits = self.final(model.eval()(**batch)).movedim(self.axis, -1).flatten(0, -2)
        scale = 2 / logits.std(dim=0).mean()
        for head in heads:
            head.weight.data.mul_(scale)
            if head.bias is not None:
                head.bias.data.sub_(scale * logits.mean(dim=0))


class FromTimm(Swept):
    """A model of timm, whose output is the final logits."""

    @override
    def make(self) -> Any:
        import timm

        return timm.create_model(self.task, num_classes=self.num_labels, **self.sizes)


def _is_head(part: nn.Module, num_labels: int) -> bool:
    return isinstance(part, nn.Linear | nn.Conv2d) and part.weight.shape[0] == num_labels


def _ids(num: int, generator: torch.Generator) -> Tensor:
    """Six words each, none of them special."""
    return torch.randint(3, NUM_WORDS, (num, 6), generator=generator)


def words(num: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Sentences of six words."""
    return {"input_ids": _ids(num, generator)}


def padded_words(num: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Sentences of three to six words, and padding."""
    lengths = torch.randint(3, 7, (num, 1), generator=generator)
    mask = (torch.arange(6) < lengths).long()
    return {"input_ids": _ids(num, generator) * mask, "attention_mask": mask}


def ended_words(num: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Sentences of five words and their end."""
    ids = _ids(num, generator)
    ids[:, -1] = TEXT["eos_token_id"]
    return {"input_ids": ids}


def choices(num: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Two sentences to choose from."""
    return {"input_ids": torch.stack([_ids(num, generator), _ids(num, generator)], dim=1)}


def translation(num: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Sentences, and four words of their translation."""
    return {"input_ids": _ids(num, generator), "decoder_input_ids": _ids(num, generator)[:, :4]}


def transcription(num: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Spectra of 16 bands at 24 moments, and four words of their transcription."""
    return {"input_features": torch.randn(num, 16, 24, generator=generator), "decoder_input_ids": _ids(num, generator)[:, :4]}


def transposed_transcription(num: int, generator: torch.Generator) -> dict[str, Tensor]:
    """The same, with the moments before the bands."""
    inputs = transcription(num, generator)
    return {**inputs, "input_features": inputs["input_features"].mT}


def images(num: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Images of 32x32 pixels."""
    return {"pixel_values": torch.randn(num, 3, 32, 32, generator=generator)}


def timm_images(num: int, generator: torch.Generator) -> dict[str, Tensor]:
    """The same, by the name that timm gives them."""
    return {"x": images(num, generator)["pixel_values"]}


def videos(num: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Two images of 32x32 pixels each."""
    return {"pixel_values": torch.randn(num, 2, 3, 32, 32, generator=generator)}


def sounds(num: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Sounds of 400 samples."""
    return {"input_values": torch.randn(num, 400, generator=generator)}


def spectra(num: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Spectra of 16 bands at 24 moments."""
    return {"input_values": torch.randn(num, 24, 16, generator=generator)}


INPUTS: Final[dict[Inputs, Callable[[int, torch.Generator], dict[str, Tensor]]]] = {
    "words": words,
    "padded words": padded_words,
    "ended words": ended_words,
    "choices": choices,
    "translation": translation,
    "transcription": transcription,
    "transposed transcription": transposed_transcription,
    "images": images,
    "timm images": timm_images,
    "videos": videos,
    "sounds": sounds,
    "spectra": spectra,
}
