"""A sweep runs every cell once, takes up where it stopped, and is the same on a cluster."""

from collections.abc import Generator, Sequence
from pathlib import Path

import msgspec
import polars
import pytest
from typer.testing import CliRunner

from sim_harness.cli import app
from sim_harness.scenario.sections import ScenarioError
from sim_harness.sweep.directory import ROWS, Plan, SweepError, opened, plan_of, read_rows
from sim_harness.sweep.effects import effects
from sim_harness.sweep.grid import Axis, Job, jobs_of, parse_axes, parse_axis, with_settings
from sim_harness.sweep.page import page
from sim_harness.sweep.row import Row
from sim_harness.sweep.runner import on_this_machine, run_sweep
from sim_harness.sweep.work import failed_row, run_job

STORY = """
name = "tiny"
duration = "3s"

[network]
nodes = 4
validators = 4
latency = "5ms"

[parameters]
epoch_ms = 500

[[fault]]
kind = "delay"
add = "5ms"
nodes = "all"
at = "1s"
for = "1s"

[expect]
recovers_within = "20s"
"""


@pytest.fixture
def story(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(STORY)
    return path


def test_faults_of_the_kernel_are_runs_of_their_own(tmp_path: Path) -> None:
    story = tmp_path / "tiny.toml"
    story.write_text(STORY)
    one, other = (
        jobs_of(story, [], repeat=1, seed=1, world="live", kernel=kernel)[0]
        for kernel in (False, True)
    )
    assert one.name != other.name
    for words, why in (
        (["--faults", "kernel"], "--world live"),
        (["--faults", "dice", "--world", "live"], "transport or kernel, not 'dice'"),
    ):
        found = CliRunner().invoke(app, ["sweep", str(story), *words])
        assert (found.exit_code, why in found.output) == (2, True), found.output


def test_values_are_tomls_and_what_is_none_is_a_text() -> None:
    assert parse_axis("network.nodes=50, 100") == Axis("network.nodes", (50, 100))
    assert parse_axis("network.latency=20ms") == Axis("network.latency", ("20ms",))
    with pytest.raises(ValueError, match="KEY=VALUE"):
        parse_axis("nodes")


def test_settings_reach_tables_and_tables_of_arrays() -> None:
    text = with_settings(STORY, [("network.nodes", 5), ("fault.0.add", "9ms"), ("load.x", 1)])
    assert "nodes = 5" in text
    assert 'add = "9ms"' in text
    with pytest.raises(ScenarioError, match="fault"):
        with_settings(STORY, [("fault.3.add", 1)])


def test_a_combination_that_makes_no_sense_is_refused_before_anything_runs(story: Path) -> None:
    with pytest.raises(ScenarioError, match="validators"):
        jobs_of(story, [Axis("network.nodes", (4, 2))], repeat=1, seed=1, world="virtual")


class Counting:
    """Runs in this process, and counts; ends after so many, as a sweep that is killed."""

    def __init__(self, count: int) -> None:
        self.left = count

    def __call__(self, jobs: Sequence[Job]) -> Generator[Row, None, None]:
        for job in jobs:
            if not self.left:
                return
            self.left -= 1
            yield run_job(job)


def test_a_sweep_goes_on_where_it_stopped_and_its_table_has_every_run(
    story: Path, tmp_path: Path
) -> None:
    jobs = jobs_of(story, [Axis("network.nodes", (4, 5))], repeat=2, seed=7, world="virtual")
    assert len({job.name for job in jobs}) == 4
    directory = tmp_path / "out"
    plan = plan_of(story, "virtual", "c")
    run_sweep(jobs, directory, Counting(1), plan=plan)
    with (directory / ROWS).open("ab") as file:
        file.write(b'{"job": "cut o')
    rest = Counting(100)
    heard: list[tuple[bool, int, int]] = []
    rows = run_sweep(
        jobs,
        directory,
        rest,
        plan=plan,
        heard=lambda row, done, of: heard.append((row is None, done, of)),
    )
    assert heard == [(True, 1, 4), (False, 2, 4), (False, 3, 4), (False, 4, 4)]
    assert rest.left == 97
    assert [(row.settings["network.nodes"], row.seed) for row in rows] == [
        (4, 7),
        (4, 8),
        (5, 7),
        (5, 8),
    ]
    assert {row.verdict for row in rows} == {"pass"}
    table = polars.read_parquet(directory / "results.parquet")
    assert table["network.nodes"].to_list() == [4, 4, 5, 5]
    assert table["commit_p50"].to_list() == [row.measures["commit_p50"] for row in rows]
    text = page(jobs[0].scenario(), rows, again="sim-harness sweep tiny.toml")
    for words in ("all 4 runs held", "network.nodes 4 → 5", "sim-harness sweep tiny.toml"):
        assert words in text
    assert text.count("<svg") >= 5
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    (directory / ROWS).write_bytes(b"nonsense\n" + (directory / ROWS).read_bytes())
    with pytest.raises(SweepError, match=r"rows.jsonl:1 is no row .* remove the line"):
        read_rows(directory)
    with pytest.raises(SweepError, match=r"rows\.jsonl:1"):
        run_sweep(jobs, directory, rest, plan=plan)


def test_a_key_that_is_said_twice_and_a_value_that_is_are_refused() -> None:
    for texts, why in (
        (["a=1", "a=2"], "said twice"),
        (["a=1,1"], "stands there twice"),
        (["a=[1,2]"], "a list"),
    ):
        with pytest.raises(ValueError, match=why):
            parse_axes(texts)


def test_rows_of_another_scenario_world_or_code_are_not_mixed_with_these(
    story: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "out"
    jobs = jobs_of(story, [], repeat=1, seed=1, world="virtual")
    run_sweep(jobs, directory, Counting(1), plan=plan_of(story, "virtual", "c"))
    before = (directory / ROWS).read_bytes()
    for world, commit, why in (("live", "c", "the virtual world"), ("virtual", "d", "code at c")):
        with pytest.raises(SweepError, match=why):
            run_sweep(jobs, directory, Counting(1), plan=plan_of(story, world, commit))
    story.write_text(STORY.replace('add = "5ms"', 'add = "6ms"'))
    with pytest.raises(SweepError, match=r"tiny.toml as it was before it changed: name another"):
        run_sweep(jobs, directory, Counting(1), plan=plan_of(story, "virtual", "c"))
    assert (directory / ROWS).read_bytes() == before


def test_a_file_that_the_scenario_names_belongs_to_it(story: Path) -> None:
    distances = story.with_name("places.rtt")
    story.write_text(STORY.replace('latency = "5ms"', 'rtt = "places.rtt"'))
    distances.write_text("0 20\n20 0\n")
    before = plan_of(story, "virtual", "c")
    distances.write_text("0 30\n30 0\n")
    after = plan_of(story, "virtual", "c")
    assert before.text == after.text
    assert before.scenario != after.scenario


def test_one_sweep_at_a_time_writes_to_a_directory(story: Path, tmp_path: Path) -> None:
    plan = plan_of(story, "virtual", "c")
    with opened(tmp_path / "out", plan):
        second = opened(tmp_path / "out", plan)
        with pytest.raises(SweepError, match="another sweep is at work"):
            second.__enter__()
    with opened(tmp_path / "out", plan) as rows:
        assert rows.known == {}


def test_a_run_that_broke_is_run_again(story: Path, tmp_path: Path) -> None:
    jobs = jobs_of(story, [], repeat=1, seed=1, world="virtual")
    plan: Plan = plan_of(story, "virtual", "c")

    def broken(jobs: Sequence[Job]) -> Generator[Row, None, None]:
        for job in jobs:
            yield failed_row(job, "the machine burned", "c")

    (row,) = run_sweep(jobs, tmp_path, broken, plan=plan)
    assert (row.verdict, row.failed) == ("error", ("the machine burned",))
    assert "1 of 1 runs did not hold" in page(jobs[0].scenario(), [row])
    (row,) = run_sweep(jobs, tmp_path, Counting(1), plan=plan)
    assert row.verdict == "pass"
    assert read_rows(tmp_path) == [row]


def test_an_effect_is_claimed_where_pairs_that_differ_in_one_setting_show_it() -> None:
    """Given noise by seed that is larger than the effect; then pairs show it all the same."""
    noise = (100.0, 400.0, 250.0, 900.0)
    rows = [
        Row("", {"a": a, "b": b}, seed, "virtual", "pass", "c", {"x": value * (1 + a / 10)})
        for a in (0, 1, 2)
        for b in ("low", "high")
        for seed, value in enumerate(noise)
    ]
    one, other = effects(rows, ["x", "not measured"])
    assert (one.key, one.first, one.last, one.pairs, one.word) == ("a", 0, 2, 8, "higher")
    assert one.ratio == pytest.approx(1.2)
    assert (other.key, other.pairs, other.ratio, other.word) == ("b", 12, 1.0, "the same")


def test_runs_in_processes_of_their_own_come_to_the_same(story: Path) -> None:
    jobs = jobs_of(story, [], repeat=2, seed=1, world="virtual")
    rows = sorted(on_this_machine(2)(jobs), key=lambda row: row.seed)
    here = [run_job(job) for job in jobs]
    for found, expected in zip(rows, here, strict=True):
        found.measures["wall_s"] = expected.measures["wall_s"] = None
        assert msgspec.structs.replace(found, commit="") == msgspec.structs.replace(
            expected, commit=""
        )


def test_the_command_writes_a_table_and_a_page(story: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    words = ["sweep", str(story), "--set", "network.nodes=4", "--output", str(output)]
    found = CliRunner().invoke(app, words)
    assert found.exit_code == 0, found.output
    assert (output / "report.html").exists()
    assert (output / "results.parquet").exists()
    bad = CliRunner().invoke(app, [*words[:2], "--set", "nodes", "--output", str(output)])
    assert bad.exit_code == 2
    assert "KEY=VALUE" in bad.output
    wrong = CliRunner().invoke(app, [*words[:2], "--set", "network.validators=9"])
    assert (wrong.exit_code, wrong.output.count("\n")) == (2, 1)
    assert wrong.output.startswith("sim-harness: --set network.validators=9: ")
