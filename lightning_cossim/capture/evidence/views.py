"""Viewer: shows what the inputs of a batch look like, as thumbnails or texts."""

import contextlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from lightning_cossim.capture.evidence.fields import InputFields, fields_at, fields_in
from lightning_cossim.capture.evidence.texts import TokenReader, around, line_of_dict, one_line
from lightning_cossim.capture.evidence.thumbnails import Thumbnails, single_image
from lightning_cossim.config.evidence import Evidence
from lightning_cossim.errors import InputError, in_one_line
from lightning_cossim.report.evidence import View
from lightning_cossim.report.tables import shortened

__all__ = ["Viewer"]

_LONGEST: Final = 300
"""Maximum number of characters of an error in a warning."""
_REMEDY: Final = "pass `Evidence(show=…)`, or `input_key=` with the key of the images, token ids or texts"
_DECODE_FAILED: Final = "`Evidence(decode=…)` failed, so inputs are shown without their texts"
_Place = tuple[int, int]
"""The row of an input in its batch, -1 if it is unknown, and its position in the row, -1 if there is none."""


class Viewer:
    """Makes views of inputs. It never raises: a failure costs the views of a batch and a warning.

    A view is what `show` returns; else a thumbnail of the input's image; else its tokens around the position, or its text.

    Args:
        settings: how inputs are found and shown.
        names: names of the labels, in the order of the head's rows.
        has_names: whether the names are not only numbers.
        warn: warns; it gets a text. Each kind of failure is warned about once.
    """

    def __init__(self, settings: Evidence, names: Sequence[str], *, has_names: bool, warn: Callable[[str], None]) -> None:
        self._settings, self._warn = settings, warn
        self._warned: set[str] = set()
        self._thumbnails = Thumbnails(_numbers(settings.mean), _numbers(settings.std), self._warn_of_pictures)
        self._tokens = TokenReader(settings.decode, names, has_names=has_names)
        self._why_none: str | None = None
        self._has_shown = False

    @property
    def why_none(self) -> str | None:
        """Why no input has a view, with the remedy, in one sentence; None if one has, or if no inputs were seen yet."""
        return None if self._has_shown else self._why_none

    def views(self, batch: Any, rows: Tensor, positions: Tensor) -> list[View | None]:
        """What some inputs of a batch look like.

        Args:
            batch: the batch that Lightning passes to a step. It is not changed.
            rows: integers (n,), the row of each input in the batch; -1 if it is unknown.
            positions: integers (n,), the index in the sequence or in the flattened image; -1 if there is none.

        Returns:
            n views; None for an input that cannot be shown.
        """
        try:
            with torch.no_grad(), self._unmoved_random_states():
                places = list(zip(rows.tolist(), positions.tolist(), strict=True))
                found = self._views(batch, {place for place in places if place[0] >= 0}) if any(r >= 0 for r, _ in places) else {}
        except Exception as error:  # noqa: BLE001 - the batch is the user's, and the run must continue
            self._failed("the views of inputs are off for a batch", error)
            return [None] * len(rows)
        views = [found.get(place) for place in places]
        self._has_shown = self._has_shown or any(view is not None for view in views)
        return views

    def tokens_around(self, batch: Any, rows: Tensor, positions: Tensor) -> Tensor | None:
        """The tokens around some inputs of a batch, for `views_of_tokens`; None if inputs are not shown as tokens.

        Args:
            batch: the batch that Lightning passes to a step. It is not changed.
            rows: integers (n,), the row of each input in the batch.
            positions: integers (n,), the index in the sequence.
        """
        if self._settings.show is not None or not len(rows) or int(torch.minimum(rows, positions).min()) < 0:
            return None
        try:
            fields = self._fields(batch, int(rows.max()) + 1)
            tokens = fields.tokens
            if tokens is None or int(positions.max()) >= tokens.shape[1] or not self._tokens.can_read(tokens, has_positions=True):
                return None
            where = (one.to(tokens.device) for one in (rows, positions))
            return around(tokens, fields.is_token, *where).cpu()
        except InputError:  # `views` warns of the same key
            return None
        except Exception as error:  # noqa: BLE001 - the batch is the user's, and the run must continue
            self._failed("the texts of inputs are off for a batch", error)
            return None

    def views_of_tokens(self, tokens: Mapping[int, Sequence[int]]) -> dict[int, View]:
        """The texts of inputs, from what `tokens_around` returned, by any key."""
        views = {}
        with self._unmoved_random_states():
            for key, some in tokens.items():
                try:
                    views[key] = View(text=self._tokens.read_around(some))
                except Exception as error:  # noqa: BLE001 - `decode` is the user's function
                    self._failed(_DECODE_FAILED, error)
        self._has_shown = self._has_shown or bool(views)
        return views

    @contextlib.contextmanager
    def _unmoved_random_states(self) -> Iterator[None]:
        """Random states are after the block as before it, because the user's functions may draw."""
        if self._settings.show is None and self._settings.decode is None:
            yield
            return
        states, devices = (random.getstate(), np.random.get_state()), []  # noqa: NPY002 - the user's functions may use it
        if torch.cuda.is_available():
            devices = [torch.cuda.current_device()]
        try:
            with torch.random.fork_rng(devices=devices):
                yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002

    def _views(self, batch: Any, places: set[_Place]) -> dict[_Place, View | None]:
        if self._settings.show is not None:
            return self._by_row(places, lambda row: self._shown(batch, row))
        try:
            fields = self._fields(batch, max(row for row, _ in places) + 1)
        except InputError as error:
            self._why_none = str(error)
            self._warn_once("key", f"the pictures and texts of inputs are off: {error}")
            return {}
        return self._of_fields(fields, places)

    def _fields(self, batch: Any, num: int) -> InputFields:
        key = self._settings.input_key
        return fields_in(batch, num, self._settings.ids_key) if key is None else fields_at(batch, key, num)

    def _of_fields(self, fields: InputFields, places: set[_Place]) -> dict[_Place, View | None]:
        """The views from the first source that fits: what follows the position comes first, what is least certain comes last."""
        positions, texts = [position for _, position in places if position >= 0], fields.texts
        tokens = fields.tokens
        can_read = tokens is not None and self._tokens.can_read(tokens, has_positions=len(positions) == len(places))
        has_images = fields.images is not None or fields.items is not None
        if tokens is not None and can_read:
            is_marked = bool(positions) and max(positions) < tokens.shape[1]
            if is_marked or not (has_images or fields.are_texts_named):
                return self._read(tokens, fields.is_token, places)
        if fields.images is not None:
            return self._pictures(fields.images, places)
        items = fields.items
        if items is not None:
            return self._by_row(places, lambda row: self._view_of(items[row], "a list of inputs in the batch has"))
        if texts is not None:
            return self._by_row(places, lambda row: View(text=one_line(texts[row])))
        if fields.planes is not None and tokens is None:
            return self._pictures(fields.planes, places)
        self._why_none = f"inputs are shown without pictures and texts, because the batch has none that fit; {_REMEDY}"
        if tokens is not None:
            self._why_none = (
                "inputs are shown without texts, because the batch has token ids, and they have no names; pass "
                "`Evidence(decode=tokenizer.decode)` or `Evidence(show=…)`, or `input_key=` if these are no token ids"
            )
        return {}

    def _pictures(self, images: Tensor, places: set[_Place]) -> dict[_Place, View | None]:
        rows = sorted({row for row, _ in places})
        views = dict(zip(rows, self._thumbnails.of(images, rows), strict=True))
        return self._by_row(places, lambda row: None if views[row] is None else View(picture=views[row]))

    def _read(self, tokens: Tensor, is_token: Tensor | None, places: set[_Place]) -> dict[_Place, View | None]:
        rows = sorted({row for row, _ in places})
        ids, kept = (
            None if one is None else dict(zip(rows, torch.stack([one[row] for row in rows]).tolist(), strict=True))
            for one in (tokens, is_token)
        )
        assert ids is not None, "the tokens are"
        views: dict[_Place, View | None] = {}
        for row, position in places:
            is_kept = [True] * len(ids[row]) if kept is None else kept[row]
            try:
                views[row, position] = View(text=self._tokens.read(ids[row], is_kept, position))
            except Exception as error:  # noqa: BLE001 - `decode` is the user's function
                self._failed(_DECODE_FAILED, error)
        return views

    def _shown(self, batch: Any, row: int) -> View | None:
        assert self._settings.show is not None, "asked for"
        try:
            return self._view_of(self._settings.show(batch, row), "`Evidence(show=…)` returned")
        except Exception as error:  # noqa: BLE001 - `show` is the user's function
            self._failed("`Evidence(show=…)` failed, so inputs are shown without their pictures and texts", error)
            return None

    def _view_of(self, value: Any, where: str) -> View | None:
        """A view of a single image, text or dictionary of texts; None and a warning if the value is none of these."""
        if isinstance(value, str):
            return View(text=one_line(value))
        if isinstance(value, Mapping):
            return View(text=line_of_dict(value))
        image = single_image(value)
        if image is not None:
            (picture,) = self._thumbnails.of(image, [0])
            return None if picture is None else View(picture=picture)
        got = f"{where} {_in_words(value)}, which is no image, no text and no dictionary, so inputs are shown without it"
        self._why_none = got
        self._warn_once(where, got)
        return None

    @staticmethod
    def _by_row(places: set[_Place], view: Callable[[int], View | None]) -> dict[_Place, View | None]:
        """The view of each place; all positions of a row have the same one."""
        views = {row: view(row) for row in sorted({row for row, _ in places})}
        return {place: views[place[0]] for place in places}

    def _failed(self, what: str, error: Exception) -> None:
        try:
            why = shortened(in_one_line(error), _LONGEST)
        except Exception:  # noqa: BLE001 - the error's own text fails
            why = type(error).__name__
        self._why_none = f"{what}: {why}"
        self._warn_once(what, self._why_none)

    def _warn_of_pictures(self, text: str) -> None:
        self._why_none = text
        self._warn_once(text[:40], text)

    def _warn_once(self, kind: str, text: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            self._warn(text)


def _numbers(setting: float | Sequence[float] | None) -> Sequence[float] | None:
    return [setting] if isinstance(setting, float | int) else setting


def _in_words(value: Any) -> str:
    shape = getattr(value, "shape", None)
    kind = f"an object of type {type(value).__name__}"
    return kind if shape is None else shortened(f"{kind} with shape {tuple(shape)} and type {getattr(value, 'dtype', None)}", 200)
