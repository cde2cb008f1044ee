"""A progress bar for work that takes more than a few seconds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

__all__ = ["bar"]


@contextmanager
def bar(what: str, *, shown: bool) -> Iterator[Callable[[float], None]]:
    """A bar on the terminal; what it gives is to be told the share that is done, from 0 to 1."""
    form = "{desc}: {percentage:3.0f}%|{bar}| {remaining}"
    with tqdm(total=1.0, desc=what, disable=not shown, leave=False, bar_format=form) as shows:

        def progress(share: float) -> None:
            shows.update(share - shows.n)

        yield progress
