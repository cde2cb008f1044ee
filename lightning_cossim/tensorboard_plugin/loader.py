"""The entry point of the tab. Every TensorBoard in the environment imports it, so it needs no torch, Lightning or matplotlib.

It imports only TensorBoard's base classes, and its folder has no `__init__`. So TensorBoard starts even if the rest of the
package is broken.
"""

import argparse
import logging

from tensorboard.plugins import base_plugin
from typing_extensions import override

__all__ = ["KEPT_STEPS", "Loader"]

KEPT_STEPS = 200
"""Number of steps of a tag that TensorBoard keeps, unless the user sets `--samples_per_plugin`. TensorBoard's default is 10."""

_logger = logging.getLogger(__name__)


class Loader(base_plugin.TBLoader):
    """Creates the plugin when TensorBoard starts."""

    @override
    def fix_flags(self, flags: argparse.Namespace) -> None:
        """Set the number of steps that TensorBoard keeps, if the user has not set it."""
        flags.samples_per_plugin.setdefault("lightning_cossim", KEPT_STEPS)

    @override
    def load(self, context: base_plugin.TBContext) -> base_plugin.TBPlugin | None:
        """The plugin; None, with a warning, if it cannot be imported. Then only its tab is missing."""
        try:
            from lightning_cossim.tensorboard_plugin.plugin import Plugin

            return Plugin(context)
        except Exception:
            _logger.warning("TensorBoard cannot load the tab of lightning-cossim. Reinstall lightning-cossim.", exc_info=True)
            return None
