"""The broken builds, by name."""

from typing import Final

from p2p.model import block
from p2p.protocol import mempool
from p2p.protocol.consensus import gaps, votes
from p2p.protocol.ledger import execution, settlement
from p2p.protocol.replica import chain
from sim_harness.canaries import mistakes
from sim_harness.canaries.build import Build

CANARIES: Final[dict[str, Build]] = {
    build.name: build
    for build in (
        Build(
            "quorum_half",
            "more than a half of the power is a quorum",
            ("agreement", "validity"),
            parts={
                (block, "is_quorum"): mistakes.half_is_quorum,
                (votes, "is_quorum"): mistakes.half_is_quorum,
                (gaps, "is_quorum"): mistakes.half_is_quorum,
            },
        ),
        Build(
            "forget_lock",
            "a validator forgets its lock, and the value with it, at every step",
            ("agreement",),
            forgets_locks=True,
        ),
        Build(
            "sign_after_crash",
            "a restart finds neither the sign guard nor the journal",
            ("signed two",),
            forgets_signatures=True,
        ),
        Build(
            "double_settle",
            "a receipt settles as often as it comes, each time in whole",
            ("I2", "validity"),
            parts={
                (settlement, "receipt_refusal"): mistakes.ever_settles,
                (settlement, "_row"): mistakes.whole_row,
                (settlement, "_pay"): mistakes.pay_whole,
                (execution, "receipt_refusal"): mistakes.ever_settles,
                (mempool.receipts, "receipt_refusal"): mistakes.ever_settles,
            },
        ),
        Build(
            "unverified_sync",
            "a block from a neighbour needs no quorum behind it",
            ("agreement", "validity"),
            parts={(chain, "check_certificate"): mistakes.any_certificate},
        ),
        Build(
            "mint_rounding",
            "a payment's rounding is given away and burned at once",
            ("I1", "validity"),
            parts={(settlement, "split"): mistakes.generous_split},
        ),
    )
}
"""In the order of the design's list."""


def canary(name: str) -> Build:
    """A build by name. Raises ValueError."""
    if name not in CANARIES:
        raise ValueError(f"unknown canary {name!r}; known: {', '.join(CANARIES)}")
    return CANARIES[name]
