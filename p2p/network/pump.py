"""When queued frames leave: all connections of a transport share one pump.

Waking a task costs as much as sealing and sending a small frame, so there is no writer task for
each connection that frames would wake. A connection with something to send is marked, and the
pump's one task flushes all of them in its next turn, which comes when every task that was due has
had its own. What those queued meanwhile leaves together: the busier the node, the larger the
share of frames that share one Noise message and one system call. An idle node waits for nothing.
"""

from typing import Protocol

import trio


class Flushable(Protocol):
    """A connection with a queue."""

    def flush(self) -> None:
        """Send what the socket takes. Raises nothing."""


class Pump:
    """The connections that have something to send."""

    __slots__ = ("_due", "_woken")

    def __init__(self) -> None:
        self._due: list[Flushable] = []
        self._woken = trio.lowlevel.ParkingLot()

    def mark(self, connection: Flushable) -> None:
        """Flush a connection in the next turn; once is enough until it is flushed."""
        self._due.append(connection)
        if len(self._due) == 1:
            self._woken.unpark_all()

    async def run(self) -> None:
        """Flush whatever is marked, until cancelled."""
        while True:
            if self._due:
                await trio.lowlevel.checkpoint()
            while not self._due:
                await self._woken.park()
            due, self._due = self._due, []
            for connection in due:
                connection.flush()
