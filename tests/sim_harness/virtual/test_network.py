"""What nodes hear of their connections: in turn, whatever crosses on the way."""

from itertools import pairwise

from p2p.model.effects import HangUp
from p2p.model.inputs import PeerConnected, PeerDisconnected
from p2p.primitives.units import PeerId
from p2p.protocol.interface import DialFailed, ReplicaInput
from sim_harness.virtual.conditions import height_at_least, split
from sim_harness.virtual.network import DIAL_TIMEOUT_US
from sim_harness.virtual.node import VirtualNode
from sim_harness.virtual.spans import millis, seconds
from sim_harness.virtual.world import World
from tests.scenarios.worlds import fast_world

NEWS = (PeerConnected, PeerDisconnected, DialFailed)


class Listener:
    """Writes down the news of connections that a node is fed."""

    def __init__(self, node: VirtualNode) -> None:
        self.news: list[ReplicaInput] = []
        self._feed = node.feed
        node.feed = self.feed  # type: ignore[method-assign]

    def feed(self, item: ReplicaInput) -> None:
        if isinstance(item, NEWS):
            self.news.append(item)
        self._feed(item)

    def kinds(self, peer: PeerId) -> list[str]:
        return [type(one).__name__ for one in self.news if one.peer == peer]  # type: ignore[union-attr]


def quiet_world(*, nodes: int = 4) -> tuple[World, list[Listener]]:
    """Nodes that run and, in their first milliseconds, dialled nobody yet."""
    world = fast_world(seed=1, nodes=nodes)
    listeners = [Listener(node) for node in world.nodes]
    for node in world.nodes:
        node.start()
    return world, listeners


def test_two_nodes_that_dial_one_another_at_once_have_one_connection() -> None:
    world, (first, second, *_) = quiet_world()
    one, other = world.nodes[:2]
    world.network.dial(one, other.key.peer)
    world.network.dial(other, one.key.peer)
    world.network.dial(one, other.key.peer)
    world.run_for(seconds(0.5))
    assert first.kinds(other.key.peer) == ["PeerConnected"]
    assert second.kinds(one.key.peer) == ["PeerConnected"]
    assert world.links.between(one.index, other.index) is world.network.connection(1, 0)


def test_a_dial_of_nobody_of_oneself_or_of_the_dead_fails() -> None:
    world, (listener, *_) = quiet_world()
    one, other = world.nodes[:2]
    world.crash(other)
    world.network.dial(one, other.key.peer)
    world.network.dial(one, one.key.peer)
    world.network.dial(one, PeerId(b"nobody"))
    world.run_for(millis(DIAL_TIMEOUT_US // 1_000))
    failed = [news.peer for news in listener.news if isinstance(news, DialFailed)]
    assert {other.key.peer, one.key.peer, PeerId(b"nobody")} <= set(failed)


def test_a_dial_into_a_partition_is_answered_when_it_heals_before_the_timeout() -> None:
    world, (listener, *_) = quiet_world()
    one, other = world.nodes[:2]
    with world.partition([one], [other]):
        world.network.dial(one, other.key.peer)
        world.run_for(seconds(2))
        assert listener.kinds(other.key.peer) == []
    world.run_for(seconds(7))
    assert listener.kinds(other.key.peer)[0] == "PeerConnected"


def test_a_hang_up_is_heard_at_once_here_and_after_the_latency_there() -> None:
    world, (first, second, *_) = quiet_world()
    one, other = world.nodes[:2]
    world.network.dial(one, other.key.peer)
    world.run_for(millis(400))
    assert world.links.between(0, 1) is not None
    world.network.hang_up(one, other.key.peer, "enough")
    world.run_for(millis(0))
    assert first.kinds(other.key.peer)[-1] == "PeerDisconnected"
    assert second.kinds(one.key.peer)[-1] == "PeerConnected"
    world.run_for(millis(20))
    assert PeerDisconnected(one.key.peer, "hung up: enough") in second.news
    world.network.hang_up(one, other.key.peer, "again")
    world.network.hang_up(one, PeerId(b"nobody"), "again")


def test_a_node_that_comes_back_before_its_end_was_heard_ends_first_and_then_connects() -> None:
    """Its reset is still under way when its new dial arrives: no news in the wrong order."""
    world = World(seed=1, nodes=4, validators=4, latency=lambda source, target: 100_000)
    listeners = [Listener(node) for node in world.nodes]
    world.start(within=millis(0))
    world.run_until(height_at_least(1))
    one, other = world.nodes[:2]
    world.crash(one)
    # A link so much better than before that the new handshake overtakes the reset.
    world.links._latency = lambda source, target: 100
    world.start(one, within=millis(0))
    world.run_for(millis(0))
    world.network.dial(one, other.key.peer)
    world.run_for(millis(90))
    assert listeners[1].kinds(one.key.peer)[-2:] == ["PeerDisconnected", "PeerConnected"]
    connection = world.network.connection(1, 0)
    world.run_for(seconds(1))
    assert world.network.connection(1, 0) is connection, "the late reset was of the old one"


def test_news_of_each_peer_alternate_through_crashes_and_partitions() -> None:
    world = fast_world(seed=7, nodes=6)
    listeners = [Listener(node) for node in world.nodes]
    world.start()
    world.run_until(height_at_least(2))
    draws = world.stream("chaos")
    for _ in range(6):
        west, east = split(draws.sample(world.nodes, 6), 2, 4)
        with world.partition(west, east):
            world.run_for(seconds(draws.uniform(1, 18)))
            victim = draws.choice(world.nodes)
            world.crash(victim)
        world.run_for(seconds(draws.uniform(0, 0.3)))
        world.start(victim, within=millis(200))
        world.run_for(seconds(2))
    for listener, node in zip(listeners, world.nodes, strict=True):
        if node.crashes:
            continue  # Its processes each begin anew.
        for other in world.nodes:
            kinds = [kind for kind in listener.kinds(other.key.peer) if kind != "DialFailed"]
            assert all(before != now for before, now in pairwise(kinds)), (node.index, other.index)
            assert kinds[:1] != ["PeerDisconnected"]
    world.check()


def test_a_ban_between_honest_nodes_is_written_down() -> None:
    world, _ = quiet_world()
    one, other = world.nodes[:2]
    world.heard_hang_up(one, HangUp(other.key.peer, "banned: it lied"))
    world.heard_hang_up(one, HangUp(other.key.peer, "too many connections"))
    world.heard_hang_up(one, HangUp(PeerId(b"nobody"), "banned: it lied"))
    assert world.bans == ["node 0 banned node 1: banned: it lied"]
