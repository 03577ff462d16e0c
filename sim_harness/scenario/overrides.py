"""Parameters that a scenario changes: the chain's by name, local ones with their machine.

epoch_ms = 5000        gossip.flush_ms = 20        flush_ms = 20  (only gossip has one)
"""

import difflib
from collections.abc import Mapping

import msgspec

from p2p.model.parameters import Parameters, with_overrides
from p2p.protocol.replica import NodeParameters
from sim_harness.scenario.sections import Section


def _machines() -> Mapping[str, msgspec.Struct]:
    local = NodeParameters()
    return {"gossip": local.gossip, "membership": local.membership, "registry": local.registry}


def read_overrides(section: Section) -> tuple[tuple[str, int], ...]:
    """Overrides by full name, checked by the types that they override."""
    found: dict[str, int] = {}
    machines = _machines()
    for key in section.keys:
        if key in machines and isinstance(section.raw(key), dict):
            machine = section.section(key)
            for name in machine.keys:
                found[_full_name(machine, f"{key}.{name}", name)] = _value(machine, name)
            machine.finish()
        else:
            name = _full_name(section, key, key)
            found[name] = _value(section, key)
            section.attempt(lambda name=name: _check_alone(name, found[name]), key)  # type: ignore[misc]
    overrides = tuple(sorted(found.items()))
    # Some are wrong only together.
    section.attempt(lambda: node_parameters_of(overrides))
    section.finish()
    return overrides


def _check_alone(name: str, value: int) -> None:
    """Raises ValueError when a parameter of the chain cannot have a value."""
    try:
        parameters_of(((name, value),))
    except ValueError as error:
        bound = str(error).removeprefix("bad parameter: ").partition(" - at")[0]
        raise ValueError(bound.replace("Expected `int`", "must be")) from None


def _value(section: Section, key: str) -> int:
    if isinstance(section.raw(key), str) and key.rpartition("_")[2] in ("ms", "max", "min"):
        return section.span(key)
    return section.integer(key, 0, maximum=2**53)


def _full_name(section: Section, name: str, key: str) -> str:
    """A parameter's name with its machine. A bare local name will do when it is the only one."""
    chain = [field.name for field in msgspec.structs.fields(Parameters)]
    if name in chain:
        return name
    local = [
        f"{machine}.{field.name}"
        for machine, values in _machines().items()
        for field in msgspec.structs.fields(type(values))
        if isinstance(getattr(values, field.name), int)
    ]
    meant = [one for one in local if name in (one, one.partition(".")[2])]
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise section.error(f"{name!r} may be {' or '.join(meant)}", key)
    near = difflib.get_close_matches(name, [*chain, *local, *(_bare(one) for one in local)], 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise section.error(f"unknown parameter {name!r}{hint}", key)


def _bare(name: str) -> str:
    return name.partition(".")[2]


def parameters_of(overrides: tuple[tuple[str, int], ...]) -> Parameters:
    """The chain's parameters under overrides. Raises ValueError."""
    chain = {name: value for name, value in overrides if "." not in name}
    return with_overrides(Parameters(), chain)


def node_parameters_of(overrides: tuple[tuple[str, int], ...]) -> NodeParameters:
    """Local parameters under overrides. Raises ValueError."""
    changed = {}
    for machine, values in _machines().items():
        mine = {_bare(name): value for name, value in overrides if name.startswith(f"{machine}.")}
        changed[machine] = msgspec.structs.replace(values, **mine)
    return msgspec.structs.replace(NodeParameters(), **changed)
