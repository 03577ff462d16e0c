"""Offer: what the operator of a node decides to lend, before it becomes a signed ad."""

from typing import Annotated

from msgspec import Meta

from p2p.model.ad import AD_TTL_S_MAX, Price, Resources
from p2p.model.fields import CountField, NameText
from p2p.primitives.codec import Value
from p2p.primitives.units import MIB


class Offer(Value, frozen=True, tag="offer"):
    """The operator's wish; the registry turns it into capacity ads with rising seq."""

    resources: Resources = Resources()
    price: Price = Price()
    region: NameText = ""
    blob_bytes_max: CountField = 1024 * MIB
    accepting: bool = False
    """False: pause. What is stored stays stored and paid; nothing new is taken."""
    drain_epoch: CountField = 0
    """Height from which nothing new is taken and data may be let go; 0 is never."""
    ttl_s: Annotated[int, Meta(ge=1, le=AD_TTL_S_MAX)] = 3600
    """How long an ad stands unless it is renewed, at a third of it. An hour: everybody hears each
    ad, so that of thousands that renewed every few minutes nobody had a quiet second."""
