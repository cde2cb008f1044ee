"""Where cosine similarity between labels and the model's probabilities part: a Lightning callback and its metrics.

Public names load on first use (PEP 562): importing the package imports neither torch nor lightning.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_cossim.config import LabelSelection, Schedule
    from lightning_cossim.errors import LabelSimilarityError
    from lightning_cossim.monitor import LabelSimilarityMonitor
    from lightning_cossim.report import GapReport

__version__ = "0.1.0"

__all__ = ["GapReport", "LabelSelection", "LabelSimilarityError", "LabelSimilarityMonitor", "Schedule", "__version__"]

_HOME = {
    "GapReport": "report",
    "LabelSelection": "config",
    "LabelSimilarityError": "errors",
    "LabelSimilarityMonitor": "monitor",
    "Schedule": "config",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
