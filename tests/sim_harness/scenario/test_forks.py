"""A fork that is expected: it must happen, name enough of the guilty, and nobody else."""

from pathlib import Path

import pytest

from sim_harness.live.commands import run_file_live
from sim_harness.scenario.forks import check_fork, forked_height
from sim_harness.scenario.reading import parse_scenario, read_scenario
from sim_harness.scenario.run import Run
from sim_harness.scenario.sections import ScenarioError
from tests.sim_harness.scenario.worlds import HEAD

FORKED = Path(__file__).parents[2] / "scenarios" / "consensus" / "forked.toml"


@pytest.fixture(scope="module")
def forked() -> Run:
    run = Run(read_scenario(FORKED), 1)
    run.finish()
    return run


def test_an_expected_fork_is_no_violation_and_names_the_liars(forked: Run) -> None:
    result = forked.result()
    assert (result.verdict, result.violations) == ("pass", ())
    liars = ", ".join(str(liar.node.index) for liar in forked.adversaries)
    told = {check.name: check.measured for check in result.checks}
    assert told["forked"] == f"at height {forked_height(forked.world)}; named: nodes {liars}"
    assert "agreement" not in told
    assert {"no equivocation", "validity", "supply", "no false punishment"} <= set(told)


def test_naming_an_honest_node_breaks_the_promise(forked: Run) -> None:
    liar = forked.adversaries[0].node
    account = liar.key.account
    world = forked.world
    kind = world.liars.pop(account)
    try:
        check = check_fork(world)
    finally:
        world.liars[account] = kind
    assert not check.holds
    assert check.measured.endswith(f"of whom {liar.index} are honest")


def test_the_same_without_that_expectation_is_a_violation() -> None:
    text = FORKED.read_text(encoding="utf-8").replace("forked = true", "")
    run = Run(parse_scenario(text, FORKED), 1)
    run.finish()
    assert [one.name for one in run.violations] == ["agreement"]
    assert run.result().verdict == "fail"


def test_where_nothing_forks_the_promise_is_broken() -> None:
    run = Run(parse_scenario(HEAD + "[expect]\nforked = true", Path("calm.toml")), 1)
    run.finish()
    result = run.result()
    assert result.verdict == "fail"
    assert [check.measured for check in result.checks if not check.holds] == ["one block a height"]


def test_the_live_world_does_not_take_it() -> None:
    with pytest.raises(ScenarioError, match="leave out --world live"):
        run_file_live(FORKED, None)
