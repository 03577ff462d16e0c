"""What `p2p light` and `p2p reward verify` do: ask nodes, prove headers, work rewards out again."""

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import msgspec
import trio

from p2p.api.client import ApiClient
from p2p.api.plain import plain, row
from p2p.api.render import find, row_of, rows_of
from p2p.api.values import Json, Row
from p2p.model.block import Header, ValidatorSet
from p2p.model.light import (
    AccountAnswer,
    AccountRequest,
    Rows,
    RowsRequest,
    Settlement,
    Settlements,
    SettlementsRequest,
)
from p2p.model.parameters import Genesis
from p2p.model.receipt import ServiceReceipt
from p2p.model.requests import PeerRecord
from p2p.node.addresses import peer_records
from p2p.node.errors import UserError
from p2p.node.genesis import read_genesis
from p2p.node.home import Home, write_file
from p2p.node.light import (
    Forked,
    LightClient,
    LightError,
    PeerSource,
    Proven,
    connected,
)
from p2p.node.trust_file import read_trust, write_trust
from p2p.primitives.codec import encode
from p2p.primitives.keys import account_text
from p2p.primitives.signing import Ed25519Scheme
from p2p.primitives.units import AccountId, Amount, Digest, Height
from p2p.protocol.light import (
    LightParameters,
    TrustedBlock,
    earned,
    own_receipt_fault,
    settlement_fault,
    trusted_genesis,
    trusted_header,
    unsettled,
    validator_share,
)

TRUST_FILE: Final = "light.trust"
"""In a home's `data/`."""

R = TypeVar("R")


class LightPlan(NamedTuple):
    """Whom to ask, and what to trust to begin with."""

    home: Path
    genesis: Path | None
    """None is the home's."""
    peers: tuple[str, ...]
    """Addresses of nodes to ask; none asks the home's own node and its neighbours."""
    trust_height: int | None
    trust_hash: bytes | None
    trust_period_ms: int
    sequential: bool
    witnesses: int
    store: Path | None
    """Where trust is kept; None is in the home, if there is one."""
    evidence: Path | None
    """Where the proof of a fork is written; None is in the working directory."""


class _Question(NamedTuple):
    """Whose reward of which epoch, and the receipts that its owner holds."""

    epoch: int
    account: AccountId
    own: Sequence[ServiceReceipt]


class _Session:
    """Connections, trust and bookkeeping of one command."""

    def __init__(self, plan: LightPlan, genesis: Genesis, sources: list[PeerSource]) -> None:
        self.plan = plan
        self.genesis = genesis
        self.chain_id = genesis.chain_id
        self.sources = sources
        self.client = LightClient(
            sources,
            chain_id=self.chain_id,
            parameters=LightParameters(plan.trust_period_ms, plan.sequential),
            now_ms=time.time_ns() // 1_000_000,
            witnesses_max=plan.witnesses,
        )
        self.trusted: tuple[TrustedBlock, ...] = ()

    async def begin(self) -> None:
        """Trust what the owner says, else what was trusted before, else the genesis."""
        plan = self.plan
        if plan.trust_hash is not None and plan.trust_height is not None:
            name = Digest(plan.trust_hash)
            light = await self.client.first(plan.trust_height, name)
            try:
                self.trusted = (trusted_header(light, chain_id=self.chain_id, header_digest=name),)
            except ValueError as error:
                raise LightError(f"the trusted header cannot be used: {error}") from None
            return
        store = _trust_path(plan)
        kept = () if store is None else read_trust(store, self.chain_id)
        self.trusted = kept or (trusted_genesis(self.genesis),)

    async def prove(self, target: int) -> Proven:
        """Prove a header and remember it. Raises LightError, Forked."""
        proven = await self.client.prove(self.trusted, target)
        self.trusted = (*self.trusted, *proven.path)
        store = _trust_path(self.plan)
        if store is not None:
            write_trust(store, self.chain_id, self.trusted)
        return proven

    def cost(self, proven: Proven) -> Row:
        """What a proof rests on and what it took."""
        agreed: Json = list(proven.agreed)
        silent: Json = list(proven.silent)
        lied: Json = list(proven.lied)
        return {
            "primary": proven.primary,
            "agreed": agreed,
            "silent": silent,
            "lied": lied,
            "headers_verified": len(proven.path) - 1,
            "requests": proven.requests,
            "bytes_received": sum(source.bytes_received for source in self.sources),
            "trusted_height": int(proven.path[0].height),
        }


def prove_header(plan: LightPlan, height: int) -> Row:
    """Prove the header of a height, or the newest where it is 0. Raises UserError."""

    async def work(session: _Session) -> Row:
        proven = await session.prove(height)
        header = proven.block.header
        return row(
            header,
            header_digest=header.digest().hex(),
            signed_by=len(proven.block.certificate.signatures),
            proof=session.cost(proven),
            unbonding_ms=_unbonding_ms(session.genesis),
        )

    return _run(plan, work)


def prove_account(plan: LightPlan, account: AccountId) -> Row:
    """Prove what an account owns after a recent block. Raises UserError."""

    async def work(session: _Session) -> Row:
        faults = []
        for source in session.client.sources:
            answer = await session.client.ask(source, AccountRequest(account), AccountAnswer)
            if answer is None or answer.proof.entry.id != account:
                faults.append(f"{source.name} shows no such account")
                continue
            proven = await session.prove(answer.height)
            if answer.proof.proves(proven.block.header.state_root):
                return row(
                    answer.proof.entry.account,
                    account=account_text(account),
                    height=int(answer.height),
                    proof=session.cost(proven),
                )
            faults.append(f"the proof of {source.name} does not lead to the state root")
        raise LightError("; ".join(faults))

    return _run(plan, work)


def verify_reward(
    plan: LightPlan, epoch: int, account: AccountId, own: Sequence[ServiceReceipt]
) -> Row:
    """Work the reward of an epoch out again, from receipts and proven headers. Raises UserError."""
    question = _Question(epoch, account, own)

    async def work(session: _Session) -> Row:
        newest = await session.prove(0)
        last = epoch + session.genesis.parameters.receipt_late_epochs
        tip = newest.block.header.height
        if epoch > tip:
            raise LightError(f"epoch {epoch} is still to come: the chain is at height {tip}")
        taken: list[Settlement] = []
        shares: list[Amount] = []
        notes: list[str] = []
        for height in range(epoch, min(last, tip) + 1):
            proven = newest if height == tip else await session.prove(height)
            header, voters = proven.block.header, proven.block.validators
            found = await _settled(session, header, question, notes)
            taken += [one for one in found if one.row.epoch == epoch]
            if height == epoch and voters is not None and account in voters.powers():
                shares.append(await _share(session, header, voters, account, notes))
        found_row = _report(question, taken, shares, is_over=tip >= last)
        said: Json = list(dict.fromkeys(notes))
        return {
            **found_row,
            "notes": said,
            "proof": session.cost(newest),
            "unbonding_ms": _unbonding_ms(session.genesis),
        }

    return _run(plan, work)


async def _settled(
    session: _Session, header: Header, question: _Question, notes: list[str]
) -> list[Settlement]:
    """Right settlements of a block from all nodes together: who hides one is not the only one."""
    found: dict[bytes, Settlement] = {}
    answered = False
    for source in session.client.sources:
        request = SettlementsRequest(header.height, question.account)
        answer = await session.client.ask(source, request, Settlements)
        if answer is None:
            continue
        answered = True
        for one in answer.settlements:
            fault = settlement_fault(one, header, session.genesis.parameters, Ed25519Scheme())
            fault = fault or own_receipt_fault(one, question.own)
            if fault is not None:
                notes.append(f"{source.name}, block {header.height}: {fault}")
            elif question.account in (one.row.consumer, one.row.provider):
                found.setdefault(one.row.channel, one)
    if not answered:
        raise LightError(f"no node holds block {header.height} any more: name others with --peer")
    return list(found.values())


async def _share(
    session: _Session,
    header: Header,
    voters: ValidatorSet,
    account: AccountId,
    notes: list[str],
) -> Amount:
    """A validator's share of a block's fees."""
    for source in session.client.sources:
        answer = await session.client.ask(source, RowsRequest(header.height), Rows)
        if answer is None:
            continue
        share = validator_share(answer, header, voters, account)
        if share is not None:
            return share
        notes.append(f"{source.name}, block {header.height}: not all reward rows")
    raise LightError(f"no node shows all reward rows of block {header.height}")


def _report(
    question: _Question,
    taken: Sequence[Settlement],
    shares: Sequence[Amount],
    *,
    is_over: bool,
) -> Row:
    total = earned(question.account, taken, shares)
    open_ = unsettled(question.own, Height(question.epoch), taken)
    return {
        "epoch": question.epoch,
        "account": account_text(question.account),
        "verified": not (open_ and is_over),
        "is_over": is_over,
        "provided": int(total.provided),
        "spent": int(total.spent),
        "validated": int(total.validated),
        "settlements": plain([one.row for one in taken]),
        "settlement_bytes": sum(len(encode(one)) for one in taken),
        "unsettled": plain(open_),
    }


# ---- whom to ask -------------------------------------------------------------------------------


def own_receipts(home: Path) -> tuple[ServiceReceipt, ...]:
    """This account's receipts, from its running node; their signatures are checked later.

    Raises:
        UserError: the node does not run, or shows what is no receipt.
    """
    from p2p.api.proof import receipt_of

    return tuple(receipt_of(item) for item in rows_of(ApiClient(home).get("/receipts")))


def _sources(plan: LightPlan) -> tuple[PeerRecord, ...]:
    """Nodes to ask: those named, else the home's own and its neighbours. Raises UserError."""
    if plan.peers:
        records = peer_records(plan.peers)
        if not records:
            raise UserError("--peer wants addresses that end in /p2p/<peer id>")
        return records
    found: list[str] = []
    with suppress(UserError):
        client = ApiClient(plan.home)
        status = row_of(client.get("/status"))
        answers = [status, *rows_of(client.get("/peers"))]
        for answer in answers:
            addresses = find(answer, "addresses")
            found += [str(one) for one in addresses] if isinstance(addresses, list) else []
    with suppress(UserError):
        found += Home(plan.home).read_config().network.seeds
    if not found:
        raise UserError(
            "nobody to ask: start the node, or name nodes with --peer /ip4/.../p2p/<peer id>"
        )
    return peer_records(found)


def _trust_path(plan: LightPlan) -> Path | None:
    if plan.store is not None:
        return plan.store
    data = Home(plan.home).data_path
    return data / TRUST_FILE if data.is_dir() else None


def _unbonding_ms(genesis: Genesis) -> int:
    return genesis.parameters.unbonding_epochs * genesis.parameters.epoch_ms


def _run(plan: LightPlan, work: Callable[[_Session], Awaitable[Row]]) -> Row:
    """Connect and do the work; a fork that it finds is written down. Raises UserError."""
    genesis = Home(plan.home).read_genesis() if plan.genesis is None else read_genesis(plan.genesis)
    records = _sources(plan)

    async def main() -> Row:
        async with connected(records) as sources:
            session = _Session(plan, genesis, sources)
            await session.begin()
            return await work(session)

    try:
        return trio.run(main)
    except* UserError as faults:
        raise _single(faults, plan) from None


def _single(faults: BaseExceptionGroup[UserError], plan: LightPlan) -> UserError:
    """The first fault; the evidence of a fork goes to a file."""
    first: BaseException = faults
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    assert isinstance(first, UserError), "an exception group of these holds nothing else"
    if not isinstance(first, Forked):
        return first
    attack = first.attack
    height = attack.first.header.height
    path = plan.evidence or Path(f"light-attack-{height}.json")
    text: Row = row(attack, encoded=encode(attack).hex(), height=int(height))
    write_file(path, msgspec.json.format(msgspec.json.encode(text), indent=1) + b"\n")
    return UserError(f"{first}. Both headers with their certificates are in {path}")
