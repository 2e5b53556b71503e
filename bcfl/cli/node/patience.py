"""Begin again where a node is away or a disk is full: what waiting can mend ends no party at its start."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Final, TypeVar

from bcfl.errors import DiskError, NoNodeUrl, Unreachable

FIRST_SECONDS: Final = 1.0  # before the second try; twice as long before each further one
LONGEST_SECONDS: Final = 15.0
Result = TypeVar("Result")


def try_until_done(action: Callable[[], Result], report: Callable[[str], None]) -> Result:
    """Return what `action` does, tried again while the node does not answer or the disk refuses.

    `report` hears what is amiss before each pause. Every other error, which no waiting mends, passes.
    """
    pause = FIRST_SECONDS
    while True:
        try:
            return action()
        except NoNodeUrl:
            raise
        except (Unreachable, DiskError) as error:
            reason = str(error)
        report(f"not begun: {reason}; the next try is in {pause:g} s, Ctrl-C ends it")
        time.sleep(pause)
        pause = min(LONGEST_SECONDS, 2 * pause)


@contextmanager
def connected(
    connect: Callable[[], AbstractContextManager[Result]], report: Callable[[str], None]
) -> Iterator[Result]:
    """Enter what `connect` returns, as `try_until_done` tries it."""
    with ExitStack() as stack:
        yield try_until_done(lambda: stack.enter_context(connect()), report)
