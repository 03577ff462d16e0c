"""Evidence in a few words. The ledger trusts that signatures were verified: nothing is signed."""

import msgspec

from p2p.model.ad import CapacityAd, Price, Resources
from p2p.model.ballot import Proposal, Vote, VoteKind
from p2p.model.evidence import (
    Amnesia,
    DoubleAd,
    DoubleProposal,
    DoubleReceipt,
    DoubleVote,
    Evidence,
    Offence,
)
from p2p.model.receipt import ServiceReceipt
from p2p.primitives.digests import ZERO_DIGEST, digest
from p2p.primitives.units import Amount, ChannelId, Digest, Height, Millis, Round
from tests.protocol.ledger.chain import Chain, account

RED, BLUE = digest(b"red"), digest(b"blue")
REPORTER = 5


def vote(
    chain: Chain,
    who: int,
    value: Digest | None,
    *,
    height: int | None = None,
    round_: int = 0,
    kind: VoteKind = VoteKind.PREVOTE,
    valid_round: int = -1,
) -> Vote:
    """A vote; of the next height unless said otherwise."""
    at = chain.state.height + 1 if height is None else height
    return Vote(
        chain.rules.chain_id,
        kind,
        Height(at),
        Round(round_),
        value,
        account(who),
        Round(valid_round),
    )


def told(offence: Offence, reporter: int = REPORTER) -> Evidence:
    return Evidence(offence, account(reporter))


def double_vote(
    chain: Chain, who: int, *, height: int | None = None, round_: int = 0, reporter: int = REPORTER
) -> Evidence:
    first = vote(chain, who, RED, height=height, round_=round_)
    second = vote(chain, who, BLUE, height=height, round_=round_)
    return told(DoubleVote(first, second), reporter)


def double_proposal(chain: Chain, who: int, *, height: int | None = None) -> Evidence:
    at = Height(chain.state.height + 1 if height is None else height)
    first = Proposal(chain.rules.chain_id, at, Round(0), RED, Round(-1), account(who))
    second = msgspec.structs.replace(first, header_digest=BLUE)
    return told(DoubleProposal(first, second))


def amnesia(chain: Chain, who: int, *, height: int | None = None) -> Evidence:
    precommit = vote(chain, who, RED, height=height, round_=2, kind=VoteKind.PRECOMMIT)
    prevote = vote(chain, who, BLUE, height=height, round_=4, valid_round=1)
    return told(Amnesia(precommit, prevote))


def receipt(
    chain: Chain, consumer: int, provider: int, *, amount: int = 5, seq: int = 3, epoch: int = 1
) -> ServiceReceipt:
    return ServiceReceipt(
        chain_id=chain.rules.chain_id,
        provider=account(provider),
        consumer=account(consumer),
        channel=ChannelId(digest(b"channel")),
        epoch=Height(epoch),
        seq=seq,
        bytes_put=0,
        bytes_get=0,
        mib_epochs=0,
        amount=Amount(amount),
        obligations_root=ZERO_DIGEST,
        ad_digest=ZERO_DIGEST,
    )


def double_receipt(
    chain: Chain, consumer: int, provider: int, *, guilty: int, seq: int = 3, epoch: int = 1
) -> Evidence:
    first = receipt(chain, consumer, provider, seq=seq, epoch=epoch)
    second = receipt(chain, consumer, provider, seq=seq, epoch=epoch, amount=6)
    return told(DoubleReceipt(first, second, account(guilty)))


def ad(chain: Chain, who: int, *, seq: int = 1, issued_ms: int = 1_000) -> CapacityAd:
    return CapacityAd(
        chain_id=chain.rules.chain_id,
        provider=account(who),
        seq=seq,
        issued_ms=Millis(issued_ms),
        ttl_s=60,
        addrs=(),
        services=(),
        region="here",
        resources=Resources(),
        price=Price(),
        blob_bytes_max=1,
        accepting=True,
        drain_epoch=0,
    )


def double_ad(chain: Chain, who: int, *, seq: int = 1, issued_ms: int = 1_000) -> Evidence:
    first = ad(chain, who, seq=seq, issued_ms=issued_ms)
    return told(DoubleAd(first, msgspec.structs.replace(first, region="there")))
