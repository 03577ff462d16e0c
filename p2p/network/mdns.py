"""Finding nodes of the same local network by multicast DNS, for those who ask for it.

A node answers queries for `_p2p._udp.local` with its addresses, as `dnsaddr=<multiaddr>` entries
of a TXT record, under a random name. What it hears is hearsay: anybody on the network can say
anything, and a dial proves who is there.

zeroconf works in threads of its own; what they find is handed to trio.

Source: libp2p specs, discovery/mdns.md.
"""

import secrets
import socket
from collections.abc import Callable, Sequence
from typing import Final

import trio
from zeroconf import ServiceBrowser, ServiceInfo, ServiceStateChange, Zeroconf

SERVICE: Final = "_p2p._udp.local."
NAME_BYTES: Final = 20
"""Random bytes of the name; the specification asks for 32 characters or more."""
ADDRESSES_MAX: Final = 8
ANSWER_MS: Final = 3_000
"""How long a node that announced itself may take to tell its addresses."""
PORT_UNUSED: Final = 4001
"""A service record needs a port; the addresses say the real ones."""

Found = Callable[[tuple[str, ...]], None]


class MdnsFailed(Exception):
    """Multicast is not to be had on this machine; the text says why."""


async def discover(
    addresses: Sequence[str],
    found: Found,
    *,
    interfaces: Sequence[str] | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Announce our addresses and report those of others until cancelled.

    Args:
        addresses: where we are reached, each ending in `/p2p/<peer id>`.
        found: called in the trio thread with the addresses of one announcement.
        interfaces: addresses of the interfaces to use; None takes all.
        task_status: told when the announcement is out.

    Raises:
        MdnsFailed: no socket for multicast could be opened.
    """
    token = trio.lowlevel.current_trio_token()
    mine = f"{secrets.token_hex(NAME_BYTES)}.{SERVICE}"

    def changed(
        zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
    ) -> None:
        if name == mine or state_change is ServiceStateChange.Removed:
            return
        info = zeroconf.get_service_info(service_type, name, timeout=ANSWER_MS)
        heard = () if info is None else dns_addresses(info.text)
        if heard:
            try:
                trio.from_thread.run_sync(found, heard, trio_token=token)
            except trio.RunFinishedError:
                return  # the node is stopping

    try:
        zeroconf = await trio.to_thread.run_sync(
            lambda: Zeroconf(interfaces=list(interfaces)) if interfaces else Zeroconf()
        )
    except OSError as error:
        raise MdnsFailed(f"no multicast DNS on this machine: {error.strerror}") from error
    try:
        info = ServiceInfo(
            SERVICE,
            mine,
            port=PORT_UNUSED,
            addresses=[socket.inet_aton("127.0.0.1")],
            properties=txt_records(addresses),
        )
        await trio.to_thread.run_sync(zeroconf.register_service, info)
        browser = ServiceBrowser(zeroconf, SERVICE, handlers=[changed])
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            browser.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(zeroconf.close)


def txt_records(addresses: Sequence[str]) -> bytes:
    """Addresses as the text of a TXT record: length-prefixed `dnsaddr=` entries."""
    entries = [f"dnsaddr={address}".encode() for address in addresses[:ADDRESSES_MAX]]
    return b"".join(bytes([len(entry)]) + entry for entry in entries if len(entry) < 256)


def dns_addresses(text: bytes | None) -> tuple[str, ...]:
    """The addresses in the text of a TXT record; whatever is not one is passed over."""
    found: dict[str, None] = {}
    place = 0
    while text is not None and place < len(text) and len(found) < ADDRESSES_MAX:
        entry = text[place + 1 : place + 1 + text[place]]
        place += 1 + text[place]
        if entry.startswith(b"dnsaddr=") and entry.isascii():
            found[entry[len("dnsaddr=") :].decode()] = None
    return tuple(found)
