"""What a key signed last, in a file beside the key: `node.key.state`.

The database remembers it, too, together with the journal. This file goes where the key goes: a home
that is given a key and its state never signs at or below what the key signed elsewhere. It is
written after every commit that lets a vote or proposal leave, and before that leaves, by an atomic
and durable replacement; and its position (height, round, step) only rises. The descriptors for it
are kept back (`spare_descriptors`).

    {"chain_id": .., "account": .., "height": 12, "round": 0, "step": "precommit", "sign_state": ..}

CometBFT's users know it as `priv_validator_state.json`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from p2p.model.persistence import Put, Table, Write
from p2p.node.errors import UserError
from p2p.node.home import write_file
from p2p.node.spare_descriptors import SpareDescriptors
from p2p.primitives.codec import Malformed
from p2p.primitives.keys import account_text
from p2p.primitives.units import AccountId, Digest
from p2p.protocol.consensus.sign_state import SIGN_STATE_KEY, SignGuard, SignState, step_of
from p2p.storage.port import Store, StoreError
from p2p.storage.wrapped import WrappedStore

FILE_BYTES_MAX: Final = 16 * 1024

Position = tuple[int, int, int]
"""Height, round, step: in this order."""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file's form: what people read, and what the node takes up again, in hex."""

    chain_id: str
    account: str
    height: int
    round: int
    step: str
    sign_state: str


class KeyState:
    """The file of one key on one chain.

    Raises:
        UserError: the file is damaged, or of another key or chain.
    """

    def __init__(self, path: Path, *, chain_id: Digest, account: AccountId) -> None:
        self._path = path
        self._chain_id = chain_id
        self._account = account
        self._position: Position | None = None
        self._data: bytes | None = None
        self._spare = SpareDescriptors()
        if path.exists():
            self._data = self._read()
            self._position = _position(self._data)

    def newer_than(self, sign_state: bytes | None) -> bytes | None:
        """The file's sign state where the key signed on after the database's; else None."""
        if self._position is None:
            return None
        if sign_state is not None and _position(sign_state) >= self._position:
            return None
        return self._data

    def note(self, sign_state: bytes) -> None:
        """Write a sign state down, durably. Raises ValueError if it lies below; OSError."""
        state = _decoded(sign_state)
        position = _position(sign_state)
        if self._position is not None and position < self._position:
            raise ValueError(f"{self._path} goes from {self._position} back to {position}")
        if sign_state == self._data:
            return
        file = _File(
            chain_id=self._chain_id.hex(),
            account=account_text(self._account),
            height=state.height,
            round=state.round,
            step=step_of(state.messages[-1]).name.lower(),
            sign_state=sign_state.hex(),
        )
        text = msgspec.json.encode(file) + b"\n"
        write_file(self._path, text, mode=0o600, descriptors=self._spare)
        self._position, self._data = position, sign_state

    def close(self) -> None:
        """Keep no descriptor back any more."""
        self._spare.release()

    def _read(self) -> bytes:
        try:
            raw = self._path.read_bytes()[: FILE_BYTES_MAX + 1]
            file = msgspec.json.decode(raw, type=_File)
            data = bytes.fromhex(file.sign_state)
            _position(data)
        except (OSError, ValueError, msgspec.DecodeError, Malformed):
            raise UserError(
                f"{self._path} is damaged, and says what this key has signed: restore it from a"
                " copy that is newer than the key's last vote, or never validate with this key"
            ) from None
        if file.account != account_text(self._account):
            raise UserError(f"{self._path} is of another key: put back the one of this home's key")
        if file.chain_id != self._chain_id.hex():
            raise UserError(
                f"{self._path} is of another chain ({file.chain_id[:16]}): if this key is to"
                " validate on a new chain, move the file away"
            )
        return data


def _decoded(sign_state: bytes) -> SignState:
    state = SignGuard.restored(sign_state).state
    if state is None or not state.messages:
        raise Malformed("nothing was signed")
    return state


def _position(sign_state: bytes) -> Position:
    state = _decoded(sign_state)
    return state.height, state.round, step_of(state.messages[-1])


class KeyStateStore(WrappedStore):
    """A store that notes every sign state in the key's file, too, before a commit returns."""

    def __init__(self, store: Store, key_state: KeyState) -> None:
        super().__init__(store)
        self._key_state = key_state

    def close(self) -> None:
        super().close()
        self._key_state.close()

    def commit(self, writes: Sequence[Write]) -> None:
        """Commit, then write the file. As `Store.commit`; StoreError also where the file fails."""
        self.inner.commit(writes)
        for write in reversed(writes):
            if isinstance(write, Put) and (write.table, write.key) == (Table.META, SIGN_STATE_KEY):
                try:
                    self._key_state.note(write.value)
                except OSError as error:
                    raise StoreError(f"cannot write the key's state: {error.strerror}") from error
                return
