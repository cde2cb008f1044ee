"""A Lightning callback that shows where label cosine similarity disagrees with the model's probabilities, and its metrics.

Add a `LabelSimilarityMonitor` to the callbacks of a Trainer; `help(lightning_cossim.LabelSimilarityMonitor)` shows how.

Python loads each public name at its first use (PEP 562), so importing the package imports neither torch nor lightning.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_cossim.analysis.analyze import analyze
    from lightning_cossim.analysis.compare import compare
    from lightning_cossim.callback.monitor import LabelSimilarityMonitor
    from lightning_cossim.config.evidence import Evidence
    from lightning_cossim.config.settings import Display, LabelSelection, Schedule
    from lightning_cossim.config.thresholds import Alert, Thresholds
    from lightning_cossim.errors import AlertError, LabelSimilarityError
    from lightning_cossim.report import GapReport
    from lightning_cossim.report.alerts import Breach

__version__ = "0.1.0"

__all__ = [
    "Alert",
    "AlertError",
    "Breach",
    "Display",
    "Evidence",
    "GapReport",
    "LabelSelection",
    "LabelSimilarityError",
    "LabelSimilarityMonitor",
    "Schedule",
    "Thresholds",
    "__version__",
    "analyze",
    "compare",
]

_HOME = {
    "Alert": "config.thresholds",
    "AlertError": "errors",
    "Breach": "report.alerts",
    "Display": "config.settings",
    "Evidence": "config.evidence",
    "GapReport": "report",
    "LabelSelection": "config.settings",
    "LabelSimilarityError": "errors",
    "LabelSimilarityMonitor": "callback.monitor",
    "Schedule": "config.settings",
    "Thresholds": "config.thresholds",
    "analyze": "analysis.analyze",
    "compare": "analysis.compare",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
