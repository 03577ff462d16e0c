"""What a forked child does: run one node, and tell the harness how it stands.

It ends in an orderly way on SIGTERM and when the harness is gone. Options, all of them text:

    watch_votes   tell every signed vote and proposal that reaches the node
    watch_ads     tell every ad that it learns, and when
    report_ms     between two statuses
    log_level     of its log
    delay_ms      what it sends arrives so much later
    jitter_ms     drawn on top of that, from a seed that is the node's number
    local         its local parameters: `machine.name=value`, separated by blanks
    setup         file of a `Setup`: distances, parameters, who lies; instead of the last three
    process       how many processes the node had before, for its draws
"""

import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final, cast

import trio

from p2p.network.wires import Wires
from p2p.node.errors import UserError
from p2p.node.home import Home
from p2p.node.port import NodePort
from p2p.primitives.keys import account_text, peer_text
from p2p.protocol.replica import NodeParameters, Replica
from p2p.storage.port import Store
from sim_harness.adversaries.adversary import Adversary
from sim_harness.adversaries.corrupt import CorruptReplica
from sim_harness.live.delayed_wires import Distance, open_delayed_wires
from sim_harness.live.injected import HurtStore
from sim_harness.live.kernel.addresses import OwnAddresses
from sim_harness.live.messages import DeedNoted, Ready
from sim_harness.live.node_orders import Hurts, Obedience
from sim_harness.live.node_watch import Watcher
from sim_harness.live.rough_wires import Links, open_rough_wires
from sim_harness.live.setup import Setup, numbers_of, read_setup
from sim_harness.live.task import NodeTask
from sim_harness.live.vote_watch import watch_votes
from sim_harness.live.watched import WatchedWorld, lend_ledger, lend_store, take_seat
from sim_harness.scenario.overrides import node_parameters_of

if TYPE_CHECKING:
    from p2p.node.node import Node, ReplicaMaker

REPORT_MS_DEFAULT: Final = 500
WATCH_VOTES: Final = "watch_votes"
REPORT_MS: Final = "report_ms"
LOG_LEVEL: Final = "log_level"
WATCH_ADS: Final = "watch_ads"
DELAY_MS: Final = "delay_ms"
JITTER_MS: Final = "jitter_ms"
LOCAL: Final = "local"
SETUP: Final = "setup"
PROCESS: Final = "process"
DEEDS_EVERY_S: Final = 1.0


def warm() -> None:
    """Import what every node needs, once for all of them."""
    import p2p.api.server
    import p2p.network.libp2p_transport
    import p2p.node.node  # noqa: F401


def prepare(home: Path) -> None:
    """Read the genesis of all of them once; a home without one is the node's trouble."""
    with suppress(UserError):
        Home(home).read_genesis()


def run(task: NodeTask) -> None:
    """Run the node until told to stop."""
    logging.basicConfig(
        level=task.options.get(LOG_LEVEL, "info").upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    trio.run(_serve, task)


async def _serve(task: NodeTask) -> None:
    from p2p.api.server import serve_api
    from p2p.node.node import Surroundings, run_node

    setup = read_setup(Path(task.options[SETUP])) if SETUP in task.options else None
    seat = _Seat(task, setup) if setup is not None and task.node in setup.liars else None
    hurts = Hurts(_links(task, setup) if setup is not None else None)
    obedience = Obedience(task.reporter, hurts, task.home)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_end_on_signal, nursery.cancel_scope)
        nursery.start_soon(_obey, obedience, nursery.cancel_scope)

        def ready(port: NodePort) -> None:
            # What `run_node` runs is a `Node`; its services see less of it.
            node = cast("Node", port)
            if WATCH_VOTES in task.options or (setup and task.node in setup.witnesses):
                watch_votes(node, task.reporter, encoded=setup is not None)
            watcher = Watcher(node, task.reporter, with_ads=WATCH_ADS in task.options)
            if setup is not None:
                watcher.watch_steps()
                assert hurts.store is not None, "the node is made before it serves"
                hurts.store.committed = watcher.committed
            obedience.serve(node)
            task.reporter.tell(_ready(node))
            interval_s = int(task.options.get(REPORT_MS, REPORT_MS_DEFAULT)) / 1000
            nursery.start_soon(watcher.report, interval_s)
            nursery.start_soon(watcher.follow)
            if seat is not None:
                nursery.start_soon(seat.tell)

        async with _open_wires(task, setup, hurts) as wires:
            around = Surroundings(
                wires=wires,
                parameters=_parameters(task, setup),
                clock=hurts.clock,
                store=partial(_hurt_store, hurts, seat),
                replica=None if seat is None else seat.maker,
            )
            await run_node(task.home, services=[serve_api], ready=ready, surroundings=around)
        nursery.cancel_scope.cancel()


def _hurt_store(hurts: Hurts, seat: "_Seat | None", store: Store) -> Store:
    hurts.store = HurtStore(store)
    hurts.store.add_us, hurts.store.tears = hurts.add_us, hurts.tears
    if seat is not None:
        lend_store(seat.adversary, hurts.store)
    return hurts.store


def _links(task: NodeTask, setup: Setup) -> Links:
    return Links(
        task.node,
        setup.latency(),
        jitter_us=setup.jitter_us,
        bytes_per_second=setup.bytes_per_second,
        draws=Random(f"links {setup.seed} {task.node} {task.options.get(PROCESS, '0')}"),
    )


@asynccontextmanager
async def _open_wires(
    task: NodeTask, setup: Setup | None, hurts: Hurts
) -> AsyncIterator[Wires | None]:
    """Wires as the setup or the options say; None: the product's own."""
    if setup is not None and hurts.links is not None:
        numbers = numbers_of(Home(task.home).read_genesis())
        inner = OwnAddresses(task.node, numbers) if setup.own_addresses else None
        async with open_rough_wires(hurts.links, numbers, inner) as hurts.wires:
            yield hurts.wires
        return
    delay_ms, jitter_ms = (float(task.options.get(name, 0)) for name in (DELAY_MS, JITTER_MS))
    if not delay_ms and not jitter_ms:
        yield None
        return
    distance = Distance(delay_ms=delay_ms, jitter_ms=jitter_ms, seed=task.node)
    async with open_delayed_wires(distance) as wires:
        yield wires


class _Seat:
    """The adversary that has this node."""

    def __init__(self, task: NodeTask, setup: Setup) -> None:
        self._reporter = task.reporter
        home = Home(task.home)
        addresses = {index: f"{home.path.parent}/node-{index:03}" for index in range(setup.nodes)}
        listens = {index: _address_in(Path(path)) for index, path in addresses.items()}
        self.world: WatchedWorld
        self.adversary: Adversary
        self.world, self.adversary = take_seat(setup, task.node, home.read_genesis(), listens)

    @property
    def maker(self) -> "ReplicaMaker":
        """Makes the replica that the adversary sits in."""
        return cast("ReplicaMaker", self._make)

    def _make(self, **arguments: object) -> Replica:
        make = cast(Callable[..., Replica], partial(CorruptReplica, self.adversary))
        replica = make(**arguments)
        lend_ledger(self.world, self.adversary, replica)
        return replica

    async def tell(self) -> None:
        """Tell what the adversary did, again and again."""
        while True:
            deeds, profit = dict(self.adversary.deeds), self.adversary.profit()
            self._reporter.tell_newest(DeedNoted(deeds, profit))
            await trio.sleep(DEEDS_EVERY_S)


def _address_in(path: Path) -> str:
    """Where the node of a home listens, with its peer id."""
    home = Home(path)
    peer = peer_text(home.read_key().peer)
    return f"{home.read_config().network.listen[0]}/p2p/{peer}"


def _parameters(task: NodeTask, setup: Setup | None) -> NodeParameters | None:
    if setup is not None:
        return node_parameters_of(setup.parameters)
    local = task.options.get(LOCAL)
    return None if local is None else _local_parameters(local)


def local_option(overrides: Sequence[tuple[str, int]]) -> str:
    """The option `local` for a scenario's parameters; those of the chain are left out."""
    return " ".join(f"{name}={value}" for name, value in overrides if "." in name)


def _local_parameters(text: str) -> NodeParameters:
    pairs = (word.partition("=") for word in text.split())
    return node_parameters_of(tuple((name, int(value)) for name, _, value in pairs))


def _ready(node: NodePort) -> Ready:
    api = Home(node.home).read_api_address()
    return Ready(
        account=node.account,
        peer=account_text(node.account),
        addresses=tuple(node.transport.listen_addresses()),
        api_url=api.url if api else "",
    )


async def _end_on_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()


async def _obey(obedience: Obedience, scope: trio.CancelScope) -> None:
    """Carry out orders; the harness's end is ours, too."""
    await obedience.run()
    scope.cancel()
