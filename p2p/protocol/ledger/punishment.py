"""Punishment: evidence becomes a slash, a bounty, and a place in jail.

Of the offender's whole stake, bonded and on its way back alike, a share by kind is taken. At most
`reporter_rate` of that goes to who found it, the rest burns: an owner that reports itself, or a
friend, loses all but that. Validators that voted against themselves have no power from two heights
later, until they ask for it after `jail_epochs`.

Each offence (`offence_id`) is punished once: the state remembers it for as long as evidence of it
would be taken.
"""

from collections.abc import Sequence

from p2p.model.admission import evidence_form_refusal, evidence_refusal
from p2p.model.evidence import (
    Evidence,
    Punished,
    SlashRow,
    offence_height,
    offence_id,
    offence_kind,
    offence_ms,
    offender,
    penalty,
)
from p2p.model.rejection import Rejected
from p2p.primitives.units import BASIS_POINTS, Amount, Height, Millis, div_floor
from p2p.protocol.ledger.draft import Draft


def punish_all(draft: Draft, evidence: Sequence[Evidence]) -> tuple[SlashRow, ...] | Rejected:
    """Punish for all of it in order; the reason when the ledger refuses any."""
    rows: list[SlashRow] = []
    for found in evidence:
        row = punish(draft, found)
        if isinstance(row, Rejected):
            return row
        rows.append(row)
    return tuple(rows)


def punish(draft: Draft, evidence: Evidence) -> SlashRow | Rejected:
    """Carry out the punishment; the reason when the ledger refuses the evidence."""
    offence, rules = evidence.offence, draft.rules
    who = offender(offence)
    refusal = evidence_form_refusal(evidence, rules) or evidence_refusal(
        evidence,
        rules,
        height=draft.height,
        time_ms=draft.before.time_ms,
        punished=draft.punished,
        stake=draft.stake(who),
    )
    if refusal is not None:
        return refusal
    cost = penalty(offence, rules.parameters)
    slashed = draft.slash(who, cost.slash_rate)
    rewarded = div_floor(slashed * rules.parameters.reporter_rate, BASIS_POINTS)
    draft.credit(evidence.reporter, rewarded)
    draft.burned += slashed - rewarded
    jailed_until = Height(0)
    if cost.jails:
        jailed_until = Height(draft.height + rules.parameters.jail_epochs)
        draft.jail(who, jailed_until)
    draft.remember(_memory(draft, evidence))
    return SlashRow(
        height=draft.height,
        kind=offence_kind(offence),
        offender=who,
        offence=offence_id(offence),
        slashed=Amount(slashed),
        rewarded=Amount(rewarded),
        burned=Amount(slashed - rewarded),
        reporter=evidence.reporter,
        jailed_until=jailed_until,
    )


def _memory(draft: Draft, evidence: Evidence) -> Punished:
    """The offence, until these statements are too old to prove it."""
    offence, parameters = evidence.offence, draft.rules.parameters
    height, moment = offence_height(offence), offence_ms(offence)
    until_height = height + parameters.evidence_age_epochs if height is not None else 0
    until_ms = moment + parameters.evidence_age_ms if moment is not None else 0
    return Punished(offence_id(offence), Height(until_height), Millis(until_ms))
