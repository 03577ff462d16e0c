"""The ledger as a machine that hypothesis drives: stake in and out, lies, jail, work, payments.

`Chain.commit` checks every invariant after every block; the rules here check what those do not see.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from p2p.model.evidence import Evidence, offence_id
from p2p.model.transaction import (
    Action,
    Bond,
    ChannelClose,
    ChannelOpen,
    Transaction,
    Transfer,
    Unbond,
    Unjail,
)
from p2p.primitives.units import Amount
from tests.protocol.ledger import lies
from tests.protocol.ledger.chain import Chain, account, genesis

ACTORS = st.integers(0, 5)
AMOUNTS = st.one_of(st.integers(1, 50), st.integers(1, 30_000)).map(Amount)
PARAMETERS = {
    "unbonding_epochs": 4,
    "evidence_age_epochs": 3,
    "evidence_age_ms": 3_000,
    "jail_epochs": 2,
    "validators_max": 3,
    "receipt_late_epochs": 1,
}


class LedgerMachine(RuleBasedStateMachine):
    """Orders gather; a block takes what it can of them."""

    def __init__(self) -> None:
        super().__init__()
        start = genesis(balances=(50_000,) * 6, bonds=(9_000, 6_000, 3_000), overrides=PARAMETERS)
        self.chain = Chain(start)
        self.supply = self.chain.state.supply
        self.punished: set[bytes] = set()
        self._orders: list[tuple[int, Action]] = []
        self._lies: list[Evidence] = []
        self._claims: list[tuple[int, int]] = []

    def order(self, who: int, action: Action) -> None:
        self._orders.append((who, action))

    # ---- what people do --------------------------------------------------------------------------

    @rule(who=ACTORS, amount=AMOUNTS)
    def bond(self, who: int, amount: Amount) -> None:
        self.order(who, Bond(amount))

    @rule(who=ACTORS, amount=AMOUNTS)
    def unbond(self, who: int, amount: Amount) -> None:
        self.order(who, Unbond(amount))

    @rule(who=ACTORS)
    def unbond_all(self, who: int) -> None:
        owner = self.chain.state.accounts[account(who)]
        if owner.bonded:
            self.order(who, Unbond(owner.bonded))

    @rule(who=ACTORS)
    def unjail(self, who: int) -> None:
        self.order(who, Unjail())

    @rule(who=ACTORS, to=ACTORS, amount=AMOUNTS)
    def transfer(self, who: int, to: int, amount: Amount) -> None:
        self.order(who, Transfer(account(to), amount))

    @rule(who=ACTORS, to=ACTORS, amount=AMOUNTS)
    def open_channel(self, who: int, to: int, amount: Amount) -> None:
        self.order(who, ChannelOpen(account(to), amount))

    @precondition(lambda self: self.chain.state.channels)
    @rule(pick=st.integers(0, 20))
    def close_channel(self, pick: int) -> None:
        keys = list(self.chain.state.channels)
        key = keys[pick % len(keys)]
        owner = self.chain.state.channels[key].consumer
        who = next(number for number in range(6) if account(number) == owner)
        self.order(who, ChannelClose(key))

    @rule(pick=st.integers(0, 20), amount=st.integers(1, 3_000))
    def work(self, pick: int, amount: int) -> None:
        self._claims.append((pick, amount))

    @rule(
        who=ACTORS,
        kind=st.sampled_from(["vote", "proposal", "amnesia", "receipt", "ad"]),
        back=st.integers(-1, 5),
        reporter=ACTORS,
    )
    def lie(self, who: int, kind: str, back: int, reporter: int) -> None:
        height = max(0, self.chain.state.height + 1 - back)
        made = {
            "vote": lambda: lies.double_vote(self.chain, who, height=height),
            "proposal": lambda: lies.double_proposal(self.chain, who, height=height),
            "amnesia": lambda: lies.amnesia(self.chain, who, height=height),
            "receipt": lambda: lies.double_receipt(
                self.chain, who, (who + 1) % 6, guilty=who, seq=back + 1, epoch=height
            ),
            "ad": lambda: lies.double_ad(
                self.chain, who, seq=back + 1, issued_ms=max(0, 1_000 * height)
            ),
        }[kind]()
        self._lies.append(Evidence(made.offence, account(reporter)))

    # ---- a block ---------------------------------------------------------------------------------

    @rule()
    def commit(self) -> None:
        chain, before = self.chain, self.chain.state
        receipts = []
        keys = list(before.channels)
        for pick, amount in self._claims if keys else ():
            key = keys[pick % len(keys)]
            receipts.append(chain.receipt(key, before.channels[key].settled + amount))
        built = chain.commit(
            transactions=self._transactions(), receipts=receipts, evidence=self._lies
        )
        self._orders, self._lies, self._claims = [], [], []
        self.supply = Amount(self.supply - built.block.header.burned)
        for row, evidence in zip(built.slashes, built.block.evidence, strict=True):
            assert row.offence == offence_id(evidence.offence)
            assert row.offence not in {entry.offence for entry in before.punished}
            assert row.slashed == row.rewarded + row.burned > 0
            assert row.rewarded * 20 <= row.slashed
        by_votes = [row for row in built.slashes if row.jailed_until]
        assert all(row.offence not in self.punished for row in by_votes), "punished twice"
        self.punished |= {row.offence for row in by_votes}

    def _transactions(self) -> list[Transaction]:
        ahead: dict[int, int] = {}
        made = []
        for who, action in self._orders:
            made.append(self.chain.transaction(who, action, ahead=ahead.get(who, 0)))
            ahead[who] = ahead.get(who, 0) + 1
        return made

    # ---- what always holds -----------------------------------------------------------------------

    @invariant()
    def somebody_votes_and_nobody_without_stake_joins(self) -> None:
        state = self.chain.state
        assert state.validators.validators
        assert all(voter.power > 0 for voter in state.next_validators.validators)
        assert len(state.next_validators.validators) <= 3

    @invariant()
    def the_largest_free_stakes_vote_next(self) -> None:
        state = self.chain.state
        free = [
            (-owner.bonded, key)
            for key, owner in state.accounts.items()
            if owner.bonded and not owner.jailed_until
        ]
        if free:
            names = [key for _, key in sorted(free)[:3]]
            assert [voter.account for voter in state.next_validators.validators] == names

    @invariant()
    def supply_is_what_was_not_burned(self) -> None:
        assert self.chain.state.supply == self.supply

    @invariant()
    def memory_of_lies_is_bounded_by_their_age(self) -> None:
        state = self.chain.state
        for entry in state.punished:
            assert entry.until_height >= state.height or entry.until_ms >= state.time_ms - 1_000


LedgerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_any_history_of_stake_lies_and_work = LedgerMachine.TestCase
