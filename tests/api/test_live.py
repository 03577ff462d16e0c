"""The API on real sockets: the service, its client, and answers that go on."""

import http.client
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
import trio

from p2p.api.client import ApiClient, ApiError
from p2p.api.plain import plain
from p2p.api.server import serve_api
from p2p.api.values import Row
from p2p.node.config import ApiConfig
from p2p.node.errors import UserError
from p2p.node.home import ApiAddress
from p2p.primitives.keys import Key, account_text
from tests.api.fake_node import FakeNode, home_of

pytestmark = pytest.mark.live


@asynccontextmanager
async def serving(node: FakeNode) -> AsyncIterator[str]:
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            url = await nursery.start(serve_api, node)
            yield url
            nursery.cancel_scope.cancel()


async def in_thread(call: Callable[[], object]) -> object:
    return await trio.to_thread.run_sync(call, abandon_on_cancel=True)


def client_of(node: FakeNode) -> ApiClient:
    return ApiClient(node.home)


async def test_a_client_finds_the_node_by_its_home(node: FakeNode) -> None:
    node.advance(2)
    async with serving(node) as url:
        address = home_of(node).read_api_address()
        assert address is not None
        assert address.url == url
        status = await in_thread(partial(client_of(node).get, "/status"))
        assert isinstance(status, dict)
        assert status["height"] == 2
    assert home_of(node).read_api_address() is None


async def test_the_api_listens_on_ipv6_loopback_too(node: FakeNode) -> None:
    node.config = msgspec.structs.replace(node.config, api=ApiConfig(listen="[::1]:0"))
    async with serving(node) as url:
        assert url.startswith("http://[::1]:")
        assert await in_thread(partial(client_of(node).get, "/channels")) == []


async def test_a_port_in_use_is_one_sentence(node: FakeNode, tmp_path: Path) -> None:
    async with serving(node) as url:
        other = FakeNode(tmp_path / "other")
        listen = urlsplit(url).netloc
        other.config = msgspec.structs.replace(other.config, api=ApiConfig(listen=listen))
        with pytest.raises(UserError) as caught:
            await serve_api(other)
        assert str(caught.value) == f"the API cannot listen on {listen}: Address already in use"


async def test_the_nodes_own_sentence_reaches_the_user(node: FakeNode) -> None:
    async with serving(node):
        with pytest.raises(ApiError, match=r"^no block of height 7 is stored here$") as caught:
            await in_thread(partial(client_of(node).get, "/blocks/7"))
        assert caught.value.status == 404
        home_of(node).token_path.write_text("00" * 32)
        with pytest.raises(ApiError, match=r"^show the token of the node's home") as caught:
            await in_thread(partial(client_of(node).get, "/status"))
        assert caught.value.status == 401


async def test_a_file_is_stored_and_fetched_with_its_progress(
    node: FakeNode, tmp_path: Path
) -> None:
    source, target = trio.Path(tmp_path / "source"), trio.Path(tmp_path / "target")
    await source.write_bytes(b"content" * 1000)
    first = account_text(Key(bytes([1]) * 32).account)
    async with serving(node):
        client = client_of(node)
        body: Row = {"path": str(source), "replicas": 4}
        *steps, done = await read(client, "/blobs", body)
        assert steps[0] == {
            "type": "progress",
            "stage": "hashing",
            "done_bytes": 7000,
            "total_bytes": 7000,
            "provider": None,
        }
        assert [step["provider"] for step in steps[1:2]] == [first]
        assert (done["type"], done["complete"], done["wanted"]) == ("done", False, 4)
        assert [row["paid"] for row in rows(done["placements"])] == [7, 7, 7]
        assert rows(done["failures"])[0]["why"] == "the provider has no room for it"

        listed = rows(await in_thread(partial(client.get, "/blobs")))
        assert [(row["blob"], row["name"], row["size_bytes"]) for row in listed] == [
            (done["blob"], "source", 7000)
        ]
        assert len(rows(listed[0]["replicas"])) == 3

        path = f"/blobs/{done['blob']}/get"
        *_, fetched = await read(client, path, {"destination": str(target)})
        assert fetched["sources"] == [{"provider": first, "bytes": 7000}]
        assert await target.read_bytes() == await source.read_bytes()


async def test_a_transfer_that_fails_ends_with_a_sentence(node: FakeNode) -> None:
    async with serving(node):
        with pytest.raises(ApiError, match=r"^/nowhere cannot be added: No such file"):
            await read(client_of(node), "/blobs", {"path": "/nowhere"})
        with pytest.raises(ApiError, match=r"^no provider holds it$"):
            await read(client_of(node), f"/blobs/{'00' * 32}/get", {"destination": "/tmp/x"})


async def test_events_are_told_as_they_happen(node: FakeNode) -> None:
    async with serving(node):
        lines = client_of(node).lines("GET", "/events")
        send, receive = trio.open_memory_channel[Row](10)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_follow, lines, send)
            await node.watched.wait()
            node.advance(1)
            event = await receive.receive()
            nursery.cancel_scope.cancel()
    assert (event["type"], event["height"]) == ("committed", 1)
    assert event["state_root"] == plain(node.replica.state.root)


async def _follow(lines: Iterator[Row], send: trio.MemorySendChannel[Row]) -> None:
    while True:
        line = await trio.to_thread.run_sync(lambda: next(lines), abandon_on_cancel=True)
        await send.send(line)


async def test_a_reader_that_leaves_stops_the_transfer(node: FakeNode, tmp_path: Path) -> None:
    """Given an add that waits; when its client hangs up; then the add is cancelled."""
    source = tmp_path / "source"
    await trio.Path(source).write_bytes(b"content")
    node.fake_blobs.is_slow = True
    token = home_of(node).read_token()
    async with serving(node) as url:
        connection = http.client.HTTPConnection(urlsplit(url).netloc)

        def ask() -> bytes:
            body = msgspec.json.encode({"path": str(source)})
            headers = {"Authorization": f"Bearer {token}"}
            connection.request("POST", "/blobs", body, headers)
            return connection.getresponse().readline()

        line = await trio.to_thread.run_sync(ask)
        assert b"hashing" in line
        await node.fake_blobs.waiting.wait()
        connection.close()
        await node.fake_blobs.stopped.wait()
    assert node.fake_blobs.placed == []


# ---- without a node ---------------------------------------------------------------------------


def test_a_stopped_node_is_one_sentence(node: FakeNode) -> None:
    sentence = f"^node is not running: start it with `p2p start --home {node.home}`$"
    with pytest.raises(UserError, match=sentence):
        client_of(node)
    # A node that was killed leaves its address behind.
    home_of(node).write_api_address(ApiAddress(pid=1, url="http://127.0.0.1:1"))
    with pytest.raises(UserError, match=sentence):
        client_of(node).get("/status")


def rows(value: object) -> list[Row]:
    assert isinstance(value, list)
    return value


async def read(client: ApiClient, path: str, body: Row) -> list[Row]:
    return rows(await in_thread(lambda: list(client.lines("POST", path, body))))
