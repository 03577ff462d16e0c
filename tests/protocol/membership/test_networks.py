"""Whole networks of the machine alone: they become one, and stay one."""

from heapq import heappop, heappush

from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.model.effects import Dial, HangUp, Persist, SetTimer
from p2p.model.inputs import PeerConnected, PeerDisconnected, RequestFailed, TimerFired
from p2p.model.requests import PeersRequest
from p2p.primitives.units import Millis
from p2p.protocol.membership import Membership, MembershipParameters
from p2p.protocol.membership.interface import (
    AdLearned,
    AskPeers,
    DialFailed,
    MembershipEffect,
    MembershipInput,
    PeersLearned,
    Started,
    WantedChanged,
)
from tests.protocol.membership.kit import (
    NOW,
    Bench,
    account,
    address,
    dialled,
    peer,
    record,
    records,
)


class Network:
    """Memberships that dial, answer and part over perfect links, in virtual time.

    Signed addresses spread as ads do: soon after a node's first connection, to all that it can
    reach by then; who comes later has to ask.
    """

    AD_MS = 2_000

    def __init__(
        self,
        count: int,
        *,
        validators: int = 0,
        seed: bytes = b"net",
        parameters: MembershipParameters | None = None,
    ) -> None:
        self.now_ms = NOW
        self.sequence = 0
        self.queue: list[tuple[int, int, int, MembershipInput | None]] = []
        self.timers: dict[int, int] = {}
        self.links: set[frozenset[int]] = set()
        self.down: set[int] = set()
        self.sides: list[set[int]] = []
        self.numbers = {peer(number): number for number in range(count)}
        self.announced: set[int] = set()
        self.dials = 0
        self.nodes: list[Membership] = []
        wanted = tuple(account(number) for number in range(validators))
        for number in range(count):
            node = Membership(peer(number), parameters, seed=seed + number.to_bytes(4))
            self.nodes.append(node)
            self.later(number, Started((record(0),)), 0)
            if number < validators:
                self.later(number, WantedChanged(wanted), 0)

    def later(self, number: int, event: MembershipInput | None, delay_ms: int) -> None:
        self.sequence += 1
        heappush(self.queue, (self.now_ms + delay_ms, self.sequence, number, event))

    def can_meet(self, one: int, other: int) -> bool:
        apart = any((one in side) != (other in side) for side in self.sides)
        return one != other and not apart and not {one, other} & self.down

    def run(self, span_ms: int) -> None:
        end_ms = self.now_ms + span_ms
        while self.queue and self.queue[0][0] <= end_ms:
            at_ms, _, number, event = heappop(self.queue)
            self.now_ms = at_ms
            if number in self.down:
                continue
            if event is None:
                self.announce(number)
                continue
            if isinstance(event, TimerFired):
                if self.timers.get(number) != at_ms:
                    continue
                del self.timers[number]
            for effect in self.nodes[number].step(event, Millis(at_ms)):
                self.carry_out(number, effect)
        self.now_ms = end_ms

    def carry_out(self, number: int, effect: MembershipEffect) -> None:
        match effect:
            case SetTimer(key=key, at_ms=at_ms):
                self.timers[number] = at_ms
                self.later(number, TimerFired(key), at_ms - self.now_ms)
            case Dial(peer=whom, addresses=addresses):
                self.dial(number, self.numbers[whom], addresses)
            case HangUp(peer=whom):
                self.cut(number, self.numbers[whom])
            case AskPeers(peer=whom, wanted=wanted):
                answerer = self.numbers[whom]
                answer = self.nodes[answerer].peers_for(PeersRequest(wanted), peer(number))
                if self.can_meet(number, answerer):
                    self.later(number, PeersLearned(whom, answer.records), 20)
                else:
                    self.later(number, RequestFailed(0, whom), 5_000)
            case Persist():
                pass

    def dial(self, number: int, other: int, addresses: tuple[str, ...]) -> None:
        assert number != other
        self.dials += 1
        link = frozenset((number, other))
        if not self.can_meet(number, other):
            self.later(number, DialFailed(peer(other)), 1_000)
        elif link not in self.links:
            self.links.add(link)
            self.later(number, PeerConnected(peer(other), True, addresses[0]), 20)
            self.later(other, PeerConnected(peer(number), False, ""), 20)
            for one in (number, other):
                if one not in self.announced:
                    self.announced.add(one)
                    self.later(one, None, self.AD_MS)

    def announce(self, number: int) -> None:
        """Gossip an ad to whoever is within reach by then."""
        ad = AdLearned(account(number), (address(number),))
        for other in sorted(self.reach(number)):
            self.later(other, ad, 100)

    def cut(self, one: int, other: int) -> None:
        link = frozenset((one, other))
        if link in self.links:
            self.links.remove(link)
            self.later(one, PeerDisconnected(peer(other)), 1)
            self.later(other, PeerDisconnected(peer(one)), 1)

    def kill(self, number: int) -> None:
        for link in sorted(self.links, key=sorted):
            if number in link:
                self.cut(*sorted(link))
        self.down.add(number)

    def part(self, side: set[int]) -> None:
        self.sides.append(side)
        for link in sorted(self.links, key=sorted):
            one, other = sorted(link)
            if not self.can_meet(one, other):
                self.cut(one, other)

    def neighbours(self, number: int) -> set[int]:
        return {one for link in self.links if number in link for one in link} - {number}

    def reach(self, number: int) -> set[int]:
        reached, edge = {number}, [number]
        while edge:
            for one in sorted(self.neighbours(edge.pop()) - reached):
                reached.add(one)
                edge.append(one)
        return reached


def test_sixty_four_nodes_with_one_seed_find_one_another() -> None:
    network = Network(64, parameters=MembershipParameters(peers_max=32))
    network.run(30_000)
    degrees = [len(network.neighbours(number)) for number in range(64)]
    assert min(degrees) >= 8
    assert max(degrees[1:]) <= 36
    assert network.reach(0) == set(range(64))
    assert network.dials < 64 * 12
    network.run(120_000)
    assert len(network.neighbours(0)) <= 36
    assert min(len(network.neighbours(number)) for number in range(64)) >= 8


def test_a_network_outlives_its_only_seed() -> None:
    network = Network(30)
    network.run(20_000)
    network.kill(0)
    network.run(20_000)
    assert network.reach(1) == set(range(1, 30))
    assert min(len(network.neighbours(number)) for number in range(1, 30)) >= 8
    for number in (3, 4, 5, 6, 7):
        network.kill(number)
    network.run(20_000)
    assert network.reach(1) == {1, 2, *range(8, 30)}


def test_validators_are_connected_to_one_another() -> None:
    network = Network(40, validators=10)
    network.run(20_000)
    for number in range(10):
        assert network.neighbours(number) >= set(range(10)) - {number}
    network.part({0, 1, 2})
    network.run(60_000)
    assert network.reach(5) == set(range(3, 40))
    network.sides.clear()
    network.run(12_000)
    for number in range(10):
        assert network.neighbours(number) >= set(range(10)) - {number}


def test_halves_that_each_had_enough_peers_join_after_a_partition() -> None:
    network = Network(40)
    network.run(30_000)
    network.part(set(range(20)))
    network.run(120_000)
    assert network.reach(0) == set(range(20))
    assert network.reach(39) == set(range(20, 40))
    network.sides.clear()
    network.run(20_000)
    assert network.reach(0) == set(range(40))


def test_a_small_network_comes_to_rest() -> None:
    network = Network(4)
    network.run(60_000)
    dials = network.dials
    assert all(len(network.neighbours(number)) == 3 for number in range(4))
    network.run(600_000)
    assert network.dials == dials
    assert all(len(network.neighbours(number)) == 3 for number in range(4))


@settings(max_examples=30)
@given(st.binary(max_size=3), st.integers(2, 14), st.integers(0, 14))
def test_any_small_network_is_one_network_soon(seed: bytes, count: int, validators: int) -> None:
    parameters = MembershipParameters(peers_max=6, peers_target=3, outbound_min=2, outbound_max=3)
    network = Network(count, validators=min(validators, count), seed=seed, parameters=parameters)
    network.run(40_000)
    assert network.reach(0) == set(range(count))


def test_a_crowd_of_false_names_does_not_surround_a_node() -> None:
    """Given 500 false names from a neighbour; own choices still reach those met before."""
    bench = Bench(*range(1, 9), outbound_min=4, peers_target=4)
    for one in dialled(bench.tick()):
        bench.tell(PeerConnected(one, outbound=True, address=""))
    for number in range(16):
        bench.tell(PeersLearned(peer(900 + number), records(1_000 + 32 * number, 32)))
    for number in range(100, 132):
        bench.connect(number)
    honest = {peer(number) for number in range(1, 9)}
    own = [one for one in bench.machine.connected if one in honest]
    assert len(own) == 4
    bench.tick(60_000)
    assert len([one for one in bench.machine.connected if one in honest]) == 4
