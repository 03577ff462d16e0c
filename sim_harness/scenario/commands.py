"""What `sim-harness run` does, once its words are understood."""

from pathlib import Path
from typing import Final

import msgspec

from sim_harness.scenario.quantities import span_text
from sim_harness.scenario.reading import read_scenario
from sim_harness.scenario.results import Result
from sim_harness.scenario.run import Run
from sim_harness.scenario.schema import Scenario

WIDTH: Final = 26
SEED: Final = 1
"""Of a run whose seed nobody said."""


def run_file(
    file: Path,
    seed: int | None,
    *,
    real_signatures: bool,
    canary: str | None = None,
    log: Path | None = None,
) -> Result:
    """Run a scenario file to its end; `log` gets every event. Raises ScenarioError, OSError."""
    scenario, seed = load(file, seed)
    run = Run(scenario, seed, real_signatures=real_signatures, file=str(file), canary=canary)
    if log is None:
        run.finish()
    else:
        from sim_harness.explain.log import logged

        with logged(run, log):
            run.finish()
    return run.result()


def load(file: Path, seed: int | None = None) -> tuple[Scenario, int]:
    """The scenario of a file, or of a seed of the swarm, and the seed to run it with.

    Raises ScenarioError.
    """
    if file == Path(file.name) and not file.exists():
        from sim_harness.swarm.origin import draw, read_word

        drawn = read_word(file.name)
        if drawn is not None:
            return draw(*drawn), drawn[0] if seed is None else seed
    scenario = read_scenario(file)
    if seed is None:
        seed = SEED if scenario.seed is None else scenario.seed
    return scenario, seed


def write_report(result: Result, directory: Path) -> Path:
    """Write `report.json` and `report.html`; the path of the latter. Raises OSError."""
    from sim_harness.report.page import render_page

    directory.mkdir(parents=True, exist_ok=True)
    data = msgspec.json.format(msgspec.json.encode(result), indent=1)
    (directory / "report.json").write_bytes(data)
    page = directory / "report.html"
    page.write_text(render_page(result), encoding="utf-8")
    return page


def summary(result: Result) -> list[str]:
    """The result in lines for a terminal: verdict and replay command first."""
    virtual = span_text(result.end_ms)
    lines = [
        f"{result.verdict.upper()}  {result.name}  ({result.nodes_count} nodes, {virtual})",
        f"replay: {result.replay}",
        f"digest: {result.digest}",
    ]
    for violation in result.violations:
        at = f"{violation.at_ms / 1000:.3f}s"
        lines.append(f"  VIOLATED {violation.name} at {at}: {violation.detail}")
        lines += [f"      {line}" for line in violation.around]
    for check in result.checks:
        mark = "ok  " if check.holds else "FAIL"
        wanted = "" if check.holds else f" (wanted: {check.wanted})"
        lines.append(f"  {mark} {check.name:{WIDTH}} {check.measured}{wanted}")
    for cover in result.coverage:
        when = (
            "never: not tested" if cover.first_ms is None else f"from {span_text(cover.first_ms)}"
        )
        lines.append(f"  seen {cover.text:{WIDTH}} {when}")
    return lines
