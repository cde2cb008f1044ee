"""The command `lightning-cossim`.

lightning-cossim config                    print the thresholds that hold by default, with their help, as YAML
lightning-cossim config --check FILE...    say in one line each what is wrong with files of thresholds
"""

import argparse
import ast
import inspect
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from lightning_cossim.errors import ConfigError
from lightning_cossim.thresholds import Alert, Thresholds

__all__ = ["commented_default", "main"]

_WIDTH = 100


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
    text += "\n# An alert, for example:\n#\n# alerts:\n#   - scalar: gap_behaviour\n#     above: 0.6\n#\n# Its fields:\n#\n"
    for field in fields(Alert):
        text += _comment(f"{field.name}: {_help(Alert)[field.name]}", indent="    ")
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
    """Field to the text that stands under it in the source."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(definition, ast.ClassDef), "a dataclass is a class"
    found = {}
    for above, below in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(above, ast.AnnAssign) and isinstance(above.target, ast.Name) and isinstance(below, ast.Expr):
            found[above.target.id] = str(ast.literal_eval(below.value))
    return found


if __name__ == "__main__":
    sys.exit(main())
