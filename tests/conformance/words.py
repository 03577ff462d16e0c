"""The words of the traces in ours: names, values, votes, proposals and who proposes."""

from hashlib import sha256

from p2p.model.block import Validator, ValidatorSet
from p2p.model.vote import Proposal, Vote, VoteKind
from p2p.primitives.signing import SignedKind
from p2p.primitives.units import AccountId, Amount, Digest, Height, Round

CHAIN = Digest(sha256(b"conformance").digest())
KINDS = {"prevote": VoteKind.PREVOTE, "precommit": VoteKind.PRECOMMIT}
KIND_NAMES = {kind: name for name, kind in KINDS.items()}

_values: dict[Digest, str] = {}


def account(name: str) -> AccountId:
    """An account whose order among accounts is the name's."""
    return AccountId(name.encode().ljust(32, b"\0"))


def name_of(account_: AccountId) -> str:
    return account_.rstrip(b"\0").decode()


def value(text: str | None) -> Digest | None:
    """A header digest that stands for a trace's value; nil is nil."""
    if text is None:
        return None
    digest = Digest(sha256(text.encode()).digest())
    _values[digest] = text
    return digest


def some_value(text: str) -> Digest:
    digest = value(text)
    assert digest is not None
    return digest


def text_of(digest: Digest | None) -> str | None:
    return None if digest is None else _values[digest]


def validator_set(weights: dict[str, int]) -> ValidatorSet:
    members = [Validator(account(name), Amount(power)) for name, power in weights.items()]
    return ValidatorSet(tuple(sorted(members, key=lambda v: (-v.power, v.account))))


def vote(kind: str, source: str, round_: int, text: str | None, *, height: int = 0) -> Vote:
    return Vote(
        chain_id=CHAIN,
        kind=KINDS[kind],
        height=Height(height),
        round=Round(round_),
        header_digest=value(text),
        validator=account(source),
        signature=b"s",
    )


def proposal(source: str, round_: int, text: str, pol: int, *, height: int = 0) -> Proposal:
    return Proposal(
        chain_id=CHAIN,
        height=Height(height),
        round=Round(round_),
        header_digest=some_value(text),
        valid_round=Round(pol),
        proposer=account(source),
        signature=b"s",
    )


class NameSigner:
    """Signs by digest: deterministic, and good enough where nothing is verified."""

    def __init__(self, name: str) -> None:
        self.account = account(name)

    def sign(self, kind: SignedKind, chain_id: Digest, body: bytes) -> bytes:
        return sha256(self.account + kind.value.encode() + chain_id + body).digest() * 2


class RotatingProposers:
    """The proposer rule of the traces: by name, whatever the powers."""

    def __init__(self, names: list[str]) -> None:
        self._names = sorted(names)

    def of(self, round_: Round) -> AccountId:
        return account(self._names[(round_ + 1) % len(self._names)])


def text_bytes(digest: Digest) -> bytes:
    """A block that stands for a value."""
    return _values[digest].encode()
