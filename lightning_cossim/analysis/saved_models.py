"""Saved models: read the folder of a saved transformers model. The configuration is read as JSON; no code runs.

Shapes: K labels, D embedding dimensions.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lightning_cossim.analysis.json_files import read_json, reason
from lightning_cossim.analysis.layer_names import layer_of, matrix_shape, module_of, short_name
from lightning_cossim.analysis.saved_heads import embedding_names, is_vector, matrices
from lightning_cossim.analysis.saved_tensors import SUFFIXES, SavedTensors, listed
from lightning_cossim.analysis.token_names import names_of_labels, names_of_tokens
from lightning_cossim.capture.find import COMMON_NAMES
from lightning_cossim.errors import CheckpointError

__all__ = ["CONFIG", "SavedModel", "model_beside", "weights_in"]

CONFIG: Final = "config.json"
_WEIGHTS: Final = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "adapter_model.safetensors",
    "adapter_model.bin",
)
"""Files of weights in a folder, in the order in which transformers searches."""
_OF_TOKENS: Final = re.compile(
    r"CausalLM|LMHead|MaskedLM|ConditionalGeneration|CTC|Seq2Seq|DoubleHeads|ImageTextToText|MTModel|EncoderDecoder|ForPreTraining"
)
_OF_LABELS: Final = re.compile(r"Classification|MultipleChoice")
"""Names of model classes whose head predicts labels; `_OF_TOKENS` matches those whose head predicts tokens."""
_COMMON: Final = COMMON_NAMES | {
    *("embed_out", "generator_lm_head", "lm_loss", "logits_proj", "out_proj", "output_projection", "proj_out", "score"),
    *("summary", "vocab_projector"),
}
"""Names of the final layer in models of transformers."""
_STACKED: Final = re.compile(r"(^|\.)\d+\.")
"""Matches the name of a layer in a stack of equal layers."""
_INNER: Final = ("text_config", "decoder", "llm_config", "language_config")
"""Keys of the text model's configuration in a configuration of several models."""


@dataclass(frozen=True)
class SavedModel:
    """The folder of a saved model, and the content of its configuration."""

    folder: Path
    config: Mapping[str, Any]

    @property
    def architecture(self) -> str:
        """The class of the model, for example `LlamaForCausalLM`; empty if the configuration does not give it."""
        given = self.config.get("architectures")
        return str(given[0]) if isinstance(given, list) and given else ""

    @property
    def has_tokens(self) -> bool:
        """Whether the model's labels are the tokens of its vocabulary."""
        return bool(_OF_TOKENS.search(self.architecture)) and not self.has_labels

    @property
    def has_labels(self) -> bool:
        """Whether the model is a classifier, for example of sequences, tokens or images."""
        return bool(_OF_LABELS.search(self.architecture))

    @property
    def is_known(self) -> bool:
        """Whether the class name of the model shows what its labels are."""
        return self.has_tokens or self.has_labels

    @property
    def is_regression(self) -> bool:
        """Whether the model is a classifier whose outputs are regression values."""
        return self.has_labels and self.config.get("problem_type") == "regression"

    @property
    def is_multi_label(self) -> bool:
        """Whether the model is a classifier whose labels do not exclude one another."""
        return self.has_labels and self.config.get("problem_type") == "multi_label_classification"

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings of the text model; the whole configuration gives the settings that it lacks."""
        inner: Mapping[str, Any] = next((self.config[name] for name in _INNER if isinstance(self.config.get(name), Mapping)), {})
        return {**self.config, **inner, "model_type": self.config.get("model_type", inner.get("model_type"))}

    @property
    def num_labels(self) -> int | None:
        """K from the configuration; None if it does not give it."""
        if self.has_labels:
            given = self.config.get("id2label")
            return len(given) if isinstance(given, Mapping) else _count(self.config.get("num_labels")) or 2
        return _count(self.settings.get("vocab_size"))

    def weight_name(self, saved: SavedTensors) -> str | None:
        """The name of the head's weight, or of the embedding that a tied head shares; None if the configuration does not show it.

        Raises:
            CheckpointError: the file has no head, or the head could be tied to one of several embeddings.
        """
        if not self.is_known:
            return None
        sized = [name for name in matrices(saved) if _rows(saved, name) == self.num_labels]
        embeddings = embedding_names(matrices(saved))
        found = _best([name for name in sized if name not in embeddings and not _embeds(name)], only_usual=self.has_tokens)
        if found is not None:
            return found
        common = [name for name in matrices(saved) if short_name(name) in COMMON_NAMES and not _STACKED.search(name)]
        predicts = any(re.search(r"(?<!discriminator_)predictions\.|lm_head", name) for name in saved.names)
        if self.has_labels or common or ("ForPreTraining" in self.architecture and not predicts):
            return None
        return self._tied(saved, [name for name in embeddings if name in sized] or embeddings)

    def _tied(self, saved: SavedTensors, embeddings: list[str]) -> str | None:
        """The embedding that the head shares: the one of both encoder and decoder if there is one, else that of the decoder."""
        said = [part.get("tie_word_embeddings") for part in (self.config, self.settings)]
        pool = [name for name in embeddings if short_name(name) == "shared"]
        pool = pool or [name for name in embeddings if "encoder." not in name.replace("decoder.", "")] or embeddings
        if not pool:
            return None
        choices = " or ".join(f"head={layer_of(name)!r}" for name in pool[:4])
        if False in said and True not in said:
            got = f"none, and {CONFIG} has tie_word_embeddings=false"
            raise CheckpointError(
                f"{saved.path}: expected the head of {self.architecture}, got {got}. Pass {choices} to use the embedding."
            )
        if len(pool) > 1:
            raise CheckpointError(
                f"{saved.path}: expected one embedding that the head is tied to, got {len(pool)}. Pass {choices}."
            )
        return pool[0]

    def bias_name(self, saved: SavedTensors, num_labels: int) -> str | None:
        """The name of a bias that is not beside the weight, as for a tied head; None if there is none.

        Raises:
            CheckpointError: the file has several.
        """
        if not self.has_tokens:
            return None
        inside: dict[str, int] = {}
        for name in saved.names:
            inside[module_of(name)] = inside.get(module_of(name), 0) + 1
        found = [
            name
            for name in saved.names
            if re.search(r"(^|\.)(final_logits_)?bias$", name) and is_vector(saved.shape(name), num_labels)
        ]
        alone = [name for name in found if inside[module_of(name)] == 1 or name.endswith("final_logits_bias")]
        # Older files also hold the same bias under the name of the layer.
        alone = [name for name in alone if f"{module_of(module_of(name))}.bias" not in alone] or alone
        if len(alone) > 1:
            choices = listed(f"bias={name!r}" for name in alone)
            raise CheckpointError(f"{saved.path}: expected one bias for the head, got {len(alone)}. Pass one of {choices}.")
        return alone[0] if alone else None

    def changes_logits(self, num_labels: int) -> bool:
        """Whether the cap and the scale of the configuration apply to a head with K labels. They never apply to a classifier."""
        size = _count(self.settings.get("vocab_size"))
        if self.has_labels or size is None:
            return not self.has_labels
        return num_labels >= size if self.has_tokens else num_labels == size  # a head may have padding rows

    def names(self, num_labels: int) -> tuple[tuple[str, ...] | None, str | None]:
        """The names of K labels (labels of a classifier, or tokens), and the reason if a file cannot be read."""
        if self.has_labels:
            return names_of_labels(self.config, num_labels), None
        size = _count(self.settings.get("vocab_size"))
        if not self.has_tokens and size != num_labels:
            return None, None
        try:
            return names_of_tokens(self.folder, num_labels), None
        except CheckpointError as error:
            return None, f"labels have numbers as names, because the tokenizer cannot be read: {str(error).rstrip('.')}"


def model_beside(path: Path) -> SavedModel | None:
    """The model whose configuration is in a folder, or beside a file; None if there is no configuration of transformers.

    Raises:
        CheckpointError: the configuration cannot be read.
    """
    folder = path if path.is_dir() else path.parent
    if not (folder / CONFIG).is_file():
        return None
    config = read_json(folder / CONFIG)
    return SavedModel(folder, config) if "architectures" in config or "model_type" in config else None


def weights_in(folder: Path) -> Path:
    """The file with the weights in a folder, or the index of several files.

    Raises:
        CheckpointError: the folder cannot be read, or has no file that transformers would load.
    """
    for name in _WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    try:
        files = sorted(file.name for file in folder.iterdir() if file.suffix in SUFFIXES)
    except OSError as error:
        raise CheckpointError(f"{folder}: expected a readable folder, got {reason(error)}.") from None
    if len(files) == 1 and (folder / CONFIG).is_file():
        return folder / files[0]
    got = f"a folder with {listed(files)}" if files else "a folder"
    remedy = "Pass the file, or a folder with model.safetensors, pytorch_model.bin, or an index of one."
    raise CheckpointError(f"{folder}: expected a file or the folder of a saved model, got {got}. {remedy}")


def _best(names: list[str], *, only_usual: bool) -> str | None:
    """The candidate that is most likely the head; None if several are equally likely.

    A layer in a stack may have K rows by chance, so a layer with a common head name outside of stacks wins.
    """
    outside = [name for name in names if not _STACKED.search(name)]
    common = [name for name in outside if short_name(name) in _COMMON or name.endswith("pred_layer.proj.weight")]
    below = [name for name in names if name.partition(".")[0] in _COMMON]
    for kept in (common,) if only_usual else (common, below, outside, names):
        if kept:
            return kept[0] if len(kept) == 1 else None
    return None


def _embeds(name: str) -> bool:
    """Whether a layer is an embedding, for example of positions or types, judged by its name."""
    return short_name(name) != "embed_out" and re.search(r"embed", name) is not None


def _rows(saved: SavedTensors, name: str) -> int:
    shape = matrix_shape(saved.shape(name))
    return 0 if shape is None else shape[0]


def _count(value: Any) -> int | None:
    return value if type(value) is int and value > 0 else None
