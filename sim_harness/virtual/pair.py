"""A consumer and a provider: the channels between them, messages, and commands to their cores.

A message takes its size over the sender's uplink and the way between the two; what either sent
arrives in order. Messages and answers belong to a turn: when the next has begun they are dropped,
and so is what reaches a node that crashed meanwhile.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from p2p.model.commands import AcceptReceipt, SignReceipt, StoreReceipt
from p2p.model.receipt import ServiceReceipt
from p2p.model.rejection import Rejected
from p2p.model.transaction import ChannelOpen, Transaction, channel_id
from p2p.primitives.signing import Verified
from p2p.primitives.units import Amount, ChannelId
from p2p.protocol.interface import SubmitTransaction
from sim_harness.virtual.workload import DEPOSIT

if TYPE_CHECKING:
    from sim_harness.virtual.node import VirtualNode
    from sim_harness.virtual.world import World


class Pair:
    """What two nodes that deal with one another have between them."""

    def __init__(self, world: "World", consumer: "VirtualNode", provider: "VirtualNode") -> None:
        self.world, self.consumer, self.provider = world, consumer, provider
        self.channels: list[ChannelId] = []
        """Opened so far; the last one is in use."""
        self.refusals: list[Rejected] = []
        self.turn = 0
        self.moved_ms = world.now_ms
        """When a message of a turn arrived last."""
        self._opened_by = -1
        """The incarnation of the consumer that opened the last channel."""
        self._arrives_us: dict[int, int] = {}
        """When what either party sent last arrives: a stream keeps its order."""

    # ---- what the ledger and the parties say ---------------------------------------------------

    @property
    def settled(self) -> int:
        """What the ledger paid out of the channels, as the furthest node sees it."""
        states = [node.replica.state for node in self.world.nodes if node.replica is not None]
        latest = max(states, key=lambda state: state.height, default=None)
        if latest is None:
            return 0
        known = (latest.channels.get(channel) for channel in self.channels)
        return sum(channel.settled for channel in known if channel is not None)

    @property
    def accepted(self) -> int:
        """What the provider's newest durable receipts are worth."""
        replica = self.provider.replica
        if replica is None:
            return 0
        newest = [replica.channels.newest(channel) for channel in self.channels]
        return sum(receipt.amount for receipt in newest if receipt is not None)

    @property
    def promised(self) -> int:
        """What the consumer ever signed for."""
        replica = self.consumer.replica
        if replica is None:
            return 0
        return sum(replica.channels.promised(channel) for channel in self.channels)

    # ---- the channel ---------------------------------------------------------------------------

    def is_opening_lost(self) -> bool:
        """Whether the consumer crashed with the opening in its pool alone."""
        # No ledger knows it: the consumer's alone may be one that is worked out again.
        states = [node.replica.state for node in self.world.nodes if node.replica is not None]
        lacks = all(self.channels[-1] not in state.channels for state in states)
        return lacks and self._opened_by != self.consumer.incarnation

    def open_channel(self, then: Callable[[], None]) -> None:
        """The consumer opens another channel; its pool keeps the transaction alive."""
        action = ChannelOpen(self.provider.key.account, Amount(DEPOSIT))

        def opened(result: object) -> None:
            then()
            if isinstance(result, Transaction):
                self._opened_by = self.consumer.incarnation
                account = self.consumer.key.account
                chain_id = self.world.genesis.chain_id
                self.channels.append(channel_id(chain_id, account, result.nonce))

        self.consumer.ask(lambda ticket: SubmitTransaction(ticket, action), opened)

    def stale(self) -> list[ServiceReceipt]:
        """Receipts of ours that came too late to be settled as they are."""
        replica = self.provider.replica
        if replica is None or not self.channels:
            return []
        return [one for one in replica.channels.stale() if one.channel in self.channels]

    # ---- messages and commands ------------------------------------------------------------------

    def carry(
        self, source: "VirtualNode", target: "VirtualNode", act: Callable[[], None], size: int = 0
    ) -> int:
        """Take a message to the other party; when its last byte leaves (microseconds)."""
        turn, links, incarnation = self.turn, self.world.links, target.incarnation

        def arrive() -> bytes:
            same = target.incarnation == incarnation and self.turn == turn
            if same and target.is_up and not links.is_cut(source.index, target.index):
                self.moved_ms = self.world.now_ms
                act()
            return b"%d>%d %d" % (source.index, target.index, size)

        leaves_us, arrives_us = links.carry(source.index, target.index, size)
        arrives_us = max(arrives_us, self._arrives_us.get(source.index, 0))
        self._arrives_us[source.index] = arrives_us
        self.world.heap.at(arrives_us, "dealing", arrive)
        return leaves_us

    def ask(
        self,
        node: "VirtualNode",
        command: Callable[[int], SignReceipt | AcceptReceipt | StoreReceipt],
        then: Callable[[object], None],
    ) -> None:
        """Give a party's core a command of this turn."""
        turn = self.turn

        def answered(result: object) -> None:
            if isinstance(result, Rejected):
                self.refusals.append(result)
            if self.turn == turn:
                then(result)

        node.ask(command, answered)

    def store(
        self, node: "VirtualNode", receipt: ServiceReceipt | None, then: Callable[[], None]
    ) -> None:
        """Keep a receipt that the other party showed: refused when it is no news."""
        if receipt is None:
            then()
            return
        shown = Verified(receipt)
        self.ask(node, lambda ticket: StoreReceipt(ticket, shown), lambda _: then())
