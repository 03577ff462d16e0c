"""The file beside the key: it only rises, it goes with the key, and it silences below itself."""

import errno
import json
import os
import resource
from pathlib import Path

import pytest

from p2p.model.inputs import TimerFired
from p2p.model.parameters import Parameters
from p2p.model.persistence import Put, Table
from p2p.node import spare_descriptors
from p2p.node.errors import UserError
from p2p.node.key_state import KeyState, KeyStateStore
from p2p.primitives.units import NO_ROUND, Digest, Height, Millis
from p2p.protocol.consensus.driver import ConsensusDriver
from p2p.protocol.consensus.interface import BroadcastVote, HeightStarted, JournalRestored
from p2p.protocol.consensus.sign_state import SIGN_STATE_KEY, SignGuard
from p2p.storage.memory import MemoryStore
from p2p.storage.port import StoreError
from tests.conformance import words

FOUR = {"v1": 1, "v2": 1, "v3": 1, "v4": 1}


def sign_state(kind: str, round_: int, height: int) -> bytes:
    guard = SignGuard()
    guard.record(
        words.vote(kind, "v1", round_, "A", height=height), locked_round=NO_ROUND, locked_value=None
    )
    return guard.encoded()


def opened(path: Path, *, chain_id: Digest = words.CHAIN, name: str = "v1") -> KeyState:
    return KeyState(path / "node.key.state", chain_id=chain_id, account=words.account(name))


def test_a_commit_with_a_sign_state_is_in_the_file_before_it_returns(tmp_path: Path) -> None:
    store = KeyStateStore(MemoryStore(), opened(tmp_path))
    store.commit([Put(Table.META, b"other", b"")])
    assert not (tmp_path / "node.key.state").exists()
    state = sign_state("precommit", 2, 7)
    store.commit([Put(Table.META, SIGN_STATE_KEY, state)])
    told = json.loads((tmp_path / "node.key.state").read_bytes())
    assert (told["height"], told["round"], told["step"]) == (7, 2, "precommit")
    assert (tmp_path / "node.key.state").stat().st_mode & 0o777 == 0o600
    assert store.get(Table.META, SIGN_STATE_KEY) == state
    assert [*store.scan(Table.META)] == [(b"other", b""), (SIGN_STATE_KEY, state)]
    store.close()


def test_its_position_only_rises(tmp_path: Path) -> None:
    key_state = opened(tmp_path)
    rising = [("prevote", 0, 7), ("precommit", 0, 7), ("prevote", 1, 7), ("prevote", 0, 8)]
    for place in rising:
        key_state.note(sign_state(*place))
    for place in rising[:-1]:
        with pytest.raises(ValueError, match="back to"):
            key_state.note(sign_state(*place))


def test_it_tells_of_what_the_database_does_not_know(tmp_path: Path) -> None:
    last = sign_state("precommit", 0, 7)
    opened(tmp_path).note(last)
    again = opened(tmp_path)
    assert again.newer_than(None) == last
    assert again.newer_than(sign_state("prevote", 0, 7)) == last
    assert again.newer_than(last) is None
    assert again.newer_than(sign_state("prevote", 1, 7)) is None
    assert opened(tmp_path / "fresh").newer_than(None) is None


def test_a_moved_key_is_silent_up_to_its_last_word_and_speaks_above(tmp_path: Path) -> None:
    opened(tmp_path).note(sign_state("precommit", 0, 7))
    moved = opened(tmp_path).newer_than(None)
    signer = words.NameSigner("v1")
    driver = ConsensusDriver(signer.account, signer, words.CHAIN, Parameters())
    driver.step(JournalRestored((), moved), Millis(0))
    spoken = {}
    for height in (5, 6, 7, 8):
        validators, proposers = words.validator_set(FOUR), words.RotatingProposers(list(FOUR))
        started = HeightStarted(Height(height), validators, proposers, validators)
        effects = driver.step(started, Millis(0))
        effects += driver.step(TimerFired("consensus/propose"), Millis(9_000))
        votes = [effect.vote for effect in effects if isinstance(effect, BroadcastVote)]
        spoken[height] = [(vote.kind.name, vote.header_digest is None) for vote in votes]
    # Height 7 repeats the word that the key gave, which is no second one.
    assert spoken == {5: [], 6: [], 7: [("PRECOMMIT", False)], 8: [("PREVOTE", True)]}


@pytest.mark.parametrize("text", ["", "{}", '{"height": 1}', "[1]", '{"sign_state": "zz"}'])
def test_a_damaged_file_stops_the_node(tmp_path: Path, text: str) -> None:
    (tmp_path / "node.key.state").write_text(text)
    with pytest.raises(UserError, match="damaged"):
        opened(tmp_path)


def test_a_file_of_another_key_or_chain_is_refused(tmp_path: Path) -> None:
    opened(tmp_path).note(sign_state("prevote", 0, 7))
    with pytest.raises(UserError, match="another key"):
        opened(tmp_path, name="v2")
    with pytest.raises(UserError, match="another chain"):
        opened(tmp_path, chain_id=Digest(bytes(32)))


def test_a_disk_that_fails_the_file_stops_the_node(tmp_path: Path) -> None:
    store = KeyStateStore(MemoryStore(), opened(tmp_path / "no such folder"))
    with pytest.raises(StoreError, match="key's state"):
        store.commit([Put(Table.META, SIGN_STATE_KEY, sign_state("prevote", 0, 7))])


def test_it_is_written_though_strangers_hold_all_other_descriptors(tmp_path: Path) -> None:
    """Given a process with no descriptor left; when it signs; then the word stands in the file."""
    key_state = opened(tmp_path)
    held, limit = [], resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, limit[1]))
    try:
        while True:
            try:
                held.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                break
        for height in range(7, 10):
            key_state.note(sign_state("precommit", 0, height))
            with pytest.raises(OSError, match="Too many open files"):
                os.open(os.devnull, os.O_RDONLY)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        for descriptor in held:
            os.close(descriptor)
    assert json.loads((tmp_path / "node.key.state").read_bytes())["height"] == 9
    key_state.close()


def test_it_waits_when_others_were_quicker_and_says_so_when_that_does_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_state, open_ = opened(tmp_path), os.open
    left = 20

    def refused(path: Path, flags: int, mode: int = 0o777) -> int:
        nonlocal left
        left -= 1
        if left >= 0:
            raise OSError(errno.EMFILE, "Too many open files")
        return open_(path, flags, mode)

    monkeypatch.setattr(spare_descriptors, "PAUSE_S", 0)
    monkeypatch.setattr(os, "open", refused)
    key_state.note(sign_state("precommit", 0, 7))
    assert left == -2
    left = 10**9
    with pytest.raises(OSError, match="Too many open files"):
        key_state.note(sign_state("precommit", 0, 8))
    monkeypatch.undo()
    assert json.loads((tmp_path / "node.key.state").read_bytes())["height"] == 7
    key_state.close()
