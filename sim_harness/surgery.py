"""Hands inside the core, for adversaries and canaries: what the product offers nobody."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec

from p2p.primitives.units import NO_ROUND
from p2p.protocol.consensus.driver import ConsensusDriver


def forget_lock(driver: ConsensusDriver, *, valid_value: bool) -> bool:
    """Let a node forget its lock, and its valid value too; whether there was one."""
    here = driver._open
    if here is None or here.decided is not None or here.machine.locked_round == NO_ROUND:
        return False
    machine = msgspec.structs.replace(here.machine, locked_round=NO_ROUND, locked_value=None)
    if valid_value:
        machine = msgspec.structs.replace(machine, valid_round=NO_ROUND, valid_value=None)
    here.machine = machine
    return True


@contextmanager
def exchanged(parts: Mapping[tuple[object, str], object]) -> Iterator[None]:
    """Other parts in a module's or class's place, by (owner, name), while the block lasts."""
    before = {place: getattr(*place) for place in parts}
    for (owner, name), part in parts.items():
        setattr(owner, name, part)
    try:
        yield
    finally:
        for (owner, name), part in before.items():
            setattr(owner, name, part)
