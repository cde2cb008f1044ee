"""Forward hooks of one construction: all of them stay, or none."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch.utils.hooks import RemovableHandle

__all__ = ["all_or_none", "hooked"]

_noted: ContextVar[list[RemovableHandle] | None] = ContextVar("noted", default=None)
"""The hooks that were set in the innermost open context; None outside of one."""


def hooked(register: Callable[..., RemovableHandle], hook: Callable[..., Any], **settings: bool) -> RemovableHandle:
    """Set a hook, and note it, so that `all_or_none` can remove it.

    Args:
        register: a method of a module, such as `module.register_forward_hook`.
        hook: the hook.
        settings: further arguments of `register`.
    """
    handles = _noted.get()
    handle = register(hook, **settings)
    if handles is not None:
        handles.append(handle)
    return handle


@contextmanager
def all_or_none() -> Iterator[None]:
    """Remove the hooks that were set in this context if it ends with an exception: the object that owns them does not exist."""
    outer, handles = _noted.get(), list[RemovableHandle]()
    token = _noted.set(handles)
    try:
        yield
    except BaseException:
        for handle in handles:
            handle.remove()
        raise
    finally:
        _noted.reset(token)
    if outer is not None:
        outer.extend(handles)
