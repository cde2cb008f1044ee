"""Token names: read the names of labels from a saved tokenizer or a model's configuration. Only JSON and text are read.

Shapes: K labels.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from lightning_cossim.analysis.json_files import read_json
from lightning_cossim.config.text_files import MOST_OF_NAMES, read_text
from lightning_cossim.errors import CheckpointError

__all__ = ["names_of_labels", "names_of_tokens"]

_VOCABULARIES: Final = ("tokenizer.json", "target_vocab.json", "vocab.json", "vocab.txt")
"""Files of a vocabulary, the most reliable first."""


def names_of_tokens(folder: Path, num_labels: int) -> tuple[str, ...] | None:
    """The tokens of a saved tokenizer as names of K labels; None if the folder has no vocabulary.

    The vocabulary is in `tokenizer.json`, `target_vocab.json`, `vocab.json` or `vocab.txt`. Files with added tokens are read too.
    The name of a row without a token is its number.

    Raises:
        CheckpointError: a file cannot be read.
    """
    for file in _VOCABULARIES:
        if (folder / file).is_file():
            tokens = dict(_tokens_of_lines(folder / file) if file.endswith(".txt") else _tokens_of_json(read_json(folder / file)))
            if tokens:
                return _named(tokens | dict(_added_tokens(folder)), num_labels)
    return None


def names_of_labels(config: Mapping[str, Any], num_labels: int) -> tuple[str, ...] | None:
    """The names of K labels in `id2label` of a configuration; None if it has no such names, or only LABEL_0, LABEL_1, ..."""
    given = config.get("id2label")
    if not isinstance(given, Mapping) or len(given) != num_labels:
        return None
    names = {_whole(label): name for label, name in given.items() if isinstance(name, str)}
    if set(names) != set(range(num_labels)) or all(name == f"LABEL_{label}" for label, name in names.items()):
        return None
    return tuple(names[label] for label in range(num_labels))


def _named(tokens: Mapping[int, str], num_labels: int) -> tuple[str, ...]:
    return tuple(tokens.get(label, str(label)) for label in range(num_labels))


def _tokens_of_json(content: Mapping[str, Any]) -> Iterable[tuple[int, str]]:
    """Each row and its token from `tokenizer.json`, or from a plain object of tokens and rows."""
    model = content.get("model")
    vocabulary = model.get("vocab") if isinstance(model, Mapping) else content
    if isinstance(vocabulary, list):  # tokens and scores, in the order of the rows
        yield from (
            (row, entry[0])
            for row, entry in enumerate(vocabulary)
            if isinstance(entry, list) and entry and isinstance(entry[0], str)
        )
    elif isinstance(vocabulary, Mapping):
        yield from ((row, token) for token, row in vocabulary.items() if type(row) is int)
    added = content.get("added_tokens") if isinstance(model, Mapping) else None
    yield from _of_entries((entry.get("id"), entry) for entry in _objects(added))


def _tokens_of_lines(path: Path) -> Iterable[tuple[int, str]]:
    try:
        text = read_text(path, MOST_OF_NAMES)
    except ValueError as error:
        raise CheckpointError(f"{path}: expected a readable file of tokens, got {error}.") from None
    yield from enumerate(text.removesuffix("\n").split("\n"))


def _added_tokens(folder: Path) -> Iterable[tuple[int, str]]:
    """Each row and its token from the files with added tokens."""
    if (folder / "added_tokens.json").is_file():
        yield from ((row, token) for token, row in read_json(folder / "added_tokens.json").items() if type(row) is int)
    if (folder / "tokenizer_config.json").is_file():
        added = read_json(folder / "tokenizer_config.json").get("added_tokens_decoder")
        yield from _of_entries(added.items() if isinstance(added, Mapping) else ())


def _of_entries(entries: Iterable[tuple[Any, Any]]) -> Iterable[tuple[int, str]]:
    for row, entry in entries:
        token = entry.get("content") if isinstance(entry, Mapping) else None
        if _whole(row) is not None and isinstance(token, str):
            yield _whole(row) or 0, token


def _objects(given: Any) -> list[Mapping[str, Any]]:
    return [entry for entry in given if isinstance(entry, Mapping)] if isinstance(given, list) else []


def _whole(value: Any) -> int | None:
    """A row number from an integer or its digits; None for any other value."""
    if isinstance(value, str) and value.isdecimal() and len(value) < 12:
        return int(value)
    return value if type(value) is int else None
