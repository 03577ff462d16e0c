"""Votes of one height: weighted tallies, their thresholds, and evidence.

    Tally       one kind of vote in one round: who voted, and the power behind each value
    VoteKeeper  the tallies of a window of rounds, evidence, and parked votes of far rounds

A quorum for a value agrees on the prevotes' valid round, too: Accountable Tendermint's L36. Where
all are correct they do, since all answer one proposal.

The first vote of a (kind, round, sender) counts. A conflicting later one is evidence, reported
once, and does not count; an exact duplicate is nothing. One exception: votes that come together
and are a quorum for one value all count for that value (`add_quorum`), or an equivocator could
hide a quorum from who heard its other vote first.

Bounds, whatever is sent: tallies exist for `ROUNDS_BEHIND_MAX` rounds before the current one,
`ROUNDS_AHEAD_MAX` after it, and a few pinned ones. Of rounds beyond, every validator has one
parked: the highest. Parked votes come back (`take_ready`) when the window reaches their round, or
when f+1 are parked in one round and so prove that it is worth jumping to.

Source: Malachite's vote keeper (specs/consensus/quint/votekeeper.qnt) for thresholds; arXiv
1807.04938 for what they mean: polka = 2f+1 prevotes, skip = f+1 senders in a later round (L55).
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from typing import Final

import msgspec

from p2p.model.block import ValidatorSet, is_quorum, is_skip
from p2p.model.vote import Stand, Vote, VoteKind
from p2p.primitives.units import NO_ROUND, AccountId, Digest, Round

ROUNDS_AHEAD_MAX: Final = 16
"""Rounds after the current one whose votes are tallied."""
ROUNDS_BEHIND_MAX: Final = 64
"""Earlier rounds that are kept, for late decisions (L49) and proofs of lock (L28)."""
QUORUM_VALUES_MAX: Final = 2
"""Values of one tally that a quorum of conflicting votes may bring: a third means > 1/3 lie."""

Value = Digest | None
"""What a vote is for: a header digest, or None for nil."""


class Threshold(Enum):
    """What a vote made true, for the first time in its round."""

    POLKA_ANY = "2f+1 prevotes"
    POLKA_NIL = "2f+1 prevotes for nil"
    POLKA_VALUE = "2f+1 prevotes for a value"
    PRECOMMIT_ANY = "2f+1 precommits"
    PRECOMMIT_VALUE = "2f+1 precommits for a value"
    SKIP = "f+1 senders in a later round"


class Crossed(msgspec.Struct, frozen=True):
    """A threshold, with its round and, for the two about a value, the value."""

    threshold: Threshold
    round: Round
    value: Value = None


class Counted(msgspec.Struct, frozen=True):
    """The outcome of a vote: what it made true, and the vote that it conflicts with."""

    crossed: Crossed | None = None
    conflicts_with: Vote | None = None


class Tally:
    """Votes of one kind in one round."""

    __slots__ = ("_extra", "_powers", "_quorums", "_total", "first", "power", "reported")

    def __init__(self, total_power: int) -> None:
        self._total = total_power
        self._powers: dict[Stand, int] = {}
        self._quorums: dict[Value, Round] = {}
        """Values with a quorum, and the valid round that it agrees on."""
        self._extra: dict[Stand, dict[AccountId, Vote]] = {}
        self.first: dict[AccountId, Vote] = {}
        """The vote that counts, by sender, in order of arrival."""
        self.power = 0
        """Power of all senders."""
        self.reported: set[Crossed] = set()

    def add(self, vote: Vote, power: int) -> None:
        """Count the first vote of a sender."""
        self.first[vote.validator] = vote
        self._stand_with(vote.stand, power)
        self.power += power

    def add_extra(self, vote: Vote, power: int) -> None:
        """Count a conflicting vote for its value, because a quorum is behind that value."""
        self._extra.setdefault(vote.stand, {})[vote.validator] = vote
        self._stand_with(vote.stand, power)

    def _stand_with(self, stand: Stand, power: int) -> None:
        self._powers[stand] = self._powers.get(stand, 0) + power
        if is_quorum(self._powers[stand], self._total):
            self._quorums.setdefault(*stand)

    def has_quorum(self, value: Value) -> bool:
        return value in self._quorums

    def quorum_for(self, value: Value) -> list[Vote]:
        """The votes of the quorum for a value, one a sender; none without a quorum."""
        if value not in self._quorums:
            return []
        return self.votes_for(value, self._quorums[value])

    def has_quorum_any(self) -> bool:
        return is_quorum(self.power, self._total)

    def quorum_values(self) -> list[Digest]:
        """The header digests that have a quorum: one, unless more than a third lie."""
        return [value for value in self._quorums if value is not None]

    def admits_extra(self, stand: Stand) -> bool:
        """Whether a quorum for `stand` would bring something, within the bound."""
        return not self.has_quorum(stand[0]) and (
            stand in self._extra or len(self._extra) < QUORUM_VALUES_MAX
        )

    def votes_for(self, value: Value, valid_round: Round = NO_ROUND) -> list[Vote]:
        """Every vote with this stand, one a sender."""
        stand = (value, valid_round)
        first = [vote for vote in self.first.values() if vote.stand == stand]
        return first + list(self._extra.get(stand, {}).values())

    def stands(self) -> list[Stand]:
        """What has votes, in order of arrival."""
        return list(self._powers)

    def __len__(self) -> int:
        return len(self.first) + sum(len(votes) for votes in self._extra.values())


class VoteKeeper:
    """The votes of one height, within bounds."""

    def __init__(self, validators: ValidatorSet) -> None:
        self._powers = validators.powers()
        self._total = validators.total_power
        self._tallies: dict[tuple[Round, VoteKind], Tally] = {}
        self._senders: dict[Round, dict[AccountId, int]] = {}
        self._evidence: set[tuple[VoteKind, Round, AccountId]] = set()
        self._parked: dict[AccountId, dict[VoteKind, Vote]] = {}

    # ------------------------------------------------------------------------------- counting

    def add(self, vote: Vote, *, current: Round) -> Counted:
        """Count one vote of a validator of this height, while we are in round `current`."""
        tally = self._tally(vote.round, vote.kind)
        known = tally.first.get(vote.validator)
        conflict: Vote | None = None
        if known is None:
            power = self._powers[vote.validator]
            tally.add(vote, power)
            self._senders.setdefault(vote.round, {})[vote.validator] = power
        elif known.stand != vote.stand:
            conflict = self._convict(known, vote)
        return Counted(self._crossed(tally, vote, current), conflict)

    def add_quorum(self, votes: Sequence[Vote]) -> list[tuple[Vote, Vote]]:
        """Count votes of one kind, round and stand that together are a quorum (`is_together`).

        Returns the equivocations that they show, as (counted first, conflicting).
        """
        found: list[tuple[Vote, Vote]] = []
        tally = self._tally(votes[0].round, votes[0].kind)
        extras = tally.admits_extra(votes[0].stand)
        for vote in votes:
            known = tally.first.get(vote.validator)
            power = self._powers[vote.validator]
            if known is None:
                tally.add(vote, power)
                self._senders.setdefault(vote.round, {})[vote.validator] = power
            elif known.stand != vote.stand:
                conflict = self._convict(known, vote)
                if conflict is not None:
                    found.append((conflict, vote))
                held = tally.votes_for(*vote.stand)
                if extras and all(other.validator != vote.validator for other in held):
                    tally.add_extra(vote, power)
        return found

    def is_together(self, votes: Iterable[Vote]) -> bool:
        """Whether votes of one kind, round and stand have distinct senders with a quorum."""
        senders = {vote.validator: self._powers.get(vote.validator, 0) for vote in votes}
        return is_quorum(sum(senders.values()), self._total)

    def _crossed(self, tally: Tally, vote: Vote, current: Round) -> Crossed | None:
        if vote.round > current and self.is_skip(vote.round):
            return Crossed(Threshold.SKIP, vote.round)
        prevote = vote.kind is VoteKind.PREVOTE
        if tally.has_quorum(vote.header_digest) and (prevote or vote.header_digest is not None):
            if vote.header_digest is None:
                crossed = Crossed(Threshold.POLKA_NIL, vote.round)
            else:
                value = Threshold.POLKA_VALUE if prevote else Threshold.PRECOMMIT_VALUE
                crossed = Crossed(value, vote.round, vote.header_digest)
        elif tally.has_quorum_any():
            crossed = Crossed(
                Threshold.POLKA_ANY if prevote else Threshold.PRECOMMIT_ANY, vote.round
            )
        else:
            return None
        if crossed in tally.reported:
            return None
        tally.reported.add(crossed)
        return crossed

    def _convict(self, first: Vote, second: Vote) -> Vote | None:
        """The first vote, unless this slot's evidence was reported before."""
        slot = (first.kind, first.round, first.validator)
        if slot in self._evidence:
            return None
        self._evidence.add(slot)
        return first

    def _tally(self, round_: Round, kind: VoteKind) -> Tally:
        tally = self._tallies.get((round_, kind))
        if tally is None:
            tally = self._tallies[round_, kind] = Tally(self._total)
        return tally

    # ------------------------------------------------------------------------------ questions

    def tally(self, round_: Round, kind: VoteKind) -> Tally | None:
        """The tally, if it has a vote."""
        return self._tallies.get((round_, kind))

    def has_quorum(self, round_: Round, kind: VoteKind, value: Value) -> bool:
        tally = self._tallies.get((round_, kind))
        return tally is not None and tally.has_quorum(value)

    def has_quorum_any(self, round_: Round, kind: VoteKind) -> bool:
        tally = self._tallies.get((round_, kind))
        return tally is not None and tally.has_quorum_any()

    def is_skip(self, round_: Round) -> bool:
        """Whether f+1 sent a vote of that round; who sent both kinds counts once."""
        return is_skip(sum(self._senders.get(round_, {}).values()), self._total)

    def skip_round(self, current: Round) -> Round | None:
        """The highest round above `current` that f+1 are seen in."""
        rounds = [r for r in self._senders if r > current and self.is_skip(r)]
        return max(rounds, default=None)

    def committed(self) -> Iterator[tuple[Round, Digest]]:
        """Rounds and values with a quorum of precommits, in order of arrival."""
        for (round_, kind), tally in self._tallies.items():
            if kind is VoteKind.PRECOMMIT:
                for value in tally.quorum_values():
                    yield round_, value

    def polkas(self) -> Iterator[list[Vote]]:
        """The quorums of prevotes for a value, by round: what a later judge may ask for."""
        for round_, kind in sorted(self._tallies):
            tally = self._tallies[round_, kind]
            for value in tally.quorum_values() if kind is VoteKind.PREVOTE else ():
                yield tally.quorum_for(value)

    def convicted(self, vote: Vote) -> bool:
        """Whether the evidence of this vote's slot has been reported."""
        return (vote.kind, vote.round, vote.validator) in self._evidence

    # ---------------------------------------------------------------------------- far rounds

    def is_far(self, round_: Round, *, current: Round) -> bool:
        """Whether a round lies beyond the window, so that its votes are parked."""
        return round_ > current + ROUNDS_AHEAD_MAX

    def would_park(self, vote: Vote) -> bool:
        """Whether a far vote is news: of a higher round than its sender's, or its other kind."""
        parked = self._parked.get(vote.validator)
        if not parked:
            return True
        held = next(iter(parked.values())).round
        return vote.round > held or (vote.round == held and vote.kind not in parked)

    def park(self, vote: Vote) -> None:
        """Keep a far vote, instead of its sender's lower ones."""
        parked = self._parked.get(vote.validator)
        if parked and next(iter(parked.values())).round == vote.round:
            parked[vote.kind] = vote
        else:
            self._parked[vote.validator] = {vote.kind: vote}

    def take_ready(self, current: Round) -> list[Vote]:
        """Parked votes to count now: of the window, and of the highest round with f+1."""
        if not self._parked:
            return []
        powers: dict[Round, int] = {}
        for sender, parked in self._parked.items():
            round_ = next(iter(parked.values())).round
            powers[round_] = powers.get(round_, 0) + self._powers[sender]
        skips = [round_ for round_, power in powers.items() if is_skip(power, self._total)]
        highest = max(skips, default=None)
        ready: list[Vote] = []
        for sender, parked in list(self._parked.items()):
            round_ = next(iter(parked.values())).round
            if round_ == highest or not self.is_far(round_, current=current):
                ready.extend(parked.values())
                del self._parked[sender]
        return ready

    def forget(self, *, below: Round, pinned: Sequence[Round]) -> None:
        """Drop the rounds below a bound that are not pinned."""
        for round_ in [r for r in self._senders if r < below and r not in pinned]:
            del self._senders[round_]
            self._tallies.pop((round_, VoteKind.PREVOTE), None)
            self._tallies.pop((round_, VoteKind.PRECOMMIT), None)
            self._evidence = {slot for slot in self._evidence if slot[1] != round_}

    def __len__(self) -> int:
        """How many votes are held."""
        tallied = sum(len(tally) for tally in self._tallies.values())
        return tallied + sum(len(parked) for parked in self._parked.values())
