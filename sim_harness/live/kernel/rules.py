"""What nft, tc and iptables are told, from the cuts and rules that stand. Nothing here does it.

    node i sends -> output: its uplink's class -> htb on lo -> input: NFQUEUE (delay), at -150
        -> black hole, loss, cut, each a table of its own, at 0 -> what a cut let through, at 10
        -> node j

What is dropped is dropped where it arrives: a sender whose own kernel refuses a packet hears of it
at once, which no wire can do. Every fault has a table, so that it comes and goes alone, in one
transaction, with counters of its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from sim_harness.live.kernel.addresses import address_of
from sim_harness.live.messages import CutSpec, RuleSpec

MILLION: Final = 1_000_000
UPLINKS: Final = "gigmesh_uplinks"
QUEUE: Final = 1
"""Number of the NFQUEUE; the namespace has no other."""
HEADERS_BYTES_MAX: Final = 100
"""IP and TCP headers with all options; an acknowledgement has no more."""
FIRST_CLASS: Final = 2
QUEUE_S: Final = 1.0
"""What waits at a narrow uplink, in seconds of its rate."""
QUEUE_BYTES_MIN: Final = 32 * 1024
BURST_S: Final = 0.02
BURST_BYTES_MIN: Final = 1_600
FRAME_BYTES: Final = 1_514

ROOT: Final = ("tc", "qdisc", "add", "dev", "lo", "root", "handle", "1:", "htb")
LINK: Final = ("ip", "link", "set", "dev", "lo", "mtu", "1500", "gso_max_segs", "1", "up")
"""Packets as on Ethernet: loopback would carry 64 KiB in one, and a lost one would be all that."""


def table_of(number: int) -> str:
    """The name of a fault's table."""
    return f"gigmesh_{number}"


def cut_table(name: str, cuts: Sequence[CutSpec], nodes: int) -> str:
    """A table that drops what cuts stop, and counts what crosses them all the same."""
    sets: list[str] = []
    matches: list[str] = []
    for number, cut in enumerate(cuts):
        sides = sides_of(cut, nodes)
        both = f"cut{number}"
        sets.append(_set(both, [node for side in sides for node in side]))
        for place, side in enumerate(sides):
            mine = f"{both}_side{place}"
            leaves = f"ip saddr @{mine} ip daddr @{both} ip daddr != @{mine}"
            arrives = f"ip daddr @{mine} ip saddr @{both} ip saddr != @{mine}"
            if cut.direction == "both":
                matches.append(leaves)
            elif place == 0:
                matches.append(leaves if cut.direction == "out" else arrives)
            else:
                break
            sets.append(_set(mine, side))
    return _table(
        name,
        [*sets, "counter dropped { }", "counter crossed { }"],
        _chain("stop", 0, [f"{match} counter name dropped drop" for match in matches]),
        _chain("past", 10, [f"{match} counter name crossed" for match in matches]),
    )


def sides_of(cut: CutSpec, nodes: int) -> list[list[int]]:
    """Who is on which side of a cut; a side may be empty, and nodes not named on none."""
    sides = [list(group) for group in cut.groups]
    if cut.elsewhere is not None:
        named = {node for side in sides for node in side}
        sides += [[] for _ in range(len(sides), cut.elsewhere + 1)]
        sides[cut.elsewhere] += [node for node in range(nodes) if node not in named]
    return sides


def loss_table(name: str, rule: RuleSpec) -> str:
    """A table that drops a share of the packets of some nodes."""
    share = round(rule.loss * MILLION)
    drop = f"numgen random mod {MILLION} < {share} counter name dropped drop"
    return _hurting(name, rule, ["counter name seen", drop])


def hole_table(name: str, rule: RuleSpec) -> str:
    """A table that drops what carries data, so that dials succeed and nothing arrives."""
    drops = [
        "tcp flags & psh == psh counter name dropped drop",
        f"meta length > {HEADERS_BYTES_MAX} counter name dropped drop",
    ]
    return _hurting(name, rule, ["counter name seen", *drops])


def _hurting(name: str, rule: RuleSpec, verdicts: Sequence[str]) -> str:
    """A table whose verdicts are on what some nodes send, are sent, or both; a packet has one."""
    looks = {"out": ["saddr"], "in": ["daddr"], "both": ["saddr", "daddr"]}[rule.direction]
    return _table(
        name,
        [_set("hurt", rule.nodes), "counter seen { }", "counter dropped { }"],
        _block("chain verdicts", verdicts),
        # With `goto`, who was looked at as a sender is not looked at again.
        _chain("look", 0, [f"ip {side} @hurt goto verdicts" for side in looks]),
    )


def uplinks_of(rules: Iterable[RuleSpec]) -> dict[int, int]:
    """Bytes a second of each narrow uplink: the narrowest rule's."""
    found: dict[int, int] = {}
    for rule in rules:
        if rule.bytes_per_second is not None:
            for node in rule.nodes:
                found[node] = min(rule.bytes_per_second, found.get(node, rule.bytes_per_second))
    return found


def class_of(node: int) -> str:
    """The class of a node's uplink."""
    return f"1:{FIRST_CLASS + node:x}"


def uplinks_table(uplinks: Mapping[int, int]) -> str:
    """The table that puts what nodes send into their uplinks' classes, in place of the last one."""
    clear = f"table ip {UPLINKS}\ndelete table ip {UPLINKS}\n"
    if not uplinks:
        return clear
    pairs = ", ".join(f"{address_of(node)} : {class_of(node)}" for node in sorted(uplinks))
    lines = ["type filter hook output priority 0; policy accept;"]
    lines.append(f"meta priority set ip saddr map {{ {pairs} }}")
    return clear + _table(UPLINKS, [], _block("chain send", lines))


def classes_set(before: Mapping[int, int], after: Mapping[int, int]) -> str:
    """Lines for `tc -batch` that make new classes, and change those with another rate."""
    lines = []
    for node, rate in sorted(after.items()):
        if before.get(node) != rate:
            burst = max(BURST_BYTES_MIN, int(rate * BURST_S))
            lines.append(
                f"class replace dev lo parent 1: classid {class_of(node)} htb rate {8 * rate}bit"
                f" burst {burst} cburst {burst} quantum {FRAME_BYTES}"
            )
            room = max(QUEUE_BYTES_MIN, int(rate * QUEUE_S))
            lines.append(f"qdisc replace dev lo parent {class_of(node)} bfifo limit {room}")
    return "".join(f"{line}\n" for line in lines)


def classes_gone(before: Mapping[int, int], after: Mapping[int, int]) -> str:
    """Lines for `tc -batch` that remove the classes of uplinks that are wide again."""
    gone = sorted(before.keys() - after.keys())
    return "".join(f"class del dev lo classid {class_of(node)}\n" for node in gone)


def queue_rules(rules: Iterable[RuleSpec]) -> str:
    """What `iptables-nft-restore` is told: all packets that a delay concerns go to the queue."""
    looks: dict[str, None] = {}
    for rule in rules:
        for node in rule.nodes:
            if rule.direction != "in":
                looks[f"-s {address_of(node)}/32"] = None
            if rule.direction != "out":
                looks[f"-d {address_of(node)}/32"] = None
    # Without a listener packets pass: a delay that is not there is told, a silence would be more.
    to = f"-j NFQUEUE --queue-num {QUEUE} --queue-bypass"
    lines = ["*mangle", ":INPUT ACCEPT [0:0]", *(f"-A INPUT {look} {to}" for look in looks)]
    return "\n".join([*lines, "COMMIT", ""])


def _table(name: str, heads: Sequence[str], *blocks: str) -> str:
    return _block(f"table ip {name}", [*heads, *blocks]) + "\n"


def _chain(name: str, priority: int, rules: Sequence[str]) -> str:
    head = f"type filter hook input priority {priority}; policy accept;"
    return _block(f"chain {name}", [head, *rules])


def _block(head: str, lines: Sequence[str]) -> str:
    return "\n".join([f"{head} {{", *lines, "}"])


def _set(name: str, nodes: Iterable[int]) -> str:
    elements = ", ".join(address_of(node) for node in sorted(nodes))
    listed = [f"elements = {{ {elements} }}"] if elements else []
    return _block(f"set {name}", ["type ipv4_addr", *listed])
