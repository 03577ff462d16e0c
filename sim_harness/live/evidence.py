"""What a live run came to, gathered record by record: the same from the nodes and from the log."""

import msgspec

from p2p.model.parameters import Genesis
from p2p.primitives.codec import decode
from p2p.primitives.digests import digest
from p2p.primitives.units import MIB, Digest
from sim_harness.live.messages import DeedNoted, unpack_word
from sim_harness.live.records import (
    Began,
    Broken,
    Disk,
    Ended,
    Head,
    Hurt,
    Marked,
    Record,
    Sampled,
    Taken,
    Told,
    Value,
    Worked,
    puts_of,
)
from sim_harness.live.watched import WatchedWorld
from sim_harness.scenario.building import recruit_all
from sim_harness.scenario.faults import FaultRecord
from sim_harness.scenario.reading import population_of
from sim_harness.scenario.schema import Scenario
from sim_harness.scenario.selectors import Population
from sim_harness.scenario.statements import Sample

GENESIS_BYTES_MAX = 16 * MIB


class Evidence:
    """Everything known of a run; `add` a record at a time."""

    def __init__(self, scenario: Scenario, head: Head) -> None:
        self.scenario = scenario
        self.head = head
        genesis = decode(head.genesis, Genesis, bytes_max=GENESIS_BYTES_MAX)
        self.world = WatchedWorld(seed=head.seed, validators=head.validators, genesis=genesis)
        self.population = live_population(self.world, scenario)
        self.seated = recruit_all(self.world, scenario, self.population)
        self.samples: list[Sample] = []
        self.faults: dict[int, FaultRecord] = {}
        self.marks: dict[str, Marked] = {}
        self.taken: list[Taken] = []
        self.work: list[Worked] = []
        self.broken: list[Broken] = []
        self.disks: set[int] = set()
        self.records = 0
        self._first_ms = 0
        self._values: dict[Digest, bytes] = {}

    def add(self, record: Record) -> None:
        """One thing more."""
        self.records += 1
        world = self.world
        match record:
            case Told(at_ms=at_ms, node=node, word=data):
                word = unpack_word(data)
                if isinstance(word, DeedNoted):
                    world.deeds[node], world.profits[node] = word.deeds, word.profit
                world.told(node, at_ms, word)
            case Began(at_ms=at_ms, node=node):
                self._first_ms = self._first_ms or at_ms
                world.began(node, at_ms)
            case Ended(at_ms=at_ms, node=node, why=why):
                world.ended(node, at_ms, why)
            case Marked(what=what):
                self.marks[what] = record
                if what == "up":
                    world.begin_anew()
            case Sampled(sample=sample):
                self.samples.append(sample)
            case Hurt(number=number, record=found):
                self.faults[number] = found
            case Taken():
                self.taken.append(record)
            case Worked():
                self.work.append(record)
            case Value(data=data):
                self._values[digest(data)] = data
            case Disk(node=node):
                world.nodes[node].store.commit(puts_of(record, self._values))
                self.disks.add(node)
            case Broken():
                self.broken.append(record)
            case Head():
                pass

    @property
    def start_ms(self) -> int:
        """When the network was up (Unix time); before that, when the first process began."""
        return self.marks["up"].at_ms if "up" in self.marks else self._first_ms

    @property
    def is_up(self) -> bool:
        """Whether the network ever was up."""
        return "up" in self.marks

    def since_ms(self, at_ms: int) -> int:
        """Milliseconds of the run at a moment."""
        return at_ms - self.start_ms


def live_population(world: WatchedWorld, scenario: Scenario) -> Population:
    """Whom the scenario's selectors mean; nodes tell who proposes next."""

    def proposer() -> int:
        told = [node for node in world.watched if node.runs and node.status is not None]
        if not told:
            return 0
        furthest = max(told, key=lambda node: (node.told_height, -node.index))
        assert furthest.status is not None, "it told"
        wanted = furthest.status.proposer
        return next((node.index for node in world.nodes if node.key.account == wanted), 0)

    found = population_of(scenario.network, scenario.load)
    return msgspec.structs.replace(found, proposer=proposer)
