"""A drawing of its own for consensus: short rounds, liars in league, cuts that only liars bridge.

Mistakes about locks and signatures show only when several things meet within a round: a block that
some saw, a validator that dies between two votes, a liar that tells two sides two things. Faults
drawn freely hardly ever meet; here all of them are short, many, and in small networks.
"""

from random import Random
from typing import Final

from p2p.primitives.units import Millis
from sim_harness.scenario import schema
from sim_harness.scenario.schema import AdversarySpec, Fault, Load, Network
from sim_harness.virtual.spans import millis, seconds

Options = tuple[tuple[str, int | str | bool | float], ...]

DURATION: Final = seconds(16)
LIARS: Final[tuple[tuple[str, Options], ...]] = (
    ("equivocator", ()),
    ("equivocator", (("nils", False), ("shuffled", True))),
    ("equivocator", (("nils", False), ("shuffled", True))),
    ("withholder", (("ballots", 1), ("blocks", True), ("few", 2))),
    ("twin", ()),
    ("amnesiac", ()),
    ("lying_syncer", ()),
)
"""Those who profit from a mistake of others."""
CRASHES: Final = (0, 0, 2, 5, 9)
CUTS_MAX: Final = 4


def network(draws: Random) -> Network:
    """4 or 7 that vote, at one distance."""
    validators, others = draws.choice((4, 4, 7)), draws.randint(1, 2)
    return Network(
        nodes=validators + others,
        validators=validators,
        distance=schema.Constant(millis(draws.choice((5, 40, 120)))),
        jitter=millis(draws.choice((0, 2))),
    )


def parameters(draws: Random) -> tuple[tuple[str, int], ...]:
    """Rounds that are over soon."""
    found = {
        "epoch_ms": draws.choice((500, 1_000, 2_000)),
        "propose_timeout_ms": 800,
        "prevote_timeout_ms": 300,
        "precommit_timeout_ms": 300,
        "timeout_delta_ms": 200,
    }
    return tuple(sorted(found.items()))


def liars(draws: Random, validators: int) -> tuple[AdversarySpec, ...]:
    """As many as there may be, all of a kind; some who need no vote take other seats."""
    kind, options = draws.choice(LIARS)
    return (AdversarySpec(kind, max(1, (validators - 1) // 3), options),)


def load(draws: Random) -> Load:
    """A little trade, so that blocks have something in them."""
    return Load(consumers=draws.choice((0, 1)), transfers_per_minute=draws.choice((0, 60)))


def faults(draws: Random, drawn: Network, lying: int) -> tuple[Fault, ...]:
    """Short crashes of single nodes, and cuts between honest ones; `lying` validators are last."""
    honest = [f"validators[{index}]" for index in range(drawn.validators - lying)]
    honest += [f"others[{index}]" for index in range(drawn.nodes - drawn.validators)]
    found: list[Fault] = []
    for _ in range(draws.choice(CRASHES)):
        at, lasts = draws.randrange(0, DURATION - 3_500, 50), int(10 ** draws.uniform(1, 3.5))
        found.append(schema.Kill(at=Millis(at), lasts=Millis(lasts), nodes=draws.choice(honest)))
    for _ in range(draws.randint(0, CUTS_MAX)):
        at, lasts = draws.randrange(0, DURATION - 4_000, 50), draws.randrange(200, 4_000, 50)
        inside = set(draws.sample(honest, draws.randint(1, len(honest) - 1)))
        sides = [[one for one in honest if (one in inside) is side] for side in (True, False)]
        groups = tuple(", ".join(side) for side in sides)
        found.append(schema.Partition(at=Millis(at), lasts=Millis(lasts), groups=groups))
    return tuple(sorted(found, key=lambda fault: (fault.at, fault.kind)))
