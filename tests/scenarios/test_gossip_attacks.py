"""Each attack of `benchmarks.attacks`, small: the honest hear each other, the attackers are out."""

import pytest

from benchmarks.attacks import ATTACKS, run

HONEST = 6
ATTACKERS = 3


@pytest.mark.parametrize("name", ATTACKS)
def test_gossip_survives_an_attack_and_shows_the_attackers_out(name: str) -> None:
    row = run(name, scoring=True, honest=HONEST, attackers=ATTACKERS)
    assert row.deeds
    assert row.taken > 0  # it was an attack
    assert row.judged > 0
    assert row.delivered >= 0.99
    assert row.caught == 1.0
    assert (row.harmed, row.banned_honest) == (0, 0)


def test_without_scoring_nobody_is_shown_out() -> None:
    row = run("ihave_spam", scoring=False, honest=HONEST, attackers=ATTACKERS)
    assert (row.caught, row.judged) == (0.0, HONEST * ATTACKERS)
