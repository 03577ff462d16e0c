"""Channels to pay with: reuse one, top it up, or open one and wait for its block."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import trio

from p2p.model.ledger import Channel
from p2p.model.rejection import Rejected
from p2p.model.transaction import Action, ChannelOpen, ChannelTopUp, Transaction, channel_id
from p2p.node.blobs.port import BlobNode
from p2p.primitives.units import AccountId, Amount, ChannelId
from p2p.protocol.interface import SubmitTransaction

SPOILED_MAX: Final = 1_000
"""Channels that we remember not to use; more means that something else is wrong."""


class NoFunds(Exception):
    """The chain did not put money behind a channel; the text says why."""


class WalletLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much to put into channels, and how long to wait for a block."""

    margin_percent: int = 25
    """Put in beyond the price, so that the next transfer finds something left."""
    deposit_min: Amount = Amount(10_000)
    """Micro-tokens that a channel is opened with at least, if the balance allows."""
    chain_wait_s: float = 60.0


class Wallet:
    """The channels of this node as a consumer; one transfer at a time on each."""

    def __init__(self, node: BlobNode, limits: WalletLimits | None = None) -> None:
        self._node = node
        self._limits = limits or WalletLimits()
        self._locks: dict[AccountId, trio.Lock] = {}
        self._waiting: dict[AccountId, int] = {}
        self._spoiled: dict[ChannelId, None] = {}

    @asynccontextmanager
    async def channel_to(self, provider: AccountId, price: int) -> AsyncIterator[ChannelId]:
        """A channel with `price` micro-tokens left, ours alone within the block. Raises NoFunds."""
        async with self._lock(provider):
            yield await self.funded(provider, price)

    def is_in_use(self, provider: AccountId) -> bool:
        """Whether a transfer with this provider is under way."""
        lock = self._locks.get(provider)
        return lock is not None and lock.locked()

    @asynccontextmanager
    async def _lock(self, provider: AccountId) -> AsyncIterator[None]:
        lock = self._locks.setdefault(provider, trio.Lock())
        self._waiting[provider] = self._waiting.get(provider, 0) + 1
        try:
            async with lock:
                yield
        finally:
            self._waiting[provider] -= 1
            if not self._waiting[provider]:
                del self._waiting[provider], self._locks[provider]

    def has_channel(self, provider: AccountId) -> bool:
        """Whether a channel stands that could be used, topped up if need be."""
        return self._best(provider) is not None

    def spoil(self, channel: ChannelId) -> None:
        """Use this channel no more: its provider and we do not agree on what it holds."""
        self._spoiled[channel] = None
        if len(self._spoiled) > SPOILED_MAX:
            del self._spoiled[next(iter(self._spoiled))]

    def left(self, channel: ChannelId) -> int:
        """Micro-tokens of the deposit that we have not signed away."""
        ledger = self._node.replica.state.channels.get(channel)
        return (
            0 if ledger is None else ledger.deposit - self._node.replica.channels.promised(channel)
        )

    async def funded(self, provider: AccountId, price: int) -> ChannelId:
        """A channel with so much left; may wait for a block. Raises NoFunds."""
        best = self._best(provider)
        if best is None:
            return await self._open(provider, price)
        short = price - self.left(best)
        if short > 0:
            await self._top_up(best, short)
        return best

    def _best(self, provider: AccountId) -> ChannelId | None:
        """The usable channel with the most left; the lowest id among equals."""
        usable = [
            channel
            for channel, ledger in self._node.replica.state.channels.items()
            if self._is_usable(channel, ledger) and ledger.provider == provider
        ]
        return max(usable, key=self.left, default=None)

    def _is_usable(self, channel: ChannelId, ledger: Channel) -> bool:
        mine = ledger.consumer == self._node.account
        return mine and not ledger.closing_height and channel not in self._spoiled

    async def _open(self, provider: AccountId, price: int) -> ChannelId:
        deposit = self._with_margin(price, at_least=self._limits.deposit_min)
        sent = await self._submit(ChannelOpen(provider, deposit))
        channel = channel_id(self._node.chain_id, self._node.account, sent.nonce)
        await self._wait(lambda: channel in self._node.replica.state.channels, "a channel")
        return channel

    async def _top_up(self, channel: ChannelId, short: int) -> None:
        before = self._node.replica.state.channels[channel].deposit
        amount = self._with_margin(short, at_least=Amount(0))
        await self._submit(ChannelTopUp(channel, amount))

        def is_topped_up() -> bool:
            ledger = self._node.replica.state.channels.get(channel)
            return ledger is not None and ledger.deposit >= before + amount

        await self._wait(is_topped_up, "a deposit")

    def _with_margin(self, price: int, *, at_least: Amount) -> Amount:
        """The price, and more where the balance allows."""
        account = self._node.replica.state.accounts.get(self._node.account)
        balance = account.balance if account is not None else 0
        wish = max(price + price * self._limits.margin_percent // 100, at_least, 1)
        return Amount(wish if wish <= balance // 2 else max(price, 1))

    async def _submit(self, action: Action) -> Transaction:
        result = await self._node.ask(lambda ticket: SubmitTransaction(ticket, action))
        if isinstance(result, Rejected):
            detail = f" ({result.detail})" if result.detail else ""
            raise NoFunds(f"{result.reason.value}{detail}")
        assert isinstance(result, Transaction), "the command's reply"
        return result

    async def _wait(self, done: Callable[[], bool], what: str) -> None:
        """Wait until the ledger shows it. Raises NoFunds."""
        with trio.move_on_after(self._limits.chain_wait_s):
            async with self._node.events() as events:
                while not done():
                    await anext(events)
            return
        raise NoFunds(f"no block brought {what} within {self._limits.chain_wait_s:.0f} s")
