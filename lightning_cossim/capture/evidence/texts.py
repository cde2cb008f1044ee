"""Texts of inputs: one printable line from a text, from a dictionary, or from the tokens around a position.

Shapes: B sequences of a batch, T tokens each.
"""

import itertools
import re
import reprlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from lightning_cossim.report.tables import printable, shortened

__all__ = ["NUM_AROUND", "TokenReader", "around", "line_of_dict", "one_line"]

_LONGEST: Final = 200
"""Maximum number of characters of a text."""
_READ: Final = 4000
"""Characters of a longer text that are read."""
_ITEMS: Final = 50
"""Items of a dictionary that are read."""
_BEFORE, _AFTER, _FIRST = 12, 3, 48
"""Tokens before and after a position, and the number of tokens of a sequence without a position."""
NUM_AROUND: Final = _BEFORE + _AFTER + 3
"""The number of tokens from which the text of a position is made: one more on each side tells whether it is cut."""
_LONGEST_MARKED: Final = 60
"""Maximum number of characters of the token at the position, and of the tokens after it."""
_INVISIBLE: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Characters without width that Python calls printable: fillers and variation selectors."""
_STACKED: Final = re.compile(
    "([\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]{3})[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+"
)
"""More than three accents on a character, which would cover the lines above and below."""


def one_line(text: str) -> str:
    r"""A text as one line of printable characters, at most 200; an ellipsis shows that it was cut.

    Example:
        >>> one_line(" a\n\x1b b ")
        'a b'
    """
    line = shortened(_visible(text), _LONGEST)
    return f"{line[: _LONGEST - 1].removesuffix('…')}…" if len(text) > _READ else line or "(empty)"


def around(tokens: Tensor, is_token: Tensor | None, rows: Tensor, positions: Tensor) -> Tensor:
    """The tokens that `TokenReader.read_around` needs.

    Args:
        tokens: (B, T), the ids of the tokens of a batch.
        is_token: (B, T), false for padding; None: all count.
        rows: (n,), the row of each input.
        positions: (n,), the index of its token in the row, from 0 to T - 1.

    Returns:
        (n, 18), int64, the token at the position, be it padding or not, and those around it; -1 for none.
    """
    places = positions[:, None] + torch.arange(NUM_AROUND, device=positions.device) - _BEFORE - 1
    inside = (places >= 0) & (places < tokens.shape[1])
    rows, places = rows[:, None], places.clamp(0, tokens.shape[1] - 1)
    kept = inside if is_token is None else inside & is_token[rows, places]
    kept[:, _BEFORE + 1] = True
    return tokens[rows, places].long().masked_fill(~kept, -1)


def line_of_dict(texts: Mapping[Any, Any]) -> str:
    """A dictionary as one line.

    Example:
        >>> line_of_dict({"path": "a.png", "size": 3})
        'path: a.png, size: 3'
    """
    return one_line(", ".join(f"{_short(key)}: {_short(value)}" for key, value in itertools.islice(texts.items(), _ITEMS)))


class TokenReader:
    """Reads the tokens around a position as text.

    Args:
        decode: a function of a list of token ids that returns their text; None: the names of the labels are used.
        names: names of the labels, in the order of the head's rows.
        has_names: whether the names are not only numbers.
    """

    def __init__(self, decode: Callable[[list[int]], str] | None, names: Sequence[str], *, has_names: bool) -> None:
        self._decode, self._names, self._has_names = decode, names, has_names
        self._join: Callable[[list[str]], str] | None = None

    def can_read(self, tokens: Tensor, *, has_positions: bool) -> bool:
        """Whether the tokens (B, T) can be read.

        Names of labels are names of tokens only if the model has an output for each position and each token is a row of the head.
        """
        if self._decode is not None:
            return True
        if not self._has_names or not has_positions or not tokens.numel():
            return False
        least, most = tokens.to(torch.int64).aminmax()
        return bool(least >= 0) and bool(most < len(self._names))

    def read(self, tokens: Sequence[int], is_kept: Sequence[bool], position: int) -> str:
        """One line: the tokens around a position, or the first tokens.

        Args:
            tokens: the ids of a sequence, T.
            is_kept: whether each token counts; the others are padding.
            position: index of the token in brackets, from 0; -1 or T and above: no token.

        Returns:
            The text, for example "the cat ⟦sat⟧ on the mat".

        Raises:
            TypeError: `decode` returns no text.
        """
        read = self._text_of_names if self._decode is None else self._text_of_decode
        if not 0 <= position < len(tokens):
            kept = (token for token, keep in zip(tokens, is_kept, strict=True) if keep)
            return one_line(read(list(itertools.islice(kept, _FIRST))))
        first, end = max(0, position - _BEFORE), position + 1 + _AFTER
        before, after = (
            [token for token, keep in zip(tokens[part], is_kept[part], strict=True) if keep]
            for part in (slice(first, position), slice(position + 1, end))
        )
        is_cut = (any(is_kept[:first]), any(is_kept[end:]))
        return _marked(*_parts(read, before, tokens[position], after), is_cut=is_cut)

    def read_around(self, tokens: Sequence[int]) -> str:
        """One line from what `around` returned for an input.

        Raises:
            TypeError: `decode` returns no text.
        """
        return self.read(tokens, [token >= 0 for token in tokens], _BEFORE + 1)

    def _text_of_decode(self, tokens: list[int]) -> str:
        assert self._decode is not None, "asked for"
        text: Any = self._decode(tokens)
        if not isinstance(text, str):
            raise TypeError(f"`decode` returned an object of type {type(text).__name__}, not a text")
        return text

    def _text_of_names(self, tokens: list[int]) -> str:
        """The names of tokens, joined as their kind needs: byte-level or SentencePiece, WordPiece, single characters, words."""
        names = [self._names[token] for token in tokens]
        if self._join is None:
            self._join = _join_of(self._names)
        return self._join(names)


def _join_of(names: Sequence[str]) -> Callable[[list[str]], str]:
    if any(name.startswith(("Ġ", "▁")) for name in names):
        return lambda some: "".join(some).replace("Ġ", " ").replace("▁", " ")
    if any(name.startswith("##") for name in names):
        return lambda some: " ".join(some).replace(" ##", "")
    return ("" if all(len(name) <= 1 for name in names) else " ").join


def _parts(read: Callable[[list[int]], str], before: list[int], token: int, after: list[int]) -> tuple[str, str, str]:
    """The texts before a token, of the token and after it.

    Decoding them together keeps the spaces between words. If the text of some tokens is not the start of the text of more tokens,
    they are decoded apart.
    """
    start = read(before) if before else ""
    middle, whole = read([*before, token]), read([*before, token, *after])
    if middle.startswith(start) and whole.startswith(middle):
        return start, middle[len(start) :], whole[len(middle) :]
    return f"{start} ", read([token]), f" {read(after)}" if after else ""


def _marked(before: str, token: str, after: str, *, is_cut: tuple[bool, bool]) -> str:
    """One line with a token in brackets. Long parts are cut at the ends that are far from the token."""
    space = " " if token[:1].isspace() else ""
    before, token, after = _visible(before[-_READ:]), printable(_visible(token)), _visible(after)
    token = shortened(token, _LONGEST_MARKED) if token else " "
    after = f"{after[: _LONGEST_MARKED - 1]}…" if is_cut[1] or len(after) > _LONGEST_MARKED else after
    end = f"⟦{token}⟧{after}"
    start = " ".join(f"{before}{space}|".split())[:-1]  # one space between words, and the last one stays
    left = _LONGEST - len(end)
    start = f"…{start[1 - left :]}" if is_cut[0] or len(start) > left else start
    return printable(f"{start[:left]}{end}")


def _visible(text: str) -> str:
    """The start of a text without invisible characters; spaces replace those that control a terminal."""
    text = _STACKED.sub(r"\1", _INVISIBLE.sub("", text[:_READ]))
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)


def _short(value: Any) -> str:
    """A key or a value of a dictionary as text, without reading all of a long one."""
    if isinstance(value, np.generic) or (isinstance(value, Tensor) and value.numel() == 1):
        value = value.item()
    if isinstance(value, str):
        return value[:_READ]
    return f"{value:.6g}" if isinstance(value, float) else reprlib.repr(value)
