"""A `Scenario` as a file that reads back to the same scenario; what is default is left out."""

import msgspec
import tomlkit
from tomlkit.items import Table

from p2p.node.quantities import rate_text
from p2p.primitives.units import Millis
from sim_harness.scenario import schema
from sim_harness.scenario.quantities import drift_text, share_text, span_text
from sim_harness.scenario.schema import Comparison, Fault, Scenario, usual_load
from sim_harness.virtual.cuts import Direction

_SHARES = ("share", "ad_delivery", "speed", "cpu")
_RATES = ("rate", "bandwidth")
_SPANS = (
    "ad_latency_p95",
    "add",
    "at",
    "commit_latency_p95",
    "down",
    "duration",
    "every",
    "jitter",
    "lasts",
    "mean",
    "offset",
    "recovers_within",
)


def write_scenario(scenario: Scenario) -> str:
    """The text of a scenario."""
    document = tomlkit.document()
    document["name"] = scenario.name
    if scenario.about:
        document["about"] = scenario.about
    document["duration"] = span_text(scenario.duration)
    if scenario.seed is not None:
        document["seed"] = scenario.seed
    document["network"] = _network(scenario.network)
    if scenario.parameters:
        document["parameters"] = _parameters(scenario.parameters)
    if scenario.load != schema.Load():
        document["load"] = _table(scenario.load, usual_load(scenario.load))
    if scenario.faults:
        document["fault"] = _tables([_fault(one) for one in scenario.faults])
    if scenario.adversaries:
        document["adversary"] = _tables([_adversary(one) for one in scenario.adversaries])
    expect = _table(scenario.expect, schema.Expect())
    if expect:
        document["expect"] = expect
    return tomlkit.dumps(document)


def _network(network: schema.Network) -> Table:
    table = tomlkit.table()
    table["nodes"], table["validators"] = network.nodes, network.validators
    match network.distance:
        case schema.Constant(millis=millis):
            table["latency"] = span_text(millis)
        case schema.Matrix(path=path):
            table["rtt"] = path
        case schema.Regions(names=names):
            table["regions"] = "aws" if network.distance == schema.Regions() else list(names)
    for name in ("jitter", "bandwidth", "cpu"):
        if getattr(network, name) != getattr(schema.Network(), name):
            table[name] = _value(name, getattr(network, name))
    return table


def _parameters(overrides: tuple[tuple[str, int], ...]) -> Table:
    table = tomlkit.table()
    for name, value in overrides:
        if "." not in name:
            table[name] = value
    for name, value in overrides:
        machine, _, key = name.partition(".")
        if key:
            if machine not in table:
                table[machine] = tomlkit.table()
            table[machine][key] = value
    return table


def _fault(fault: Fault) -> Table:
    table = tomlkit.table()
    table["kind"] = fault.kind
    for field in msgspec.structs.fields(type(fault)):
        value = getattr(fault, field.name)
        if field.name == "line" or (value == field.default and field.name != "nodes"):
            continue
        if field.name == "nodes" and not value:
            continue
        table["for" if field.name == "lasts" else field.name] = _value(field.name, value)
    return table


def _adversary(spec: schema.AdversarySpec) -> Table:
    table = tomlkit.table()
    table["kind"], table["nodes"] = spec.kind, spec.nodes
    for name, value in spec.options:
        table[name] = value
    return table


def _table(struct: msgspec.Struct, default: msgspec.Struct) -> Table:
    table = tomlkit.table()
    for field in msgspec.structs.fields(type(struct)):
        value = getattr(struct, field.name)
        if value != getattr(default, field.name):
            table[field.name] = _value(field.name, value)
    return table


def _tables(tables: list[Table]) -> tomlkit.items.AoT:
    array = tomlkit.aot()
    for table in tables:
        array.append(table)
    return array


def _value(name: str, value: object) -> object:
    """As files write it."""
    if isinstance(value, Direction):
        return value.value
    if isinstance(value, tuple):
        return [one.text if isinstance(one, Comparison) else one for one in value]
    if isinstance(value, int) and not isinstance(value, bool):
        if name in _SPANS:
            return span_text(Millis(value))
        if name in _SHARES:
            return share_text(value)
        if name in _RATES:
            return rate_text(value)
        if name == "drift":
            return drift_text(value)
    return value
