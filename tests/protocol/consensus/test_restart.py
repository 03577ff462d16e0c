"""Crashes at every moment: never a second word, and the same state again."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.model.effects import Persist, SetTimer
from p2p.model.inputs import TimerFired
from p2p.model.persistence import DeleteRange, Put, Table
from p2p.model.vote import Proposal, Vote
from p2p.primitives.codec import Malformed
from p2p.primitives.signing import Verified
from p2p.primitives.units import Height, Millis, Round
from p2p.protocol.consensus.interface import (
    BroadcastVote,
    BuildValue,
    CertificateReceived,
    Decided,
    HeightStarted,
    JournalRestored,
    ProposalReceived,
    ValueBuilt,
    VoteReceived,
    VotesReceived,
)
from p2p.protocol.consensus.round_machine import RoundState
from p2p.protocol.consensus.sign_state import SIGN_STATE_KEY, Message, SignGuard, step_of
from tests.conformance.words import proposal, some_value, vote
from tests.protocol.consensus.shell import FIRST, Cluster, Shell

FOUR = {"v1": 1, "v2": 1, "v3": 1, "v4": 1}


def hear(shell: Shell, *messages: Message) -> None:
    for message in messages:
        if isinstance(message, Vote):
            shell.step(VoteReceived(Verified(message)))
        else:
            shell.step(ProposalReceived(Verified(message), valid=True, block=b"block"))


def said_twice(sent: list[Message]) -> list[tuple[Message, Message]]:
    """Pairs of one slot that are not byte for byte the same."""
    slots: dict[tuple[Height, Round, int], Message] = {}
    pairs: list[tuple[Message, Message]] = []
    for message in sent:
        first = slots.setdefault((message.height, message.round, step_of(message)), message)
        if first != message:
            pairs.append((first, message))
    return pairs


def test_a_restart_after_each_step_says_the_same_bytes_and_goes_on_to_decide() -> None:
    node = Shell("v1", FOUR)
    node.start(FIRST)
    for told in (
        [proposal("v2", 0, "A", -1, height=1)],
        [vote("prevote", who, 0, "A", height=1) for who in ("v2", "v3")],
    ):
        hear(node, *told)
        state, said = node.state, list(node.sent)
        node.crash()
        assert node.state == state
        assert node.sent[len(said) :] == list(dict.fromkeys(said))
    hear(node, *(vote("precommit", who, 0, "A", height=1) for who in ("v2", "v3")))
    assert [decided.header_digest for decided in node.decisions] == [some_value("A")]


def test_a_decision_in_the_step_of_our_own_precommit_is_found_again() -> None:
    node = Shell("v1", FOUR)
    node.start(FIRST)
    hear(node, *(vote("precommit", who, 0, "A", height=1) for who in ("v2", "v3")))
    hear(node, proposal("v2", 0, "A", -1, height=1))
    hear(node, *(vote("prevote", who, 0, "A", height=1) for who in ("v2", "v3")))
    assert len(node.decisions) == 1
    effects = node.crash()
    assert [effect for effect in effects if isinstance(effect, Decided)] == node.decisions[:1]
    assert node.timers == {}


def test_timers_start_anew_with_their_rounds_timeout() -> None:
    node = Shell("v1", FOUR)
    node.start(FIRST)
    hear(node, proposal("v2", 0, "A", -1, height=1))
    hear(node, vote("prevote", "v2", 0, "B", height=1), vote("prevote", "v3", 0, None, height=1))
    node.step(TimerFired("consensus/prevote"))
    hear(node, *(vote("precommit", who, 1, None, height=1) for who in ("v2", "v3", "v4")))
    node.step(TimerFired("consensus/propose"))
    assert node.round == 1
    node.now_ms = Millis(60_000)
    assert SetTimer("consensus/precommit", Millis(61_500)) in node.crash()
    assert node.timers == {"consensus/precommit": 61_500}


def test_journal_and_sign_state_are_one_persist_which_drops_the_height_before() -> None:
    node = Shell("v1", FOUR)
    node.start(FIRST)
    hear(node, proposal("v2", 0, "A", -1, height=1))
    journal = [slot for slot in node.disk if slot[0] is Table.JOURNAL]
    assert len(journal) == 3  # the height, the proposal, our prevote
    node.start(Height(2))
    effects = node.step(TimerFired("consensus/propose"))
    persist = effects[0]
    assert isinstance(persist, Persist)
    kinds = [type(write) for write in persist.writes]
    assert kinds == [DeleteRange, Put, Put, Put, Put]
    assert isinstance(effects[1], BroadcastVote)


def test_a_journal_of_an_older_height_is_not_replayed() -> None:
    node = Shell("v1", FOUR)
    node.start(FIRST)
    hear(node, proposal("v2", 0, "A", -1, height=1))
    effects = node.crash(Height(2))
    assert effects == [SetTimer("consensus/propose", Millis(3_000))]
    assert node.state == RoundState(Height(2), Round(0), node.state.step)


def test_a_node_knows_which_height_a_crash_left_open() -> None:
    node = Shell("v1", FOUR)
    assert node.driver.restored_height is None
    node.start(Height(5))
    hear(node, proposal("v2", 0, "A", -1, height=5))
    restored = node.restored()
    fresh = Shell("v1", FOUR).driver
    fresh.step(restored, Millis(0))
    assert fresh.restored_height == 5
    lost = Shell("v1", FOUR).driver
    lost.step(JournalRestored((), restored.sign_state), Millis(0))
    assert lost.restored_height == 5
    assert node.driver.restored_height is None


@pytest.mark.parametrize("entries", [(b"junk",), (b"\x93\xa4vote",)])
def test_an_unreadable_journal_is_no_journal(entries: tuple[bytes, ...]) -> None:
    driver = Shell("v1", FOUR).driver
    driver.step(JournalRestored(entries, None), Millis(0))
    assert driver.restored_height is None


def test_a_journal_that_does_not_begin_with_its_height_is_no_journal() -> None:
    node = Shell("v1", FOUR)
    node.start(FIRST)
    hear(node, proposal("v2", 0, "A", -1, height=1))
    driver = Shell("v1", FOUR).driver
    driver.step(JournalRestored(node.restored().entries[1:], None), Millis(0))
    assert driver.restored_height is None


def test_a_journal_without_a_sign_state_is_replayed_by_its_entries_alone() -> None:
    """Whoever lost the table of the sign state is silenced by the key's own file, not here."""
    node = Shell("v1", FOUR)
    node.start(FIRST)
    hear(node, proposal("v2", 0, "A", -1, height=1))
    state = node.state
    node.disk.pop((Table.META, SIGN_STATE_KEY))
    node.crash()
    assert node.state == state
    assert node.driver.sign_state is None


def test_an_unreadable_sign_state_stops_the_node() -> None:
    with pytest.raises(Malformed):
        Shell("v1", FOUR).driver.step(JournalRestored((), b"junk"), Millis(0))


def test_a_journal_is_restored_once_and_before_the_first_height() -> None:
    node = Shell("v1", FOUR)
    node.start(FIRST)
    with pytest.raises(ValueError, match="once"):
        node.step(JournalRestored((), None))
    fresh = Shell("v1", FOUR)
    fresh.step(JournalRestored((), None))
    with pytest.raises(ValueError, match="once"):
        fresh.step(JournalRestored((), None))


def test_without_its_journal_a_node_keeps_lock_and_silence_and_can_crash_again() -> None:
    node = Shell("v1", FOUR)
    node.start(FIRST)
    hear(node, proposal("v2", 0, "A", -1, height=1))
    hear(node, *(vote("prevote", who, 0, "A", height=1) for who in ("v2", "v3")))
    said = list(node.sent)
    node.crash(keep_journal=False)
    assert (node.state.locked_round, node.state.locked_value) == (0, some_value("A"))
    assert node.sent[2:] == said
    hear(node, proposal("v2", 0, "A", -1, height=1))  # the same words may be said again
    assert said_twice(node.sent) == []
    hear(node, *(vote("precommit", who, 0, None, height=1) for who in ("v2", "v3")))
    node.step(TimerFired("consensus/precommit"))
    hear(node, proposal("v3", 1, "B", -1, height=1))  # not what it is locked on
    assert node.sent[-1].round == 1
    assert node.sent[-1].header_digest is None
    state = node.state
    node.crash()
    assert node.state == state
    assert said_twice(node.sent) == []


def test_a_proposer_without_its_journal_does_not_propose_another_value() -> None:
    node = Shell("v2", FOUR)
    node.start(FIRST)
    node.step(ValueBuilt(FIRST, Round(0), some_value("A"), b"A"))
    assert BuildValue(FIRST, Round(0)) in node.crash(keep_journal=False)
    assert node.step(ValueBuilt(FIRST, Round(0), some_value("B"), b"B")) == []
    assert [type(message) for message in node.sent] == [Proposal, Vote, Vote]
    assert said_twice(node.sent) == []


def test_the_guard_allows_what_rises_and_repeats_and_nothing_else() -> None:
    guard = SignGuard()
    first = vote("prevote", "v1", 1, "A", height=5)
    assert guard.allows(first)
    guard.record(first, locked_round=Round(-1), locked_value=None)
    assert not guard.allows(vote("prevote", "v1", 1, "B", height=5))
    assert not guard.allows(proposal("v1", 1, "A", -1, height=5))
    assert not guard.allows(vote("precommit", "v1", 0, "A", height=5))
    assert not guard.allows(vote("precommit", "v1", 9, "A", height=4))
    assert guard.allows(vote("precommit", "v1", 1, "A", height=5))
    assert guard.allows(proposal("v1", 2, "A", -1, height=5))
    assert guard.allows(vote("prevote", "v1", 0, "A", height=6))
    assert guard.sent_before(vote("prevote", "v1", 1, "A", height=5)) == first
    assert guard.sent_before(vote("prevote", "v1", 1, "B", height=5)) is None
    assert SignGuard.restored(guard.encoded()).state == guard.state


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whoever_crashes_whenever_no_one_says_two_things_and_all_agree(data: st.DataObject) -> None:
    """Messages in any order, some lost; timers at any time; crashes, some without the journal."""
    cluster = Cluster(FOUR)
    cluster.start()
    names = list(FOUR)
    for _ in range(data.draw(st.integers(0, 60), label="moves")):
        name = data.draw(st.sampled_from(names))
        inbox = cluster.inboxes[name]
        move = data.draw(st.sampled_from(["hear"] * 6 + ["lose", "fire", "crash", "amnesia"]))
        node = cluster.nodes[name]
        if move == "hear" and inbox:
            cluster.deliver(name, data.draw(st.integers(0, len(inbox) - 1)))
        elif move == "lose" and inbox:
            inbox.pop()
        elif move == "fire":
            cluster.fire(name)
        elif move == "crash":
            before = node.spoke_at
            cluster.after(name, node.crash())
            if before is not None:
                assert node.state == before, "a replay ends where the node last spoke"
        elif move == "amnesia":
            cluster.after(name, node.crash(keep_journal=False))
            node.spoke_at = None
    decided = [decision for node in cluster.nodes.values() for decision in node.decisions]
    assert len({decision.header_digest for decision in decided}) <= 1
    for node in cluster.nodes.values():
        assert said_twice(node.sent) == []
        assert node.evidence == []


def test_a_certificate_decides_again_after_a_crash_only_when_it_comes_again() -> None:
    cluster = Cluster(FOUR)
    cluster.start()
    certificate = None
    for _ in range(40):
        for name in ("v2", "v3", "v4"):
            if cluster.inboxes[name]:
                cluster.deliver(name)
    certificate = cluster.nodes["v2"].decisions[0].certificate
    node = cluster.nodes["v1"]
    opening = cluster.inboxes["v1"][0]
    cluster.hear("v1", opening)
    node.step(CertificateReceived(Verified(certificate)))
    assert [decision.certificate for decision in node.decisions] == [certificate]
    node.crash()
    assert len(node.decisions) == 1
    node.step(CertificateReceived(Verified(certificate)))
    assert len(node.decisions) == 2


def test_a_value_still_owed_when_the_node_last_spoke_is_asked_for_again() -> None:
    node = Shell("v1", FOUR)
    node.start(FIRST)
    node.step(TimerFired("consensus/propose"))
    nil = [vote("prevote", who, 0, None, height=1) for who in ("v2", "v3", "v4")]
    later = [vote("prevote", who, 3, None, height=1) for who in ("v2", "v3")]  # round 3 is ours
    effects = node.step(VotesReceived(tuple(Verified(one) for one in nil + later)))
    assert BuildValue(FIRST, Round(3)) in effects
    assert BuildValue(FIRST, Round(3)) in node.crash()


def test_a_height_must_rise() -> None:
    node = Shell("v1", FOUR)
    node.start(Height(3))
    with pytest.raises(ValueError, match="height 3 after height 3"):
        node.step(HeightStarted(Height(3), node.validators, node.proposers))
