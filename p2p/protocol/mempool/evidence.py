"""Evidence that waits: one for each offence, most to be slashed first.

Whoever has a micro-token of stake can lie as often as it likes, and every lie is true evidence. So
a full pool keeps what costs the liars most, and lets what costs them least go.
"""

from typing import Final

import msgspec

from p2p.model.admission import evidence_form_refusal, evidence_refusal
from p2p.model.evidence import Evidence, offence_id, offender, penalty
from p2p.model.ledger import Rules, State
from p2p.model.rejection import Reason, Rejected
from p2p.primitives.units import AccountId, Digest
from p2p.protocol.mempool.interface import Accepted, Ignored, MempoolLimits, Verdict

EPOCHS_AHEAD: Final = 2
"""An offence of the height that is open, or of the next one, waits for its block."""
AHEAD_MS: Final = 60_000
"""Ads are newer than the last block; as far as a registry takes any."""


class _Pending(msgspec.Struct, frozen=True):
    evidence: Evidence
    name: Digest
    due: int
    """Stake times rate: what it comes to, in micro-tokens times 10,000."""


class EvidencePool:
    """The pool of evidence, judged against the last committed state."""

    def __init__(self, rules: Rules, state: State, limits: MempoolLimits) -> None:
        self._rules = rules
        self._limits = limits
        self._waiting: dict[Digest, _Pending] = {}
        self._look_at(state)

    def _look_at(self, state: State) -> None:
        self._state = state
        self._punished = frozenset(entry.offence for entry in state.punished)
        queued: dict[AccountId, int] = {}
        for entry in state.unbonding:
            queued[entry.account] = queued.get(entry.account, 0) + entry.amount
        self._queued = queued

    def _stake(self, account: AccountId) -> int:
        owner = self._state.accounts.get(account)
        return (0 if owner is None else owner.bonded) + self._queued.get(account, 0)

    def refusal(self, evidence: Evidence) -> Ignored | Rejected | None:
        """Why it cannot wait here, whatever its signatures; `Rejected` in every state."""
        wrong = evidence_form_refusal(evidence, self._rules)
        if wrong is not None:
            return wrong
        if offence_id(evidence.offence) in self._waiting:
            return Ignored(Reason.OUTDATED)
        refused = self._refusal_at(evidence, ahead=True)
        return None if refused is None else Ignored(refused.reason, refused.detail)

    def _refusal_at(self, evidence: Evidence, *, ahead: bool) -> Rejected | None:
        """Why the next block cannot punish for it; `ahead` lets pass what a later one could."""
        refused = evidence_refusal(
            evidence,
            self._rules,
            height=self._state.height + 1,
            time_ms=self._state.time_ms,
            punished=self._punished,
            stake=self._stake(offender(evidence.offence)),
        )
        if not ahead or refused is None or refused.reason is not Reason.FROM_THE_FUTURE:
            return refused
        return evidence_refusal(
            evidence,
            self._rules,
            height=self._state.height + EPOCHS_AHEAD,
            time_ms=self._state.time_ms + AHEAD_MS,
            punished=self._punished,
            stake=self._stake(offender(evidence.offence)),
        )

    def admit(self, evidence: Evidence) -> Verdict:
        """Let it wait, and let what costs least go when there are too many."""
        refused = self.refusal(evidence)
        if refused is not None:
            return refused
        rate = penalty(evidence.offence, self._rules.parameters).slash_rate
        due = self._stake(offender(evidence.offence)) * rate
        newcomer = _Pending(evidence, offence_id(evidence.offence), due)
        self._waiting[newcomer.name] = newcomer
        if len(self._waiting) > self._limits.evidence_max:
            least = self._ordered()[-1]
            del self._waiting[least.name]
            if least is newcomer:
                return Ignored(Reason.TOO_MANY, "it costs too little for a full mempool")
        return Accepted()

    def _ordered(self) -> list[_Pending]:
        return sorted(self._waiting.values(), key=lambda pending: (-pending.due, pending.name))

    def follow(self, state: State) -> None:
        """Drop what was punished, is too old, or has nothing left to lose."""
        self._look_at(state)
        for pending in list(self._waiting.values()):
            if self._refusal_at(pending.evidence, ahead=True) is not None:
                del self._waiting[pending.name]

    def candidates(self) -> tuple[Evidence, ...]:
        """What the next block may punish for, most first."""
        return tuple(one for one in self.all() if self._refusal_at(one, ahead=False) is None)

    def all(self) -> tuple[Evidence, ...]:
        """All that waits, most to be slashed first."""
        return tuple(pending.evidence for pending in self._ordered())
