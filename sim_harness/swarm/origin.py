"""Words for drawn scenarios: `17` is a seed of the swarm, `consensus-17` one about consensus."""

from typing import Final

from sim_harness.scenario.schema import Scenario
from sim_harness.swarm.about_consensus import draw_about_consensus
from sim_harness.swarm.draw import draw_scenario

ABOUT: Final = ("consensus",)
"""What a swarm can be about; without one it draws from everything."""


def word_of(seed: int, about: str | None) -> str:
    """The word for a seed, as commands take it instead of a file."""
    return str(seed) if about is None else f"{about}-{seed}"


def read_word(word: str) -> tuple[int, str | None] | None:
    """Seed and subject of a word, or None when it names no drawn scenario."""
    about, _, seed = word.rpartition("-")
    if not (seed.isascii() and seed.isdecimal()) or (about and about not in ABOUT):
        return None
    return None if word.startswith("-") else (int(seed), about or None)


def draw(seed: int, about: str | None) -> Scenario:
    """The scenario of a seed. Raises ValueError for a subject that there is not."""
    if about is None:
        return draw_scenario(seed)
    if about not in ABOUT:
        raise ValueError(f"a swarm is about {', '.join(ABOUT)}, or everything; not {about!r}")
    return draw_about_consensus(seed)
