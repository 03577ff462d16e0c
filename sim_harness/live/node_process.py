"""What a forked child does: run one node, and tell the harness how it stands.

It ends in an orderly way on SIGTERM and when the harness is gone. Options, all of them text:

    watch_votes   tell every signed vote and proposal that reaches the node
    watch_ads     tell every ad that it learns, and when
    report_ms     between two statuses
    log_level     of its log
    delay_ms      what it sends arrives so much later
    jitter_ms     drawn on top of that, from a seed that is the node's number
    local         its local parameters: `machine.name=value`, separated by blanks
"""

import logging
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import trio

from p2p.model.ledger import RewardRow
from p2p.model.parameters import BLOCK_BYTES_MAX
from p2p.model.persistence import Table, number_key
from p2p.network.wires import Wires
from p2p.node.home import Home
from p2p.node.port import NodePort
from p2p.primitives.codec import decode
from p2p.primitives.keys import account_text
from p2p.primitives.units import Height
from p2p.protocol.interface import AdLearned, Committed, Event
from p2p.protocol.replica import NodeParameters
from sim_harness.live.delayed_wires import Distance, open_delayed_wires
from sim_harness.live.messages import AdNoted, CommitNoted, Noted, Ready, Status
from sim_harness.live.process_memory import resident_bytes
from sim_harness.live.task import NodeTask, Reporter
from sim_harness.live.vote_watch import watch_votes
from sim_harness.scenario.overrides import node_parameters_of

REPORT_MS_DEFAULT: Final = 500
WATCH_VOTES: Final = "watch_votes"
REPORT_MS: Final = "report_ms"
LOG_LEVEL: Final = "log_level"
WATCH_ADS: Final = "watch_ads"
DELAY_MS: Final = "delay_ms"
JITTER_MS: Final = "jitter_ms"
LOCAL: Final = "local"
TEXT_MAX: Final = 1_000


def warm() -> None:
    """Import what every node needs, once for all of them."""
    import p2p.api.server
    import p2p.network.libp2p_transport
    import p2p.node.node  # noqa: F401


def run(task: NodeTask) -> None:
    """Run the node until told to stop."""
    logging.basicConfig(
        level=task.options.get(LOG_LEVEL, "info").upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    trio.run(_serve, task)


def describe(event: Event) -> str:
    """An event in a line that people can read."""
    parts = [
        f"{name} {value.hex()[:16] if isinstance(value, bytes) else value}"
        for name, value in msgspec.structs.asdict(event).items()
    ]
    return f"{type(event).__name__}: {', '.join(parts)}"[:TEXT_MAX]


async def _serve(task: NodeTask) -> None:
    from p2p.api.server import serve_api
    from p2p.node.node import Surroundings, run_node

    interval_s = int(task.options.get(REPORT_MS, REPORT_MS_DEFAULT)) / 1000
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_end_on_signal, nursery.cancel_scope)
        nursery.start_soon(_end_with_harness, task, nursery.cancel_scope)

        def ready(node: NodePort) -> None:
            if WATCH_VOTES in task.options:
                watch_votes(node, task.reporter)
            watcher = _Watcher(node, task.reporter, with_ads=WATCH_ADS in task.options)
            task.reporter.tell(_ready(node))
            nursery.start_soon(watcher.report, interval_s)
            nursery.start_soon(watcher.follow)

        local = task.options.get(LOCAL)
        parameters = None if local is None else _local_parameters(local)
        async with _open_wires(task) as wires:
            around = Surroundings(wires=wires, parameters=parameters)
            await run_node(task.home, services=[serve_api], ready=ready, surroundings=around)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def _open_wires(task: NodeTask) -> AsyncIterator[Wires | None]:
    """Wires as long as the options say; None: the product's own."""
    delay_ms, jitter_ms = (float(task.options.get(name, 0)) for name in (DELAY_MS, JITTER_MS))
    if not delay_ms and not jitter_ms:
        yield None
        return
    distance = Distance(delay_ms=delay_ms, jitter_ms=jitter_ms, seed=task.node)
    async with open_delayed_wires(distance) as wires:
        yield wires


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


async def _end_with_harness(task: NodeTask, scope: trio.CancelScope) -> None:
    # Nobody writes to it, so what can be read is its end.
    await trio.lowlevel.wait_readable(task.reporter.fileno())
    scope.cancel()


class _Watcher:
    """Follows a node's events, and makes statuses."""

    def __init__(self, node: NodePort, reporter: Reporter, *, with_ads: bool) -> None:
        self._with_ads = with_ads
        self._node = node
        self._reporter = reporter
        self._round = 0
        self._settled = 0
        self._transactions = 0
        self._earned = 0

    def status(self) -> Status:
        """How the node stands now."""
        replica = self._node.replica
        state = replica.state
        return Status(
            height=state.height,
            header_digest=state.header_digest,
            state_root=state.root,
            round=self._round,
            peers=len(replica.membership.connected),
            ads=len(replica.registry.ads()),
            receipts=sum(1 for _, kept in replica.channels.records() if kept.receipt is not None),
            settled=self._settled,
            transactions=self._transactions,
            earned=self._earned,
            cpu_ms=time.process_time_ns() // 1_000_000,
            rss_bytes=resident_bytes(),
            dropped=self._reporter.dropped,
        )

    async def follow(self) -> None:
        """Pass on what the node notifies of; a status follows every commit."""
        async with self._node.events() as events:
            async for event in events:
                self._pass_on(event)

    async def report(self, interval_s: float) -> None:
        """Tell the status again and again."""
        while True:
            self._reporter.tell(self.status())
            await trio.sleep(interval_s)

    def _pass_on(self, event: Event) -> None:
        match event:
            case Committed():
                self._round = event.round
                self._settled += event.receipts
                self._transactions += event.transactions
                if event.receipts:
                    self._earned += self._received(event.height)
                self._reporter.tell(
                    CommitNoted(
                        event.height,
                        event.header_digest,
                        event.state_root,
                        event.time_ms,
                        event.round,
                        self._node.now_ms(),
                    )
                )
                self._reporter.tell(self.status())
            case AdLearned():
                # The status counts them; in a large network each one would be a flood.
                if self._with_ads:
                    self._reporter.tell(AdNoted(event.provider, event.seq, self._node.now_ms()))
            case _:
                self._reporter.tell(Noted(type(event).__name__, describe(event)))

    def _received(self, height: Height) -> int:
        """What this node was paid in a block."""
        data = self._node.store.get(Table.REWARDS, number_key(height))
        if data is None:
            return 0
        rows = decode(data, tuple[RewardRow, ...], bytes_max=BLOCK_BYTES_MAX)
        return sum(row.received for row in rows if row.provider == self._node.account)
