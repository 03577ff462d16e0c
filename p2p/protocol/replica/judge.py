"""Verdicts on gossip: what a verified message is worth to the machine that it concerns.

A message is forwarded first and acted upon second: our own work does not delay its spread.
"""

from typing import Final, assert_never

from p2p.model.block import Certificate, CommittedBlock
from p2p.model.evidence import Evidence
from p2p.model.receipt import ServiceReceipt
from p2p.model.rejection import Reason, Rejected
from p2p.model.rpc import MessageId
from p2p.model.topic import Topic
from p2p.model.transaction import Transaction
from p2p.model.vote import ProposedBlock, Vote, certificate_votes
from p2p.primitives.signing import Verified
from p2p.primitives.units import Millis
from p2p.protocol import gossip, mempool
from p2p.protocol.accountability.witness import ReceiptHeard, VoteHeard
from p2p.protocol.interface import (
    MessageRefused,
    MessageVerified,
)
from p2p.protocol.registry import interface as registry
from p2p.protocol.replica import context
from p2p.protocol.replica.wires import Wires
from p2p.protocol.sync import interface as sync

_UNKNOWN: Final = mempool.Ignored(Reason.UNKNOWN_CHANNEL)


class Judge:
    """Judges verified messages, and tells gossip."""

    def __init__(self, wires: Wires) -> None:
        self._wires = wires

    def _verdict(
        self, message_id: bytes, reason: Reason | None, now_ms: Millis, *, blame: bool = False
    ) -> None:
        verdict = gossip.Verdict.ACCEPT
        if reason is not None:
            verdict = gossip.Verdict.REJECT if blame else gossip.Verdict.IGNORE
        validated = gossip.MessageValidated(
            MessageId(message_id), verdict, reason or Reason.MALFORMED
        )
        self._wires.to_gossip(validated, now_ms)

    def refuse(self, refused: MessageRefused, now_ms: Millis) -> None:
        """Drop a message whose form, context or signature is wrong."""
        blame = refused.reason not in context.BLAMELESS
        if refused.topic is Topic.EVIDENCE:
            self._wires.evidence.refused += blame
            self._wires.evidence.ignored += not blame
        self._verdict(refused.message_id, refused.reason, now_ms, blame=blame)

    def judge(self, message: MessageVerified, now_ms: Millis) -> None:
        """Give a verified message its verdict and its effect."""
        value = message.value.value
        match value:
            case Vote():
                self._verdict(message.message_id, None, now_ms)
                vote = Verified(value)
                self._wires.to_witness(VoteHeard(vote), now_ms)
                self._wires.from_chain(self._wires.chain.vote(vote, message.peer, now_ms), now_ms)
            case ProposedBlock():
                self._verdict(message.message_id, None, now_ms)
                proposed = Verified(value)
                self._wires.from_chain(
                    self._wires.chain.proposal(proposed, message.peer, now_ms), now_ms
                )
            case CommittedBlock():
                self._judge_committed(message, value, now_ms)
            case ServiceReceipt():
                received = mempool.ReceiptReceived(Verified(value))
                verdict = self._judge_by_mempool(message, received, now_ms)
                if not isinstance(verdict, Rejected) and verdict != _UNKNOWN:
                    self._wires.to_witness(ReceiptHeard(Verified(value)), now_ms)
            case Transaction():
                arrived = mempool.TransactionReceived(Verified(value))
                self._judge_by_mempool(message, arrived, now_ms)
            case Evidence():
                heard = mempool.EvidenceReceived(Verified(value))
                self._count(self._judge_by_mempool(message, heard, now_ms))
            case _:
                self._judge_ad(message, registry.AdReceived(Verified(value)), now_ms)

    def _judge_by_mempool(
        self, message: MessageVerified, item: mempool.MempoolInput, now_ms: Millis
    ) -> mempool.Verdict:
        (verdict,) = self._wires.mempool.step(item)
        match verdict:
            case mempool.Accepted():
                self._verdict(message.message_id, None, now_ms)
            case mempool.Ignored(reason=reason):
                self._verdict(message.message_id, reason, now_ms)
            case Rejected(reason=reason):
                self._verdict(message.message_id, reason, now_ms, blame=True)
            case _:
                assert_never(verdict)
        return verdict

    def _count(self, verdict: mempool.Verdict) -> None:
        """What became of evidence that others sent."""
        counters = self._wires.evidence
        counters.accepted += isinstance(verdict, mempool.Accepted)
        counters.ignored += isinstance(verdict, mempool.Ignored)
        counters.refused += isinstance(verdict, Rejected)

    def _judge_ad(
        self, message: MessageVerified, item: registry.AdReceived, now_ms: Millis
    ) -> None:
        effects = self._wires.registry.step(item, now_ms)
        judge = effects[0]
        assert isinstance(judge, registry.Judge)
        accepted = judge.verdict is registry.Verdict.ACCEPT
        reason = None if accepted else judge.reason or Reason.OUTDATED
        blame = judge.verdict is registry.Verdict.REJECT
        self._verdict(message.message_id, reason, now_ms, blame=blame)
        self._wires.from_registry(effects[1:], now_ms)

    def _judge_committed(
        self, message: MessageVerified, committed: CommittedBlock, now_ms: Millis
    ) -> None:
        height = committed.block.header.height
        if height > self._wires.chain.height:
            self._verdict(message.message_id, Reason.WRONG_HEIGHT, now_ms)
            self._wires.to_sync(sync.HeightSeen(message.peer, height), now_ms)
            return
        chain = self._wires.chain
        if height == chain.height or chain.is_rival(committed):
            # Who signed another block somewhere else contradicts itself here.
            self._hear(committed.certificate, now_ms)
        if height < chain.height:
            effects, reason = chain.conflict(committed)
        else:
            effects, reason = chain.committed(committed, now_ms)
        blame = reason is not None and reason not in context.BLAMELESS
        self._verdict(message.message_id, reason, now_ms, blame=blame)
        self._wires.from_chain(effects, now_ms)

    def _hear(self, certificate: Certificate, now_ms: Millis) -> None:
        for vote in certificate_votes(certificate):
            self._wires.to_witness(VoteHeard(Verified(vote)), now_ms)
