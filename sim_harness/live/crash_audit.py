"""What a crash must not break: a validator's word, and a block that was said to be final.

    statements   who signed what for (height, round, kind), from whoever saw it: neighbours, the
                 crashed node's own journal, certificates. Two that differ are a conflict.
    commits      what a node said was final, before and after any crash, and what its disk holds.

The audit only compares; it believes nobody, so it needs nothing of the rules that it checks.
"""

import shutil
import tempfile
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec

from p2p.model.block import CommittedBlock
from p2p.model.parameters import COMMITTED_BYTES_MAX
from p2p.model.persistence import Delete, DeleteRange, Table, number_key
from p2p.model.vote import Proposal, Vote, VoteKind
from p2p.node.home import Home
from p2p.primitives.codec import decode
from p2p.primitives.keys import account_text
from p2p.primitives.units import AccountId
from p2p.protocol.consensus.journal import SignedEntry, read_journal
from p2p.protocol.consensus.sign_state import SIGN_STATE_KEY, SignGuard
from p2p.storage.sqlite import SqliteStore
from sim_harness.live.messages import CommitNoted, VoteNoted

PROPOSAL: Final = "proposal"

Slot = tuple[bytes, str, int, int]
"""Validator, kind, height, round: one statement each."""
Word = tuple[bytes | None, int]
"""What was said: header digest, and the proof's round of a proposal."""


class Disk(msgspec.Struct, frozen=True):
    """What a stopped node's disk holds."""

    votes: tuple[VoteNoted, ...]
    """What it signed in the open height, by its journal and its sign state."""
    blocks: dict[int, bytes]
    """Header digest by height."""
    certified: tuple[VoteNoted, ...]
    """Precommits that the blocks' certificates are made of."""


class CrashAudit:
    """Compares; `violations` are sentences."""

    def __init__(self) -> None:
        self.statements: dict[Slot, Word] = {}
        self.commits: dict[int, bytes] = {}
        """Header digest by height, as any node first said or stored it."""
        self.acknowledged = 0
        """Commits that were heard of."""
        self.blocks_checked = 0
        self.violations: list[str] = []

    def hear(self, votes: Iterable[VoteNoted], source: str) -> None:
        """Compare signed statements with all that were heard before."""
        for vote in votes:
            slot = (vote.validator, vote.kind, vote.height, vote.round)
            said = (vote.header_digest, vote.valid_round)
            before = self.statements.setdefault(slot, said)
            if before != said:
                self._found(
                    f"{_name(vote.validator)} signed two of {vote.kind} at height {vote.height}"
                    f" round {vote.round}: {_text(before)} and, by {source}, {_text(said)}"
                )

    def acknowledge(self, commits: Iterable[CommitNoted], source: str) -> None:
        """Take note that a node called these blocks final."""
        for commit in commits:
            self.acknowledged += 1
            self._block(commit.height, commit.header_digest, source)

    def check_disk(self, disk: Disk, heights: Iterable[int], source: str) -> None:
        """Whether a disk holds the blocks of these heights, the same as everybody's."""
        self.hear(disk.votes, f"the journal of {source}")
        self.hear(disk.certified, f"a certificate at {source}")
        for height in heights:
            if height not in disk.blocks:
                self._found(f"{source} called height {height} final and has lost its block")
        for height, digest in disk.blocks.items():
            self.blocks_checked += 1
            self._block(height, digest, f"the disk of {source}")

    def _block(self, height: int, digest: bytes, source: str) -> None:
        before = self.commits.setdefault(height, digest)
        if before != digest:
            first, second = before.hex()[:12], digest.hex()[:12]
            self._found(f"height {height} is {second} by {source}, and was {first} before")

    def _found(self, sentence: str) -> None:
        if sentence not in self.violations:
            self.violations.append(sentence)


def read_disk(home: Path, *, blocks_from: int = 1) -> Disk:
    """What a stopped node's disk holds, read from a copy: the node finds it as the crash left it.

    Raises:
        StoreError: the copy cannot be read.
        Malformed: the node wrote what no node reads.
    """
    database = Home(home).database_path
    with tempfile.TemporaryDirectory(prefix="gigmesh-audit-") as scratch:
        copy = Path(scratch) / database.name
        for file in database.parent.glob(f"{database.name}*"):
            if not file.name.endswith(".lock"):
                shutil.copyfile(file, copy.with_name(file.name))
        with closing(SqliteStore(copy)) as store:
            rows = store.scan(Table.BLOCKS, number_key(blocks_from))
            blocks = [
                decode(data, CommittedBlock, bytes_max=COMMITTED_BYTES_MAX) for _, data in rows
            ]
            return Disk(
                votes=tuple(_signed(store)),
                blocks={block.block.header.height: block.block.header.digest() for block in blocks},
                certified=tuple(vote for block in blocks for vote in _certified(block)),
            )


def forget_promises(home: Path) -> None:
    """Take from a stopped node what it signed, as no crash may: a canary for the audit."""
    Home(home).key_state_path.unlink(missing_ok=True)
    with closing(SqliteStore(Home(home).database_path)) as store:
        store.commit(
            [DeleteRange(Table.JOURNAL, b"", b"\xff" * 9), Delete(Table.META, SIGN_STATE_KEY)]
        )


def noted(message: Vote | Proposal) -> VoteNoted:
    """A signed message of consensus, as the audit takes it."""
    if isinstance(message, Proposal):
        return VoteNoted(
            message.proposer,
            PROPOSAL,
            message.height,
            message.round,
            message.header_digest,
            message.valid_round,
        )
    kind = message.kind.name.lower()
    slot = (message.validator, kind, message.height, message.round)
    return VoteNoted(*slot, message.header_digest, message.valid_round)


def _signed(store: SqliteStore) -> list[VoteNoted]:
    journal = read_journal(tuple(data for _, data in store.scan(Table.JOURNAL)))
    entries = journal[1] if journal else []
    messages = [entry.message for entry in entries if isinstance(entry, SignedEntry)]
    guard = SignGuard.restored(store.get(Table.META, SIGN_STATE_KEY))
    if guard.state is not None:
        messages += guard.state.messages
    return [noted(message) for message in messages]


def _certified(committed: CommittedBlock) -> list[VoteNoted]:
    certificate = committed.certificate
    return [
        VoteNoted(
            signature.validator,
            VoteKind.PRECOMMIT.name.lower(),
            certificate.height,
            certificate.round,
            certificate.header_digest,
        )
        for signature in certificate.signatures
    ]


def _name(validator: bytes) -> str:
    return account_text(AccountId(validator))[-8:]


def _text(word: Word) -> str:
    digest, valid_round = word
    named = "nil" if digest is None else digest.hex()[:12]
    return named if valid_round < 0 else f"{named} with a proof of round {valid_round}"
