"""The proposer of a round, as the driver asks for it."""

from typing import Final, Protocol

from p2p.model.block import ValidatorSet
from p2p.model.proposer import ProposerPriorities, advance
from p2p.primitives.units import AccountId, Round

_REMEMBERED_MAX: Final = 256
"""Rounds whose proposer is kept; more than the driver's window of rounds."""


class Proposers(Protocol):
    """Who proposes in each round of one height."""

    def of(self, round_: Round) -> AccountId:
        """The proposer of a round (>= 0); always the same answer."""


class WeightedProposers:
    """CometBFT's weighted round robin from a height's priorities; remembers the latest rounds."""

    def __init__(self, priorities: ProposerPriorities, validators: ValidatorSet) -> None:
        self._start = priorities
        self._validators = validators
        self._remembered: dict[int, AccountId] = {}
        self._next_round = 0
        self._priorities = priorities

    def of(self, round_: Round) -> AccountId:
        """The proposer of a round; costs one advance for every round since the last asked."""
        known = self._remembered.get(round_)
        if known is not None:
            return known
        if round_ < self._next_round:
            # Forgotten long ago: count again from the start of the height.
            self._remembered, self._next_round, self._priorities = {}, 0, self._start
        while self._next_round <= round_:
            self._priorities, proposer = advance(self._priorities, self._validators)
            self._remembered[self._next_round] = proposer
            self._remembered.pop(self._next_round - _REMEMBERED_MAX, None)
            self._next_round += 1
        return self._remembered[round_]
