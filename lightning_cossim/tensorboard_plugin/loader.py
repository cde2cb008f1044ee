"""The entry point, which every TensorBoard in the environment imports: no torch, no lightning, no matplotlib.

It imports TensorBoard's base classes alone, and there is no `__init__` beside it, so that whatever else is broken leaves
TensorBoard standing.
"""

import argparse
import logging

from tensorboard.plugins import base_plugin
from typing_extensions import override

__all__ = ["KEPT_STEPS", "Loader"]

KEPT_STEPS = 200
"""Steps of a tag that TensorBoard keeps unless `--samples_per_plugin` says otherwise; without that it would keep 10."""

_logger = logging.getLogger(__name__)


class Loader(base_plugin.TBLoader):
    """Makes the plugin when TensorBoard starts."""

    @override
    def fix_flags(self, flags: argparse.Namespace) -> None:
        """Keep more steps than TensorBoard keeps by default."""
        flags.samples_per_plugin.setdefault("lightning_cossim", KEPT_STEPS)

    @override
    def load(self, context: base_plugin.TBContext) -> base_plugin.TBPlugin | None:
        """The plugin, or None if it cannot be imported: then its tab is missing, which is said, and all others are there."""
        try:
            from lightning_cossim.tensorboard_plugin.plugin import Plugin

            return Plugin(context)
        except Exception:
            _logger.warning("The tab of lightning-cossim is missing: reinstall the package to get it.", exc_info=True)
            return None
