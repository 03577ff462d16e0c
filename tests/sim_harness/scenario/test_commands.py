"""`sim-harness run` and `sim-harness replay`, as people and programs meet them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sim_harness.cli import app
from tests.sim_harness.scenario.worlds import HEAD


@pytest.fixture
def story(tmp_path: Path) -> Path:
    path = tmp_path / "story.toml"
    path.write_text(HEAD + '[[fault]]\nkind = "kill"\nnodes = "nodes[4]"\nat = "5s"\nfor = "3s"\n')
    return path


def test_json_begins_with_the_answer(story: Path) -> None:
    done = CliRunner().invoke(app, ["run", str(story), "--seed", "3", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert list(found)[:5] == ["verdict", "digest", "heights", "violations", "replay"]
    assert found["verdict"] == "pass"
    assert found["replay"] == f"sim-harness run {story} --seed 3"
    again = CliRunner().invoke(app, ["run", str(story), "--seed", "3", "--json"])
    assert again.stdout == done.stdout


def test_people_get_the_verdict_first_and_a_page(story: Path, tmp_path: Path) -> None:
    report = tmp_path / "out" / "report"
    done = CliRunner().invoke(app, ["run", str(story), "--report", str(report)])
    lines = done.stdout.splitlines()
    assert done.exit_code == 0
    assert lines[0].startswith("PASS  small  (5 nodes, ")
    assert lines[1] == f"replay: sim-harness run {story} --seed 1"
    assert lines[-1] == f"report: {report / 'report.html'}"
    assert json.loads((report / "report.json").read_text())["verdict"] == "pass"
    assert (report / "report.html").read_text().startswith("<!doctype html>")


def test_a_failure_is_exit_code_1(story: Path) -> None:
    story.write_text(story.read_text() + "[expect]\nheights = 500\n")
    done = CliRunner().invoke(app, ["run", str(story)])
    assert done.exit_code == 1
    assert done.stdout.startswith("FAIL  small")
    assert "(wanted: at least 500)" in done.stdout


@pytest.mark.parametrize("command", ["run", "replay"])
def test_a_mistake_is_one_sentence_and_exit_code_2(story: Path, command: str) -> None:
    story.write_text(HEAD + '[[fault]]\nkind = "kil"\n')
    done = CliRunner().invoke(app, [command, str(story)])
    assert done.exit_code == 2
    line = HEAD.count("\n") + 2
    why = f"{story}:{line}: unknown kind of fault 'kil'; did you mean 'kill'?"
    assert done.stderr == f"sim-harness: {why}\n"


def test_a_report_that_cannot_be_written_is_a_sentence(story: Path) -> None:
    done = CliRunner().invoke(app, ["run", str(story), "--report", str(story)])
    assert done.exit_code == 1
    assert done.stderr.startswith("sim-harness: cannot write the report: ")


def test_a_replay_tells_what_a_node_saw(story: Path) -> None:
    done = CliRunner().invoke(
        app, ["replay", str(story), "--from", "5s", "--until", "8.5s", "--node", "1"]
    )
    assert done.exit_code == 0, done.output
    assert "n01 h=" in done.stdout
    assert "lost n04: reset" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("t=8.500s digest ")


def test_a_bad_moment_is_bad_usage(story: Path) -> None:
    done = CliRunner().invoke(app, ["replay", str(story), "--until", "soon"])
    assert done.exit_code == 2
    assert "such as '20s'" in done.output
