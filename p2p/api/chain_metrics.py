"""A node's chain, consensus and evidence for Prometheus, by CometBFT's names where it has one.

docs/metrics.md holds them against CometBFT's list.
"""

from collections.abc import Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from p2p.api.consensus import votes_of
from p2p.model.vote import VoteKind
from p2p.node.port import NodePort
from p2p.primitives.keys import account_text
from p2p.protocol.consensus.round_machine import Step

_STEPS: Final = tuple(Step)
_EVIDENCE_TOTALS: Final = (
    ("published", "Evidence that this node gossiped first, or offered again."),
    ("accepted", "Evidence of others that was taken and passed on."),
    ("ignored", "Evidence of others that was known, too old, punished, or worth too little."),
    ("refused", "Evidence of others that no state would take; its sender is blamed."),
)
_STAKE_TOTALS: Final = (
    ("slashed", "Micro-tokens that liars lost: rewarded and burned."),
    ("rewarded", "Micro-tokens of them that went to those who found the lie."),
    ("burned", "Micro-tokens of them that are gone."),
)


class ConsensusMetrics(Collector):
    """A node's consensus at one moment."""

    def __init__(self, node: NodePort) -> None:
        self._node = node

    def collect(self) -> Iterator[Metric]:
        """All of it, read anew."""
        yield from self._heights()
        yield from self._ours()
        yield from self._blocks()
        yield from self._round()

    def _heights(self) -> Iterator[Metric]:
        chain = self._node.replica.chain
        powers, certificate = chain.powers, chain.last_certificate
        signers = {one.validator for one in certificate.signatures} if certificate else set(powers)
        missing = [power for account, power in powers.items() if account not in signers]
        rows = self._node.replica.evidence.last_block
        liars = dict.fromkeys(row.offender for row in rows)
        for name, text, value in (
            ("height", "Height that is open or opens next.", chain.height),
            ("latest_block_height", "Height of the last block.", self._node.replica.state.height),
            ("validators", "Validators.", len(powers)),
            ("validators_power", "Their power.", sum(powers.values())),
            (
                "missing_validators",
                "Validators without a signature in the last certificate seen.",
                len(missing),
            ),
            ("missing_validators_power", "Their power.", sum(missing)),
            (
                "byzantine_validators",
                "Accounts that the evidence of the last block convicts.",
                len(liars),
            ),
            (
                "byzantine_validators_power",
                "The power that they have.",
                sum(powers.get(liar, 0) for liar in liars),
            ),
        ):
            yield _gauge(f"cometbft_consensus_{name}", text, value)

    def _ours(self) -> Iterator[Metric]:
        chain, me = self._node.replica.chain, self._node.account
        signed = chain.driver.sign_state
        for name, text, value in (
            ("validator_power", "This node's power.", chain.powers.get(me, 0)),
            (
                "validator_last_signed_height",
                "Last height in which this node signed.",
                0 if signed is None else signed.height,
            ),
            (
                "validator_missed_blocks",
                "Blocks since the start whose certificate lacks this validator.",
                chain.progress.blocks_missed,
            ),
        ):
            yield _gauge(
                f"cometbft_consensus_{name}", text, value, validator_address=account_text(me)
            )
        text = "Blocks that this node built since the start."
        made = chain.progress.proposals_made
        yield CounterMetricFamily("cometbft_consensus_proposal_create_count", text, value=made)

    def _blocks(self) -> Iterator[Metric]:
        replica = self._node.replica
        progress = replica.chain.progress
        last = 0 if progress.last is None else len(progress.last.block.transactions)
        for name, text, value in (
            ("consensus_num_txs", "Transactions of the last block.", last),
            ("consensus_total_txs", "Transactions since the start.", progress.transactions),
            ("consensus_block_size_bytes", "Size of the last block.", progress.block_bytes),
            (
                "consensus_block_interval_seconds",
                "Between the times of the last two blocks.",
                progress.interval_ms / 1_000,
            ),
            ("blocksync_syncing", "1 while somebody claims more blocks.", replica.sync.is_behind),
            ("statesync_syncing", "1 while a snapshot is fetched.", replica.is_taking_snapshot),
            ("mempool_size", "Transactions that wait.", replica.mempool.transactions_count),
            ("p2p_peers", "Connected peers.", len(replica.membership.connected)),
        ):
            yield _gauge(f"cometbft_{name}", text, value)

    def _round(self) -> Iterator[Metric]:
        chain = self._node.replica.chain
        driver, state, powers = chain.driver, chain.driver.state, chain.powers
        if state is None or not chain.is_open or state.height != chain.height:
            state = None
        votes, proposals = driver.held()
        for name, text, value in (
            (
                "cometbft_consensus_rounds",
                "Round of the open height.",
                0 if state is None else max(0, state.round),
            ),
            (
                "gigmesh_consensus_step",
                "Place of the step; -1 between heights.",
                -1 if state is None else _STEPS.index(state.step),
            ),
            ("gigmesh_consensus_votes_held", "Votes in memory.", votes),
            ("gigmesh_consensus_proposals_held", "Proposals in memory.", proposals),
            ("gigmesh_consensus_halted", "1 when the node stopped.", chain.halted is not None),
        ):
            yield _gauge(name, text, value)
        share = GaugeMetricFamily(
            "cometbft_consensus_round_voting_power_percent",
            "Share of the power that voted in the round, 0 to 1.",
            labels=("vote_type",),
        )
        total = sum(powers.values()) or 1
        for kind in VoteKind:
            voted = votes_of(self._node, state, kind)
            share.add_metric((kind.name.lower(),), sum(powers[a] for a in voted) / total)
        yield share


class EvidenceMetrics(Collector):
    """What became of evidence since the node started. CometBFT has no names for it."""

    def __init__(self, node: NodePort) -> None:
        self._node = node

    def collect(self) -> Iterator[Metric]:
        """All of it, read anew."""
        counters = self._node.replica.evidence
        waiting = len(self._node.replica.mempool.evidence)
        yield _gauge("gigmesh_evidence_waiting", "Evidence that waits for a block.", waiting)
        for name, text, found in (
            ("found", "Contradictions that this node found.", counters.found),
            ("punished", "Offences that committed blocks punished for.", counters.punished),
        ):
            family = CounterMetricFamily(f"gigmesh_evidence_{name}", text, labels=("kind",))
            for kind in sorted(found):
                family.add_metric((kind,), found[kind])
            yield family
        for name, text in _EVIDENCE_TOTALS:
            total = getattr(counters, name)
            yield CounterMetricFamily(f"gigmesh_evidence_{name}", text, value=total)
        for name, text in _STAKE_TOTALS:
            total = getattr(counters, name)
            yield CounterMetricFamily(f"gigmesh_stake_{name}", text, value=total)


def _gauge(name: str, text: str, value: float, **labels: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=tuple(labels))
    family.add_metric(tuple(labels.values()), float(value))
    return family
