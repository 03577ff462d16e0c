"""Replays of accountability: from two certificates to the names of who is to blame."""

from typing import Any

from p2p.model.vote import VoteKind
from p2p.primitives.units import AccountId, Height, Round
from p2p.protocol.accountability.blame import Claim, amnesiacs, double_prevoters
from tests.conformance import words

Trace = dict[str, Any]
KINDS = {"polka": VoteKind.PREVOTE, "commit": VoteKind.PRECOMMIT}


def replay_accountability(trace: Trace) -> None:
    """Certificate pair by pair: who voted twice, and who forgot a lock."""
    for event in trace["events"]:
        validators = words.validator_set(event["weights"])
        claims = claim(event["cert1"]), claim(event["cert2"])
        double: tuple[AccountId, ...] = ()
        amnesiac: tuple[AccountId, ...] = ()
        if claims[0] is not None and claims[1] is not None:
            double = double_prevoters(claims[0], claims[1], validators)
            amnesiac = amnesiacs(claims[0], claims[1], validators)
        for got, expected in ((double, "double_prevote"), (amnesiac, "amnesia")):
            names = sorted(words.name_of(account) for account in got)
            assert names == sorted(event[expected]), f"{expected}: {names}, not {event[expected]}"


def claim(certificate: Trace) -> Claim | None:
    """What the votes of a certificate say together; None where they say different things."""
    said = {
        (vote["height"], vote["round"], vote["value"], vote["valid_round"])
        for vote in certificate["votes"]
    }
    if len(said) != 1:
        return None
    height, round_, text, valid_round = said.pop()
    return Claim(
        KINDS[certificate["kind"]],
        Height(height),
        Round(round_),
        words.value(text),
        tuple(words.account(vote["src"]) for vote in certificate["votes"]),
        Round(valid_round),
    )
