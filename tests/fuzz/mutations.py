"""Mutations: how a valid text, number or file becomes one that is made to harm."""

import struct
from random import Random
from typing import Any, Final

__all__ = ["bad_bytes", "bad_name", "bad_number", "some"]

_NAMES: Final = (
    *("", " ", "\n", "\t", "\r\n", "\0", "a\0b", ".", "..", "../x", "/", "/etc/passwd", "~", "-", "--", "none", "null", "True"),
    *("\x1b[2J", "\x1b]0;owned\x07", "\x9b2J", "\x7f", "\x08" * 9),
    *("\u202eevil", "\u2028", "\u200b", "\ufeff", "\ud800", "\U000e0001"),
    *("e\u0301" * 50, "\u0600" * 30, "é", "日本語", "😀" * 200, "'", '"', "`", "\\", "%s%n", "{0}", "{}", "$(touch canary)"),
    *("<script>alert(1)</script>", "a" * 255, "a" * 256, "a" * 5_000, ".".join("a" * 500), "[" * 300, "a\nb\nc"),
)
_NUMBERS: Final = (
    *(
        "0",
        "-0",
        "-1",
        "1",
        "2",
        "1e400",
        "-1e400",
        "nan",
        "NaN",
        ".nan",
        "inf",
        "-inf",
        ".inf",
        "1e-400",
        "5e-324",
        "1e308",
        "0.1",
    ),
    *(str(2**31), str(2**63), str(-(2**63) - 1), str(2**64), "9" * 30, "9" * 400, "9" * 5_000),
    *(
        "0x" + "f" * 5_000,
        "0b" + "1" * 20_000,
        "1_000",
        "1:30:00",
        "\uff11\uff12",
        "\u0663",
        "0o17",
        "017",
        "+1",
        "1.",
        ".5",
        "1e",
    ),
    *("1e1_0", "True", "null", "2001-01-01", "2001-13-45"),
)
_INTEGERS: Final = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)


def some(draw: Random, *choices: Any) -> Any:
    """One of several values."""
    return draw.choice(choices)


def bad_name(draw: Random, *, long: int = 1_000_000) -> str:
    """A name that a terminal, a path or a table could choke on; one of a hundred is `long`."""
    if draw.random() < 0.01:
        return draw.choice(("a", "\x1b", "日", "a.", "\n")) * (long // 2)
    name = draw.choice(_NAMES)
    return name + draw.choice(_NAMES) if draw.random() < 0.2 else name


def bad_number(draw: Random) -> str:
    """The text of a number that is huge, negative, not finite, or no number."""
    return draw.choice(_NUMBERS)


def bad_bytes(draw: Random, data: bytes) -> bytes:
    """The content of a file after one to four mutations that know nothing of its form."""
    for _ in range(draw.choice((1, 1, 2, 4))):
        data = _mutated(draw, data)
    return data


def _mutated(draw: Random, data: bytes) -> bytes:
    if not data:
        return draw.randbytes(draw.choice((1, 8, 64)))
    at, end = sorted((draw.randrange(len(data) + 1), draw.randrange(len(data) + 1)))
    end = min(end, at + 200)
    changed = bytearray(data)
    kind = draw.randrange(9)
    if kind == 0:  # flip a bit
        changed[at - 1] ^= 1 << draw.randrange(8)
    elif kind == 1:  # truncate
        del changed[at:]
    elif kind == 2:  # leave out
        del changed[at:end]
    elif kind == 3:  # double
        changed[at:at] = changed[at:end] * draw.choice((1, 1, 2, 50))
    elif kind == 4:  # swap
        other = draw.randrange(len(data))
        changed[at:end], changed[other : other + end - at] = changed[other : other + end - at], changed[at:end]
    elif kind == 5:  # noise
        changed[at:end] = draw.randbytes(end - at)
    elif kind == 6:  # lie about a length
        form = draw.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
        number = draw.choice(_INTEGERS) & (256 ** struct.calcsize(form) - 1)
        changed[at : at + struct.calcsize(form)] = struct.pack(form, number)
    elif kind == 7:  # text where there was none
        changed[at:at] = bad_name(draw, long=1_000).encode("utf-8", "surrogatepass")
    else:  # append
        changed += draw.choice((bytes(1), bytes(10_000), bytes(data), draw.randbytes(30)))
    return bytes(changed)
