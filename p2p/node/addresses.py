"""Addresses: checked as people write them, and told to others as they can be reached.

An address is a TCP multiaddr, `/ip4/10.0.0.1/tcp/7707`; one of a peer ends in `/p2p/<peer id>`.
"""

import contextlib
import ipaddress
import socket
from collections.abc import Sequence
from typing import Final

from p2p.model.requests import ADDRESSES_MAX, PeerRecord
from p2p.primitives.keys import parse_account, parse_peer
from p2p.primitives.units import AccountId

DEFAULT_PORT: Final = 7707
IP_HOST: Final = ("ip4", "ip6")
ANY_HOST: Final = ("ip4", "ip6", "dns", "dns4", "dns6")
ANNOUNCED_MAX: Final = 8
"""As many as an ad holds."""

_PARTS: Final = 5
_WILDCARDS: Final = ("0.0.0.0", "::")


def check_address(text: str, *, hosts: Sequence[str], with_peer: bool) -> None:
    """Check an address of one of the kinds of `hosts`. Raises ValueError."""
    example = f"/{hosts[0]}/127.0.0.1/tcp/{DEFAULT_PORT}" + ("/p2p/<peer id>" if with_peer else "")
    parts = text.split("/")
    is_formed = (
        len(parts) == _PARTS + (2 if with_peer else 0)
        and not parts[0]
        and parts[1] in hosts
        and parts[3] == "tcp"
        and (not with_peer or parts[5] == "p2p")
    )
    if not is_formed:
        raise ValueError(f"expected an address such as {example}, not {text[:200]!r}")
    if parts[1] in IP_HOST and not _is_ip(parts[2], parts[1]):
        raise ValueError(f"{text[:200]!r} has no {parts[1]} address in it")
    parse_port(parts[4], text)
    if with_peer:
        parse_peer(parts[6])


def parse_port(text: str, whole: str) -> int:
    """A port from 0 to 65535. Raises ValueError naming `whole`."""
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise ValueError(f"{whole[:200]!r} has no port from 0 to 65535")
    return int(text)


def announced_addresses(
    listening: Sequence[str], announce: Sequence[str], peer: str
) -> tuple[str, ...]:
    """Where others reach this node, each address ending in `/p2p/<peer>`, at most 8.

    Args:
        listening: addresses with real ports, as the transport tells them.
        announce: what the owner wrote instead; empty for none.
        peer: text of our peer id.
    """
    if announce:
        return tuple(f"{address}/p2p/{peer}" for address in announce)[:ANNOUNCED_MAX]
    found: dict[str, None] = {}
    for address in listening:
        parts = address.split("/")
        hosts = _interface_hosts(parts[1]) if parts[2] in _WILDCARDS else [parts[2]]
        for host in hosts:
            found[f"/{parts[1]}/{host}/tcp/{parts[4]}/p2p/{peer}"] = None
    return tuple(found)[:ANNOUNCED_MAX]


def peer_records(addresses: Sequence[str]) -> tuple[PeerRecord, ...]:
    """Addresses by the account that each ends in; those without an Ed25519 peer are left out."""
    found: dict[AccountId, dict[str, None]] = {}
    for address in addresses:
        with contextlib.suppress(ValueError):
            found.setdefault(parse_account(address.rpartition("/p2p/")[2]), {})[address] = None
    return tuple(
        PeerRecord(account, tuple(texts)[:ADDRESSES_MAX]) for account, texts in found.items()
    )


def _is_ip(text: str, kind: str) -> bool:
    try:
        return f"ip{ipaddress.ip_address(text).version}" == kind
    except ValueError:
        return False


def _interface_hosts(kind: str) -> list[str]:
    """Addresses of this machine's interfaces; loopback only when there is nothing else."""
    import psutil

    family = socket.AF_INET if kind == "ip4" else socket.AF_INET6
    found = [
        ipaddress.ip_address(entry.address.partition("%")[0])
        for entries in psutil.net_if_addrs().values()
        for entry in entries
        if entry.family == family
    ]
    usable = [address for address in found if not address.is_link_local]
    outside = [str(address) for address in usable if not address.is_loopback]
    return outside or [str(address) for address in usable]
