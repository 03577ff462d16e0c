"""A fake node for each test of the API, its API on a real socket, and commands against it."""

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

from p2p.api import cli
from p2p.api.server import serve_api
from tests.api.fake_node import FakeNode
from tests.api.running import Ran, Run


@pytest.fixture
def node(tmp_path: Path) -> FakeNode:
    return FakeNode(tmp_path / "home")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.delenv("P2P_HOME", raising=False)

    def running(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["p2p", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        out, err = capsys.readouterr()
        return Ran(int(left.value.code or 0), out, err)

    return running


@pytest.fixture
def served(node: FakeNode) -> Iterator[FakeNode]:
    """The fake node with its API on a real socket, in a thread of its own."""
    node.advance(2)
    node.blocks_on_ask = True
    started = threading.Event()
    stops: list[Callable[[], None]] = []

    async def serve() -> None:
        token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            stops.append(lambda: token.run_sync_soon(nursery.cancel_scope.cancel))
            await nursery.start(serve_api, node)
            started.set()

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    assert started.wait(30)
    yield node
    stops[0]()
    thread.join()
