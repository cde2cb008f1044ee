"""A strict reader from YAML to a dataclass. Every error is one line with the file and the line number.

A plain YAML parser keeps the last of two equal keys, accepts misspelled keys and reads `1e-1` as text. Here the first two are
errors, and `1e-1` is a number.
"""

import os
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Final, TypeVar, get_args, get_type_hints

import yaml

from lightning_cossim.config.types import number_of
from lightning_cossim.errors import ConfigError, did_you_mean

__all__ = ["parse_dataclass", "read_dataclass"]

_T = TypeVar("_T")
_PLAIN: Final = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "str"))
"""Tags of plain scalars that the reader first tries to read as numbers."""


def read_dataclass(kind: type[_T], path: str | os.PathLike[str]) -> _T:
    """The dataclass in a YAML file whose keys are its fields.

    Raises:
        ConfigError: the file is not readable, is not valid YAML, or has a wrong key or value. The message is one line.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: expected a readable file, got {error.strerror or error}.") from None
    except ValueError:
        raise ConfigError(f"{path}: expected a file in UTF-8, got bytes that are not UTF-8.") from None
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
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(
            f"{source}:{line}: expected valid YAML, got an error: {_one_line(error.problem or error.context)}."
        ) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: expected valid YAML, got an error: {_one_line(str(error))}.") from None
    except RecursionError:
        raise ConfigError(f"{source}: expected valid YAML, got values that are nested too deeply.") from None
    if node is None:
        raise ConfigError(f"{source}: expected {_keys_of(kind)}, got an empty file.")
    built: _T = _Reader(source).build(kind, node)
    return built


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
            if not isinstance(key, yaml.ScalarNode):
                raise self._error(key, f"expected {_keys_of(kind)}, got a list or a mapping as a key")
            name = _one_line(key.value)
            if name in getattr(kind, "RENAMED", {}):
                raise self._error(key, f"`{name}` does not exist any more. {kind.RENAMED[name]} Remove this line")
            if name not in known:
                raise self._error(
                    key, f"unknown key `{name}`. {did_you_mean(name, known) or 'Known keys: ' + ', '.join(known) + '.'}"
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

    def _plain(self, node: yaml.Node) -> Any:
        if isinstance(node, yaml.ScalarNode) and node.style is None and node.tag in _PLAIN:
            number = number_of(node.value)
            if number is not None:
                return number
        loader = yaml.SafeLoader("")
        try:
            return loader.construct_object(node, deep=True)
        except yaml.MarkedYAMLError as error:
            raise self._error(node, f"expected plain YAML, got an error: {_one_line(error.problem)}") from None
        except (AttributeError, LookupError, ValueError) as error:  # for example, an impossible date
            text = _one_line(str(node.value))
            raise self._error(node, f"expected plain YAML, got {text[:40]!r} ({type(error).__name__})") from None

    def _error(self, node: yaml.Node, text: str) -> ConfigError:
        end = "" if text.endswith(("?", ".")) else "."
        return ConfigError(f"{self.source}:{node.start_mark.line + 1}: {text}{end}")


def _keys_of(kind: type[Any]) -> str:
    return f"keys of {_kind_name(kind)} ({', '.join(field.name for field in fields(kind))})"


def _kind_name(kind: type[Any]) -> str:
    return kind.__name__.lower()


def _what(node: yaml.Node) -> str:
    return "a list" if isinstance(node, yaml.SequenceNode) else f"{node.value!r}"


def _one_line(text: str | None) -> str:
    return " ".join((text or "none").split())
