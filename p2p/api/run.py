"""`p2p start`: a node's process, from its first line to a clean stop."""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import trio

from p2p.api.server import serve_api
from p2p.network import preload
from p2p.network.port import TransportError
from p2p.node.errors import UserError
from p2p.node.home import Home
from p2p.node.node import run_node
from p2p.node.port import NodePort
from p2p.primitives.codec import Malformed
from p2p.primitives.keys import account_text
from p2p.storage.port import StoreError

LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
STOP_S: Final = 5.0
"""A node that has not stopped by then is ended: its data are safe at any moment."""


def run_home(home: Path) -> None:
    """Run a home's node until SIGINT or SIGTERM. Raises UserError for what a person can mend."""
    level = Home(home).read_config().log.level
    logging.basicConfig(level=level.upper(), stream=sys.stderr, format=LOG_FORMAT)
    preload()  # here a signal still ends the process at once
    try:
        trio.run(_run, Home(home).path)
    except* (UserError, StoreError, TransportError, Malformed) as faults:
        raise UserError(_sentence(faults, home)) from None


def leave() -> None:
    """End the process at once, with everything said.

    Nothing is left to close, and Python would take half a second to take libp2p's modules apart.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


async def _run(home: Path) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(_wait_signal, nursery.cancel_scope)
        services = (serve_api,)
        await run_node(home, services=services, ready=partial(_greet, Home(home)))


async def _wait_signal(
    scope: trio.CancelScope, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for number in signals:
            print(f"stopping ({signal.Signals(number).name})", flush=True)
            break
    # From here on a second signal ends the process as usual, and so does the alarm.
    signal.signal(signal.SIGALRM, _give_up)
    signal.setitimer(signal.ITIMER_REAL, STOP_S)
    scope.cancel()


def _give_up(*_: object) -> None:
    os.write(2, b"p2p: the node did not stop by itself; its data are safe\n")
    os._exit(1)


def _greet(home: Home, node: NodePort) -> None:
    address = home.read_api_address()
    print(f"node      {account_text(node.account)}")
    print(f"chain     {node.genesis.name} ({node.chain_id.hex()[:16]})")
    for listening in node.transport.listen_addresses():
        print(f"listens   {listening}")
    print(f"api       {address.url if address else '-'}", flush=True)


def _sentence(faults: BaseExceptionGroup[BaseException], home: Path) -> str:
    first = next(_leaves(faults))
    if isinstance(first, Malformed):
        return f"the data of {home} are damaged ({first}): restore them, or sync again"
    if isinstance(first, TransportError):
        return f"{first}: choose another address, network.listen in {Home(home).config_path}"
    return str(first)


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
