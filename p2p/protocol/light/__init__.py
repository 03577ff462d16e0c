"""The light client: headers, accounts and rewards proven by a few kilobytes, trusting no node.

    rule ....... may a trusted header vouch for a later one?      (powers alone; vectors drive it)
    trust ...... what is trusted, and the checks of content and signatures around the rule
    client ..... bisection: the way from a trusted block to a target
    witness .... other nodes' word; forks found
    crosscheck . a header by one peer and its witnesses, for a node that asks its neighbours
    rewards .... one's own reward, worked out again

A pure library: no node, no clock, no wire. `examples/verify_reward.py` shows it alone.
"""

from p2p.protocol.light.client import Bisection, Failed, LightParameters, Verified
from p2p.protocol.light.crosscheck import CrossCheck
from p2p.protocol.light.rewards import (
    Earned,
    earned,
    own_receipt_fault,
    settlement_fault,
    unsettled,
    validator_share,
)
from p2p.protocol.light.rule import Basis, Claim, Fault, Verdict, judge, verdict_of
from p2p.protocol.light.trust import (
    TRUST_PERIOD_MS,
    TrustedBlock,
    latest_before,
    trust,
    trusted_genesis,
    trusted_header,
)
from p2p.protocol.light.witness import (
    Agrees,
    AskPrimary,
    Diverged,
    Lied,
    LightAttack,
    PrimaryLied,
    Silent,
    Unclear,
    Witness,
)

__all__ = [
    "TRUST_PERIOD_MS",
    "Agrees",
    "AskPrimary",
    "Basis",
    "Bisection",
    "Claim",
    "CrossCheck",
    "Diverged",
    "Earned",
    "Failed",
    "Fault",
    "Lied",
    "LightAttack",
    "LightParameters",
    "PrimaryLied",
    "Silent",
    "TrustedBlock",
    "Unclear",
    "Verdict",
    "Verified",
    "Witness",
    "earned",
    "judge",
    "latest_before",
    "own_receipt_fault",
    "settlement_fault",
    "trust",
    "trusted_genesis",
    "trusted_header",
    "unsettled",
    "validator_share",
    "verdict_of",
]
