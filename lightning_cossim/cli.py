"""The command `lightning-cossim`.

lightning-cossim config                    print the thresholds that hold by default, with their help, as YAML
lightning-cossim config --check FILE...    say in one line each what is wrong with files of thresholds
"""

import argparse
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import docstring_parser

from lightning_cossim.errors import ConfigError
from lightning_cossim.thresholds import Alert, Thresholds

__all__ = ["commented_default", "main"]

_WIDTH = 100
_EXAMPLE = """\
# alerts:
#   - scalar: gap_behaviour
#     stage: val
#     above: 0.6
#     patience: 3
#     action: warn
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status: 0 if all is well, 2 if a file is not."""
    parser = argparse.ArgumentParser(prog="lightning-cossim", description="Where cosine similarity and probabilities part.")
    commands = parser.add_subparsers(required=True, metavar="command")
    config = commands.add_parser("config", help="print the default thresholds as commented YAML, or check files of them")
    config.add_argument("--check", nargs="+", metavar="FILE", help="files to check: one line for each that is wrong")
    given = parser.parse_args(arguments)
    if given.check is None:
        print(commented_default(), end="")
        return 0
    return max(_check(Path(path)) for path in given.check)


def commented_default() -> str:
    """The default thresholds as YAML, every field with its help; it reads back as the defaults."""
    text = ""
    for name, value in ((field.name, getattr(Thresholds(), field.name)) for field in fields(Thresholds)):
        text += f"{_comment(_help(Thresholds)[name])}{name}: {'[]' if name == 'alerts' else value}\n"
    text += f"\n# An alert, for example:\n#\n{_EXAMPLE}#\n# Its fields:\n#\n"
    hints = get_type_hints(Alert)
    for field in fields(Alert):
        words = f" One of {', '.join(get_args(hints[field.name]))}." if get_origin(hints[field.name]) is Literal else ""
        text += _comment(f"{field.name}: {_help(Alert)[field.name]}{words}", indent="    ")
    return text


def _check(path: Path) -> int:
    try:
        Thresholds.from_yaml(path)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{path}: all right.")
    return 0


def _comment(text: str, indent: str = "") -> str:
    return "".join(f"# {line}\n" for line in textwrap.wrap(text, _WIDTH, subsequent_indent=indent))


def _help(kind: type[Any]) -> dict[str, str]:
    """Field to what the docstring says of it, as a sentence."""
    found = {
        field.arg_name: " ".join((field.description or "").split()) for field in docstring_parser.parse(kind.__doc__ or "").params
    }
    return {name: f"{text[:1].upper()}{text[1:]}" for name, text in found.items()}


if __name__ == "__main__":
    sys.exit(main())
