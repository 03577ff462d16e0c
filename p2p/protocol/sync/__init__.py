"""Sync: catching up by blocks."""

from p2p.protocol.sync.answers import HeightRange, answerable, fitting
from p2p.protocol.sync.interface import SyncParameters
from p2p.protocol.sync.machine import Sync

__all__ = ["HeightRange", "Sync", "SyncParameters", "answerable", "fitting"]
