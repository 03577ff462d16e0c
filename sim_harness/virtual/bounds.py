"""Memory stays bounded whatever peers send: every table of every honest node against its bound."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from p2p.model.vote import VoteKind
from p2p.protocol.consensus.early import EARLY_ROUNDS_MAX
from p2p.protocol.consensus.proposals import PROPOSALS_PER_ROUND_MAX
from p2p.protocol.consensus.votes import QUORUM_VALUES_MAX, ROUNDS_AHEAD_MAX, ROUNDS_BEHIND_MAX
from p2p.protocol.mempool import MempoolLimits
from p2p.protocol.replica import NodeParameters, Replica

if TYPE_CHECKING:
    from sim_harness.virtual.world import World

PINNED_ROUNDS_MAX: Final = 64
"""Older rounds that rules may still need: lock, valid value, proofs of lock, commits."""


def memory_bounded(world: "World") -> Iterator[str]:
    """No table of an honest node is fuller than it may be."""
    for node in world.honest:
        if node.replica is None:
            continue
        for name, (size, size_max) in tables(node.replica, world.node_parameters).items():
            if size > size_max:
                yield f"node {node.index}: {size} {name}, more than {size_max}"


def tables(replica: Replica, parameters: NodeParameters) -> dict[str, tuple[int, int]]:
    """Size and bound of every table that peers can fill, by name."""
    return {**_gossip(replica), **_consensus(replica), **_others(replica, parameters)}


def _gossip(replica: Replica) -> dict[str, tuple[int, int]]:
    sizes, parameters = replica.gossip.sizes(), replica.gossip.parameters
    bounds = {
        "seen": parameters.seen_max,
        "history_messages": parameters.history_messages_max,
        "history_bytes": parameters.history_bytes_max,
        "validations": parameters.validations_max,
        "validation_bytes": parameters.validation_bytes_max,
        "wanted_ids": parameters.wanted_ids_max,
        "peers": parameters.peers_max,
        "topics": parameters.topics_max,
        "fanout_topics": parameters.fanout_topics_max,
        "backoffs": parameters.backoffs_per_topic_max * parameters.topics_max,
        "topics_per_peer": parameters.topics_per_peer_max,
        "queue_messages": parameters.queue_messages_max,
        "queue_bytes": parameters.queue_bytes_max,
    }
    return {f"gossip {name}": (sizes[name], bound) for name, bound in bounds.items()}


def _consensus(replica: Replica) -> dict[str, tuple[int, int]]:
    votes, proposals = replica.chain.driver.held()
    validators = len({*replica.chain.powers, *replica.chain.next_powers})
    rounds = ROUNDS_BEHIND_MAX + 1 + ROUNDS_AHEAD_MAX + PINNED_ROUNDS_MAX
    values = 1 + QUORUM_VALUES_MAX
    tallied = validators * rounds * len(VoteKind) * values
    early = validators * len(VoteKind) * (EARLY_ROUNDS_MAX + 1)
    return {
        "votes": (votes, tallied + early),
        "proposals": (proposals, rounds * PROPOSALS_PER_ROUND_MAX),
    }


def _others(replica: Replica, parameters: NodeParameters) -> dict[str, tuple[int, int]]:
    limits = MempoolLimits()
    return {
        "ads": (len(replica.registry.ads()), parameters.registry.ads_max),
        "peers in the book": (replica.membership.book_size, parameters.membership.book_max),
        "transactions": (replica.mempool.transactions_count, limits.transactions_max),
        "receipts": (replica.mempool.receipts_count, limits.receipts_max),
    }
