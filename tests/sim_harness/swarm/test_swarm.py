"""Swarms: outcomes, sights, failures that do not end them, and the command."""

import json
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from p2p.protocol.replica import Replica
from sim_harness.canaries import CANARIES
from sim_harness.cli import app
from sim_harness.exploring import About, CanaryName
from sim_harness.swarm import swarm as swarms
from sim_harness.swarm.failure import Failure, kind_of
from sim_harness.swarm.origin import ABOUT
from sim_harness.swarm.pool import run_all
from sim_harness.swarm.sights import OF_CONSENSUS, SIGHTS
from sim_harness.swarm.swarm import Plan, run_swarm, summed_up
from sim_harness.swarm.trial import Outcome, try_seed

QUICK = 102
"""A seed of a small network."""


def outcome(seed: int, *, failure: Failure | None = None, sights: tuple[str, ...] = ()) -> Outcome:
    return Outcome(
        seed=seed,
        failure=failure,
        digest=f"d{seed}",
        events=10,
        end_ms=1_000,
        nodes=4,
        faults=1,
        adversaries=0,
        sights=sights,
        replay=f"sim-harness run {seed}",
        cpu_s=0.5,
    )


def test_a_seed_gives_one_outcome_in_any_process() -> None:
    here = try_seed(QUICK, None, None)
    (there,) = [found for _, found in run_all(quick_seed, [QUICK], jobs=2)]
    assert msgspec.structs.replace(there, cpu_s=here.cpu_s) == here
    assert here.failure is None


def quick_seed(seed: int) -> Outcome:
    return try_seed(seed, None, None)


def test_answers_of_many_processes_are_complete() -> None:
    assert sorted(run_all(str, range(20), jobs=2)) == [(one, str(one)) for one in range(20)]


def test_what_happened_in_no_seed_is_said() -> None:
    some = list(SIGHTS)[:2]
    found = summed_up(Plan(), [outcome(2, sights=(some[0],)), outcome(1, sights=(some[1],))], 60.0)
    assert found.never == tuple(text for text in SIGHTS if text not in some)
    assert [(one.text, one.seeds, one.first) for one in found.sights[:2]] == [
        (some[0], 1, 2),
        (some[1], 1, 1),
    ]
    assert (found.verdict, found.seeds, found.seeds_per_minute) == ("pass", 2, 2.0)


def test_equal_swarms_have_equal_digests_in_whatever_order_they_ended() -> None:
    one, two = outcome(1), outcome(2)
    assert summed_up(Plan(), [one, two], 1).digest == summed_up(Plan(), [two, one], 2).digest


def test_a_swarm_stops_at_its_first_failure_if_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(seed: int, **_: str | None) -> Outcome:
        return outcome(seed, failure=Failure("agreement", "two blocks", 7) if seed > 3 else None)

    monkeypatch.setattr(swarms, "try_seed", fails)
    heard: list[int] = []
    found = run_swarm(Plan(seeds=9, stop_at_first=True), lambda one: heard.append(one.seed))
    assert heard == [1, 2, 3, 4]
    assert (found.verdict, [one.seed for one in found.failed]) == ("fail", [4])
    assert len(run_swarm(Plan(seeds=9)).failed) == 6


def test_an_exception_within_a_run_is_a_finding(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def breaks(self: Replica, item: object, now_ms: int) -> list[object]:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(Replica, "step", breaks)
    found = try_seed(QUICK, None, str(tmp_path))
    assert found.failure is not None
    assert found.failure.kind.startswith("raised ZeroDivisionError in ")
    assert "of all things" in found.failure.detail
    assert (tmp_path / f"seed-{QUICK}" / "scenario.toml").read_text().startswith("name = ")


@pytest.mark.parametrize(
    ("name", "detail", "kind"),
    [
        ("agreement", "node 3 at height 4", "agreement"),
        ("I1 at 7", "10 owned", "I1"),
        ("a1b2c3d4 signed two prevotes at 3/1", "", "no equivocation"),
    ],
)
def test_failures_alike_have_one_name(name: str, detail: str, kind: str) -> None:
    assert kind_of(name, detail) == kind


def test_the_command_answers_in_json() -> None:
    done = CliRunner().invoke(app, ["swarm", "--seeds", "1", "--first", str(QUICK), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["verdict"], found["seeds"], found["failed"]) == ("pass", 1, [])
    assert done.stderr == "1 of 1 seeds, 0 failed\n"


def test_the_command_says_how_to_repeat_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(seed: int, **_: str | None) -> Outcome:
        return outcome(seed, failure=Failure("agreement", "two blocks", 7))

    monkeypatch.setattr(swarms, "try_seed", fails)
    done = CliRunner().invoke(app, ["swarm", "--seeds", "1", "--first", "9"])
    assert done.exit_code == 1
    assert "FAIL seed 9: agreement at 0.007s: two blocks\n" in done.stdout
    assert "     replay: sim-harness run 9\n" in done.stdout
    assert "     shrink: sim-harness shrink 9\n" in done.stdout
    assert f"never: {next(iter(SIGHTS))}: not tested\n" in done.stdout


def test_a_swarm_about_consensus_names_its_seeds_and_asks_for_its_sights_alone() -> None:
    words = ["swarm", "--about", "consensus", "--seeds", "1", "--first", "2", "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["verdict"], found["about"]) == ("pass", "consensus")
    asked = {sight["text"] for sight in found["sights"]}
    assert asked >= set(OF_CONSENSUS) | {"fault partition", "adversary amnesiac"}
    assert "a file found all its replicas" not in asked
    assert try_seed(2, None, None, "consensus").replay == "sim-harness run consensus-2"


def test_every_canary_has_a_name() -> None:
    assert [name.value for name in CanaryName] == list(CANARIES)


def test_every_subject_has_a_name() -> None:
    assert tuple(name.value for name in About) == ABOUT
