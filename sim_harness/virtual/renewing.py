"""A renewal: a receipt that came too late to be settled gets a later date from both parties.

    provider: the receipt -> consumer: keeps it, signs a later epoch
    provider: signs       <-
              the whole   -> consumer: keeps it

What is lost on the way ends with its turn; the provider begins anew while the receipt is stale.
"""

from collections.abc import Callable

from p2p.model.commands import NO_WORK, AcceptReceipt, SignReceipt
from p2p.model.receipt import ServiceReceipt
from p2p.primitives.signing import Verified
from sim_harness.virtual.pair import Pair


def renew(pair: Pair, receipt: ServiceReceipt, done: Callable[[], None]) -> None:
    """The provider asks for a later date, which costs the consumer nothing."""
    replica = pair.provider.replica
    assert replica is not None, "it runs"
    ad = replica.registry.get(pair.provider.key.account)
    epoch = replica.channels.epoch_wanted(receipt.channel)
    if ad is None:
        done()
        return
    channel, known = receipt.channel, ad

    def sign() -> None:
        pair.ask(
            pair.consumer,
            lambda ticket: SignReceipt(ticket, channel, known, NO_WORK, None, epoch),
            signed,
        )

    def signed(result: object) -> None:
        if isinstance(result, ServiceReceipt):
            pair.carry(pair.consumer, pair.provider, lambda: accept(result))

    def accept(half: ServiceReceipt) -> None:
        pair.ask(
            pair.provider,
            lambda ticket: AcceptReceipt(ticket, Verified(half), known.value, NO_WORK),
            accepted,
        )

    def accepted(result: object) -> None:
        if isinstance(result, ServiceReceipt):
            pair.carry(pair.provider, pair.consumer, lambda: keep(result))

    def keep(whole: ServiceReceipt) -> None:
        pair.store(pair.consumer, whole, done)

    shown = receipt
    pair.carry(pair.provider, pair.consumer, lambda: pair.store(pair.consumer, shown, sign))
