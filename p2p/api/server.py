"""The local HTTP API: JSON over loopback, for the command line and for the owner's programs.

    GET  /health /status /genesis /peers /ads /offer /validators /blobs
         /channels?all=1 /receipts /obligations /account?id= /rewards?height= /blocks/{height}
         /blocks/{height}/certificate /evidence
         /events                                one JSON object a line, as they happen
         /metrics                               Prometheus's text format
    POST /offer /tx                             see `bodies`
         /blobs /blobs/{id}/get                 progress, one JSON object a line, then the result

Errors are `{"error": sentence}` with status 400 (what was sent), 404 (not here), 409 (the node
refuses) or 413 (too long); `guard` has 401, 403 and 421. A stream that
fails ends with an error line.
"""

import logging
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Final, TypeVar, cast

import msgspec
import trio
from hypercorn.config import Config as HypercornConfig
from hypercorn.trio import serve
from hypercorn.typing import Framework
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from p2p.api import accountability, orders, queries
from p2p.api.bodies import (
    BODY_BYTES_MAX,
    AddBody,
    GetBody,
    OfferBody,
    TransactionBody,
    parse_digest,
)
from p2p.api.consensus import consensus
from p2p.api.guard import Guard
from p2p.api.lines import LineStream
from p2p.api.metrics import CONTENT_TYPE, metrics
from p2p.api.values import Row
from p2p.node.config import Config
from p2p.node.errors import UserError
from p2p.node.home import ApiAddress, Home
from p2p.node.port import NodePort
from p2p.primitives.keys import parse_account
from p2p.primitives.units import BlobId, Height

log = logging.getLogger(__name__)

T = TypeVar("T")

GRACE_S: Final = 0.2
"""What an answer under way gets when the node stops."""
BACKLOG: Final = 64


def make_app(node: NodePort, token: str) -> Starlette:
    """The ASGI application over a node."""
    return Starlette(
        routes=_Handlers(node).routes(),
        middleware=[Middleware(Guard, token=token)],
        exception_handlers={
            HTTPException: _http_error,
            queries.NotFound: partial(_error, 404),
            orders.Refused: partial(_error, 409),
            ValueError: partial(_error, 400),
        },
    )


async def serve_api(
    node: NodePort, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve until cancelled; `started` gets the URL, which stands in `data/api.json` meanwhile.

    Raises:
        UserError: the address is taken, or the token cannot be read.
    """
    home = Home(node.home)
    app = make_app(node, home.read_token())
    # Hypercorn and Starlette name the types of one interface differently.
    asgi = cast("Framework", app)
    listener, url = _listen(node.config)
    settings = HypercornConfig()
    settings.bind = [f"fd://{listener.detach()}"]
    settings.errorlog = logging.getLogger(f"{__name__}.http")
    settings.errorlog.setLevel(logging.WARNING)
    settings.include_server_header = False
    settings.graceful_timeout = GRACE_S
    settings.backlog = BACKLOG
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, asgi, settings, mode="asgi"))
        try:
            home.write_api_address(ApiAddress(pid=os.getpid(), url=url))
            task_status.started(url)
            await trio.sleep_forever()
        finally:
            home.remove_api_address()


def _listen(config: Config) -> tuple[socket.socket, str]:
    """A bound socket and the URL that leads to it. Raises UserError."""
    host, port = config.api.endpoint()
    is_six = ":" in host
    listener = socket.socket(socket.AF_INET6 if is_six else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise UserError(f"the API cannot listen on {config.api.listen}: {error.strerror}") from None
    bound = listener.getsockname()[1]
    return listener, f"http://[{host}]:{bound}" if is_six else f"http://{host}:{bound}"


class _Handlers:
    """Reads requests, asks `queries` and `orders`, writes answers."""

    def __init__(self, node: NodePort) -> None:
        self._node = node

    def routes(self) -> list[Route]:
        """All routes of the API."""
        node = self._node
        answers: dict[str, Callable[[Request], object]] = {
            "/status": lambda _: queries.status(node),
            "/genesis": lambda _: queries.genesis(node),
            "/peers": lambda _: queries.peers(node),
            "/ads": lambda request: queries.ads(node, _limit(request)),
            "/offer": lambda _: queries.offer(node),
            "/validators": lambda _: queries.validators(node),
            "/consensus": lambda _: consensus(node),
            "/channels": lambda request: queries.channels(
                node, everybody="all" in request.query_params, limit=_limit(request)
            ),
            "/receipts": lambda request: queries.receipts(node, _limit(request)),
            "/obligations": lambda request: queries.obligations(node, _limit(request)),
            "/blobs": lambda request: queries.blobs(node, _limit(request)),
            "/account": self._account,
            "/rewards": self._rewards,
            "/evidence": lambda request: accountability.evidence(node, _limit(request)),
            "/blocks/{height}": self._block,
            "/blocks/{height}/certificate": self._certificate,
        }
        posts: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "/offer": self._change_offer,
            "/tx": self._submit,
            "/blobs": self._add_blob,
            "/blobs/{id}/get": self._get_blob,
        }
        gets: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "/health": self._health,
            "/events": self._events,
            "/metrics": self._metrics,
            **{path: partial(_answer, query) for path, query in answers.items()},
        }
        return [
            *(Route(path, endpoint, methods=["GET"]) for path, endpoint in gets.items()),
            *(Route(path, endpoint, methods=["POST"]) for path, endpoint in posts.items()),
        ]

    # ---- GET ---------------------------------------------------------------------------------

    async def _health(self, request: Request) -> Response:
        ok, body = queries.health(self._node)
        return _json(body, 200 if ok else 503)

    async def _metrics(self, request: Request) -> Response:
        return Response(metrics(self._node), media_type=CONTENT_TYPE)

    def _account(self, request: Request) -> Row:
        text = request.query_params.get("id")
        return queries.account(self._node, parse_account(text) if text else self._node.account)

    def _rewards(self, request: Request) -> Row:
        text = request.query_params.get("height")
        height = self._height(text) if text else None
        return queries.rewards(self._node, height, _limit(request))

    def _block(self, request: Request) -> Row:
        return queries.block(self._node, self._height(request.path_params["height"]))

    def _certificate(self, request: Request) -> Row:
        return accountability.commit_proof(self._node, self._height(request.path_params["height"]))

    def _height(self, text: str) -> Height:
        if text == "latest":
            return self._node.replica.state.height
        return Height(_number(text, "a height", 2**53))

    async def _events(self, request: Request) -> Response:
        return LineStream(partial(orders.watch, self._node))

    # ---- POST --------------------------------------------------------------------------------

    async def _change_offer(self, request: Request) -> Response:
        body = await _body(request, OfferBody)
        return _json(await orders.change_offer(self._node, body))

    async def _submit(self, request: Request) -> Response:
        return _json(await orders.submit(self._node, await _body(request, TransactionBody)))

    async def _add_blob(self, request: Request) -> Response:
        body = await _body(request, AddBody)
        return LineStream(partial(orders.add_blob, self._node, body))

    async def _get_blob(self, request: Request) -> Response:
        blob = BlobId(parse_digest(request.path_params["id"]))
        body = await _body(request, GetBody)
        return LineStream(partial(orders.get_blob, self._node, blob, body))


async def _answer(query: Callable[[Request], object], request: Request) -> Response:
    return _json(query(request))


async def _body(request: Request, kind: type[T]) -> T:
    """The posted JSON as a value. Raises HTTPException 400 or 413."""
    data = bytearray()
    async with aclosing(request.stream()) as parts:
        async for part in parts:
            data += part
            if len(data) > BODY_BYTES_MAX:
                raise HTTPException(413, f"the body is longer than {BODY_BYTES_MAX} bytes")
    try:
        return msgspec.json.decode(bytes(data), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HTTPException(
            400, f"the body is not what {request.url.path} takes: {error}"
        ) from None


def _limit(request: Request) -> int:
    text = request.query_params.get("limit")
    if text is None:
        return queries.LIMIT_DEFAULT
    return _number(text, "a limit", queries.LIMIT_MAX)


def _number(text: str, what: str, maximum: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 16 or int(text) > maximum:
        raise ValueError(f"{what} is a number from 0 to {maximum}, not {text[:40]!r}")
    return int(text)


def _json(body: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")


async def _error(status: int, request: Request, error: Exception) -> Response:
    return _json({"error": str(error)}, status)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentences = {404: "there is no such page in this API", 405: "this page takes another method"}
    sentence = sentences.get(error.status_code, error.detail)
    return _json({"error": sentence}, error.status_code)
