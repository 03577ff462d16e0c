"""A scenario file, read strictly into a `Scenario`."""

import difflib
import re
import tomllib
from pathlib import Path
from typing import Final

from p2p.model.blob import WINDOW_BYTES_MAX
from p2p.model.parameters import VALIDATORS_MAX
from p2p.node.quantities import parse_rate
from p2p.primitives.units import KIB, MIB, Millis
from sim_harness.adversaries.table import kind_of, options_of
from sim_harness.scenario import schema
from sim_harness.scenario.lines import Lines
from sim_harness.scenario.matrices import read_matrix
from sim_harness.scenario.overrides import read_overrides
from sim_harness.scenario.quantities import parse_drift, parse_share, parse_span, span_text
from sim_harness.scenario.schema import FAULTS, Expect, Fault, Load, Network, Scenario
from sim_harness.scenario.sections import ScenarioError, Section
from sim_harness.scenario.selectors import Population, check_selector
from sim_harness.scenario.statements import parse_comparison
from sim_harness.virtual.adding import REPLICAS_MAX
from sim_harness.virtual.cuts import Direction
from sim_harness.virtual.disk import PAGES
from sim_harness.virtual.regions import REGIONS
from sim_harness.virtual.spans import seconds

FILE_BYTES_MAX: Final = 256 * 1024
RATE_MAX: Final = 10**12
BLOB_BYTES_MAX: Final = 64 * MIB
"""Of a file that consumers add: a virtual one costs an event a chunk."""
SEED_MAX: Final = 2**63 - 1
MOMENTARY: Final = ("restart", "torn_write", "corrupt_page")
"""Faults that are over by themselves, a moment later unless `for` says otherwise."""
MOMENT: Final = seconds(1)
CALM_AFTER: Final = seconds(10)
"""Without a `duration`, the first phase ends so long after the last fault."""


def read_scenario(path: Path) -> Scenario:
    """The scenario of a file. Raises ScenarioError, which names the line."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ScenarioError(f"cannot read {path}: {error.strerror}") from None
    if len(data) > FILE_BYTES_MAX:
        raise ScenarioError(f"{path} is larger than {FILE_BYTES_MAX} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise ScenarioError(f"{path} is not a text file") from None
    return parse_scenario(text, path)


def parse_scenario(text: str, path: Path) -> Scenario:
    """The scenario of a text; `path` names it, and is where paths in it begin."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", str(error))
        line = match[1] if match and match[1] else str(text.count("\n") + 1)
        what = str(error)[: match.start()] if match else str(error)
        raise ScenarioError(f"{path}:{line}: not valid TOML: {what}") from None
    return _scenario(Section(table, (), Lines(text), path), path.parent)


def _scenario(root: Section, directory: Path) -> Scenario:
    name, about = root.text("name"), root.text("about", "")
    network = _network(root.section("network"), directory)
    load = _load(root.section("load"), network)
    population = population_of(network, load)
    parameters = read_overrides(root.section("parameters"))
    duration = root.span("duration", Millis(0))
    sections = root.sections("fault")
    faults = tuple(_fault(one, population, directory) for one in sections)
    if not duration:
        ends = [fault.at + (fault.lasts or 0) + CALM_AFTER for fault in faults]
        duration = Millis(max([schema.DURATION_MIN, *ends]))
    for section, fault in zip(sections, faults, strict=True):
        _check_times(section, fault, duration)
    adversaries = tuple(_adversary(one, population) for one in root.sections("adversary"))
    scenario = Scenario(
        name=name,
        about=about,
        duration=duration,
        network=network,
        parameters=parameters,
        load=load,
        faults=faults,
        adversaries=adversaries,
        expect=_expect(root.section("expect")),
        seed=root.integer("seed", 0, maximum=SEED_MAX) if "seed" in root.keys else None,
        directory=str(directory),
    )
    root.raw("seed")
    root.finish()
    return scenario


# ---- who there is -----------------------------------------------------------------------------


def _network(section: Section, directory: Path) -> Network:
    nodes = section.integer("nodes", 7, minimum=1, maximum=schema.NODES_MAX)
    validators = section.integer("validators", min(4, nodes), minimum=1, maximum=VALIDATORS_MAX)
    if validators > nodes:
        raise section.error(f"{validators} validators among {nodes} nodes", "validators")
    network = Network(
        nodes=nodes,
        validators=validators,
        distance=_distance(section, directory),
        jitter=section.span("jitter", Network().jitter),
        bandwidth=section.parsed("bandwidth", parse_rate, Network().bandwidth),
        cpu=section.parsed("cpu", parse_share, None),
    )
    if network.cpu == 0:
        raise section.error("a core has some speed", "cpu")
    if network.bandwidth < 8:
        raise section.error("bandwidth must be at least 8 bit/s", "bandwidth")
    section.finish()
    return network


def _distance(section: Section, directory: Path) -> schema.Distance:
    """One of `regions`, `latency` and `rtt`."""
    given = [key for key in ("regions", "latency", "rtt") if key in section.keys]
    regions = section.raw("regions")
    latency = section.span("latency", Millis(0))
    matrix = section.text("rtt", "")
    if len(given) > 1:
        raise section.error(f"{given[0]} and {given[1]} both say how far nodes are apart", given[1])
    if given == ["latency"]:
        return schema.Constant(latency)
    if given == ["rtt"]:
        return _matrix(section, "rtt", matrix, directory)
    if regions is None or regions == "aws":
        return schema.Regions()
    if isinstance(regions, str):
        if re.match(r"\d", regions):
            return schema.Constant(section.attempt(lambda: parse_span(regions), "regions"))
        return _matrix(section, "regions", regions, directory)
    names = section.texts("regions")
    for name in names:
        if name not in REGIONS:
            near = difflib.get_close_matches(name, REGIONS, 1)
            known = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(REGIONS)}"
            raise section.error(f"unknown region {name!r}; {known}", "regions")
    if not names:
        raise section.error("regions names no region", "regions")
    return schema.Regions(names)


def _matrix(section: Section, key: str, path: str, directory: Path) -> schema.Matrix:
    if not (directory / path).is_file():
        raise section.error(f"{key}: there is no file {directory / path}", key)
    section.attempt(lambda: read_matrix(directory / path), key)
    return schema.Matrix(path)


def _load(section: Section, network: Network) -> Load:
    default = Load()
    adds = section.integer("adds_per_minute", 0, maximum=6_000)
    # Who adds files buys nothing else unless it says so.
    receipts = 0 if adds else default.receipts_per_minute
    load = Load(
        consumers=section.integer("consumers", 0, maximum=max(0, network.nodes - 1)),
        receipts_per_minute=section.integer("receipts_per_minute", receipts, maximum=6_000),
        transfers_per_minute=section.integer("transfers_per_minute", 0, maximum=60_000),
        adds_per_minute=adds,
        blob_bytes=_blob_bytes(section),
        replicas=section.integer("replicas", default.replicas, minimum=1, maximum=REPLICAS_MAX),
        blob_epochs=section.integer("blob_epochs", default.blob_epochs, minimum=1, maximum=10**6),
        window_bytes=section.integer(
            "window_bytes", default.window_bytes, minimum=KIB, maximum=WINDOW_BYTES_MAX
        ),
    )
    if adds and not load.consumers:
        raise section.error("adds_per_minute: there are no consumers to add", "adds_per_minute")
    section.finish()
    return load


def _blob_bytes(section: Section) -> tuple[int, int]:
    """`[least, greatest]`."""
    found = section.raw("blob_bytes")
    if found is None:
        return Load().blob_bytes
    match found:
        case [int(low), int(high)] if 0 <= low <= high <= BLOB_BYTES_MAX and high:
            return low, high
        case _:
            why = f"blob_bytes must be [least, greatest], up to {BLOB_BYTES_MAX}, not {found!r}"
            raise section.error(why, "blob_bytes")


def population_of(network: Network, load: Load) -> Population:
    """Whom selectors can mean in a network."""
    regions: tuple[str, ...] = ()
    if isinstance(network.distance, schema.Regions):
        names = network.distance.names
        regions = tuple(names[index % len(names)] for index in range(network.nodes))
    return Population(
        network.nodes, network.validators, load.consumers, regions, adds=bool(load.adds_per_minute)
    )


# ---- faults and liars --------------------------------------------------------------------------


def _fault(section: Section, population: Population, directory: Path) -> Fault:
    kind = section.text("kind")
    if kind not in FAULTS:
        near = difflib.get_close_matches(kind, FAULTS, 1)
        known = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(FAULTS)}"
        raise section.error(f"unknown kind of fault {kind!r}; {known}", "kind")
    values: dict[str, object] = {
        "at": section.span("at", Millis(0)),
        "lasts": section.span("for", minimum=1) if "for" in section.keys else None,
        "every": section.span("every", minimum=1) if "every" in section.keys else None,
        "line": section.line,
    }
    section.raw("for"), section.raw("every")
    if kind in MOMENTARY and values["lasts"] is None:
        values["lasts"] = MOMENT
    if kind == "partition":
        values["groups"] = _groups(section, population)
    else:
        values["nodes"] = _nodes(section, population, default=_default_nodes(kind))
    values |= _words(kind, section, directory)
    fault = FAULTS[kind](**values)  # type: ignore[arg-type]
    section.finish()
    return fault


def _default_nodes(kind: str) -> str | None:
    return "all" if kind in ("delay", "loss", "bandwidth", "slow_disk", "churn") else None


def _words(kind: str, section: Section, directory: Path) -> dict[str, object]:
    """What only some kinds of fault have."""
    words: dict[str, object] = {}
    if kind in ("partition", "delay", "loss"):
        words["direction"] = section.parsed("direction", _direction, Direction.BOTH)
    match kind:
        case "delay":
            words |= {"add": section.span("add"), "jitter": section.span("jitter", Millis(0))}
        case "slow_disk":
            words["add"] = section.span("add")
        case "loss":
            words["share"] = section.attempt(lambda: parse_share(section.text("share")), "share")
            if not 0 < int(str(words["share"])) <= 9_000:
                raise section.error("a share of packets to lose is above 0% and up to 90%", "share")
        case "bandwidth":
            words["rate"] = section.attempt(lambda: parse_rate(section.text("rate")), "rate")
            if int(str(words["rate"])) < 1_000:
                raise section.error("rate must be at least 1 kbit/s", "rate")
        case "slow_cpu":
            words["speed"] = section.attempt(lambda: parse_share(section.text("speed")), "speed")
            if not words["speed"]:
                raise section.error("a core without speed is a pause", "speed")
        case "corrupt_page":
            words["table"] = section.text("table", "")
            if words["table"] not in ("", *PAGES):
                raise section.error(f"table: one of {', '.join(PAGES)}", "table")
        case "clock_skew":
            words["offset"] = section.parsed("offset", parse_span, Millis(0))
            words["drift"] = section.parsed("drift", parse_drift, 0)
            if not words["offset"] and not words["drift"]:
                raise section.error("a clock_skew has an offset or a drift")
        case "churn":
            words |= _churn(section, directory)
        case _:
            pass
    return words


def _churn(section: Section, directory: Path) -> dict[str, object]:
    default = schema.Churn()
    sessions = section.text("sessions", default.sessions)
    if sessions not in ("exponential", "weibull"):
        if not (directory / sessions).is_file():
            why = (
                f"sessions: neither 'exponential' nor 'weibull', and no file {directory / sessions}"
            )
            raise section.error(why, "sessions")
        section.attempt(lambda: read_sessions(directory / sessions), "sessions")
    return {
        "sessions": sessions,
        "mean": section.span("mean", default.mean, minimum=100),
        "shape": section.number("shape", default.shape, minimum=0.1, maximum=10),
        "down": section.span("down", default.down, minimum=100),
    }


def read_sessions(path: Path) -> list[Millis]:
    """Lengths of sessions from a file: one a line, in seconds. Raises ValueError."""
    sessions = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        if not re.fullmatch(r"\d{1,7}(\.\d{1,3})?", text) or float(text) <= 0:
            raise ValueError(f"{path}:{number}: expected seconds, not {text!r}")
        sessions.append(Millis(round(float(text) * 1_000)))
    if not sessions:
        raise ValueError(f"{path} holds no session")
    return sessions


def _direction(text: str) -> Direction:
    try:
        return Direction(text)
    except ValueError:
        raise ValueError(f"expected 'both', 'out' or 'in', not {text!r}") from None


def _groups(section: Section, population: Population) -> tuple[str, ...]:
    groups = section.texts("groups")
    if len(groups) < 2:
        raise section.error("a partition has at least two groups", "groups")
    if groups.count("rest") > 1:
        raise section.error("only one group can be the rest", "groups")
    for group in groups:
        section.attempt(lambda group=group: check_selector(group, population), "groups")  # type: ignore[misc]
    return groups


def _nodes(section: Section, population: Population, *, default: str | None) -> str:
    nodes = section.text("nodes", default)
    if "rest" in nodes:
        raise section.error("'rest' belongs into the groups of a partition", "nodes")
    section.attempt(lambda: check_selector(nodes, population), "nodes")
    return nodes


def _check_times(section: Section, fault: Fault, duration: Millis) -> None:
    if fault.at >= duration:
        raise section.error(f"at: the scenario ends after {span_text(duration)}", "at")
    if fault.at + (fault.lasts or 0) > duration:
        raise section.error(
            f"for: lasts beyond the scenario's end after {span_text(duration)}", "for"
        )
    if fault.every is not None and (fault.lasts is None or fault.lasts >= fault.every):
        raise section.error("every: a fault that comes again has a 'for' that is shorter", "every")


def _adversary(section: Section, population: Population) -> schema.AdversarySpec:
    kind = section.text("kind")
    nodes = section.raw("nodes")
    if isinstance(nodes, str):
        _nodes(section, population, default=None)
    else:
        nodes = section.integer("nodes", 1, minimum=1, maximum=population.nodes)
    section.attempt(lambda: kind_of(kind), "kind")
    options: dict[str, int | str | bool | float] = {}
    for key in section.keys:
        if key not in ("kind", "nodes"):
            value = section.raw(key)
            if not isinstance(value, int | str | float):
                raise section.error(f"{key} must be a number, text, true or false", key)
            section.attempt(lambda key=key: options_of(kind_of(kind), {key: section.raw(key)}), key)  # type: ignore[misc]
            options[key] = value
    section.finish()
    return schema.AdversarySpec(kind, nodes, tuple(sorted(options.items())), section.line)


# ---- what must hold ----------------------------------------------------------------------------


def _expect(section: Section) -> Expect:
    default = Expect()
    flags = (
        "agreement",
        "validity",
        "supply",
        "no_bans",
        "forked",
        "ads_converge",
        "receipts_settled",
    )
    values: dict[str, object] = {
        name: section.flag(name, default=getattr(default, name)) for name in flags
    }
    values["heights"] = section.integer("heights", default.heights, maximum=10**6)
    values["recovers_within"] = section.span("recovers_within", default.recovers_within, minimum=1)
    for name in ("commit_latency_p95", "ad_latency_p95"):
        values[name] = section.parsed(name, parse_span, None)
    values["ad_delivery"] = section.parsed("ad_delivery", parse_share, None)
    for name in ("always", "eventually", "sometimes"):
        texts = section.texts(name)
        found = [
            section.attempt(lambda text=text: parse_comparison(text), name)  # type: ignore[misc]
            for text in texts
        ]
        values[name] = tuple(found)
    section.finish()
    return Expect(**values)  # type: ignore[arg-type]
