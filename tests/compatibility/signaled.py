"""Runs that get a signal in a hook: `python -m tests.compatibility.signaled FOLDER HOOK ...` writes what came of each.

The signal comes inside the monitor's work in that hook, or in the same hook of a callback that does nothing else.
"""

import json
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, Final

import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from typing_extensions import override

from lightning_cossim import LabelSimilarityMonitor, Schedule
from tests.compatibility.injected import PACKAGE
from tests.toys import ALWAYS, FEW, Toy, few_inputs, loader, trainer

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
HOOKS: Final = sorted(
    name
    for name in vars(LabelSimilarityMonitor).keys() & vars(Callback).keys()
    if not name.startswith("_") and name != "state_key"
)
"""Those of the monitor that Lightning calls."""
OUTCOMES: Final = "outcomes.json"

Send = Callable[[], None]


def plain(hook: str, send: Send | None) -> Callback:
    """A callback that sends a signal the first time that one of its hooks is called, and else does nothing."""
    sends = [] if send is None else [send]

    def sending(_: Callback, *__: Any, **___: Any) -> Any:
        if sends:
            sends.pop()()
        return {"some": "state"}

    hooks = {"state_dict": lambda _: {"some": "state"}, hook: sending}  # a callback without a state has none to load
    kind: type[Callback] = type("Plain", (Callback,), hooks)
    return kind()


def is_in(frame: FrameType | None, hook: str) -> bool:
    """Whether a hook of the monitor waits for this frame."""
    while frame is not None:
        if frame.f_code.co_qualname == f"LabelSimilarityMonitor.{hook}":
            return True
        frame = frame.f_back
    return False


@contextmanager
def sent_within(hook: str, send: Send | None) -> Iterator[list[str]]:
    """While this is open, the signal comes at the first function of the package that a hook calls. The list names it then."""
    seen: list[str] = []

    def profile(frame: FrameType, event: str, _: Any) -> None:
        ours = event == "call" and frame.f_code.co_filename.startswith(PACKAGE)
        if ours and send is not None and not seen and is_in(frame.f_back, hook):
            seen.append(frame.f_code.co_qualname)
            send()

    sys.setprofile(profile)
    try:
        yield seen
    finally:
        sys.setprofile(None)


class Fails(Callback):
    """An error of the user's own, which calls `on_exception`."""

    @override
    def on_train_batch_end(self, *_: Any) -> None:
        raise RuntimeError("the user's own")


def run_with(
    hook: str, number: signal.Signals | None, folder: Path, resume: Path | None = None, *, watched: bool
) -> dict[str, Any]:
    """How a fit ends, or a test run, in which a hook gets a signal; None: no signal."""
    torch.manual_seed(0)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Lightning ignores it after the first
    told: list[int] = []
    signal.signal(
        signal.SIGTERM, lambda one, _: told.append(one)
    )  # Lightning calls it, too; before its own is there, nobody dies
    send = None if number is None else lambda: os.kill(os.getpid(), number)
    monitor = LabelSimilarityMonitor(schedule=Schedule(1, 1), thresholds=FEW, display=replace(ALWAYS, heatmaps=False))
    callbacks = [monitor if watched else plain(hook, send), ModelCheckpoint(folder, filename="some")]
    callbacks += [Fails()] if hook == "on_exception" else []
    logger = TensorBoardLogger(folder, name=None, version="")
    run = trainer(max_epochs=2, limit_train_batches=3, callbacks=callbacks, enable_checkpointing=True, logger=logger)
    model, came = Toy(), "nothing"
    with sent_within(hook, send if watched else None) as seen:
        try:
            if "_test_" in hook:
                run.test(model, loader(60, seed=5), verbose=False)
            else:
                run.fit(model, loader(), loader(60, seed=2), ckpt_path=resume)
        except BaseException as error:  # noqa: BLE001 - what a process would end with is what is asked for
            came = repr(error)
    return {
        "came": came,
        "status": str(run.state.status),
        "is interrupted": run.interrupted,
        "step": run.global_step,
        "epoch": run.current_epoch,
        "stops": run.should_stop,
        "was told to end": run.received_sigterm,
        "the user's handler": told,
        "weights": [value.tolist() for value in model.state_dict().values()],
        "forward hooks": sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()),
        "ignores Ctrl-C": signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
        "was sent": not watched or bool(seen),
    }


@few_inputs()
def main(folder: Path, hooks: list[str]) -> None:
    """Every signal in every one of the hooks, with the monitor and without: "HOOK SIGNAL" to the two outcomes."""
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    found = {}
    for hook in hooks:
        for number in SIGNALS:
            pair = []
            for watched in (True, False):
                place = folder / f"{hook}-{number.name}-{watched}"
                resume = place / "before" / "some.ckpt" if hook == "load_state_dict" else None
                if resume is not None:
                    run_with(hook, None, resume.parent, watched=watched)
                pair.append(run_with(hook, number, place, resume, watched=watched))
            found[f"{hook} {number.name}"] = pair
    (folder / OUTCOMES).write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
