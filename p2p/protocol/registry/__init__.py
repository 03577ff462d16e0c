"""The registry: everybody's newest capacity ad, and the making of our own."""

from p2p.protocol.registry.interface import Need, RegistryParameters, Verdict
from p2p.protocol.registry.machine import Registry

__all__ = ["Need", "Registry", "RegistryParameters", "Verdict"]
