"""The plugin: answers the requests of the tab's page with data from TensorBoard's data provider."""

import math
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, Final, TypeVar

from tensorboard import errors, plugin_util
from tensorboard.backend import http_util
from tensorboard.plugins import base_plugin
from typing_extensions import override
from werkzeug import Request, Response

from lightning_cossim.errors import in_a_line
from lightning_cossim.loggers.fields import LARGEST
from lightning_cossim.loggers.wire import PLUGIN
from lightning_cossim.tensorboard_plugin.history import history, parse_pairs
from lightning_cossim.tensorboard_plugin.steps import Steps

__all__ = ["Plugin"]

_STATIC: Final = Path(__file__).parent / "static"
_TYPES: Final = {".js": "application/javascript", ".css": "text/css"}

_T = TypeVar("_T")
_Route = Callable[["Plugin", Request], Response]
_App = Callable[[dict[str, Any], Any], Iterable[bytes]]


class _BadRequest(Exception):  # noqa: N818 - named after the HTTP answer
    """A request that is invalid, or asks for something that does not exist."""

    def __init__(self, text: str, code: int = 400) -> None:
        super().__init__(text)
        self.code = code


def _route(answer: _Route) -> Callable[["Plugin"], _App]:
    """A route that accepts only GET and HEAD. The answer to a bad request is one line of text and an HTTP status code."""

    @wraps(answer)
    def bound(plugin: "Plugin") -> _App:
        @Request.application
        def app(request: Request) -> Response:
            try:
                if request.method in {"GET", "HEAD"}:
                    return answer(plugin, request)
                return _plain(request, f"Expected the method GET, got {request.method}.", 405)
            except _BadRequest as error:
                return _plain(request, str(error), error.code)
            except errors.PublicError as error:  # of TensorBoard itself: not found, not allowed
                return _plain(request, str(error), error.http_code)

        return app

    return bound


class Plugin(base_plugin.TBPlugin):
    """Serves the page, the list of steps, the blobs of steps, their evidence, and the values of pairs over all steps."""

    plugin_name = PLUGIN

    def __init__(self, context: base_plugin.TBContext) -> None:
        self._steps = Steps(context.data_provider)

    @override
    def get_plugin_apps(self) -> Mapping[str, _App]:
        """Route to the app that answers it."""
        names = sorted(file.name for file in _STATIC.iterdir() if file.suffix in _TYPES)
        return {
            "/runs": self._runs(),
            "/step": self._step(),
            "/evidence": self._evidence(),
            "/pairs": self._pairs(),
            **{f"/{name}": _file(name)(self) for name in names},
        }

    @override
    def is_active(self) -> bool:
        """False: TensorBoard itself checks whether there is data."""
        return False

    @override
    def frontend_metadata(self) -> base_plugin.FrontendMetadata:
        """The tab's page and its name."""
        return base_plugin.FrontendMetadata(es_module_path="/index.js", tab_name="Label similarity")

    @_route
    def _runs(self, request: Request) -> Response:
        """All runs, with their tags, the number and time of each step, and the numbers of the steps with evidence.

        Steps whose number or time no run can have are left out; `odd` counts them.
        """
        listed = self._listed(request)
        runs = [
            {
                "run": run,
                "tags": [
                    {
                        "tag": tag,
                        "steps": [[one.step, one.wall_time] for one in tags[tag] if _is_usual(one)],
                        "evidence": [one.step for one in tags[tag] if _is_usual(one) and len(one.values) > 1],
                        "odd": sum(not _is_usual(one) for one in tags[tag]),
                    }
                    for tag in sorted(tags)
                ],
            }
            for run, tags in sorted(listed.items())
        ]
        return http_util.Respond(request, {"runs": runs}, "application/json")

    @_route
    def _step(self, request: Request) -> Response:
        """The blob of a step."""
        return http_util.Respond(request, self._blob(request, 0), "application/octet-stream")

    @_route
    def _evidence(self, request: Request) -> Response:
        """The evidence of a step: its second blob."""
        blob = self._blob(request, 1)
        if not blob:
            run, tag, number = _address(request)
            raise _BadRequest(f"Step {number} of {tag} in the run {run} has no evidence.", 404)
        return http_util.Respond(request, blob, "application/octet-stream")

    def _blob(self, request: Request, place: int) -> bytes:
        run, tag, number = _address(request)
        environ = request.environ
        found = self._steps.find(plugin_util.context(environ), plugin_util.experiment_id(environ), run, tag, number)
        gone = _BadRequest(f"Step {number} of {tag} does not exist in the run {run}.", 404)
        if found is None:
            raise gone
        try:
            return _read(lambda: self._steps.blob(plugin_util.context(environ), found, place))
        except (errors.NotFoundError, KeyError):
            raise gone from None

    @_route
    def _pairs(self, request: Request) -> Response:
        """The values of pairs of labels, and of the steps themselves, at every step."""
        run, tag = _argument(request, "run"), _argument(request, "tag")
        try:
            pairs = parse_pairs(_argument(request, "pairs"))
        except ValueError as error:
            raise _BadRequest(str(error)) from None
        sequence = self._sequence(request, run, tag)
        blobs = _read(lambda: self._steps.blobs(plugin_util.context(request.environ), sequence))
        found = history([step.step for step in sequence], blobs, pairs)
        return http_util.Respond(request, found, "application/json")

    def _listed(self, request: Request, run: str | None = None, tag: str | None = None) -> Any:
        environ = request.environ
        return self._steps.listed(plugin_util.context(environ), plugin_util.experiment_id(environ), run, tag)

    def _sequence(self, request: Request, run: str, tag: str) -> Any:
        found = self._listed(request, run, tag).get(run, {}).get(tag)
        if found is None:
            raise _BadRequest(f"The run {run} has no steps of {tag}.", 404)
        return found


def _is_usual(datum: Any) -> bool:
    """Whether a step has a number that a link can name, a time, and a blob."""
    return 0 <= datum.step <= LARGEST and math.isfinite(datum.wall_time) and bool(datum.values)


def _read(read: Callable[[], _T]) -> _T:
    try:
        return read()
    except errors.InvalidArgumentError:  # the fast reader cannot parse its own key
        raise _BadRequest(
            "TensorBoard's fast reader cannot read runs and tags with quotes or backslashes in their names. Rename them, or "
            "start TensorBoard with --load_fast=false.",
        ) from None


def _file(name: str) -> Callable[[Plugin], _App]:
    """A route that answers with a file of the page. The file is read at each request, and may be missing."""

    @_route
    def answer(_plugin: Plugin, request: Request) -> Response:
        try:
            content = (_STATIC / name).read_bytes()
        except OSError:
            raise _BadRequest(f"The file {name} is missing. Reinstall lightning-cossim.", 404) from None
        return http_util.Respond(request, content, _TYPES[Path(name).suffix])

    return answer


def _address(request: Request) -> tuple[str, str, int]:
    """Run, tag and number of the step that a request asks for."""
    return _argument(request, "run"), _argument(request, "tag"), _whole(request, "step")


def _argument(request: Request, name: str) -> str:
    value: str | None = request.args.get(name)
    if value is None:
        raise _BadRequest(f"Expected the parameter `{name}` in the address, got none.")
    return value


def _whole(request: Request, name: str) -> int:
    text = _argument(request, name)
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise _BadRequest(f"Expected `{name}` to be a whole number, got {text[:50]!r}.")
    return int(text)


def _plain(request: Request, text: str, code: int) -> Response:
    return http_util.Respond(request, in_a_line(text), "text/plain", code=code)
