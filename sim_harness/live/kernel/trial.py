"""Tries each backend in a namespace that ends with this process: `unshare ... python -m ...trial`.

A rule that the kernel takes is not yet one that works, so packets are sent through each. Prints a
`Trial`, as JSON.
"""

import select
import socket
import subprocess
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from sim_harness.live.kernel import rules
from sim_harness.live.kernel.addresses import address_of
from sim_harness.live.kernel.counters import class_bytes, counters
from sim_harness.live.kernel.delayer_process import QueuedPacket
from sim_harness.live.kernel.namespace import last_words
from sim_harness.live.messages import CutSpec, RuleSpec

TRY_S: Final = 30
PORT: Final = 9
DATA: Final = b"gigmesh"
CUT_OFF, FAR, NARROW, LATE = range(4)
"""Nodes: the first is cut off from the second, the third has a narrow uplink, the last is late."""
RATE: Final = 8_000


class Trial(msgspec.Struct, frozen=True):
    """Of each backend why it does not work; nothing where it does."""

    nftables: str
    htb: str
    nfqueue: str
    netem: str
    """Told only."""


class Refused(Exception):
    """A backend does not work; in a few words."""


def main() -> None:
    """Try all, print what was found."""
    _run(rules.LINK)
    found = Trial(*(_why(one) for one in (_nftables, _htb, _nfqueue, _netem)))
    print(msgspec.json.encode(found).decode())  # noqa: T201 - the answer


def _why(attempt: Callable[[], None]) -> str:
    try:
        attempt()
    except Refused as refused:
        return str(refused)
    return ""


def _nftables() -> None:
    name = rules.table_of(0)
    _run(("nft", "-f", "-"), rules.cut_table(name, [CutSpec(((CUT_OFF,), (FAR,)))], FAR + 1))
    _send(CUT_OFF, FAR)
    found = counters(_run(("nft", "-j", "list", "counters", "table", "ip", name)))
    if found["dropped"].packets != 1 or found["crossed"].packets:
        raise Refused("a packet went through a rule that drops it")


def _htb() -> None:
    _run(rules.ROOT)
    _run(("tc", "-batch", "-"), rules.classes_set({}, {NARROW: RATE}))
    _run(("nft", "-f", "-"), rules.uplinks_table({NARROW: RATE}))
    _send(NARROW, FAR)
    sent = class_bytes(_run(("tc", "-s", "class", "show", "dev", "lo")))
    if not sent.get(rules.class_of(NARROW)):
        raise Refused("a packet did not go through its class")


def _nfqueue() -> None:
    try:
        from netfilterqueue import NetfilterQueue
    except ImportError:
        raise Refused("there is no NetfilterQueue here (pip install 'gigmesh[kernel]')") from None
    queue, came = NetfilterQueue(), list[bytes]()

    def take(packet: QueuedPacket) -> None:
        came.append(packet.get_payload())
        packet.accept()

    try:
        queue.bind(rules.QUEUE, take)
    except OSError as error:
        raise Refused(f"the kernel has no NFQUEUE ({error})") from None
    late = RuleSpec((LATE,), delay_us=1)
    _run(("iptables-nft-restore",), rules.queue_rules([late]))
    _send(LATE, FAR)
    select.select([queue.get_fd()], [], [], TRY_S)
    queue.run(block=False)
    queue.unbind()
    if not came:
        raise Refused("no packet came to the queue")


def _netem() -> None:
    _run(("tc", "qdisc", "replace", "dev", "lo", "root", "netem", "delay", "10ms"))


def _send(source: int, target: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind((address_of(source), 0))
        one.sendto(DATA, (address_of(target), PORT))


def _run(words: Sequence[str], text: str = "") -> str:
    try:
        done = subprocess.run(
            words, input=text.encode(), capture_output=True, timeout=TRY_S, check=False
        )
    except FileNotFoundError:
        raise Refused(f"there is no {words[0]} here") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Refused(str(error)) from None
    if done.returncode != 0:
        raise Refused(last_words(done))
    return done.stdout.decode(errors="replace")


if __name__ == "__main__":
    main()
