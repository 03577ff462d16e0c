"""One swarm as one HTML page: the answer, what failed, what was seen, who caught the canaries."""

from sim_harness.report.page import template
from sim_harness.swarm.swarm import Swarm


def render_swarm(swarm: Swarm) -> str:
    """The page; it needs no network and no script."""
    kinds: dict[str, int] = {}
    for outcome in swarm.failed:
        if outcome.failure is not None:
            kinds[outcome.failure.kind] = kinds.get(outcome.failure.kind, 0) + 1
    missed = [catch for catch in swarm.canaries if catch.caught_after is None]
    return template("swarm.html.j2").render(
        swarm=swarm,
        kinds=sorted(kinds.items(), key=lambda one: (-one[1], one[0])),
        missed=missed,
        sights=sorted(swarm.sights, key=lambda sight: (sight.seeds, sight.text)),
    )
