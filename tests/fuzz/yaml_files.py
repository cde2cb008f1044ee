"""Files of thresholds: YAML that describes thresholds and is damaged, or that is made to harm a reader of YAML."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from random import Random
from typing import Any, Final

import yaml

from lightning_cossim.config.thresholds import Alert, Thresholds
from tests.fuzz.commands import check_command
from tests.fuzz.mutations import bad_bytes, bad_name, bad_number

__all__ = ["case"]

VALID: Final[dict[str, Any]] = {
    "stranger": 0.2,
    "lookalike": 0.3,
    "min_inputs": 300,
    "known": [["a", "b"], ["c", "d"]],
    "alerts": [{"scalar": "reliability", "stage": "val", "below": 0.2, "patience": 3, "action": "warn"}],
}
_KEYS: Final = tuple({field.name for kind in (Thresholds, Alert) for field in fields(kind)} | {"unknown"})
_FORMS: Final[tuple[Callable[[Random, str], str], ...]] = (
    lambda draw, text: text.replace(": ", ": &a ", 1) + "more: *a\n",
    lambda draw, text: text.replace(": ", f": !{draw.choice(('!float', '!set', '!python/object/apply:os.system', 'x', ''))} ", 1),
    lambda draw, text: f"<<: {{stranger: 1}}\n{text}",
    lambda draw, text: f"? [{text[:20]!r}]\n: 1\n",
    lambda draw, text: "known: " + draw.choice("[{") * draw.choice((3, 300, 100_000)),
    lambda draw, text: f"known: {'[' * 300}{']' * 300}\n",
    lambda draw, text: "known:\n" + "".join(f"{' ' * depth}-\n" for depth in range(1, draw.choice((8, 300)))),
    lambda draw, text: f"known: [{'[a, b],' * draw.choice((3, 3_000, 140_000))}]\n",
    lambda draw, text: f"stranger: {bad_number(draw) * draw.choice((1, 1, 100))}\n",
    lambda draw, text: f"{text}---\n{text}",
    lambda draw, text: f"%YAML {bad_number(draw)[:9]}\n---\n{text}",
    lambda draw, text: f'stranger: "\\{draw.choice(("U00110000", "x1b[2J", "ud800", "q", "N"))}"\n',
    lambda draw, text: f"# {'x' * draw.choice((1, 900_000, 1_000_000))}\n{text}",
    lambda draw, text: (
        draw.choice(("#\n", "\n", "a\n", "- a\n", "\t", "- ", "? ", ": ", "'", "|\n", "&a ", "a: 1\n", "- 1\n")) * 300_000
    ),
    lambda draw, text: draw.choice(("|", ">", '"', "'")) + "\n " + bad_name(draw),
    lambda draw, text: "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"{c}: &{c} [{f'*{chr(ord(c) - 1)},' * 9}]\n" for c in "bcdefghi"),
)


def case(draw: Random, folder: Path) -> Callable[[], object]:
    """A file, read by `config --check`, in one of 40 cases by `analyze`."""
    path = folder / draw.choice(("t.yaml", "t.yaml", "t.yaml", "a b.yaml", "\x1b[2J.yaml", "日\u202e.yaml", "t"))
    path.write_bytes(_content(draw))
    return lambda: check_command("config", "--check", path)


def _content(draw: Random) -> bytes:
    content = {name: value for name, value in VALID.items() if draw.random() < 0.6}
    kind = draw.random()
    if kind < 0.5:
        _damage(draw, content)
    style = draw.choice((None, True, False))
    text = yaml.safe_dump(content, default_flow_style=style, allow_unicode=draw.random() < 0.5, sort_keys=False)
    if 0.4 < kind < 0.8:
        text = draw.choice(_FORMS)(draw, text)
    data = text.encode(draw.choice(("utf-8", "utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin1")), "replace")
    return bad_bytes(draw, data) if kind > 0.75 else data


def _damage(draw: Random, content: dict[str, Any]) -> None:
    """Replace a key or a value of a mapping, of any depth."""
    alerts = content.get("alerts")
    inside = alerts[0] if alerts and draw.random() < 0.5 else None
    if inside is not None:
        content["alerts"] = [{**inside}] * draw.choice((1, 1, 2, 700))
        content = content["alerts"][0]
    for _ in range(draw.choice((1, 1, 2))):
        name = draw.choice((draw.choice(_KEYS), bad_name(draw, long=300_000)))
        content[name] = _value(draw, 2)
    if draw.random() < 0.2:
        content.pop(next(iter(content)), None)


def _value(draw: Random, depth: int) -> Any:  # noqa: PLR0911 - one for each kind
    kind = draw.randrange(7 if depth else 5)
    if kind == 0:
        return bad_name(draw, long=300_000)
    if kind < 3:
        text = bad_number(draw)[:4_000]
        try:
            return float(text) if kind == 1 else int(text)
        except (ValueError, OverflowError):
            return text
    if kind == 3:
        return draw.choice((None, True, "reliability", "raise", 0.5, b"\0", [], {}, {1, 2}))
    if kind == 4:
        return draw.choice(("val", "train", 0.1, 3))
    if kind == 5:
        return [_value(draw, depth - 1) for _ in range(draw.choice((1, 2, 3, 50)))]
    return {draw.choice((bad_name(draw, long=9), 1, None, draw.choice(_KEYS))): _value(draw, depth - 1) for _ in range(2)}
