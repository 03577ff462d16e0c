"""Canaries: deliberately broken builds of the core that the checkers must catch, by name.

plant(world, canary("quorum_half"))
hunt(canary("quorum_half"), seeds=range(200))
"""

from sim_harness.canaries.build import BrokenReplica, Build, plant
from sim_harness.canaries.hunt import Caught, Provocation, hunt, play, provocation, stage
from sim_harness.canaries.table import CANARIES, canary

__all__ = [
    "CANARIES",
    "BrokenReplica",
    "Build",
    "Caught",
    "Provocation",
    "canary",
    "hunt",
    "plant",
    "play",
    "provocation",
    "stage",
]
