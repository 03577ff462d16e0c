"""The one place where untrusted bytes become `Verified` values.

Form first (size, canonical encoding, chain), then a cheap look at the context (`admits`, the
replica's view: is the signer a validator at all?), then signatures, the dear part: 85 us each.
Signatures that verified are remembered, since a vote comes back inside a certificate and a receipt
inside a block. The class is free of clock and wire; the virtual world uses it with its own scheme.
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import msgspec

from p2p.model.accusation import COMMIT_PROOF_BYTES_MAX, CommitProof, commit_proof_fault
from p2p.model.ad import CapacityAd
from p2p.model.block import Block, Certificate, CommittedBlock, body_agrees, is_quorum
from p2p.model.evidence import (
    EVIDENCE_BYTES_MAX,
    Evidence,
    contradiction_fault,
    signatures,
)
from p2p.model.light import LightBlock
from p2p.model.parameters import (
    AD_BYTES_MAX,
    COMMITTED_BYTES_MAX,
    PROPOSAL_BYTES_MAX,
    RECEIPT_BYTES_MAX,
    TRANSACTION_BYTES_MAX,
)
from p2p.model.receipt import ServiceReceipt
from p2p.model.rejection import Reason, Rejected
from p2p.model.requests import Ads, Blocks, Response, RoundMessages
from p2p.model.topic import GossipValue, Topic
from p2p.model.transaction import Transaction
from p2p.model.vote import Proposal, ProposedBlock, Vote, certificate_votes
from p2p.primitives.codec import Malformed, decode
from p2p.primitives.digests import digest
from p2p.primitives.keys import account_text
from p2p.primitives.signing import SignatureScheme, SignedKind, Verified
from p2p.primitives.units import AccountId, Digest

KNOWN_SIGNATURES_MAX: Final = 20_000
"""About 3 MiB; four blocks of receipts and the votes of many rounds."""

_FORMS: Final[dict[Topic, tuple[object, int]]] = {
    Topic.ADS: (CapacityAd, AD_BYTES_MAX),
    Topic.BLOCKS: (CommittedBlock, COMMITTED_BYTES_MAX),
    Topic.EVIDENCE: (Evidence, EVIDENCE_BYTES_MAX),
    Topic.RECEIPTS: (ServiceReceipt, RECEIPT_BYTES_MAX),
    Topic.TRANSACTIONS: (Transaction, TRANSACTION_BYTES_MAX),
    Topic.VOTES: (Vote | ProposedBlock, PROPOSAL_BYTES_MAX),
}

Admits = Callable[[GossipValue], Reason | None]
Voters = Callable[[Digest], Mapping[AccountId, int] | None]
"""Powers of the validator set with a root, if the receiver knows it."""
V = TypeVar("V")


class Verifier:
    """Checks form and signatures for one chain."""

    def __init__(self, chain_id: Digest, scheme: SignatureScheme) -> None:
        self._chain_id = chain_id
        self._scheme = scheme
        self._known: dict[bytes, None] = {}

    def message(
        self, topic: Topic, data: bytes, admits: Admits | None = None
    ) -> Verified[GossipValue] | Rejected:
        """Check a gossip message.

        Rejects: MALFORMED, WRONG_CHAIN, BAD_SIGNATURE, or what `admits` says.
        """
        value = self.decoded(topic, data)
        if isinstance(value, Rejected):
            return value
        if admits is not None and (reason := admits(value)) is not None:
            return Rejected(reason)
        return self.judged(value)

    def decoded(self, topic: Topic, data: bytes) -> GossipValue | Rejected:
        """What the bytes of a gossip message say. Rejects: MALFORMED."""
        form, bytes_max = _FORMS[topic]
        try:
            value: GossipValue = decode(data, form, bytes_max=bytes_max)  # type: ignore[arg-type]
        except Malformed as error:
            return Rejected(Reason.MALFORMED, str(error))
        return value

    def judged(self, value: GossipValue) -> Verified[GossipValue] | Rejected:
        """Check the chain and the signatures of a gossiped value."""
        return self._checked(value, self._fault(value))

    def ad(self, data: bytes) -> Verified[CapacityAd] | Rejected:
        """Check the bytes of an ad."""
        try:
            ad = decode(data, CapacityAd, bytes_max=AD_BYTES_MAX)
        except Malformed as error:
            return Rejected(Reason.MALFORMED, str(error))
        return self._checked(ad, self._fault(ad))

    def receipt(self, receipt: ServiceReceipt) -> Verified[ServiceReceipt] | Rejected:
        """Check both signatures of a receipt."""
        return self._checked(receipt, self._fault(receipt))

    def receipt_consumer(self, receipt: ServiceReceipt) -> Verified[ServiceReceipt] | Rejected:
        """Check the consumer's signature of a receipt that the provider has yet to sign."""
        return self._checked(receipt, self._receipt_fault(receipt, by_provider=False))

    def response(
        self, response: Response, voters: Voters | None = None
    ) -> Verified[Response] | Rejected:
        """Check every signature that an answer's receiver relies on.

        Of blocks whose validators the receiver knows, a quorum's signatures are checked and the
        others left out: what is verified is all of what comes out.
        """
        if voters is not None and isinstance(response, Blocks):
            blocks = tuple(_with_quorum(committed, voters) for committed in response.blocks)
            response = Blocks(blocks)
        return self._checked(response, self._response_fault(response))

    # ---- faults: None means that there is none --------------------------------------------------

    def _checked(self, value: V, fault: Reason | None) -> Verified[V] | Rejected:
        return Verified(value) if fault is None else Rejected(fault)

    def _fault(self, value: GossipValue) -> Reason | None:
        match value:
            case Vote():
                return self._vote_fault(value)
            case ServiceReceipt():
                return self._receipt_fault(value, by_provider=True)
            case CapacityAd():
                return self._signature_fault(
                    SignedKind.CAPACITY_AD,
                    value.chain_id,
                    value.provider,
                    value.body(),
                    value.signature,
                )
            case Transaction():
                return self._transaction_fault(value)
            case Evidence():
                return self._evidence_fault(value)
            case CommittedBlock():
                return self._committed_fault(value)
            case ProposedBlock():
                return self._proposed_fault(value)

    def _signature_fault(
        self, kind: SignedKind, chain_id: Digest, account: AccountId, body: bytes, signature: bytes
    ) -> Reason | None:
        if chain_id != self._chain_id:
            return Reason.WRONG_CHAIN
        known = digest(kind.value.encode(), account, signature, body)
        if known in self._known:
            return None
        if not self._scheme.verify(account, kind, chain_id, body, signature):
            return Reason.BAD_SIGNATURE
        if len(self._known) >= KNOWN_SIGNATURES_MAX:
            del self._known[next(iter(self._known))]
        self._known[known] = None
        return None

    def _vote_fault(self, vote: Vote) -> Reason | None:
        return self._signature_fault(
            SignedKind.VOTE, vote.chain_id, vote.validator, vote.body(), vote.signature
        )

    def _transaction_fault(self, transaction: Transaction) -> Reason | None:
        return self._signature_fault(
            SignedKind.TRANSACTION,
            transaction.chain_id,
            transaction.sender,
            transaction.body(),
            transaction.signature,
        )

    def _receipt_fault(self, receipt: ServiceReceipt, *, by_provider: bool) -> Reason | None:
        fault = self._signature_fault(
            SignedKind.RECEIPT_CONSUMER,
            receipt.chain_id,
            receipt.consumer,
            receipt.consumer_body(),
            receipt.consumer_signature,
        )
        if fault is not None or not by_provider:
            return fault
        return self._signature_fault(
            SignedKind.RECEIPT_PROVIDER,
            receipt.chain_id,
            receipt.provider,
            receipt.provider_body(),
            receipt.provider_signature,
        )

    def _certificate_fault(self, certificate: Certificate) -> Reason | None:
        for vote in certificate_votes(certificate):
            if (fault := self._vote_fault(vote)) is not None:
                return fault
        return None

    def _committed_fault(self, committed: CommittedBlock) -> Reason | None:
        # The quorum behind the certificate has checked what is inside the block.
        header, certificate = committed.block.header, committed.certificate
        if header.digest() != certificate.header_digest:
            return Reason.BAD_CERTIFICATE
        if (header.chain_id, header.height) != (certificate.chain_id, certificate.height):
            return Reason.BAD_CERTIFICATE
        if not body_agrees(committed.block):
            return Reason.BAD_ROOT
        return self._certificate_fault(committed.certificate)

    def _proposal_fault(self, proposal: Proposal) -> Reason | None:
        return self._signature_fault(
            SignedKind.PROPOSAL,
            proposal.chain_id,
            proposal.proposer,
            proposal.body(),
            proposal.signature,
        )

    def _proposed_fault(self, proposed: ProposedBlock) -> Reason | None:
        if proposed.block.header.digest() != proposed.proposal.header_digest:
            return Reason.MALFORMED
        if not body_agrees(proposed.block):
            return Reason.BAD_ROOT
        return self._proposal_fault(proposed.proposal) or self._body_fault(proposed.block)

    def _body_fault(self, block: Block) -> Reason | None:
        for transaction in block.transactions:
            if (fault := self._transaction_fault(transaction)) is not None:
                return fault
        for receipt in block.receipts:
            if (fault := self._receipt_fault(receipt, by_provider=True)) is not None:
                return fault
        for evidence in block.evidence:
            if (fault := self._evidence_fault(evidence)) is not None:
                return fault
        return None

    def _evidence_fault(self, evidence: Evidence) -> Reason | None:
        # First whether it contradicts at all: that costs nothing, and a signature 85 us.
        refusal = contradiction_fault(evidence.offence, self._chain_id)
        if refusal is not None:
            return refusal.reason
        for signed in signatures(evidence.offence):
            fault = self._signature_fault(
                signed.kind, self._chain_id, signed.account, signed.body, signed.signature
            )
            if fault is not None:
                return fault
        return None

    def _response_fault(self, response: Response) -> Reason | None:
        match response:
            case Blocks():
                for committed in response.blocks:
                    if (fault := self._committed_fault(committed)) is not None:
                        return fault
            case LightBlock():
                return self._certificate_fault(response.certificate)
            case RoundMessages():
                for vote in response.votes:
                    if (fault := self._vote_fault(vote)) is not None:
                        return fault
                if response.proposal is not None:
                    return self._proposed_fault(response.proposal)
            case Ads():
                for ad in response.ads:
                    if (fault := self._fault(ad)) is not None:
                        return fault
            case _:
                pass
        return None


def _with_quorum(committed: CommittedBlock, voters: Voters) -> CommittedBlock:
    """The block with the first signatures of its certificate that make a quorum.

    All of them, where the set is unknown or they make none: the replica says what is wrong.
    """
    powers = voters(committed.block.header.validators_root)
    if powers is None:
        return committed
    total, signed = sum(powers.values()), 0
    certificate = committed.certificate
    for count, entry in enumerate(certificate.signatures, start=1):
        signed += powers.get(entry.validator, 0)
        if is_quorum(signed, total):
            fewer = msgspec.structs.replace(certificate, signatures=certificate.signatures[:count])
            return CommittedBlock(committed.block, fewer)
    return committed


def read_commit_proof(data: bytes, scheme: SignatureScheme) -> CommitProof | Rejected:
    """A commit with its polkas from a file of anybody's, of whatever chain it says it is of.

    Rejects: MALFORMED, BAD_ROOT, BAD_CERTIFICATE, NOT_A_VALIDATOR, WRONG_*, BAD_SIGNATURE.
    """
    try:
        proof = decode(data, CommitProof, bytes_max=COMMIT_PROOF_BYTES_MAX)
    except Malformed as error:
        return Rejected(Reason.MALFORMED, str(error))
    fault = commit_proof_fault(proof)
    if fault is not None:
        return Rejected(fault)
    votes = [*certificate_votes(proof.certificate)]
    for polka in proof.polkas:
        votes += polka.votes()
    for vote in votes:
        body = vote.body()
        if not scheme.verify(vote.validator, SignedKind.VOTE, vote.chain_id, body, vote.signature):
            return Rejected(Reason.BAD_SIGNATURE, f"of {account_text(vote.validator)}")
    return proof
