"""Who may use the local API: programs of the node's owner on this machine, nobody else.

- It listens on loopback only (the configuration refuses anything else).
- Every request shows the token of the home, which the owner alone can read; it is compared in
  constant time.
- The Host header must name loopback, so that a web page whose name was rebound to 127.0.0.1 gets
  nowhere even if it learnt the token.
- A request from a web page of another origin is refused by its Origin header.
"""

import hmac
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_LOOPBACK_HOSTS: Final = ("127.0.0.1", "localhost", "::1")


class Guard:
    """ASGI middleware that lets only the owner's requests through."""

    def __init__(self, app: ASGIApp, *, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
            return
        refusal = self._refusal(Headers(scope=scope))
        if refusal is None:
            await self._app(scope, receive, send)
            return
        status, sentence = refusal
        await JSONResponse({"error": sentence}, status)(scope, receive, send)

    def _refusal(self, headers: Headers) -> tuple[int, str] | None:
        """Status and sentence, or None for a request that may pass."""
        if not _is_loopback(f"//{headers.get('host', '')}"):
            return 421, "this API answers to loopback names only"
        if "origin" in headers and not _is_loopback(headers["origin"]):
            return 403, "this API does not serve other web pages"
        shown = headers.get("authorization", "").encode("latin-1", "replace")
        if not hmac.compare_digest(shown, self._expected):
            return 401, "show the token of the node's home: Authorization: Bearer <api.token>"
        return None


def _is_loopback(url: str) -> bool:
    try:
        return urlsplit(url).hostname in _LOOPBACK_HOSTS
    except ValueError:
        return False
