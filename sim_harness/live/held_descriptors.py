"""Every descriptor of this process, taken: accepting and opening fail with EMFILE, by the kernel.

The limit is lowered to the highest number in use, all numbers below it are taken by opening
`/dev/null`, and what anything else closes is taken within milliseconds, too. Letting go closes
what was taken and lifts the limit.
"""

import errno
import os
import resource
from typing import Final

import trio

TAKE_PAUSE_S: Final = 0.005
"""How long a descriptor that was closed may be free."""


class HeldDescriptors:
    """Takes all descriptors from `hold` until `let_go`."""

    def __init__(self) -> None:
        self._held: list[int] = []
        self._limit: tuple[int, int] | None = None
        self._holding = trio.Event()
        self.refused = 0
        """Times that the kernel refused one more: at least every look found none left."""

    @property
    def count(self) -> int:
        """How many are taken."""
        return len(self._held)

    def hold(self) -> None:
        """Take all there are. Raises OSError."""
        if self._limit is None:
            self._limit = resource.getrlimit(resource.RLIMIT_NOFILE)
            # A new descriptor takes the lowest number that is free; the limit is one of numbers.
            highest = max(int(name) for name in os.listdir("/proc/self/fd"))
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, self._limit[1]))
            self._holding.set()
        self._take()

    def let_go(self) -> None:
        """Give all back."""
        if self._limit is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, self._limit)
            self._limit = None
            self._holding = trio.Event()
        while self._held:
            os.close(self._held.pop())

    async def run(self) -> None:
        """Take what becomes free, while anything is held; until cancelled."""
        while True:
            await self._holding.wait()
            if self._limit is not None:  # It may have been let go on the way back from waiting.
                self._take()
            await trio.sleep(TAKE_PAUSE_S)

    def _take(self) -> None:
        while True:
            try:
                self._held.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            except OSError as error:
                if error.errno != errno.EMFILE:
                    raise
                self.refused += 1
                return
