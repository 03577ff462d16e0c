"""Answers that go on: one JSON object a line (`application/x-ndjson`), as things happen."""

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import trio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from p2p.api.values import Json

MEDIA_TYPE: Final = "application/x-ndjson"

Emit = Callable[[Json], Awaitable[None]]
"""Sends one line, waiting for the reader; None sends an empty one."""


class LineStream(Response):
    """Runs `produce` and sends what it emits; stops it when the reader goes away."""

    media_type = MEDIA_TYPE

    def __init__(self, produce: Callable[[Emit], Awaitable[None]]) -> None:
        super().__init__()
        self._produce = produce
        # The length is not known: without one, the body is sent in chunks.
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}

        async def emit(item: Json) -> None:
            line = b"\n" if item is None else msgspec.json.encode(item) + b"\n"
            await send({"type": "http.response.body", "body": line, "more_body": True})

        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_on_disconnect, receive, nursery.cancel_scope)
            await send(start)
            await self._produce(emit)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            nursery.cancel_scope.cancel()


async def _cancel_on_disconnect(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
