"""A hook of MkDocs: formulas of docstrings become MathML, which browsers draw without a script or a network."""

import re
from html import unescape
from typing import Any

from latex2mathml.converter import convert

__all__ = ["on_page_content"]

_FORMULA = re.compile(r":math:<code>(.*?)</code>", re.DOTALL)
"""What Markdown makes of the docstrings' :math: role."""


def on_page_content(html: str, **_: Any) -> str:
    """The HTML of a page with its formulas as MathML."""
    return _FORMULA.sub(lambda found: convert(unescape(found[1])), html)
