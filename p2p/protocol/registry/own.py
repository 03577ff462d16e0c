"""What our own next ad says: the operator's offer, the measured space, the addresses, the seq."""

from typing import Final

import msgspec

from p2p.model.ad import AD_TTL_S_MAX, CapacityAd, sign_ad
from p2p.model.effects import Persist
from p2p.model.offer import Offer
from p2p.model.parameters import AD_BYTES_MAX
from p2p.model.persistence import Put, Table, number_key
from p2p.model.rejection import Reason, Rejected
from p2p.primitives.codec import Malformed, decode, encode
from p2p.primitives.signing import Signer, Verified
from p2p.primitives.units import Digest, Millis
from p2p.protocol.registry.interface import OFFER_KEY, SEQ_KEY, RegistryParameters

_ADDRESSES_MAX: Final = 8
_ADDRESS_LENGTH_MAX: Final = 256
_SPACE_CHANGE_PARTS: Final = 20
"""More than a twentieth of the total is a change of free space that is worth an ad."""


class OwnAd:
    """The contents of our ads, and the number of the last one."""

    def __init__(self, signer: Signer, chain_id: Digest, parameters: RegistryParameters) -> None:
        self._signer, self._chain_id, self._parameters = signer, chain_id, parameters
        self.offer = Offer()
        self.seq = 0
        self.addresses: tuple[str, ...] | None = None
        """None until the node knows them."""
        self.free_bytes: int | None = None
        """None until it was measured."""

    def restore(self, rows: tuple[tuple[bytes, bytes], ...]) -> None:
        """Go on where an earlier run stopped.

        Raises:
            Malformed: our own disk does not hold what we wrote; to guess would reuse a seq.
        """
        for key, value in rows:
            if key == OFFER_KEY:
                self.offer = decode(value, Offer, bytes_max=AD_BYTES_MAX)
            elif key == SEQ_KEY:
                self.seq = int.from_bytes(value)

    def refusal(self, offer: Offer) -> Rejected | None:
        """Why no ad can be made of an offer, or None."""
        try:
            decode(encode(offer), Offer, bytes_max=AD_BYTES_MAX)
        except (Malformed, OverflowError) as error:
            return Rejected(Reason.OUT_OF_BOUNDS, str(error))
        if not self._parameters.ttl_s_min <= offer.ttl_s <= AD_TTL_S_MAX:
            bounds = f"{self._parameters.ttl_s_min} to {AD_TTL_S_MAX}"
            return Rejected(Reason.OUT_OF_BOUNDS, f"ttl_s is {offer.ttl_s}, may be {bounds}")
        if offer.resources.storage_bytes_free > offer.resources.storage_bytes_total:
            return Rejected(Reason.OUT_OF_BOUNDS, "more storage is free than there is in total")
        return None

    def set_addresses(self, addresses: tuple[str, ...]) -> None:
        """Say where we can be reached: the first few that fit into an ad."""
        fitting = [text for text in addresses if len(text) <= _ADDRESS_LENGTH_MAX]
        self.addresses = tuple(fitting[:_ADDRESSES_MAX])

    @property
    def free_now(self) -> int:
        """Bytes free: as measured, within what is offered; as the operator says until then."""
        resources = self.offer.resources
        if self.free_bytes is None:
            return resources.storage_bytes_free
        return min(self.free_bytes, resources.storage_bytes_total)

    def space_differs(self, advertised: CapacityAd) -> bool:
        """Whether free space moved enough since that ad, or came to nothing, or from nothing."""
        before, after = advertised.resources.storage_bytes_free, self.free_now
        moved = abs(after - before) * _SPACE_CHANGE_PARTS
        return moved > self.offer.resources.storage_bytes_total or (after == 0) != (before == 0)

    def next_ad(self, now_ms: Millis) -> Verified[CapacityAd]:
        """Sign the next ad: it must not leave before `saved` is durable."""
        self.seq += 1
        offer = self.offer
        resources = msgspec.structs.replace(offer.resources, storage_bytes_free=self.free_now)
        ad = CapacityAd(
            chain_id=self._chain_id,
            provider=self._signer.account,
            seq=self.seq,
            issued_ms=now_ms,
            ttl_s=offer.ttl_s,
            addrs=self.addresses or (),
            services=self._parameters.services,
            region=offer.region,
            resources=resources,
            price=offer.price,
            blob_bytes_max=offer.blob_bytes_max,
            accepting=offer.accepting,
            drain_epoch=offer.drain_epoch,
        )
        return Verified(sign_ad(ad, self._signer))

    def saved(self, *, with_offer: bool) -> Persist:
        """The order to keep the seq, and the offer when it changed, together."""
        writes = [Put(Table.OFFER, SEQ_KEY, number_key(self.seq))]
        if with_offer:
            writes.insert(0, Put(Table.OFFER, OFFER_KEY, encode(self.offer)))
        return Persist(tuple(writes))
