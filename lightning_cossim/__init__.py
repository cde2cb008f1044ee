"""Where cosine similarity between labels and the model's probabilities part: a Lightning callback and its metrics.

Public names load on first use (PEP 562): importing the package imports neither torch nor lightning.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_cossim.analysis import analyze
    from lightning_cossim.config import Display, LabelSelection, Schedule
    from lightning_cossim.errors import AlertRaised, LabelSimilarityError
    from lightning_cossim.monitor import LabelSimilarityMonitor
    from lightning_cossim.report import GapReport
    from lightning_cossim.thresholds import Alert, Breach, Thresholds

__version__ = "0.1.0"

__all__ = [
    "Alert",
    "AlertRaised",
    "Breach",
    "Display",
    "GapReport",
    "LabelSelection",
    "LabelSimilarityError",
    "LabelSimilarityMonitor",
    "Schedule",
    "Thresholds",
    "__version__",
    "analyze",
]

_HOME = {
    "Alert": "thresholds",
    "AlertRaised": "errors",
    "Breach": "thresholds",
    "Display": "config",
    "GapReport": "report",
    "LabelSelection": "config",
    "LabelSimilarityError": "errors",
    "LabelSimilarityMonitor": "monitor",
    "Schedule": "config",
    "Thresholds": "thresholds",
    "analyze": "analysis",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
