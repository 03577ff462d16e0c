"""A chain in a test: accounts, candidates and blocks in a few words.

The ledger trusts that signatures were verified, so nothing here is signed.
"""

from collections.abc import Mapping, Sequence

import msgspec

from p2p.model.evidence import Evidence
from p2p.model.ledger import Executed, Rules, State, rules_of
from p2p.model.parameters import Genesis, GenesisAccount, Parameters, with_overrides
from p2p.model.receipt import ServiceReceipt
from p2p.model.rejection import Rejected
from p2p.model.transaction import Action, Transaction, channel_id
from p2p.primitives.digests import ZERO_DIGEST, digest
from p2p.primitives.units import AccountId, Amount, ChannelId, Height, Millis
from p2p.protocol.invariants import check_block, check_rewards, check_validity
from p2p.protocol.ledger import build_block, execute_block, genesis_state


def account(number: int) -> AccountId:
    """The account of this number; numbers do not order accounts, their digests do."""
    return AccountId(digest(b"account", number.to_bytes(2)))


def genesis(
    *,
    balances: Sequence[int] = (1_000_000,) * 6,
    bonds: Sequence[int] = (600, 300, 100),
    overrides: Mapping[str, int] | None = None,
) -> Genesis:
    """Accounts 0, 1, ... with these balances, the first of them with these bonds."""
    padded = [*bonds, *([0] * (len(balances) - len(bonds)))]
    return Genesis(
        name="test",
        time_ms=Millis(1_000),
        parameters=with_overrides(Parameters(), dict(overrides or {})),
        accounts=tuple(
            GenesisAccount(account(number), Amount(balance), Amount(bonded))
            for number, (balance, bonded) in enumerate(zip(balances, padded, strict=True))
        ),
    )


class Chain:
    """A chain that grows by whatever its test commits, under all invariants."""

    def __init__(self, start: Genesis | None = None) -> None:
        start = start or genesis()
        self.rules: Rules = rules_of(start)
        self.state: State = genesis_state(start)
        self.last: Executed | None = None

    def transaction(
        self, sender: int, action: Action, *, fee: int = 10, ahead: int = 0
    ) -> Transaction:
        """The sender's next transaction, or one `ahead` of it."""
        owner = self.state.accounts.get(account(sender))
        return Transaction(
            chain_id=self.rules.chain_id,
            sender=account(sender),
            nonce=(0 if owner is None else owner.nonce) + ahead,
            fee=Amount(fee),
            action=action,
        )

    def next_channel(self, sender: int, *, ahead: int = 0) -> ChannelId:
        """The channel that the sender's next transaction would open."""
        nonce = self.state.accounts[account(sender)].nonce + ahead
        return channel_id(self.rules.chain_id, account(sender), nonce)

    def receipt(
        self,
        channel: ChannelId,
        amount: int,
        *,
        seq: int | None = None,
        epoch: int | None = None,
        bytes_get: int | None = None,
    ) -> ServiceReceipt:
        """A receipt that follows what the channel settled last; for the next block's epoch."""
        last = self.state.channels[channel]
        return ServiceReceipt(
            chain_id=self.rules.chain_id,
            provider=last.provider,
            consumer=last.consumer,
            channel=channel,
            epoch=Height(self.state.height + 1 if epoch is None else epoch),
            seq=last.seq + 1 if seq is None else seq,
            bytes_put=last.bytes_put,
            bytes_get=last.bytes_get + 1 if bytes_get is None else bytes_get,
            mib_epochs=last.mib_epochs,
            amount=Amount(amount),
            obligations_root=ZERO_DIGEST,
            ad_digest=ZERO_DIGEST,
        )

    def build(
        self,
        *,
        transactions: Sequence[Transaction] = (),
        receipts: Sequence[ServiceReceipt] = (),
        evidence: Sequence[Evidence] = (),
        step_ms: int = 1_000,
    ) -> Executed:
        """The next block of these candidates, by the largest validator; nothing is committed."""
        return build_block(
            self.state,
            self.rules,
            proposer=self.state.validators.validators[0].account,
            time_ms=Millis(self.state.time_ms + step_ms),
            transactions=transactions,
            receipts=receipts,
            evidence=evidence,
        )

    def execute(self, executed: Executed) -> Executed | Rejected:
        """What another node makes of the block."""
        return execute_block(self.state, self.rules, executed.block)

    def commit(
        self,
        *,
        transactions: Sequence[Transaction] = (),
        receipts: Sequence[ServiceReceipt] = (),
        evidence: Sequence[Evidence] = (),
    ) -> Executed:
        """Build the next block, check everything about it, and move on."""
        built = self.build(transactions=transactions, receipts=receipts, evidence=evidence)
        assert self.execute(built) == built
        assert check_block(self.state, built.block, built.state) == ()
        assert check_rewards(built.block, built.rows) == ()
        again = check_validity(
            lambda state, block: execute_block(state, self.rules, block),
            self.state,
            built.block,
            built.state,
        )
        assert again == ()
        assert fresh(built.state).root == built.state.root == built.block.header.state_root
        self.state, self.last = built.state, built
        return built

    def commit_all(
        self,
        *,
        transactions: Sequence[Transaction] = (),
        receipts: Sequence[ServiceReceipt] = (),
        evidence: Sequence[Evidence] = (),
    ) -> Executed:
        """Commit a block that must take every candidate."""
        built = self.commit(transactions=transactions, receipts=receipts, evidence=evidence)
        assert len(built.block.transactions) == len(transactions)
        assert len(built.block.receipts) == len(receipts)
        assert len(built.block.evidence) == len(evidence)
        return built

    def pass_epochs(self, count: int) -> None:
        """Commit empty blocks."""
        for _ in range(count):
            self.commit()

    def refusal(
        self,
        *,
        transactions: Sequence[Transaction] = (),
        receipts: Sequence[ServiceReceipt] = (),
        evidence: Sequence[Evidence] = (),
    ) -> Rejected:
        """Why a block with just these is refused."""
        honest = self.build()
        block = msgspec.structs.replace(
            honest.block,
            transactions=tuple(transactions),
            receipts=tuple(receipts),
            evidence=tuple(evidence),
        )
        result = execute_block(self.state, self.rules, block)
        assert isinstance(result, Rejected), "the block executes"
        return result

    def balance(self, number: int) -> int:
        """Balance of an account; 0 when it does not exist."""
        owner = self.state.accounts.get(account(number))
        return 0 if owner is None else owner.balance


def fresh(state: State) -> State:
    """An equal state without anything cached."""
    return msgspec.structs.replace(state)
