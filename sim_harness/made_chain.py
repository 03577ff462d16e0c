"""A chain made without a network: true blocks and certificates, as fast as keys can sign.

For benchmarks and tests of whoever reads a long chain: sync, snapshots, light clients. Its
validators sign as the product's do; nobody gossips, and no time passes but the blocks' own.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from p2p.model.block import Certificate, CommitSignature, CommittedBlock, ValidatorSet
from p2p.model.ledger import Executed, State, rules_of
from p2p.model.parameters import Genesis, GenesisAccount, Parameters, with_overrides
from p2p.model.receipt import ServiceReceipt, sign_as_consumer, sign_as_provider
from p2p.model.transaction import Action, Bond, Transaction, Unbond, sign_transaction
from p2p.model.vote import Vote, VoteKind, sign_vote
from p2p.primitives.digests import ZERO_DIGEST
from p2p.primitives.keys import Key
from p2p.primitives.signing import Ed25519Signer, Signer
from p2p.primitives.units import AccountId, Amount, ChannelId, Digest, Height, Millis, Round
from p2p.protocol.ledger import build_block, genesis_state
from p2p.protocol.replica.bookkeeping import Bookkeeper
from p2p.storage.port import Store

BEGAN_MS: Final = Millis(1_700_000_000_000)
STEP_MS: Final = 1_000
"""Between the times of two blocks."""


def made_key(name: str) -> Key:
    """The key of a name."""
    return Key(sha256(b"made chain " + name.encode()).digest())


class MadeChain:
    """Validators `v0`, `v1`, ... with a stake each, and accounts `a0`, `a1`, ... without."""

    def __init__(
        self,
        *,
        validators: int = 4,
        accounts: int = 4,
        stake: int = 1_000_000,
        overrides: dict[str, int] | None = None,
        name: str = "made",
        began_ms: Millis = BEGAN_MS,
    ) -> None:
        named = [f"v{number}" for number in range(validators)]
        named += [f"a{number}" for number in range(accounts)]
        keys = {name: made_key(name) for name in named}
        genesis = Genesis(
            name=name,
            time_ms=began_ms,
            parameters=with_overrides(Parameters(), overrides or {}),
            accounts=tuple(
                GenesisAccount(
                    key.account, Amount(10 * stake), Amount(stake if one.startswith("v") else 0)
                )
                for one, key in keys.items()
            ),
        )
        self.keys = keys
        self._begin(genesis, [Ed25519Signer(key) for key in keys.values()], STEP_MS)

    @classmethod
    def forged(cls, genesis: Genesis, validators: Sequence[Signer], *, step_ms: int) -> "MadeChain":
        """Another chain of a genesis, by who holds the keys of its validators."""
        made = cls.__new__(cls)
        made.keys = {}
        made._begin(genesis, validators, step_ms)
        return made

    def _begin(self, genesis: Genesis, signers: Sequence[Signer], step_ms: int) -> None:
        self.genesis = genesis
        self._signers = {signer.account: signer for signer in signers}
        self._step_ms = step_ms
        self.rules = rules_of(self.genesis)
        self.state: State = genesis_state(self.genesis)
        self.blocks: list[CommittedBlock] = []
        self._stores: list[Store] = []
        self._books = Bookkeeper()

    @property
    def chain_id(self) -> Digest:
        """Names the chain."""
        return self.rules.chain_id

    @property
    def now_ms(self) -> int:
        """A moment just after the last block."""
        return self.state.time_ms + self._step_ms

    def account(self, name: str) -> AccountId:
        """The account of a name."""
        return self.keys[name].account

    def keep_in(self, store: Store) -> None:
        """Write every block that is committed from now on as a node does."""
        self._stores.append(store)

    def grow(self, count: int) -> None:
        """Commit empty blocks."""
        for _ in range(count):
            self.commit()

    def commit(
        self,
        transactions: Sequence[Transaction] = (),
        receipts: Sequence[ServiceReceipt] = (),
    ) -> Executed:
        """Commit the next block of these, signed by all its validators."""
        voters = self.state.validators
        executed = build_block(
            self.state,
            self.rules,
            proposer=voters.validators[0].account,
            time_ms=Millis(self.state.time_ms + self._step_ms),
            transactions=transactions,
            receipts=receipts,
        )
        certificate = self.certify(executed, voters)
        committed = CommittedBlock(executed.block, certificate)
        for store in self._stores:
            store.commit(self._books.writes(committed, executed))
        self.state = executed.state
        self.blocks.append(committed)
        return executed

    def certify(self, executed: Executed, voters: ValidatorSet) -> Certificate:
        """Precommits of all voters for a block."""
        header = executed.block.header
        name = header.digest()
        signatures = []
        for account in sorted(voter.account for voter in voters.validators):
            vote = Vote(
                chain_id=self.chain_id,
                kind=VoteKind.PRECOMMIT,
                height=header.height,
                round=Round(0),
                header_digest=name,
                validator=account,
            )
            signed = sign_vote(vote, self._signers[account])
            signatures.append(CommitSignature(account, signed.signature))
        return Certificate(self.chain_id, header.height, Round(0), name, tuple(signatures))

    # ---- orders and receipts -------------------------------------------------------------------

    def order(self, name: str, action: Action, *, ahead: int = 0) -> Transaction:
        """The next transaction of an account, or one `ahead` of it."""
        key = self.keys[name]
        owner = self.state.accounts.get(key.account)
        nonce = (0 if owner is None else owner.nonce) + ahead
        draft = Transaction(self.chain_id, key.account, nonce, Amount(10), action)
        return sign_transaction(draft, Ed25519Signer(key))

    def replace_voter(self, leaving: str, coming: str, *, stake: int = 1_000_000) -> None:
        """Commit a block in which one validator unbonds and another account bonds."""
        orders = [
            self.order(leaving, Unbond(Amount(stake))),
            self.order(coming, Bond(Amount(stake))),
        ]
        self.commit(orders)

    def receipt(
        self, channel: ChannelId, amount: int, *, epoch: int | None = None
    ) -> ServiceReceipt:
        """A receipt that follows what a channel settled last, for the next block's epoch."""
        last = self.state.channels[channel]
        bare = ServiceReceipt(
            chain_id=self.chain_id,
            provider=last.provider,
            consumer=last.consumer,
            channel=channel,
            epoch=Height(self.state.height + 1 if epoch is None else epoch),
            seq=last.seq + 1,
            bytes_put=last.bytes_put + amount,
            bytes_get=last.bytes_get,
            mib_epochs=last.mib_epochs,
            amount=Amount(amount),
            obligations_root=ZERO_DIGEST,
            ad_digest=ZERO_DIGEST,
        )
        half = sign_as_consumer(bare, self._signers[last.consumer])
        return sign_as_provider(half, self._signers[last.provider])
