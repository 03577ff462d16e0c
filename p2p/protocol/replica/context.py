"""Cheap looks at a gossip message's context, before the dear check of its signatures.

Without them anybody could make a node verify thousands of signatures in one proposed block. What is
merely early, late or unwanted is dropped without blame; see `BLAMELESS`.
"""

from typing import Final, assert_never

from p2p.model.ad import CapacityAd
from p2p.model.block import CommittedBlock, is_skip
from p2p.model.evidence import Evidence
from p2p.model.receipt import ServiceReceipt
from p2p.model.rejection import Reason
from p2p.model.topic import GossipValue
from p2p.model.transaction import Transaction
from p2p.model.vote import ProposedBlock, Vote
from p2p.protocol.accountability.witness import Witness
from p2p.protocol.replica.chain import Chain

BLAMELESS: Final = frozenset(
    {
        Reason.OUTDATED,
        Reason.EXPIRED,
        Reason.FROM_THE_FUTURE,
        Reason.WRONG_HEIGHT,
        Reason.ROUND_TOO_FAR,
        Reason.TOO_MANY,
        # One block more here or there, and evidence is too late or settled.
        Reason.PUNISHED,
        Reason.NO_STAKE,
        # An honest peer that is ahead of us or behind may hold another set of validators.
        Reason.NOT_A_VALIDATOR,
    }
)
"""Reasons for which a message is ignored, not held against the peer that passed it on."""


def refusal(value: GossipValue, chain: Chain, witness: Witness) -> Reason | None:
    """Why a well-formed message is not worth the check of its signatures, or None."""
    match value:
        case Vote():
            reason = chain.screen(value)
            return None if reason is not None and witness.wants(value) else reason
        case Evidence():
            refused = chain.mempool.screen(value)
            return None if refused is None else refused.reason
        case ProposedBlock(proposal=proposal):
            if value.block.header.height != proposal.height:
                return Reason.MALFORMED
            return chain.screen(proposal)
        case CommittedBlock():
            return _committed_refusal(value, chain)
        case CapacityAd() | ServiceReceipt() | Transaction():
            return None
        case _:
            assert_never(value)


def _committed_refusal(committed: CommittedBlock, chain: Chain) -> Reason | None:
    if chain.is_rival(committed):
        return None
    if committed.block.header.height < chain.height:
        return Reason.OUTDATED
    # Of a height that we cannot judge yet: a third of the validators we know is worth a look.
    powers = chain.powers
    signers = {entry.validator for entry in committed.certificate.signatures}
    signed = sum(powers.get(signer, 0) for signer in signers)
    return None if is_skip(signed, sum(powers.values())) else Reason.WRONG_HEIGHT
