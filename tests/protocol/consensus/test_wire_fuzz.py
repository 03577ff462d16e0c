"""Mutated bytes of everything that consensus reads: malformed, or another value that does no harm.

Each wire type starts from a likely value; bits are flipped, bytes cut, doubled, moved and spliced.
What still decodes is fed to a driver as if its signature were true: a validator can sign anything.

`GIGMESH_FUZZ=2000 pytest tests/protocol/consensus/test_wire_fuzz.py` draws more.
"""

import os
from functools import cache

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.model.accusation import Polka, polka_of
from p2p.model.block import Certificate, CommitSignature
from p2p.model.effects import Penalize
from p2p.model.requests import RoundMessages, RoundRequest
from p2p.model.vote import Proposal, Vote, certificate_votes
from p2p.model.vote_summary import VoteSummary
from p2p.primitives.codec import Malformed, decode, encode
from p2p.primitives.signing import Verified
from p2p.primitives.units import MIB, PeerId, Round
from p2p.protocol.consensus.interface import (
    CertificateReceived,
    ConsensusInput,
    ProposalReceived,
    VoteReceived,
    VotesReceived,
)
from p2p.protocol.consensus.journal import read_journal
from p2p.protocol.consensus.sign_state import SignGuard, SignState
from tests.conformance import words
from tests.protocol.consensus.shell import FIRST, Shell

RUNS = int(os.environ.get("GIGMESH_FUZZ", "0"))
FOUR = {"v1": 1, "v2": 1, "v3": 1, "v4": 1}
PEER = PeerId(b"peer")
BYTES_MAX = MIB
quick = settings(max_examples=RUNS or 60, deadline=None)

edits = st.tuples(
    st.sampled_from(["flip", "cut", "double", "insert", "move", "end", "splice"]),
    st.integers(0, 2**16),
    st.integers(0, 2**16),
    st.binary(min_size=1, max_size=4),
)


def mutated(data: bytes, changes: list[tuple[str, int, int, bytes]], other: bytes) -> bytes:
    """The bytes after some changes; `other` is what is spliced in."""
    for what, first, second, more in changes:
        if not data:
            return more
        at, to = sorted((first % len(data), second % len(data)))
        match what:
            case "flip":
                data = data[:at] + bytes([data[at] ^ (1 << second % 8)]) + data[at + 1 :]
            case "cut":
                data = data[:at] + data[to:]
            case "double":
                data = data[:to] + data[at:to] + data[to:]
            case "insert":
                data = data[:at] + more + data[at:]
            case "move":
                data = data[at:to] + data[:at] + data[to:]
            case "end":
                data = data[:at]
            case _:
                data = data[:at] + other[at % len(other) :]
    return data


@cache
def samples() -> dict[str, tuple[object, type[object]]]:
    """A likely value of each type, and the type that it is read as."""
    prevotes = [words.vote("prevote", who, 0, "A", height=1) for who in ("v2", "v3", "v4")]
    precommits = [words.vote("precommit", who, 0, "A", height=1) for who in ("v2", "v3", "v4")]
    signatures = tuple(CommitSignature(one.validator, one.signature) for one in precommits)
    certificate = Certificate(words.CHAIN, FIRST, Round(0), words.some_value("A"), signatures)
    node = started()
    summary = node.driver.summary()
    assert summary is not None
    restating = msgspec.structs.replace(
        words.vote("prevote", "v2", 2, "A", height=1), valid_round=Round(1)
    )
    return {
        "vote": (prevotes[0], Vote),
        "vote with a valid round": (restating, Vote),
        "proposal": (words.proposal("v3", 1, "A", 0, height=1), Proposal),
        "certificate": (certificate, Certificate),
        "summary": (summary, VoteSummary),
        "question": (RoundRequest(summary), RoundRequest),
        "answer": (RoundMessages((*prevotes, *precommits), None), RoundMessages),
        "polka": (polka_of(prevotes), Polka),
        "sign state": (node.driver.sign_state, SignState),
    }


def started() -> Shell:
    """A validator that prevoted for A in round 0, and heard one vote beside its own."""
    node = Shell("v1", FOUR)
    node.start(FIRST)
    node.step(ProposalReceived(Verified(words.proposal("v2", 0, "A", -1, height=1)), valid=True))
    node.step(VoteReceived(Verified(words.vote("prevote", "v4", 0, "A", height=1))))
    return node


def inputs_of(value: object) -> list[ConsensusInput]:
    """How a driver would hear of a value, if it does."""
    match value:
        case Vote():
            return [VoteReceived(Verified(value), PEER)]
        case Proposal():
            return [ProposalReceived(Verified(value), valid=True, block=b"block", peer=PEER)]
        case Certificate():
            votes = tuple(Verified(vote) for vote in certificate_votes(value))
            return [CertificateReceived(Verified(value), PEER), VotesReceived(votes, PEER)]
        case RoundMessages(votes=votes):
            return [VotesReceived(tuple(Verified(vote) for vote in votes), PEER)]
        case Polka():
            return [VotesReceived(tuple(Verified(vote) for vote in value.votes()), PEER)]
        case _:
            return []


@pytest.mark.parametrize("name", list(samples()))
def test_mutated_bytes_are_malformed_or_a_value_that_does_no_harm(name: str) -> None:
    value, kind = samples()[name]
    others = [encode(one) for one, _ in samples().values()]

    @quick
    @given(st.lists(edits, min_size=1, max_size=4), st.sampled_from(others))
    def check(changes: list[tuple[str, int, int, bytes]], other: bytes) -> None:
        data = mutated(encode(value), changes, other)
        try:
            read = decode(data, kind, bytes_max=BYTES_MAX)
        except Malformed:
            return
        assert encode(read) == data
        node = started()
        before = list(node.sent)
        for input_ in inputs_of(read):
            effects = node.step(input_)
            assert all(one.peer == PEER for one in effects if isinstance(one, Penalize))
        summary = read.summary if isinstance(read, RoundRequest) else read
        if isinstance(summary, VoteSummary):
            node.driver.missing_from(summary)
        votes, proposals = node.driver.held()
        assert votes <= 16
        assert proposals <= 2
        assert node.sent[: len(before)] == before
        slots = [(type(one), one.round, getattr(one, "kind", None)) for one in node.sent]
        assert len(slots) == len(set(slots)), "one word a slot"

    check()


@quick
@given(st.data())
def test_a_mutated_journal_is_read_whole_or_not_at_all(data: st.DataObject) -> None:
    node = started()
    for who in ("v2", "v3"):
        node.step(VoteReceived(Verified(words.vote("prevote", who, 0, "A", height=1))))
    entries = list(node.restored().entries)
    assert len(entries) >= 6
    at = data.draw(st.integers(0, len(entries) - 1))
    changes = data.draw(st.lists(edits, min_size=1, max_size=3))
    entries[at] = mutated(entries[at], changes, entries[-1])
    found = read_journal(tuple(entries), node.driver.sign_state)
    if found is not None:
        first, rest = found
        assert [encode(entry) for entry in (first, *rest)] == entries


@quick
@given(st.lists(edits, min_size=1, max_size=3))
def test_a_mutated_sign_state_is_malformed_or_read_as_it_stands(
    changes: list[tuple[str, int, int, bytes]],
) -> None:
    data = mutated(encode(samples()["sign state"][0]), changes, b"other")
    try:
        guard = SignGuard.restored(data)
    except Malformed:
        return
    assert guard.encoded() == data
