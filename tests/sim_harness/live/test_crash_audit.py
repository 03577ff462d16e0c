"""The audit finds what a crash may break, on values made by hand."""

from sim_harness.live.crash_audit import CrashAudit, Disk
from sim_harness.live.messages import CommitNoted, VoteNoted

ALICE = b"\x01" * 32
A, B = b"\xaa" * 32, b"\xbb" * 32


def vote(
    said: bytes | None, *, kind: str = "prevote", round_: int = 0, by: bytes = ALICE
) -> VoteNoted:
    return VoteNoted(by, kind, 5, round_, said)


def commit(height: int, digest: bytes) -> CommitNoted:
    return CommitNoted(height, digest, b"", 0, 0)


def test_one_word_a_slot_repeated_by_many_is_no_violation() -> None:
    audit = CrashAudit()
    audit.hear([vote(A), vote(A), vote(B, round_=1), vote(B, kind="precommit")], "node 1")
    audit.hear([vote(A), vote(B, by=b"\x02" * 32)], "node 2")
    assert audit.violations == []
    assert len(audit.statements) == 4


def test_two_words_in_one_slot_are_a_conflict_whoever_saw_the_second() -> None:
    audit = CrashAudit()
    audit.hear([vote(None)], "node 1")
    audit.check_disk(Disk(votes=(vote(A),), blocks={}, certified=()), [], "node 2")
    (found,) = audit.violations
    assert "signed two of prevote at height 5 round 0: nil and, by the journal of node 2" in found


def test_a_certificate_speaks_for_its_signers() -> None:
    audit = CrashAudit()
    audit.hear([vote(A, kind="precommit")], "node 1")
    certified = (vote(B, kind="precommit"),)
    audit.check_disk(Disk(votes=(), blocks={}, certified=certified), [], "node 3")
    (found,) = audit.violations
    assert "by a certificate at node 3" in found


def test_one_proposal_with_two_proofs_of_lock_is_a_conflict() -> None:
    audit = CrashAudit()
    first = VoteNoted(ALICE, "proposal", 5, 2, A, -1)
    audit.hear([first, VoteNoted(ALICE, "proposal", 5, 2, A, 1)], "node 1")
    (found,) = audit.violations
    assert "with a proof of round 1" in found


def test_a_block_that_was_called_final_must_be_on_the_disk() -> None:
    audit = CrashAudit()
    audit.acknowledge([commit(1, A), commit(2, B)], "node 0")
    audit.check_disk(Disk(votes=(), blocks={1: A}, certified=()), [1, 2], "node 0")
    assert audit.violations == ["node 0 called height 2 final and has lost its block"]


def test_another_block_at_a_height_is_a_violation() -> None:
    audit = CrashAudit()
    audit.acknowledge([commit(1, A)], "node 0")
    audit.check_disk(Disk(votes=(), blocks={1: B}, certified=()), [], "node 4")
    (found,) = audit.violations
    assert found == "height 1 is bbbbbbbbbbbb by the disk of node 4, and was aaaaaaaaaaaa before"
