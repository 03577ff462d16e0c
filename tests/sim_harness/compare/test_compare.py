"""A comparison claims a difference only where the values show one."""

from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from sim_harness.cli import app
from sim_harness.compare.sources import Key, Source, SourceError, read_source
from sim_harness.compare.statistics import median_interval, percentile, summarize
from sim_harness.compare.verdict import compare
from sim_harness.scenario.commands import write_report
from sim_harness.scenario.reading import parse_scenario
from sim_harness.scenario.run import run_scenario
from sim_harness.sweep.directory import PLAN, ROWS, Plan
from sim_harness.sweep.row import Row

STORY = """
name = "tiny"
duration = "4s"
[network]
nodes = 4
latency = "{latency}"
[parameters]
epoch_ms = 500
[expect]
recovers_within = "20s"
"""


@given(st.lists(st.floats(0, 1e6), min_size=3, max_size=40))
def test_the_interval_of_a_median_lies_within_the_values(values: list[float]) -> None:
    interval = median_interval(values)
    assert interval is not None
    assert min(values) <= interval.low <= interval.high <= max(values)


def test_percentiles_are_by_rank_and_nothing_is_claimed_of_two_values() -> None:
    assert percentile(list(range(1, 101)), 95) == 95
    assert summarize([1.0, 2.0]).interval is None
    assert summarize([]).count == 0


def test_intervals_hold_the_true_median_about_as_often_as_they_say() -> None:
    held, draws = 0, Random(5)
    for _ in range(100):
        values = [draws.gauss(10, 2) for _ in range(20)]
        interval = median_interval(values)
        assert interval is not None
        held += interval.low <= 10 <= interval.high
    assert 88 <= held <= 100


def source(name: str, middle: float, *, failed: int = 0, seed: int = 1) -> Source:
    draws = Random(seed)
    values = [draws.gauss(middle, 5) for _ in range(40)]
    return Source(name, 1, failed, {"first commit": values})


def test_a_clear_rise_is_worse_a_clear_fall_is_better_and_noise_is_neither() -> None:
    base = source("a", 100)
    assert compare(base, source("b", 130, seed=2)).verdict == "worse: first commit rose"
    assert compare(base, source("b", 80, seed=2)).verdict == "better: first commit fell"
    assert compare(base, source("b", 100, seed=2)).verdict == "no difference shown"
    assert compare(base, source("b", 80, failed=1)).verdict.startswith("worse: 1 of 1")


def test_equal_seeds_are_paired_so_that_a_small_change_shows_in_noise() -> None:
    draws = Random(3)
    noise = [draws.uniform(50, 500) for _ in range(12)]
    key = [Key("virtual", "", seed) for seed in range(12)]
    one = Source("a", 12, 0, {"ad latency": noise}, {"ad latency": dict(zip(key, noise))})  # noqa: B905
    slower = [value * 1.1 for value in noise]
    other = Source("b", 12, 0, {"ad latency": slower}, {"ad latency": dict(zip(key, slower))})  # noqa: B905
    line = compare(one, other).lines[0]
    assert (line.pairs, line.word) == (12, "higher")
    alone = compare(Source("a", 12, 0, one.samples), Source("b", 12, 0, other.samples))
    assert alone.lines[0].word == "unclear"


def test_two_runs_are_compared_and_the_slower_one_is_named(tmp_path: Path) -> None:
    for name, latency in (("fast", "5ms"), ("slow", "60ms")):
        scenario = parse_scenario(STORY.format(latency=latency), tmp_path / "tiny.toml")
        write_report(run_scenario(scenario, 1), tmp_path / name)
    page = tmp_path / "page.html"
    words = ["compare", str(tmp_path / "fast"), str(tmp_path / "slow"), "--report", str(page)]
    found = CliRunner().invoke(app, [*words, "--json"])
    assert found.exit_code == 0, found.output
    told = msgspec.json.decode(found.output)
    words_of = {line["measure"]: line["word"] for line in told["lines"]}
    assert words_of["first commit"] == words_of["last commit"] == "higher"
    assert told["notes"] == []
    assert page.read_text().count("<svg") == len(told["lines"]) + 1
    shown = CliRunner().invoke(app, words)
    assert f"B against A: {told['verdict']}" in shown.output


def test_runs_of_different_scenarios_are_compared_with_a_word_of_warning() -> None:
    one, other = source("a", 100), source("b", 130)
    one.title, other.title = "churn", "happy"
    assert compare(one, other).notes == (
        "A ran churn, and B happy: what differs may be the scenario",
    )


def test_what_cannot_be_compared_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no report"):
        read_source(tmp_path)
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(SourceError, match="no report of a run"):
        read_source(tmp_path)
    found = CliRunner().invoke(app, ["compare", str(tmp_path), str(tmp_path)])
    assert found.exit_code == 2


def sweep_of(
    directory: Path,
    commit: str,
    *,
    nodes: tuple[int, ...],
    slower: float = 1.0,
    scenario: str = "s",
) -> Path:
    """A sweep's directory: four seeds for each number of nodes."""
    rows = [
        Row(
            f"{count}-{seed}",
            {"network.nodes": count},
            seed,
            "virtual",
            "pass",
            commit,
            {"commit_p50": (10.0 * count + seed) * slower},
        )
        for count in nodes
        for seed in range(4)
    ]
    directory.mkdir()
    (directory / ROWS).write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    plan = Plan("x.toml", "", scenario, "virtual", commit)
    (directory / PLAN).write_bytes(msgspec.json.encode(plan))
    return directory


def test_sweeps_of_two_commits_are_paired_by_settings_and_seed(tmp_path: Path) -> None:
    before = sweep_of(tmp_path / "before", "aaa", nodes=(4, 8))
    after = sweep_of(tmp_path / "after", "bbb", nodes=(4, 8), slower=1.2)
    page = tmp_path / "page.html"
    words = ["compare", str(before), str(after), "--report", str(page), "--json"]
    found = CliRunner().invoke(app, words)
    assert found.exit_code == 0, found.output
    told = msgspec.json.decode(found.output)
    assert told["verdict"] == "worse: commit latency rose"
    assert (told["first_commit"], told["second_commit"], told["notes"]) == ("aaa", "bbb", [])
    (line,) = told["lines"]
    assert (line["pairs"], line["word"]) == (8, "higher")
    assert line["ratio"] == pytest.approx(1.2)
    assert [(one["settings"], one["pairs"]) for one in told["parts"]] == [
        ("network.nodes 4", 4),
        ("network.nodes 8", 4),
    ]
    assert "at aaa" in page.read_text()


def test_only_runs_that_both_made_count_and_that_is_said(tmp_path: Path) -> None:
    """Given one side that ran larger networks, too; then these do not make it slower."""
    one = read_source(sweep_of(tmp_path / "a", "aaa", nodes=(4,)))
    other = read_source(sweep_of(tmp_path / "b", "bbb", nodes=(4, 8, 16), scenario="changed"))
    found = compare(one, other)
    (line,) = found.lines
    assert (line.second.p50, line.ratio, line.word) == (line.first.p50, 1.0, "the same")
    assert found.verdict == "no difference shown"
    assert "different scenarios" in found.notes[0]
    assert found.notes[1].startswith("4 runs have equal settings and seeds, of 4 of A and 12 of B")


def test_a_sweeps_rows_are_read_as_runs(tmp_path: Path) -> None:
    rows = [
        Row(f"{seed}", {"n": 4}, seed, "virtual", "pass", "c", {"commit_p50": 10.0 + seed})
        for seed in range(4)
    ]
    (tmp_path / ROWS).write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    found = read_source(tmp_path)
    assert found.samples["commit latency"] == [10, 11, 12, 13]
    assert compare(found, found).lines[0].pairs == 4
