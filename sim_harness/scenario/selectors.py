"""Selectors: words that name nodes of a network.

    validators[0:2]    nodes[3]    others    consumers    all    proposer    region:Tokyo
    50%    25% of others    random(3)    random(1) of validators    rest    holders(1)

A list with commas means all that any of its terms means. Slices are Python's. Shares are rounded
down, but never to nobody. `proposer` is whoever proposes next when the fault begins; `rest` is who
is in no other group of a partition; `holders(2)` is who holds the second file that was added when
the fault begins, `holders(last)` the newest that somebody holds. Random terms draw anew each time
that a fault begins.
"""

import difflib
import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

import msgspec

from p2p.primitives.units import BASIS_POINTS
from sim_harness.scenario.quantities import parse_share

SETS: Final = ("all", "nodes", "validators", "others", "consumers", "proposer", "rest")

_SET: Final = re.compile(r"([a-z]+)(?:\[(?:(-?\d+)|(-?\d*):(-?\d*))\])?")
_REGION: Final = re.compile(r"region:([A-Za-z_]+)")
_HOLDERS: Final = re.compile(r"holders\((\d{1,6}|last)\)")
_SHARE: Final = re.compile(r"([\d.]+%)(?: of (.+))?")
_RANDOM: Final = re.compile(r"random\((\d+)\)(?: of (.+))?")


class Population(msgspec.Struct, frozen=True):
    """Whom selectors can mean, by node index."""

    nodes: int
    validators: int
    consumers: int
    regions: tuple[str, ...]
    """Of each node; empty when nodes are in none."""
    proposer: Callable[[], int] = lambda: 0
    adds: bool = False
    """Whether files are added, which somebody may hold."""
    holders: Callable[[int | None], list[int]] = lambda number: []
    """Of a file, by its number from 1; None: the newest that is held."""

    def members(self, name: str) -> list[int]:
        """A set, in order. `rest` is nobody here."""
        first_consumer = self.nodes - self.consumers
        sets: dict[str, Callable[[], Sequence[int]]] = {
            "all": lambda: range(self.nodes),
            "nodes": lambda: range(self.nodes),
            "validators": lambda: range(self.validators),
            "others": lambda: range(self.validators, self.nodes),
            "consumers": lambda: range(first_consumer, self.nodes),
            "proposer": lambda: [self.proposer()],
            "rest": list,
        }
        return list(sets[name]())


class Term(msgspec.Struct, frozen=True):
    """One term: a set or a region, a part of it, and how many of these are drawn."""

    text: str
    name: str = "all"
    region: str = ""
    part: tuple[int | None, int | None] | int | None = None
    """A slice, one index, or None for all."""
    share: int | None = None
    """Basis points drawn."""
    count: int | None = None
    """How many are drawn."""
    file: int | None = None
    """Whose holders are meant; 0 is the newest."""

    def candidates(self, population: Population) -> list[int]:
        """Whom it means before anybody is drawn."""
        if self.file is not None:
            return population.holders(self.file or None)
        if self.region:
            return [at for at, region in enumerate(population.regions) if region == self.region]
        members = population.members(self.name)
        if isinstance(self.part, int):
            return members[self.part :][:1] if -len(members) <= self.part < len(members) else []
        if self.part is not None:
            return members[slice(*self.part)]
        return members

    def pick(self, population: Population, draws: Random) -> list[int]:
        """Whom it means now."""
        found = self.candidates(population)
        if not found:
            return []  # Nobody holds the file yet.
        if self.share is not None:
            return draws.sample(found, max(1, len(found) * self.share // BASIS_POINTS))
        return found if self.count is None else draws.sample(found, min(self.count, len(found)))


def parse_selector(text: str) -> tuple[Term, ...]:
    """The terms of a selector. Raises ValueError."""
    return tuple(_term(part.strip()) for part in text.split(","))


def check_selector(text: str, population: Population) -> None:
    """Raises ValueError when a term has no meaning, or matches nobody in this network."""
    for term in parse_selector(text):
        if term.name == "rest":
            continue
        if term.file is not None:
            if not population.adds:
                raise ValueError(
                    f"{term.text!r} matches no node: no file is added (adds_per_minute)"
                )
            continue
        if term.region and not population.regions:
            raise ValueError(f"{term.text!r}: the nodes of this network are in no regions")
        found = term.candidates(population)
        if not found:
            raise ValueError(f"{term.text!r} matches no node{_hint(term, population)}")
        if term.count is not None and term.count > len(found):
            raise ValueError(f"{term.text!r} wants {term.count} of {len(found)} nodes")


def select(text: str, population: Population, draws: Random) -> list[int]:
    """The nodes that a selector means now, by index upwards."""
    found = {one for term in parse_selector(text) for one in term.pick(population, draws)}
    return sorted(found)


def select_groups(groups: Sequence[str], population: Population, draws: Random) -> list[list[int]]:
    """The nodes of each group; nobody is in two, earlier groups first, and `rest` is left over."""
    found: dict[int, list[int]] = {}
    taken: set[int] = set()
    ordered = [(number, text) for number, text in enumerate(groups) if text != "rest"]
    for number, text in ordered:
        found[number] = [one for one in select(text, population, draws) if one not in taken]
        taken.update(found[number])
    rest = [one for one in range(population.nodes) if one not in taken]
    return [found.get(number, rest) for number in range(len(groups))]


def _term(text: str) -> Term:
    if match := _SHARE.fullmatch(text):
        share = parse_share(match[1])
        if not share:
            raise ValueError(f"{text!r} matches no node")
        return msgspec.structs.replace(_base(match[2] or "all"), text=text, share=share)
    if match := _RANDOM.fullmatch(text):
        if not int(match[1]):
            raise ValueError(f"{text!r} matches no node")
        return msgspec.structs.replace(_base(match[2] or "all"), text=text, count=int(match[1]))
    return _base(text)


def _base(text: str) -> Term:
    if match := _HOLDERS.fullmatch(text):
        number = 0 if match[1] == "last" else int(match[1])
        if not number and match[1] != "last":
            raise ValueError(f"{text!r}: files are counted from 1")
        return Term(text, file=number)
    if match := _REGION.fullmatch(text):
        return Term(text, region=match[1])
    match = _SET.fullmatch(text)
    if match is None or match[1] not in SETS:
        word = match[1] if match else text
        near = difflib.get_close_matches(word, SETS, 1)
        hint = (
            f"; did you mean {near[0]!r}?"
            if near
            else f"; known: {', '.join(SETS)}, region:NAME, holders(1)"
        )
        raise ValueError(f"{text!r} is no selector{hint}")
    if match[2]:
        return Term(text, match[1], part=int(match[2]))
    if match[3] is not None:
        start, stop = (int(edge) if edge else None for edge in (match[3], match[4]))
        return Term(text, match[1], part=(start, stop))
    return Term(text, match[1])


def _hint(term: Term, population: Population) -> str:
    if term.region:
        return f"; regions here: {', '.join(dict.fromkeys(population.regions))}"
    size = len(population.members(term.name))
    return f"; there are {size} {term.name}" if term.part is not None else ""
