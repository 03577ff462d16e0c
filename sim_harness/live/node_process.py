"""What a forked child does: run one node, and tell the harness how it stands.

It ends in an orderly way on SIGTERM and when the harness is gone.
"""

import logging
import signal
import sys
import time
from typing import Final

import msgspec
import trio

from p2p.model.ledger import RewardRow
from p2p.model.parameters import BLOCK_BYTES_MAX
from p2p.model.persistence import Table, number_key
from p2p.node.home import Home
from p2p.node.port import NodePort
from p2p.primitives.codec import decode
from p2p.primitives.keys import account_text
from p2p.primitives.units import Height
from p2p.protocol.interface import AdLearned, Committed, Event
from sim_harness.live.messages import CommitNoted, Noted, Ready, Status
from sim_harness.live.process_memory import resident_bytes
from sim_harness.live.task import NodeTask, Reporter
from sim_harness.live.vote_watch import watch_votes

REPORT_MS_DEFAULT: Final = 500
WATCH_VOTES: Final = "watch_votes"
REPORT_MS: Final = "report_ms"
LOG_LEVEL: Final = "log_level"
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
    from p2p.node.node import run_node

    interval_s = int(task.options.get(REPORT_MS, REPORT_MS_DEFAULT)) / 1000
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_end_on_signal, nursery.cancel_scope)
        nursery.start_soon(_end_with_harness, task, nursery.cancel_scope)

        def ready(node: NodePort) -> None:
            if WATCH_VOTES in task.options:
                watch_votes(node, task.reporter)
            watcher = _Watcher(node, task.reporter)
            task.reporter.tell(_ready(node))
            nursery.start_soon(watcher.report, interval_s)
            nursery.start_soon(watcher.follow)

        await run_node(task.home, services=[serve_api], ready=ready)
        nursery.cancel_scope.cancel()


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

    def __init__(self, node: NodePort, reporter: Reporter) -> None:
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
                    )
                )
                self._reporter.tell(self.status())
            case AdLearned():
                pass  # the status counts them
            case _:
                self._reporter.tell(Noted(type(event).__name__, describe(event)))

    def _received(self, height: Height) -> int:
        """What this node was paid in a block."""
        data = self._node.store.get(Table.REWARDS, number_key(height))
        if data is None:
            return 0
        rows = decode(data, tuple[RewardRow, ...], bytes_max=BLOCK_BYTES_MAX)
        return sum(row.received for row in rows if row.provider == self._node.account)
