"""What TensorBoard shows beside curves: texts. Any logger whose experiment can take them gets them."""

from collections.abc import Sequence
from typing import Any

from lightning_cossim.tables import as_markdown_text

__all__ = ["write_alerts"]


def write_alerts(logger: Any, group: str, alerts: Sequence[str], step: int) -> None:
    """Write the alerts that act at a step as a list in Markdown; a logger without texts gets none."""
    add_text = getattr(getattr(logger, "experiment", None), "add_text", None)
    if callable(add_text):
        add_text(_prefixed(logger, f"{group}/alerts"), "\n".join(f"* {as_markdown_text(alert)}" for alert in alerts), step)


def _prefixed(logger: Any, tag: str) -> str:
    """The tag with the logger's prefix, which it puts in front of scalars by itself."""
    prefix = getattr(logger, "_prefix", "")
    return f"{prefix}{getattr(logger, 'LOGGER_JOIN_CHAR', '-')}{tag}" if prefix else tag
