"""What `run --world live` and `check` do, once their words are understood."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from sim_harness.live.disk.kinds import DiskKind
from sim_harness.live.evidence import Evidence
from sim_harness.live.failures import run_to_end
from sim_harness.live.judge import Verdict
from sim_harness.live.kernel.offer import Offer
from sim_harness.live.records import FORMAT, Head, LogError, read_records
from sim_harness.live.results import LiveResult
from sim_harness.live.run import LivePlan, run_live
from sim_harness.live.run_directory import RunDirectory
from sim_harness.scenario.commands import load, summary, write_report
from sim_harness.scenario.quantities import span_text
from sim_harness.scenario.reading import parse_scenario
from sim_harness.scenario.schema import Scenario
from sim_harness.scenario.sections import ScenarioError
from sim_harness.scenario.writing import write_scenario

WIDTH: Final = 24


def sized(scenario: Scenario, nodes: int | None) -> Scenario:
    """The scenario with another number of nodes; its selectors are checked anew.

    Raises ScenarioError.
    """
    if nodes is None or nodes == scenario.network.nodes:
        return scenario
    validators = min(scenario.network.validators, nodes)
    network = msgspec.structs.replace(scenario.network, nodes=nodes, validators=validators)
    text = write_scenario(msgspec.structs.replace(scenario, network=network))
    name = f"{scenario.name}, {nodes} nodes"
    return parse_scenario(text, Path(scenario.directory) / name)


def run_file_live(  # noqa: PLR0913 - one an option
    file: Path,
    seed: int | None,
    *,
    nodes: int | None = None,
    keep: bool = False,
    runs: Path = Path("runs"),
    report: Path | None = None,
    kernel: Offer | None = None,
    disk: DiskKind = DiskKind.INJECTED,
    progress: Callable[[str], None] = lambda line: None,
) -> LiveResult:
    """Run a scenario file on real processes; its report is written, too.

    Raises:
        ScenarioError: the file makes no sense.
        Failed: the network could not be made, in a sentence.
        OSError: the report could not be written.
    """
    scenario, seed = load(file, seed)
    if scenario.expect.forked:
        raise ScenarioError(f"{file}: a fork ends a virtual run; leave out --world live")
    scenario = sized(scenario, nodes)
    plan = LivePlan(
        scenario=scenario,
        seed=seed,
        file=str(file),
        keep=keep,
        runs=runs,
        kernel=kernel,
        disk=disk,
    )
    result = run_to_end(lambda: run_live(plan, progress))
    write_report(result, report or Path(result.run_directory))
    return result


def check_run(directory: Path) -> LiveResult:
    """Judge a run again, from its log alone. Raises LogError, ScenarioError."""
    files = RunDirectory(directory)
    evidence: Evidence | None = None
    for record in read_records(files.events):
        if evidence is None:
            evidence = _begin(files, record)
        else:
            evidence.add(record)
    if evidence is None:
        raise LogError(f"{files.events} is empty")
    return Verdict(evidence, directory=str(directory)).result()


def _begin(files: RunDirectory, head: object) -> Evidence:
    if not isinstance(head, Head) or head.format != FORMAT:
        raise LogError(f"{files.events} is no event log of a live run")
    try:
        text = files.scenario.read_text(encoding="utf-8")
    except OSError as error:
        raise LogError(f"cannot read {files.scenario}: {error.strerror}") from None
    return Evidence(parse_scenario(text, Path(head.directory) / files.scenario.name), head)


def live_summary(result: LiveResult) -> list[str]:
    """The result in lines for a terminal: the virtual world's, and what only processes have."""
    lines = [line for line in summary(result) if not line.startswith("digest:")]
    for fault in result.faults:
        until = "the end" if fault.until_ms is None else f"{fault.until_ms / 1000:.1f} s"
        when = f"{fault.at_ms / 1000:.1f} s to {until}"
        lines.append(
            f"  hurt {fault.kind:{WIDTH}} {when}: {fault.what}; measured: {fault.measured}"
        )
    for work in result.work:
        took = f"p50 {span_text(work.took.p50)}, p95 {span_text(work.took.p95)}"
        lines.append(f"  work {work.kind:{WIDTH}} {work.done} of {work.asked} done, {took}")
        lines += [f"         not done: {why}" for why in work.why]
    lines.append(
        f"  up after {result.bring_up_s:.1f} s; at most {result.peak_memory_mib:.0f} MiB of memory;"
        f" {result.cpu_percent_node:.2f} % of a core each node; {result.run_directory}"
    )
    return lines
