"""One log line for each step of consensus: where it went, and what it holds on to.

    height 12 round 0 prevote: locked on nothing
    height 12 decided in round 0: 3f2c9a…

Looked at after every input; an input that carries consensus through several steps shows the last.
"""

import logging

from p2p.protocol.consensus.driver import ConsensusDriver
from p2p.protocol.consensus.round_machine import Step

log = logging.getLogger(__name__)


class StepLog:
    """Remembers the step that was told last."""

    def __init__(self) -> None:
        self._told: tuple[int, int, Step] | None = None

    def look(self, driver: ConsensusDriver) -> None:
        """Log the step, if it is another than last time."""
        state = driver.state
        if state is None:
            return
        here = (state.height, state.round, state.step)
        if here == self._told:
            return
        self._told = here
        decided = driver.decided
        if decided is not None:
            name = decided.header_digest.hex()[:12]
            log.info("height %d decided in round %d: %s", state.height, decided.round, name)
            return
        lock = "nothing"
        if state.locked_value is not None:
            lock = f"{state.locked_value.hex()[:12]} of round {state.locked_round}"
        log.info(
            "height %d round %d %s: locked on %s", state.height, state.round, state.step.value, lock
        )
