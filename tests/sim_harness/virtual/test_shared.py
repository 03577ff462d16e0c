"""What nodes of a world share is what each would have worked out for itself."""

import msgspec

from p2p.model.ad import CapacityAd
from p2p.model.parameters import Parameters
from p2p.model.rejection import Reason, Rejected
from p2p.model.topic import GossipValue, Topic
from p2p.node.verifier import Verifier
from p2p.primitives.codec import encode
from p2p.primitives.signing import Verified
from p2p.primitives.units import MIB, Amount
from p2p.protocol.ledger import build_block
from p2p.protocol.replica import Bookkeeper
from sim_harness.virtual import shared
from sim_harness.virtual.conditions import height_at_least
from sim_harness.virtual.shared import SharedBookkeeper, SharedVerifier
from sim_harness.virtual.spans import seconds
from sim_harness.virtual.world import World

WORLD = World(seed=1, nodes=3, validators=3, parameters=Parameters(epoch_ms=seconds(1)))
WORLD.start()
WORLD.run_until(height_at_least(1))


def an_ad() -> CapacityAd:
    replica = WORLD.nodes[0].replica
    assert replica is not None
    return replica.registry.ads()[0].value


def refuses(value: GossipValue) -> Reason:
    return Reason.OUTDATED


def test_a_shared_verifier_says_what_one_of_a_nodes_own_says() -> None:
    chain_id, ad = WORLD.genesis.chain_id, an_ad()
    false = msgspec.structs.replace(ad, signature=bytes(64))
    pooled, own = SharedVerifier(chain_id, WORLD.scheme), Verifier(chain_id, WORLD.scheme)
    for data in (encode(ad), encode(false), b"nothing"):
        for topic in (Topic.ADS, Topic.VOTES, Topic.ADS):
            for _ in range(2):
                assert pooled.message(topic, data) == own.message(topic, data)


def test_the_context_stays_each_nodes_own() -> None:
    verifier = SharedVerifier(WORLD.genesis.chain_id, WORLD.scheme)
    data = encode(an_ad())
    assert verifier.message(Topic.ADS, data, refuses) == Rejected(Reason.OUTDATED)
    good = verifier.message(Topic.ADS, data)
    assert good == Verified(an_ad())
    assert verifier.message(Topic.ADS, data, refuses) == Rejected(Reason.OUTDATED)
    assert verifier.message(Topic.ADS, data) is good


def test_messages_that_are_remembered_are_bounded_by_their_bytes() -> None:
    verifier = SharedVerifier(WORLD.genesis.chain_id, WORLD.scheme)
    for number in range(shared.MESSAGES_BYTES_MAX // MIB + 2):
        verifier.message(Topic.ADS, bytes([number]) * MIB)
    assert len(verifier._messages) == shared.MESSAGES_BYTES_MAX // MIB
    assert verifier._bytes == shared.MESSAGES_BYTES_MAX


def test_a_block_is_worked_out_once_a_state() -> None:
    replica = WORLD.nodes[0].replica
    assert replica is not None
    state, plain, books = replica.state, Bookkeeper(), SharedBookkeeper()
    rules = replica.chain._rules
    made = build_block(
        state,
        rules,
        proposer=WORLD.nodes[0].key.account,
        time_ms=WORLD.now_ms,
        transactions=(),
        receipts=(),
    )
    executed = books.execute(state, rules, made.block)
    assert executed == plain.execute(state, rules, made.block) == made
    assert books.execute(state, rules, made.block) is executed
    assert books.violations(state, made.block, made.state) == ()
    # A disk that gives back another state under the same name gets no share in it.
    spoilt = msgspec.structs.replace(state, supply=Amount(state.supply - 1))
    assert books.execute(spoilt, rules, made.block) == plain.execute(spoilt, rules, made.block)
    assert books.execute(spoilt, rules, made.block) != executed


def test_results_that_are_remembered_are_bounded() -> None:
    books, genesis = SharedBookkeeper(), WORLD.genesis
    state = books.begin(genesis, None)
    assert books.begin(genesis, None) is state
    again = books.begin(genesis, encode(state))
    assert again == state
    for number in range(shared.RESULTS_MAX):
        other = msgspec.structs.replace(state, time_ms=number)
        books.begin(genesis, encode(other))
    assert len(books._begun) == shared.RESULTS_MAX
    assert books.begin(genesis, None) is not state
