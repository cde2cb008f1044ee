"""Show a progress bar for work that takes more than a few seconds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

__all__ = ["bar"]


@contextmanager
def bar(what: str, *, shown: bool) -> Iterator[Callable[[float], None]]:
    """Show a progress bar on the terminal.

    Args:
        what: text before the bar.
        shown: whether to show the bar.

    Yields:
        A function to call with the share of the work that is done, in [0, 1].
    """
    form = "{desc}: {percentage:3.0f}%|{bar}| {remaining}"
    with tqdm(total=1.0, desc=what, disable=not shown, leave=False, bar_format=form) as shows:

        def progress(share: float) -> None:
            shows.update(share - shows.n)

        yield progress
