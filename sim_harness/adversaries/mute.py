"""mute: accepts what is sent, and never forwards any of it.

With a `victim`, an eclipse: all its links lead to them. With `begin_s`, a covert flash: good for so
long, then silent all at once.
"""

from dataclasses import dataclass
from typing import ClassVar

from sim_harness.adversaries.sybil import Sybil


@dataclass
class Mute(Sybil):
    """A sybil that keeps every rule but one."""

    kind: ClassVar[str] = "mute"
