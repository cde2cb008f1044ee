"""The parts of docs/ that come from the code: `python -m tests.documentation` writes them again.

A part lies between `<!-- generated: NAME -->` and `<!-- end -->`. `tests/test_docs.py` checks that each is up to date.
"""

import dataclasses
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from docstring_parser import parse

from lightning_cossim import Alert, Display, Evidence, LabelSelection, Schedule, Thresholds
from lightning_cossim.functional.scalars import alert_scalars
from tests.compatibility.table import table

ROOT: Final = Path(__file__).parent.parent
DOCS: Final = ROOT / "docs"
_PART: Final = re.compile(r"(<!-- generated: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def fields(settings: type[Any]) -> str:
    """A table of the fields of a dataclass, with the help of its docstring."""
    help_of = {param.arg_name: " ".join((param.description or "").split()) for param in parse(settings.__doc__ or "").params}
    lines = ["| field | default | what it does |", "|---|---|---|"]
    for field in dataclasses.fields(settings):
        default = "required" if field.default is dataclasses.MISSING else f"`{_shown(field.default)}`"
        text = help_of[field.name].replace("|", "\\|")
        lines.append(f"| `{field.name}` | {default} | {text[0].upper()}{text[1:]} |")
    return "\n".join(lines)


def _shown(value: object) -> str:
    return "[]" if value == () else f'"{value}"' if isinstance(value, str) else str(value)


def scalars() -> str:
    """What an alert can watch, as one line."""
    return ", ".join(f"`{name}`" for name in alert_scalars())


def versions() -> str:
    """The versions that the tests run with, from the two files of constraints."""
    oldest, newest = (
        dict(re.findall(r"^(\w+)==(.+)$", (ROOT / name).read_text(encoding="utf-8"), flags=re.MULTILINE))
        for name in ("constraints-oldest.txt", "constraints.txt")
    )
    lines = ["| package | oldest version tested | newest version tested |", "|---|---|---|"]
    lines += [
        f"| {name} | {oldest[name]} | {newest[name]} |"
        for name in ("torch", "lightning", "torchmetrics", "tensorboard", "scipy", "numpy")
    ]
    return "\n".join(lines)


PARTS: Final[dict[str, Callable[[], str]]] = {
    **{one.__name__: partial(fields, one) for one in (Thresholds, Alert, LabelSelection, Schedule, Display, Evidence)},
    "scalars": scalars,
    "versions": versions,
    "compatibility": table,
}


def written(page: str) -> str:
    """A page with its parts as the code has them now."""
    return _PART.sub(lambda found: f"{found[1]}\n{PARTS[found[2]]()}\n\n{found[4]}", page)


def parts_of(page: str) -> list[str]:
    """The names of the generated parts of a page."""
    return [found[1] for found in _PART.findall(page)]


if __name__ == "__main__":
    for path in sorted(DOCS.glob("*.md")):
        path.write_text(written(path.read_text(encoding="utf-8")), encoding="utf-8")
