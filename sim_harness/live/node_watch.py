"""What a node process tells the harness of itself: events, statuses, signed words, bans."""

import os
import resource
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import msgspec
import trio

from p2p.model.effects import HangUp
from p2p.model.ledger import RewardRow
from p2p.model.parameters import BLOCK_BYTES_MAX
from p2p.model.persistence import Put, Table, Write, number_key
from p2p.model.proposer import advance
from p2p.model.rpc import SendRpc
from p2p.model.topic import Topic, topic_name
from p2p.node.port import NodePort
from p2p.primitives.codec import decode, encode
from p2p.primitives.units import Height, Millis
from p2p.protocol.consensus.sign_state import SIGN_STATE_KEY, SignGuard
from p2p.protocol.interface import AdLearned, Committed, Event, ReplicaEffect, ReplicaInput
from sim_harness.live.event_words import pack_event
from sim_harness.live.messages import (
    AdNoted,
    AdsNoted,
    BanNoted,
    CommitNoted,
    Noted,
    SignedNoted,
    Status,
)
from sim_harness.live.process_memory import resident_bytes
from sim_harness.live.task import Reporter

TEXT_MAX: Final = 1_000
CONTROL: Final = "control"
"""What is in no message: subscriptions, grafts, offers."""
BANNED: Final = "banned"
ADS_MAX: Final = 64
"""Told at once."""
SIGNED_MAX: Final = 8
"""Words that are remembered as told: a sign state holds those of one round."""


def machine_ms() -> int:
    """Unix time by the machine's clock, whatever the node's is."""
    return time.time_ns() // 1_000_000


def describe(event: Event) -> str:
    """An event in a line that people can read."""
    parts = [
        f"{name} {value.hex()[:16] if isinstance(value, bytes) else value}"
        for name, value in msgspec.structs.asdict(event).items()
    ]
    return f"{type(event).__name__}: {', '.join(parts)}"[:TEXT_MAX]


class Watcher:
    """Follows a node's events, and makes statuses."""

    def __init__(self, node: NodePort, reporter: Reporter, *, with_ads: bool) -> None:
        self._with_ads = with_ads
        self._node = node
        self._reporter = reporter
        self._round = 0
        self._settled = 0
        self._transactions = 0
        self._earned = 0
        self.sent: Counter[str] = Counter()
        self._ads: list[AdNoted] = []
        """Learned and not told yet."""
        self._signed: deque[bytes] = deque(maxlen=SIGNED_MAX)

    def status(self) -> Status:
        """How the node stands now."""
        replica = self._node.replica
        state, counters = replica.state, replica.gossip.counters
        topics = replica.gossip.topics
        statistics = trio.lowlevel.current_statistics()
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
            sent=dict(self.sent),
            heard=counters.received,
            duplicates=counters.duplicates,
            unpaid=self._unpaid(),
            descriptors=_descriptors(),
            tasks=statistics.tasks_living,
            proposer=advance(state.priorities, state.validators)[1],
            mesh=min((len(replica.gossip.mesh(topic)) for topic in topics), default=0),
        )

    async def follow(self) -> None:
        """Pass on what the node notifies of; a status follows every commit."""
        async with self._node.events() as events:
            # Learned before anybody watched: a node that starts again asks at once for all ads.
            for ad in self._node.replica.registry.ads():
                self._note_ad(ad.value.provider, ad.value.seq)
            self._tell_ads()
            async for event in events:
                self._pass_on(event)
                # What came in the same moment: ads come many at a time.
                with suppress(trio.WouldBlock, trio.EndOfChannel):
                    while True:
                        self._pass_on(events.receive_nowait())
                self._tell_ads()

    async def report(self, interval_s: float) -> None:
        """Tell the status again and again."""
        while True:
            self._reporter.tell_newest(self.status())
            await trio.sleep(interval_s)

    def watch_steps(self) -> None:
        """Look at every step's effects: what is sent, who is banned."""
        replica = self._node.replica
        step = replica.step
        topics = {topic_name(topic, self._node.chain_id): topic.value for topic in Topic}

        def watched(item: ReplicaInput, now_ms: Millis) -> list[ReplicaEffect]:
            effects = step(item, now_ms)
            for effect in effects:
                match effect:
                    case SendRpc(rpc=rpc):
                        size = rpc.size
                        for message in rpc.publish:
                            self.sent[topics.get(message.topic, "other")] += message.size
                            size -= message.size
                        self.sent[CONTROL] += size
                    case HangUp(reason=reason) if reason.startswith(BANNED):
                        self._reporter.tell(BanNoted(effect.peer, reason, machine_ms()))
                    case _:
                        pass
            return effects

        replica.step = watched  # type: ignore[method-assign]

    def committed(self, writes: Sequence[Write]) -> None:
        """Tell what this node signed: it is durable from now on, and may leave. In any thread."""
        for write in writes:
            if not isinstance(write, Put) or write.table is not Table.META:
                continue
            if write.key != SIGN_STATE_KEY:
                continue
            state = SignGuard.restored(write.value).state
            for message in () if state is None else state.messages:
                data = encode(message)
                if data not in self._signed:
                    self._signed.append(data)
                    self._reporter.tell(SignedNoted(data))

    def _unpaid(self) -> int:
        replica, unpaid = self._node.replica, 0
        for channel, kept in replica.channels.records():
            receipt = kept.receipt
            if receipt is None or receipt.provider != self._node.account:
                continue
            ledger = replica.state.channels.get(channel)
            if ledger is not None:
                unpaid += max(0, receipt.amount - ledger.settled)
        return unpaid

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
                        machine_ms(),
                        event.transactions,
                        event.receipts,
                    )
                )
                self._reporter.tell_newest(self.status())
            case AdLearned():
                self._note_ad(event.provider, event.seq)
            case _:
                kind = type(event).__name__
                self._reporter.tell(Noted(kind, describe(event), machine_ms(), pack_event(event)))

    def _note_ad(self, provider: bytes, seq: int) -> None:
        if self._with_ads:
            self._ads.append(AdNoted(provider, seq, machine_ms()))
            if len(self._ads) >= ADS_MAX:
                self._tell_ads()

    def _tell_ads(self) -> None:
        if self._ads:
            self._reporter.tell(AdsNoted(tuple(self._ads)))
            self._ads.clear()

    def _received(self, height: Height) -> int:
        """What this node was paid in a block."""
        data = self._node.store.get(Table.REWARDS, number_key(height))
        if data is None:
            return 0
        rows = decode(data, tuple[RewardRow, ...], bytes_max=BLOCK_BYTES_MAX)
        return sum(row.received for row in rows if row.provider == self._node.account)


def _descriptors() -> int:
    """How many are open; the limit where none is left to look with."""
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
