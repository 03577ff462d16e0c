"""Who proposes: CometBFT's weighted round robin, as a value that the ledger carries.

Every validator has a priority. One advance adds each validator's power to its priority, and the
highest priority proposes and pays the total power. Over time everyone proposes in proportion to
power. Two corrections keep the numbers bounded when the set changes: priorities are centred on
zero, and their spread is scaled back into a window of twice the total power.

`priorities(h)` are those before height h's first advance; round r of height h is the proposer of
advance number r + 1. A height advances the chain's priorities once, however many rounds it took.

Source: CometBFT spec/consensus/proposer-selection.md.
"""

from typing import Annotated, Final

from msgspec import Meta

from p2p.model.block import ValidatorSet
from p2p.model.fields import AccountField
from p2p.model.parameters import VALIDATORS_MAX
from p2p.primitives.codec import Value
from p2p.primitives.units import AccountId, div_ceil, div_floor

WINDOW_FACTOR: Final = 2
"""Spread of the priorities, in total powers (CometBFT's PriorityWindowSizeFactor)."""
_WEIGHT_BITS_MAX: Final = 60
"""Total weight stays below 2**60, so that every priority fits the wire's 64-bit integers."""


class Priority(Value, frozen=True):
    """One validator's claim to propose."""

    account: AccountField
    priority: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class ProposerPriorities(Value, frozen=True):
    """The priorities of a validator set, in the set's order."""

    entries: Annotated[tuple[Priority, ...], Meta(max_length=VALIDATORS_MAX)]


def initial_priorities(validators: ValidatorSet) -> ProposerPriorities:
    """Priorities before the first advance: all zero."""
    return ProposerPriorities(tuple(Priority(v.account, 0) for v in validators.validators))


def update(priorities: ProposerPriorities, validators: ValidatorSet) -> ProposerPriorities:
    """Priorities for a changed set: who stays keeps its place, who is new queues at the back.

    A newcomer starts at -1.125 total powers, so that leaving and returning never gains a turn.
    """
    weights = _weights(validators)
    total = sum(weights.values())
    known = {entry.account: entry.priority for entry in priorities.entries}
    last = -(total + (total >> 3))
    return _value(_corrected({account: known.get(account, last) for account in weights}, total))


def advance(
    priorities: ProposerPriorities, validators: ValidatorSet
) -> tuple[ProposerPriorities, AccountId]:
    """The priorities after one turn, and whose turn it was.

    Raises:
        ValueError: the priorities are not those of this (never empty) set; `update` makes them so.
    """
    weights = _weights(validators)
    current = {entry.account: entry.priority for entry in priorities.entries}
    if not weights or list(current) != list(weights):
        raise ValueError("priorities of another validator set")
    total = sum(weights.values())
    raised = {
        account: priority + weights[account]
        for account, priority in _corrected(current, total).items()
    }
    # CometBFT: among equals the lowest address.
    proposer = min(raised, key=lambda account: (-raised[account], account))
    raised[proposer] -= total
    return _value(raised), proposer


def next_height(
    priorities: ProposerPriorities, *, current: ValidatorSet, following: ValidatorSet
) -> ProposerPriorities:
    """Priorities of the next height: one turn of the `current` set, then the `following` set."""
    return update(advance(priorities, current)[0], following)


def _value(priorities: dict[AccountId, int]) -> ProposerPriorities:
    return ProposerPriorities(tuple(Priority(a, priority) for a, priority in priorities.items()))


def _weights(validators: ValidatorSet) -> dict[AccountId, int]:
    """Powers in set order, shifted down together only where their sum is astronomical."""
    powers = validators.powers()
    shift = max(0, sum(powers.values()).bit_length() - _WEIGHT_BITS_MAX)
    return {account: max(1, power >> shift) for account, power in powers.items()}


def _corrected(priorities: dict[AccountId, int], total: int) -> dict[AccountId, int]:
    """Scaled into the window, then centred; changes nothing that is already so."""
    if not priorities:
        return {}
    spread = max(priorities.values()) - min(priorities.values())
    window = WINDOW_FACTOR * total
    if spread > window:
        ratio = div_ceil(spread, window)
        priorities = {a: _div_toward_zero(p, ratio) for a, p in priorities.items()}
    average = div_floor(sum(priorities.values()), len(priorities))
    return {account: priority - average for account, priority in priorities.items()}


def _div_toward_zero(numerator: int, denominator: int) -> int:
    """Go's integer division, which CometBFT scales by."""
    magnitude = abs(numerator) // denominator
    return magnitude if numerator >= 0 else -magnitude
