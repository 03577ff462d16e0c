"""Proposals of heights that are not open: screened alike by all, few, and kept for their height."""

import pytest

from p2p.model.ledger import rules_of
from p2p.model.parameters import Genesis, GenesisAccount, Parameters
from p2p.model.proposer import next_height
from p2p.model.rejection import Reason
from p2p.model.vote import Proposal, ProposedBlock, sign_proposal
from p2p.primitives.digests import digest
from p2p.primitives.keys import Key
from p2p.primitives.signing import Ed25519Signer, Verified
from p2p.primitives.units import NO_ROUND, AccountId, Amount, Height, Millis, Round
from p2p.protocol.consensus.proposer import WeightedProposers
from p2p.protocol.ledger import build_block, genesis_state
from p2p.protocol.replica.early import EARLY_ROUNDS_MAX, EarlyProposal, EarlyProposals

KEYS = {key.account: key for key in (Key(digest(b"early", b"%d" % n)) for n in range(4))}
GENESIS = Genesis(
    "early",
    Millis(1_700_000_000_000),
    Parameters(),
    tuple(GenesisAccount(account, Amount(1), Amount(10)) for account in KEYS),
)
STATE = genesis_state(GENESIS)
FIRST = WeightedProposers(STATE.priorities, STATE.validators)
SECOND = WeightedProposers(
    next_height(STATE.priorities, current=STATE.validators, following=STATE.next_validators),
    STATE.next_validators,
)
PROPOSERS = {1: FIRST, 2: SECOND}


def proposed(
    height: int, round_: int, *, proposer: AccountId | None = None, time_ms: int = 1
) -> Verified[ProposedBlock]:
    """A proposal; its block is that of height 1, which early proposals do not look at."""
    who = proposer or PROPOSERS[height].of(Round(round_))
    block = build_block(
        STATE,
        rules_of(GENESIS),
        proposer=who,
        time_ms=Millis(STATE.time_ms + time_ms),
        transactions=(),
        receipts=(),
    ).block
    proposal = Proposal(
        GENESIS.chain_id, Height(height), Round(round_), block.header.digest(), NO_ROUND, who
    )
    return Verified(ProposedBlock(sign_proposal(proposal, Ed25519Signer(KEYS[who])), block))


def screen(early: EarlyProposals, one: Verified[ProposedBlock]) -> Reason | None:
    return early.screen(one.value.proposal)


@pytest.mark.parametrize("height", [1, 2])
@pytest.mark.parametrize("round_", range(EARLY_ROUNDS_MAX))
def test_the_proposer_of_a_round_is_heard_and_nobody_else(height: int, round_: int) -> None:
    early = EarlyProposals(STATE, FIRST)
    turn = PROPOSERS[height].of(Round(round_))
    verdicts = {who: screen(early, proposed(height, round_, proposer=who)) for who in KEYS}
    assert verdicts == {who: None if who == turn else Reason.WRONG_PROPOSER for who in KEYS}


def test_what_is_far_is_not_blamed_and_costs_no_count_of_turns() -> None:
    early = EarlyProposals(STATE, FIRST)
    one = proposed(1, 0)
    for height, round_, reason in [
        (0, 0, Reason.WRONG_HEIGHT),
        (3, 0, Reason.WRONG_HEIGHT),
        (1, EARLY_ROUNDS_MAX, Reason.ROUND_TOO_FAR),
        (2, 2**31, Reason.ROUND_TOO_FAR),
    ]:
        far = Proposal(
            GENESIS.chain_id,
            Height(height),
            Round(round_),
            one.value.proposal.header_digest,
            NO_ROUND,
            one.value.proposal.proposer,
        )
        assert early.screen(far) is reason


def test_one_proposal_a_round_is_kept_and_a_second_is_nobodys_fault() -> None:
    early = EarlyProposals(STATE, FIRST)
    first, second = proposed(1, 0), proposed(1, 0, time_ms=2)
    early.keep(EarlyProposal(first, Millis(7)))
    early.keep(EarlyProposal(second, Millis(8)))
    assert screen(early, second) is Reason.TOO_MANY
    assert early.take() == [EarlyProposal(first, Millis(7))]
    assert early.take() == []


def test_a_commit_keeps_the_next_heights_and_lets_the_old_ones_go() -> None:
    early = EarlyProposals(STATE, FIRST)
    for one in (old := proposed(1, 1), kept := proposed(2, 0)):
        early.keep(EarlyProposal(one, Millis(7)))
    executed = build_block(
        STATE,
        rules_of(GENESIS),
        proposer=FIRST.of(Round(0)),
        time_ms=Millis(STATE.time_ms + 1),
        transactions=(),
        receipts=(),
    )
    state = executed.state
    after = early.after(state, WeightedProposers(state.priorities, state.validators))
    assert screen(after, old) is Reason.WRONG_HEIGHT
    assert after.take() == [EarlyProposal(kept, Millis(7))]
