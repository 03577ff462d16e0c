"""Liars with a vote: equivocator, twin, amnesiac, withholder, and proposals out of turn."""

import pytest

from p2p.primitives.units import AccountId, Height
from p2p.protocol.accountability.analysis import analyze
from p2p.protocol.interface import RoundStarted, StakeSlashed
from p2p.storage.proofs import stored_proof
from sim_harness.adversaries.equivocator import Equivocator
from sim_harness.virtual.checkers import agreement, stored_chain, stored_state
from sim_harness.virtual.conditions import height_max, height_min
from sim_harness.virtual.spans import seconds
from sim_harness.virtual.world import BOND, SafetyViolated
from tests.sim_harness.adversaries.stage import Stage

OUT_OF_TURN: dict[str, object] = {"what": ["proposals"]}


@pytest.mark.parametrize("kind", ["equivocator", "twin"])
def test_every_honest_validator_finds_those_who_say_two_things(kind: str) -> None:
    stage = Stage(kind, 2)
    stage.run(seconds(12))
    stage.check()
    liars = {liar.account for liar in stage.liars}
    assert stage.accused() == liars
    assert {lie[:8] for lie in stage.world.book.lies} == {liar.hex()[:8] for liar in liars}
    assert not stage.world.book.conflicts


@pytest.mark.parametrize("kind", ["equivocator", "twin"])
def test_who_says_two_things_is_slashed_and_jailed_and_nobody_else(kind: str) -> None:
    stage = Stage(kind, 2)
    stage.run(seconds(12))
    stage.check()
    liars = {liar.account for liar in stage.liars}
    for node in stage.honest:
        state = stored_state(node)
        assert state is not None
        jailed = {key for key, account in state.accounts.items() if account.jailed_until}
        slashed = {key for key, account in state.accounts.items() if 0 < account.bonded < BOND}
        assert jailed == slashed == liars
        assert not liars & set(state.validators.powers())
        assert state.supply < sum(one.balance + one.bonded for one in stage.world.genesis.accounts)
    rows = {event.row for _, event in stage.honest[0].events if isinstance(event, StakeSlashed)}
    assert {row.offender for row in rows} == liars
    assert all(row.rewarded * 20 <= row.slashed == row.rewarded + row.burned for row in rows)


@pytest.mark.parametrize("seed", [4, 7])
def test_a_lock_that_equivocators_hide_spreads_and_heights_go_on(seed: int) -> None:
    """Whoever counted an equivocator's other vote still learns of a quorum, from a neighbour."""
    stage = Stage("equivocator", 2, seed=seed, nodes=7, is_worldwide=True)
    stage.run(seconds(60))
    stage.check()
    assert height_min(stage.honest) >= 11


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_proposals_out_of_turn_make_no_honest_node_punish_another(seed: int) -> None:
    stage = Stage("flooder", 1, seed=seed, nodes=7, options=OUT_OF_TURN)
    stage.run(seconds(20))
    stage.check()
    assert stage.deeds() > 50
    assert {is_honest for is_honest, _ in stage.penalties()} == {False}


@pytest.mark.parametrize("liars", [2, 3])
def test_beyond_a_third_equivocators_fork_the_chain_and_the_checker_sees_it(liars: int) -> None:
    """Given 4 or 7 validators, the honest cut in two; then each half decides with the liars."""
    size = {2: 4, 3: 7}[liars]
    stage = Stage("equivocator", liars, nodes=size, validators=size, options={"nils": False})
    world, honest = stage.world, stage.honest
    judge = stage.liars[0]
    sides = [[node for node in honest if judge.side(node.key.peer) == side] for side in (0, 1)]
    world.start()
    world.run_for(seconds(1))
    with pytest.raises(SafetyViolated, match="agreement"), world.partition(*sides):
        world.run_for(seconds(60))
    forked = [one for one in world.violations if one.startswith("agreement")]
    assert forked, "seen at the moment of the second commit"
    assert list(agreement(world)), "and on the disks"
    assert stage.accused() <= {liar.account for liar in stage.liars}
    named = guilty_of(stage)
    assert named == {liar.account for liar in stage.liars}


def guilty_of(stage: Stage) -> set[AccountId]:
    """Whom the commits of the first forked height convict: files that anybody can compare."""
    chains = [list(stored_chain(node)) for node in stage.honest]
    height = next(
        Height(level + 1)
        for level in range(max(map(len, chains)))
        if len({chain[level].block.header.digest() for chain in chains if len(chain) > level}) > 1
    )
    proofs = [stored_proof(node.store, height) for node in stage.honest]
    found = analyze([proof for proof in proofs if proof is not None])
    assert found.is_fork
    assert found.names_enough
    return {entry.account for entry in found.guilt}


def test_the_same_liars_without_their_second_words_fork_nothing() -> None:
    options: dict[str, object] = {"proposals": False, "ballots": False}
    stage = Stage("equivocator", 2, nodes=4, validators=4, options=options)
    stage.run(seconds(12))
    stage.check()
    assert all(isinstance(liar, Equivocator) and not liar.pairs for liar in stage.liars)
    assert not stage.world.book.lies


def test_amnesiacs_forget_locks_and_still_nothing_forks() -> None:
    """Given validators who forget, and withheld proposals that make rounds fail."""
    stage = Stage("amnesiac", 2, seed=2)
    stage.run(seconds(12))
    stage.check()
    assert all(liar.deeds["locks forgotten"] for liar in stage.liars)
    assert not stage.accused(), "forgetting breaks no rule that a vote alone could show"


def test_a_withheld_proposal_costs_a_round_and_no_more() -> None:
    stage = Stage("withholder", 2, options={"few": 0})
    stage.run(seconds(30))
    stage.check()
    rounds = [
        event.round
        for node in stage.honest
        for _, event in node.events
        if isinstance(event, RoundStarted)
    ]
    assert rounds
    assert max(rounds) <= 2
    assert height_max(stage.honest) >= 8


def test_a_few_who_hear_of_a_withheld_proposal_tell_the_others() -> None:
    options: dict[str, object] = {"few": 1, "ballots": 1, "blocks": True}
    stage = Stage("withholder", 2, options=options)
    stage.run(seconds(20))
    stage.check()
    assert height_max(stage.honest) >= 8
