"""Adversaries by name. See docs/adversaries.md for what each does and how to write one.

recruit(world, "equivocator", 2)
recruit(world, "eclipser", 6, {"victim": 11})
world.start()
"""

from sim_harness.adversaries.adversary import Adversary
from sim_harness.adversaries.table import ADVERSARIES, corrupt, recruit, register

__all__ = ["ADVERSARIES", "Adversary", "corrupt", "recruit", "register"]
