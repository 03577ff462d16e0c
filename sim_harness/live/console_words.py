"""Words that a person says to a running network: read, completed and explained here.

    kill 17                restart 17            pause region:Tokyo 10s      heal
    partition 0-99 | rest for 20s                delay 100ms +-20ms          status
    byzantine 3 equivocator                      add FILE                    help

Whom a word means is a scenario's selector, or simply numbers: `17`, `0-99`, `3,5`. What has no
`for` lasts until `heal`.
"""

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from p2p.node.quantities import parse_rate
from p2p.primitives.units import Millis
from sim_harness.adversaries.table import ADVERSARIES
from sim_harness.live.only_live import ONLY_LIVE, SlowReader
from sim_harness.scenario import schema
from sim_harness.scenario.quantities import parse_share, parse_span
from sim_harness.scenario.schema import Fault
from sim_harness.scenario.selectors import SETS, Population, check_selector

HELP: Final[dict[str, tuple[str, str]]] = {
    "add": ("add FILE [NODE]", "store a file with the product's own `p2p add`"),
    "bandwidth": ("bandwidth RATE [WHO] [for SPAN]", "narrow uplinks, as 256 kbit/s"),
    "black_hole": ("black_hole WHO [for SPAN]", "dials succeed, and nothing arrives"),
    "byzantine": ("byzantine WHO KIND", "these nodes start again as liars"),
    "clock": ("clock SPAN [WHO] [for SPAN]", "set clocks apart, also by -3s"),
    "delay": ("delay SPAN [+-SPAN] [WHO] [for SPAN]", "messages take longer"),
    "disk_full": ("disk_full WHO [for SPAN]", "the kernel refuses every write"),
    "empty_disk": ("empty_disk WHO [for SPAN]", "killed, and back with keys and nothing else"),
    "few_files": ("few_files WHO [for SPAN]", "no descriptor is left"),
    "half_open": ("half_open WHO", "they lose their connections, nobody is told"),
    "heal": ("heal", "undo all that is hurt"),
    "help": ("help", "these lines"),
    "kill": ("kill WHO [for SPAN]", "SIGKILL; they stay down until heal or restart"),
    "loss": ("loss SHARE [WHO] [for SPAN]", "packets are lost: late messages, as over TCP"),
    "partition": ("partition WHO | WHO ... [for SPAN]", "groups do not hear one another"),
    "pause": ("pause WHO [SPAN]", "SIGSTOP"),
    "quit": ("quit", "end everything"),
    "restart": ("restart WHO", "start them again on the same homes"),
    "slow_cpu": ("slow_cpu SHARE WHO [for SPAN]", "a share of a core"),
    "slow_disk": ("slow_disk SPAN [WHO] [for SPAN]", "every commit takes longer"),
    "slow_reader": ("slow_reader BYTES WHO [for SPAN]", "bytes a second that they read"),
    "status": ("status", "the network in a few lines"),
    "torn_write": ("torn_write WHO", "power fails within their next write"),
}
"""By word: how it is used, and what it does."""
SPAN: Final = re.compile(r"-?\d+(\.\d+)?(us|ms|s|m|h)?")
_RANGE: Final = re.compile(r"\d+(-\d+)?(,\s*\d+(-\d+)?)*")


class WordError(Exception):
    """What was said makes no sense; a sentence."""


class Hurting(msgspec.Struct, frozen=True):
    """A fault that begins now."""

    fault: Fault


class Restarting(msgspec.Struct, frozen=True):
    """Nodes that start again."""

    who: str


class Corrupting(msgspec.Struct, frozen=True):
    """Nodes that become liars."""

    who: str
    kind: str


class Adding(msgspec.Struct, frozen=True):
    """A file that is stored by a node."""

    path: str
    node: int | None


class Plain(msgspec.Struct, frozen=True):
    """A word without anything: heal, status, help, quit."""

    word: str


Said = Hurting | Restarting | Corrupting | Adding | Plain


def parse(text: str, population: Population) -> Said:
    """What a line means. Raises WordError."""
    word, _, rest = text.strip().partition(" ")
    rest = rest.strip()
    try:
        return _parse(word.lower(), rest, population)
    except (ValueError, msgspec.ValidationError) as error:
        hint = HELP.get(word.lower())
        raise WordError(f"{error}" + (f"; {': '.join(hint)}" if hint else "")) from None


def _parse(word: str, rest: str, population: Population) -> Said:
    match word:
        case "heal" | "status" | "help" | "quit":
            return Plain(word)
        case "restart":
            return Restarting(who(rest, population))
        case "byzantine":
            whom, _, kind = rest.rpartition(" ")
            if kind not in ADVERSARIES:
                raise ValueError(f"{kind!r} is no kind of liar: {', '.join(sorted(ADVERSARIES))}")
            return Corrupting(who(whom, population), kind)
        case "add":
            path, _, node = rest.rpartition(" ")
            if path and node.isdecimal():
                return Adding(path, int(node))
            if not rest:
                raise ValueError("which file?")
            return Adding(rest, None)
        case _ if word in HELP:
            return Hurting(_fault(word, rest, population))
        case _:
            near = complete(word[:2], population)
            hint = f"; did you mean {near[0]}?" if near else "; help lists all words"
            raise ValueError(f"no word {word!r}{hint}")


def _fault(word: str, rest: str, population: Population) -> Fault:  # noqa: PLR0911 - one a word
    rest, lasts = _lasting(rest)
    if word == "partition":
        groups = tuple(
            "rest" if part.strip() == "rest" else who(part, population) for part in rest.split("|")
        )
        if len(groups) < 2:
            raise ValueError("a partition has two groups or more, with | between them")
        return schema.Partition(groups=groups, lasts=lasts)
    first, _, others = rest.partition(" ")
    if word in ("black_hole", "disk_full", "empty_disk", "few_files", "half_open", "kill") or (
        word == "torn_write"
    ):
        kind = schema.FAULTS.get(word) or ONLY_LIVE[word]
        return kind(nodes=who(rest, population), lasts=lasts or _brief(word))
    if word == "pause":
        whom, _, span = rest.rpartition(" ")
        if whom and SPAN.fullmatch(span) and not span.isdecimal():
            return schema.Pause(nodes=who(whom, population), lasts=parse_span(span))
        return schema.Pause(nodes=who(rest, population), lasts=lasts)
    if word == "bandwidth":
        match = re.match(r"([\d.]+\s*[kMG]?bit/s)\s*(.*)", rest)
        if match is None:
            raise ValueError("which rate?")
        whom = who(match[2] or "all", population)
        return schema.Bandwidth(rate=parse_rate(match[1]), nodes=whom, lasts=lasts)
    if word == "delay":
        jitter = Millis(0)
        if others.startswith(("+-", "±")):
            spread, _, others = others.lstrip("+-±").partition(" ")
            jitter = parse_span(spread)
        add = parse_span(first)
        whom = who(others.strip() or "all", population)
        low = Millis(max(0, add - jitter))
        return schema.Delay(add=low, jitter=Millis(2 * jitter), nodes=whom, lasts=lasts)
    whom = who(others.strip() or "all", population)
    match word:
        case "loss":
            return schema.Loss(share=parse_share(first), nodes=whom, lasts=lasts)
        case "slow_cpu":
            return schema.SlowCpu(speed=parse_share(first), nodes=whom, lasts=lasts)
        case "slow_reader":
            return SlowReader(rate=max(1, int(first)), nodes=whom, lasts=lasts)
        case "slow_disk":
            return schema.SlowDisk(add=parse_span(first), nodes=whom, lasts=lasts)
        case _:
            sign = -1 if first.startswith("-") else 1
            offset = Millis(sign * parse_span(first.lstrip("-+")))
            return schema.ClockSkew(offset=offset, nodes=whom, lasts=lasts)


def _brief(word: str) -> Millis | None:
    return Millis(2_000) if word in ("empty_disk", "half_open", "torn_write") else None


def _lasting(rest: str) -> tuple[str, Millis | None]:
    match = re.fullmatch(r"(.*?)\s*\bfor\s+(\S+)", rest)
    return (match[1], parse_span(match[2])) if match else (rest, None)


def who(text: str, population: Population) -> str:
    """A selector; numbers and ranges mean nodes. Raises ValueError."""
    text = text.strip()
    if not text:
        raise ValueError("whom?")
    if _RANGE.fullmatch(text):
        terms = []
        for part in text.replace(" ", "").split(","):
            first, _, last = part.partition("-")
            highest = int(last or first)
            if highest >= population.nodes or (last and highest < int(first)):
                raise ValueError(f"there are nodes 0 to {population.nodes - 1}, not {part}")
            terms.append(f"nodes[{first}:{highest + 1}]")
        return ", ".join(terms)
    check_selector(text, population)
    return text


def complete(text: str, population: Population) -> list[str]:
    """What the last word of a line may go on as, in order."""
    words = text.split(" ")
    last = words[-1]
    if len(words) == 1:
        return [word for word in HELP if word.startswith(last)]
    if words[0] == "byzantine" and len(words) > 2:
        return [kind for kind in sorted(ADVERSARIES) if kind.startswith(last)]
    places = [f"region:{name}" for name in dict.fromkeys(population.regions)]
    known = [*SETS, *places, "for", "|"]
    return [one for one in known if one.startswith(last) and one != last]


def help_lines(words: Sequence[str] = ()) -> list[str]:
    """A line a word."""
    wide = max(len(usage) for usage, _ in HELP.values()) + 2
    return [f"{HELP[word][0]:{wide}}{HELP[word][1]}" for word in (words or HELP) if word in HELP]
