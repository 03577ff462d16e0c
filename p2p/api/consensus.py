"""What the API and Prometheus tell of consensus: where it stands, and who is missing."""

from collections.abc import Iterator
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from p2p.api.values import Json, Row
from p2p.model.vote import VoteKind
from p2p.node.port import NodePort
from p2p.primitives.keys import account_text
from p2p.primitives.units import AccountId, Digest, Round
from p2p.protocol.consensus.round_machine import RoundState, Step
from p2p.protocol.consensus.sign_state import step_of

_STEPS: Final = tuple(Step)


def consensus(node: NodePort) -> Row:
    """The open height: round, step, lock and valid value, and every validator's votes in the round.

    Between two heights `step` is "waiting", and nobody has voted.
    """
    chain = node.replica.chain
    driver, state = chain.driver, chain.driver.state
    if state is None or not chain.is_open or state.height != chain.height:
        state = None
    round_ = Round(0) if state is None or state.round < 0 else state.round
    signed = driver.sign_state
    ballots = {kind: _votes(node, state, kind) for kind in VoteKind}
    powers = chain.powers
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
            if state is not None and account not in ballots[VoteKind.PREVOTE]
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


def _votes(
    node: NodePort, state: RoundState | None, kind: VoteKind
) -> dict[AccountId, Digest | None]:
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


class ConsensusMetrics(Collector):
    """A node's consensus at one moment, by CometBFT's names where it has one."""

    def __init__(self, node: NodePort) -> None:
        self._node = node

    def collect(self) -> Iterator[Metric]:
        """All of it, read anew."""
        chain = self._node.replica.chain
        driver, state, powers = chain.driver, chain.driver.state, chain.powers
        is_open = state is not None and chain.is_open and state.height == chain.height
        round_ = max(0, state.round) if state is not None and is_open else 0
        step = _STEPS.index(state.step) if state is not None and is_open else -1
        signed = driver.sign_state
        votes, proposals = driver.held()
        certificate = chain.last_certificate
        signers = {one.validator for one in certificate.signatures} if certificate else set(powers)
        missing = [power for account, power in powers.items() if account not in signers]
        for name, text, value in (
            ("cometbft_consensus_height", "Height that is open or opens next.", chain.height),
            (
                "cometbft_consensus_latest_block_height",
                "Height of the last block.",
                self._node.replica.state.height,
            ),
            ("cometbft_consensus_rounds", "Round of the open height.", round_),
            ("cometbft_consensus_validators", "Validators.", len(powers)),
            ("cometbft_consensus_validators_power", "Their power.", sum(powers.values())),
            (
                "cometbft_consensus_missing_validators",
                "Validators without a signature in the last certificate seen.",
                len(missing),
            ),
            ("cometbft_consensus_missing_validators_power", "Their power.", sum(missing)),
            (
                "cometbft_consensus_validator_power",
                "This node's power.",
                powers.get(self._node.account, 0),
            ),
            (
                "cometbft_consensus_validator_last_signed_height",
                "Last height in which this node signed.",
                0 if signed is None else signed.height,
            ),
            ("gigmesh_consensus_step", "Place of the step; -1 between heights.", step),
            ("gigmesh_consensus_votes_held", "Votes in memory.", votes),
            ("gigmesh_consensus_proposals_held", "Proposals in memory.", proposals),
            ("gigmesh_consensus_halted", "1 when the node stopped.", chain.halted is not None),
        ):
            yield GaugeMetricFamily(name, text, value=float(value))
        share = GaugeMetricFamily(
            "cometbft_consensus_round_voting_power_percent",
            "Share of the power that voted in the round, 0 to 1.",
            labels=("vote_type",),
        )
        total = sum(powers.values()) or 1
        for kind in VoteKind:
            voted = _votes(self._node, state if is_open else None, kind)
            share.add_metric((kind.name.lower(),), sum(powers[a] for a in voted) / total)
        yield share
