"""Read steps from TensorBoard's data provider, and cache their blobs."""

from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any, Final

from tensorboard import errors
from tensorboard.data import provider

from lightning_cossim.loggers.wire import PLUGIN

__all__ = ["Steps"]

_MAX_BYTES: Final = 96_000_000
"""Largest total size of the cached blobs."""
_AT_ONCE: Final = 16
"""Number of blobs read in parallel. The fast reader takes 40 ms for a blob of any size, most of it waiting."""
_MAX_EXPERIMENTS: Final = 4
"""Largest number of experiments whose steps are cached: an address can name any experiment."""
_ANY_NUMBER: Final = 1_000_000
"""Bound on the number of steps, which TensorBoard's readers require. `--samples_per_plugin` sets the real bound."""


class Steps:
    """Reads steps from a data provider, and caches the blobs that were read last.

    Args:
        data_provider: TensorBoard's data provider.
    """

    def __init__(self, data_provider: Any) -> None:
        self._data = data_provider
        self._blobs: OrderedDict[tuple[float, str], bytes] = OrderedDict()
        self._size = 0
        self._seen: OrderedDict[str, dict[tuple[str, str], dict[int, Any]]] = OrderedDict()
        self._lock = Lock()

    def listed(self, context: Any, experiment_id: str, run: str | None = None, tag: str | None = None) -> Any:
        """Run to tag to its steps, each with its number, its time and the key of its blob; None as `run` or `tag`: all."""
        only = provider.RunTagFilter(runs=None if run is None else [run], tags=None if tag is None else [tag])
        found = self._data.read_blob_sequences(
            context, experiment_id=experiment_id, plugin_name=PLUGIN, downsample=_ANY_NUMBER, run_tag_filter=only
        )
        listed = {(run_, name): {step.step: step for step in found[run_][name]} for run_ in found for name in found[run_]}
        with self._lock:
            seen = self._seen.pop(experiment_id, {})
            for key in [key for key in seen if run in (None, key[0]) and tag in (None, key[1])]:
                del seen[key]
            if seen or listed:
                self._seen[experiment_id] = {**seen, **listed}
            while len(self._seen) > _MAX_EXPERIMENTS:
                self._seen.popitem(last=False)
        return found

    def find(self, context: Any, experiment_id: str, run: str, tag: str, number: int) -> Any | None:
        """A step; None if it does not exist. The data provider is asked only if no earlier list has the step."""
        found = self._kept(experiment_id, run, tag, number)
        if found is None:
            self.listed(context, experiment_id, run, tag)
            found = self._kept(experiment_id, run, tag, number)
        return found

    def _kept(self, experiment_id: str, run: str, tag: str, number: int) -> Any | None:
        with self._lock:
            return self._seen.get(experiment_id, {}).get((run, tag), {}).get(number)

    def blobs(self, context: Any, sequence: Sequence[Any]) -> list[bytes]:
        """The blob of each step of a sequence; empty if TensorBoard has dropped the step since it was listed."""
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            return list(threads.map(lambda datum: self._blob_or_nothing(context, datum), sequence))

    def _blob_or_nothing(self, context: Any, datum: Any) -> bytes:
        try:
            return self.blob(context, datum)
        except (errors.NotFoundError, KeyError):
            return b""

    def blob(self, context: Any, datum: Any, place: int = 0) -> bytes:
        """A blob of a step; empty if the step has no blob at this place.

        Args:
            context: TensorBoard's context of the request.
            datum: the step.
            place: 0 for the step itself, 1 for its evidence.

        Raises:
            KeyError, NotFoundError: TensorBoard has dropped the step; its readers raise different errors.
        """
        if place >= len(datum.values):
            return b""
        key = (datum.wall_time, datum.values[place].blob_key)  # the time: a restarted run repeats keys
        with self._lock:
            if key in self._blobs:
                self._blobs.move_to_end(key)
                return self._blobs[key]
        blob = bytes(self._data.read_blob(context, blob_key=key[1]))
        with self._lock:
            if key not in self._blobs:
                self._blobs[key] = blob
                self._size += len(blob)
            while self._size > _MAX_BYTES:
                self._size -= len(self._blobs.popitem(last=False)[1])
        return blob
