"""What the API tells of consensus: where it stands, and who is missing."""

from p2p.api.values import Json, Row
from p2p.model.vote import VoteKind
from p2p.node.port import NodePort
from p2p.primitives.keys import account_text
from p2p.primitives.units import AccountId, Digest, Round
from p2p.protocol.consensus.round_machine import RoundState, Step
from p2p.protocol.consensus.sign_state import step_of


def consensus(node: NodePort) -> Row:
    """The open height: round, step, lock and valid value, and every validator's votes in the round.

    `missing` are those who have not cast the vote that the step is about: a precommit in the step
    of precommits, else a prevote. Between two heights `step` is "waiting", and nobody has voted.
    """
    chain = node.replica.chain
    driver, state = chain.driver, chain.driver.state
    if state is None or not chain.is_open or state.height != chain.height:
        state = None
    round_ = Round(0) if state is None or state.round < 0 else state.round
    signed = driver.sign_state
    ballots = {kind: votes_of(node, state, kind) for kind in VoteKind}
    powers = chain.powers
    awaited = VoteKind.PREVOTE
    if state is not None and state.step is Step.PRECOMMIT:
        awaited = VoteKind.PRECOMMIT
    validators: list[Json] = [
        {
            "validator": account_text(account),
            "power": power,
            "me": account == node.account,
            "proposer": account == chain.proposer(round_),
            **{kind.name.lower(): _said(ballots[kind], account) for kind in VoteKind},
        }
        for account, power in powers.items()
    ]
    return {
        "height": int(chain.height),
        "round": int(round_),
        "step": "waiting" if state is None else state.step.value,
        "proposer": account_text(chain.proposer(round_)),
        "locked": _value(state, locked=True),
        "valid": _value(state, locked=False),
        "open_ms": 0 if state is None else max(0, node.now_ms() - chain.opened_ms),
        "power_total": sum(powers.values()),
        "power_prevoted": sum(powers[account] for account in ballots[VoteKind.PREVOTE]),
        "power_precommitted": sum(powers[account] for account in ballots[VoteKind.PRECOMMIT]),
        "missing": [
            account_text(account)
            for account in powers
            if state is not None and account not in ballots[awaited]
        ],
        "validators": validators,
        "last_signed": None
        if signed is None
        else {
            "height": int(signed.height),
            "round": int(signed.round),
            "step": step_of(signed.messages[-1]).name.lower(),
        },
        "halted": chain.halted,
    }


def votes_of(
    node: NodePort, state: RoundState | None, kind: VoteKind
) -> dict[AccountId, Digest | None]:
    """What each validator voted for in the round of an open height; nothing where none is open."""
    if state is None:
        return {}
    votes = node.replica.chain.driver.ballots(state.round, kind)
    return {vote.validator: vote.header_digest for vote in votes}


def _said(votes: dict[AccountId, Digest | None], account: AccountId) -> Json:
    """A header digest, "nil", or None for nothing yet."""
    if account not in votes:
        return None
    value = votes[account]
    return "nil" if value is None else value.hex()


def _value(state: RoundState | None, *, locked: bool) -> Json:
    if state is None:
        return None
    round_ = state.locked_round if locked else state.valid_round
    value = state.locked_value if locked else state.valid_value
    return None if value is None else {"round": int(round_), "value": value.hex()}
