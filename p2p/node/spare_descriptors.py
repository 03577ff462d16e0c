"""Descriptors kept back for the one file that must not fail: strangers may take all others.

A flood of connections can use up what a process may have open. A validator that could not write
down what it signed would then have to stop, and anybody could stop it so.

    open: an ordinary one; where none is left, let go of a kept one and open in its place
    close: the number is kept again, without a moment in which somebody else could take it

Between letting go and opening another thread may be quicker; then the next one is let go, and when
none is left, one is waited for.
"""

import errno
import os
import time
from pathlib import Path
from typing import Final

SPARE: Final = 8
"""A write has one open at a time; the others replace those that somebody was quicker to take."""
TRIES_MAX: Final = 250
PAUSE_S: Final = 0.02
"""Five seconds in all: until then the acceptor has sent waiting strangers away several times."""
EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE)


class SpareDescriptors:
    """A few descriptors that nobody else gets, for one file at a time."""

    def __init__(self) -> None:
        """Keep them back. Raises OSError where there is none at all."""
        self._null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._kept: list[int] = []
        self._keep()

    def open(self, path: Path, flags: int, mode: int = 0o644) -> int:
        """As `os.open`, also where no descriptor is left. Raises OSError."""
        for left in reversed(range(TRIES_MAX)):
            while True:
                try:
                    return os.open(path, flags | os.O_CLOEXEC, mode)
                except OSError as error:
                    if error.errno not in EXHAUSTED or not (self._kept or left):
                        raise
                if not self._kept:
                    break
                os.close(self._kept.pop())
            time.sleep(PAUSE_S)
        raise AssertionError("the last try returns or raises")

    def close(self, descriptor: int) -> None:
        """As `os.close`; what is missing of those kept is kept again."""
        if len(self._kept) < SPARE:
            os.dup2(self._null, descriptor, inheritable=False)
            self._kept.append(descriptor)
            self._keep()
        else:
            os.close(descriptor)

    def release(self) -> None:
        """Keep none any more, for good."""
        os.close(self._null)
        while self._kept:
            os.close(self._kept.pop())

    def _keep(self) -> None:
        try:
            while len(self._kept) < SPARE:
                self._kept.append(os.dup(self._null))
        except OSError as error:
            if error.errno not in EXHAUSTED:
                raise
