"""A strict reader from YAML to a dataclass. Every error is one line with the file and the line number.

A plain YAML parser keeps the last of two equal keys, accepts misspelled keys and reads `1e-1` as text. Here the first two are
errors, and `1e-1` is a number. Aliases and tags, with which a short file can describe a huge value, are errors too, as are files
that are too large or too deep. They are found before any value is built.
"""

import os
from dataclasses import MISSING, fields
from typing import Any, Final, TypeVar, get_args, get_type_hints

import yaml

from lightning_cossim.config.text_files import MOST_OF_YAML, read_text
from lightning_cossim.config.types import number_of
from lightning_cossim.errors import ConfigError, as_value, did_you_mean, in_short

__all__ = ["parse_dataclass", "read_dataclass"]

_T = TypeVar("_T")
_PLAIN: Final = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "str"))
"""Tags of plain scalars that the reader first tries to read as numbers."""
_TEXT: Final = "tag:yaml.org,2002:str"
_MOST_EVENTS: Final = 20_000
"""Maximum number of scalars, and of starts and ends of lists and mappings: about 5000 known pairs, or 1500 alerts."""
_DEEPEST: Final = 10
"""Maximum depth of lists and mappings within one another; thresholds have three."""
_LONGEST_NUMBER: Final = 300
_LONG: Final = 50_000
"""Above this number of characters, an error has the words of the fast parser: the other one would take seconds."""
_FAST: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_dataclass(kind: type[_T], path: str | os.PathLike[str]) -> _T:
    """The dataclass in a YAML file whose keys are its fields.

    Raises:
        ConfigError: the file is not readable, is not valid YAML, or has a wrong key or value. The message is one line.
    """
    try:
        text = read_text(path, MOST_OF_YAML)
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: expected a file in UTF-8, got bytes that are not UTF-8.") from None
    except ValueError as error:
        raise ConfigError(f"{path}: expected a readable file, got {error}.") from None
    return parse_dataclass(kind, text, str(path))


def parse_dataclass(kind: type[_T], text: str, source: str) -> _T:
    """The dataclass in a YAML text whose keys are its fields.

    Args:
        kind: the dataclass.
        text: the YAML.
        source: name of the text, with which every message starts.

    Raises:
        ConfigError: the text is not valid YAML, or has a wrong key or value. The message is one line.
    """
    try:
        node = _composed(text, source)
    except ConfigError:
        raise
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(
            f"{source}:{line}: expected valid YAML, got an error: {_one_line(error.problem or error.context)}."
        ) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: expected valid YAML, got an error: {_one_line(str(error))}.") from None
    except (ValueError, OverflowError):  # an escape beyond Unicode
        raise ConfigError(f"{source}: expected valid YAML, got an escape that is no character.") from None
    if node is None:
        raise ConfigError(f"{source}: expected {_keys_of(kind)}, got an empty file.")
    built: _T = _Reader(source).build(kind, node)
    return built


def _composed(text: str, source: str) -> yaml.Node | None:
    """The root node of a YAML text, if the text is small and plain."""
    if len(text) > MOST_OF_YAML:
        raise ConfigError(f"{source}: expected at most {MOST_OF_YAML:,} characters, got {len(text):,}.")
    try:
        _check_events(text, source)
        node: yaml.Node | None = yaml.compose(text, Loader=_FAST)
    except yaml.YAMLError:
        if len(text) > _LONG:
            raise
        node = yaml.compose(text, Loader=yaml.SafeLoader)  # raises the error in plainer words
    return node


def _check_events(text: str, source: str) -> None:
    """Raise `ConfigError` if a text has aliases or tags, or is too deep or too long. Memory does not grow with the text."""
    depth = 0
    event: Any
    for number, event in enumerate(yaml.parse(text, Loader=_FAST)):
        found = None
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent):
            found = "an alias"
        elif getattr(event, "tag", None) is not None:
            found = f"the tag {as_value(event.tag)}"
        elif depth > _DEEPEST:
            found = f"more than {_DEEPEST} lists and mappings within one another"
        elif number > _MOST_EVENTS:
            found = "more values than thresholds can have"
        if found is not None:
            raise ConfigError(f"{source}:{event.start_mark.line + 1}: expected plain YAML, got {found}.")


class _Reader:
    """Converts YAML nodes of one source to values."""

    def __init__(self, source: str) -> None:
        self.source = source

    def build(self, kind: type[Any], node: yaml.Node) -> Any:
        """A dataclass from a YAML mapping."""
        if not isinstance(node, yaml.MappingNode):
            raise self._error(node, f"expected {_keys_of(kind)}, got {_what(node)}")
        hints = get_type_hints(kind)
        known = [field.name for field in fields(kind)]
        lines: dict[str, yaml.Node] = {}
        values = {}
        for key, value in node.value:
            name = self._key(key, f"{_keys_of(kind)}")
            if name in getattr(kind, "RENAMED", {}):
                raise self._error(key, f"`{name}` does not exist any more. {kind.RENAMED[name]} Remove this line")
            if name not in known:
                raise self._error(
                    key, f"unknown key `{in_short(name)}`. {did_you_mean(name, known) or 'Known keys: ' + ', '.join(known) + '.'}"
                )
            if name in lines:
                raise self._error(key, f"key `{name}` occurs twice, first in line {lines[name].start_mark.line + 1}. Remove one")
            lines[name] = key
            values[name] = self._value(hints[name], value)
        for field in fields(kind):
            if field.name not in values and field.default is MISSING and field.default_factory is MISSING:
                raise self._error(node, f"expected the key `{field.name}` of {_kind_name(kind)}, got none")
        try:
            return kind(**values)
        except ConfigError as error:
            raise self._error(lines.get(error.field or "", node), str(error)) from None

    def _value(self, hint: Any, node: yaml.Node) -> Any:
        """A list of dataclasses if the type hint asks for one, else the plain YAML value."""
        inner = get_args(hint)
        if inner and isinstance(inner[0], type) and hasattr(inner[0], "__dataclass_fields__"):
            if not isinstance(node, yaml.SequenceNode):
                return self._plain(node)
            return [self.build(inner[0], item) for item in node.value]
        return self._plain(node)

    def _key(self, node: yaml.Node, wanted: str) -> str:
        """A key as it is, if it is plain text."""
        if not isinstance(node, yaml.ScalarNode):
            raise self._error(node, f"expected {wanted}, got a list or a mapping as a key")
        if node.tag != _TEXT:
            what = "the merge key <<" if node.tag.endswith(":merge") else f"{as_value(node.value)}, which is no text"
            raise self._error(node, f"expected {wanted}, got {what}, as a key")
        name: str = node.value
        return name

    def _check_keys(self, node: yaml.Node) -> None:
        """Raise `ConfigError` if a mapping in a value has a key that is no plain text."""
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                self._key(key, "plain text")
                self._check_keys(value)
        elif isinstance(node, yaml.SequenceNode):
            for item in node.value:
                self._check_keys(item)

    def _plain(self, node: yaml.Node) -> Any:
        self._check_keys(node)
        if isinstance(node, yaml.ScalarNode) and not node.style and node.tag in _PLAIN:
            number = number_of(node.value)
            if number is not None:
                return number
            if node.tag != _TEXT and len(node.value) > _LONGEST_NUMBER:
                raise self._error(node, f"expected plain YAML, got a number of {len(node.value):,} characters")
        loader = yaml.SafeLoader("")
        try:
            return loader.construct_object(node, deep=True)
        except yaml.MarkedYAMLError as error:
            raise self._error(node, f"expected plain YAML, got an error: {_one_line(error.problem)}") from None
        except (AttributeError, LookupError, ValueError) as error:  # for example, an impossible date
            raise self._error(node, f"expected plain YAML, got {as_value(node.value)} ({type(error).__name__})") from None

    def _error(self, node: yaml.Node, text: str) -> ConfigError:
        end = "" if text.endswith(("?", ".")) else "."
        return ConfigError(f"{self.source}:{node.start_mark.line + 1}: {text}{end}")


def _keys_of(kind: type[Any]) -> str:
    return f"keys of {_kind_name(kind)} ({', '.join(field.name for field in fields(kind))})"


def _kind_name(kind: type[Any]) -> str:
    return kind.__name__.lower()


def _what(node: yaml.Node) -> str:
    return "a list" if isinstance(node, yaml.SequenceNode) else as_value(node.value)


def _one_line(text: str | None) -> str:
    return " ".join((text or "none").split())
