"""The examples of docs/virtual-world.md do what they say."""

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str) -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="example")


def test_a_latency_model_of_ones_own_slows_rounds_down() -> None:
    run = example("latency")["run"]
    assert run(1, 0) + 5_000 < run(1, 7) < 60_000


def test_a_checker_of_ones_own_finds_what_it_is_for() -> None:
    run = example("checker")["run"]
    assert run(1, crash=False) == []
    assert run(1, crash=True)[0] == "node 0: [0, 2, 2, 4] blocks by proposer"


def test_a_machine_of_ones_own_runs_on_every_node() -> None:
    run = example("machine")["run"]
    assert run(1, offers=True) < run(1, offers=False)


@pytest.mark.parametrize("name", ["latency", "checker", "machine"])
def test_it_says_what_it_found(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = example(name)
    found["main"].__globals__["run"] = lambda *numbers, **words: 7
    found["main"]()
    assert "7" in capsys.readouterr().out


@pytest.mark.live
def test_a_cluster_of_processes_loses_a_worker_and_no_run() -> None:
    command = [sys.executable, str(EXAMPLES / "dask_sweep.py")]
    words = ["--runs", "3", "--nodes", "20", "--json"]
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["runs"], told["passed"], told["processes_left"]) == (3, 3, 0)
    assert told["run_again_by"] != told["killed"]
    assert told["digest"] == told["digest_here"] != ""


# ---- the soak, without its processes -----------------------------------------------------------


def lives(soak: dict[str, Any], **gained: float) -> list[Any]:
    """A minute of one process whose chain grows by a block every two seconds."""
    rest = {"memory": 50 * 2**20, "descriptors": 40, "tasks": 60, "disk": 2**20}
    return [
        soak["Sample"](
            at_s=2.0 * tick,
            process=1,
            height=tick,
            **{name: int(rest[name] + gained.get(name, 0) * tick) for name in rest},
        )
        for tick in range(30)
    ]


def test_a_soak_lets_the_chain_grow_and_nothing_else() -> None:
    soak = example("soak")
    (calm,) = soak["judged"]({0: lives(soak, disk=40_000, memory=10_000)}, 60.0)
    assert (calm.too_much, calm.lived_s) == ((), 58.0)
    assert calm.gained["disk"] > 500_000
    for name, leak in (("memory", 2**20), ("descriptors", 2), ("tasks", 4), ("disk", 2**20)):
        (found,) = soak["judged"]({0: lives(soak, **{name: leak})}, 60.0)
        assert found.too_much == (name,)


def test_a_process_that_hardly_lived_is_not_judged() -> None:
    soak = example("soak")
    assert soak["judged"]({0: lives(soak)[:5], 1: []}, 60.0) == []
