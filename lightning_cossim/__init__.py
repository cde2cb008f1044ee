"""Where cosine similarity between labels and the model's probabilities part: a Lightning callback and its metrics.

Public names load on first use (PEP 562): importing the package imports neither torch nor lightning.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_cossim.analysis.analyze import analyze
    from lightning_cossim.callback.monitor import LabelSimilarityMonitor
    from lightning_cossim.config.settings import Display, LabelSelection, Schedule
    from lightning_cossim.config.thresholds import Alert, Breach, Thresholds
    from lightning_cossim.errors import AlertRaised, LabelSimilarityError
    from lightning_cossim.report import GapReport

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
    "Alert": "config.thresholds",
    "AlertRaised": "errors",
    "Breach": "config.thresholds",
    "Display": "config.settings",
    "GapReport": "report",
    "LabelSelection": "config.settings",
    "LabelSimilarityError": "errors",
    "LabelSimilarityMonitor": "callback.monitor",
    "Schedule": "config.settings",
    "Thresholds": "config.thresholds",
    "analyze": "analysis.analyze",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
