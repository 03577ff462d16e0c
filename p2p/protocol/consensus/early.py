"""Votes of the next height that come before we get there, a few of each validator.

A node that commits a moment after the others would lose their first votes, which they send once.
"""

from collections.abc import Iterable
from typing import Final

from p2p.model.vote import Vote, VoteKind
from p2p.primitives.units import AccountId, Round

EARLY_ROUNDS_MAX: Final = 4
"""Rounds of the next height whose votes are kept; a later node fills its gaps by asking."""


class EarlyVotes:
    """The first vote of each (sender, round, kind), for a bounded number of rounds."""

    def __init__(self, accounts: Iterable[AccountId]) -> None:
        self._accounts = set(accounts)
        self._votes: dict[tuple[AccountId, Round, VoteKind], Vote] = {}

    def admits(self, vote: Vote) -> bool:
        """Whether the vote is worth keeping."""
        slot = (vote.validator, vote.round, vote.kind)
        known = vote.validator in self._accounts and vote.round < EARLY_ROUNDS_MAX
        return known and slot not in self._votes

    def add(self, vote: Vote) -> None:
        """Keep a vote that is admitted."""
        self._votes[vote.validator, vote.round, vote.kind] = vote

    def take(self) -> list[Vote]:
        """All votes, in order of arrival; none stay."""
        votes = list(self._votes.values())
        self._votes.clear()
        return votes

    def __len__(self) -> int:
        return len(self._votes)
