"""What is known of one peer's behaviour: counters that decay, per topic and as a whole.

Counters decay lazily. Each record holds its values and the interval (`tick`) of which they are; to
read them later, they are multiplied by the decay factor to the power of the intervals since. So a
peer that does nothing costs nothing, however many there are.
"""

from typing import Final

from p2p.primitives.units import PeerId
from p2p.protocol.gossip.parameters import ScoreParameters, TopicScore

NEVER: Final = -1
"""Of a tick: not in the mesh."""
STEADY: Final = 1 << 62
"""Of a tick: the score changes by what happens alone, not by time."""
SILENCE_MS_MIN: Final = 5_000.0
"""A shorter silence is forgotten outside the mesh: everybody is quiet for a while."""


def decayed(value: float, factor: float, intervals: int) -> float:
    """A counter some intervals later. Multiplication alone: the same on every machine."""
    if intervals == 1 or not value:
        return value * factor
    while intervals > 0:
        if intervals & 1:
            value *= factor
        factor *= factor
        intervals >>= 1
    return value


class TopicStanding:
    """A peer in one topic; counters are those of `tick`."""

    __slots__ = (
        "failures",
        "first",
        "invalid",
        "mesh",
        "mesh_tick",
        "observed",
        "silent_messages",
        "silent_ms",
        "tick",
    )

    def __init__(self, tick: int) -> None:
        self.tick = tick
        self.first = 0.0
        """P2: messages that it delivered first."""
        self.mesh = 0.0
        """P3: messages that it delivered while it was in the mesh."""
        self.failures = 0.0
        """P3b: squares of the deficits with which it left the mesh."""
        self.invalid = 0.0
        """P4: messages that were found false."""
        self.mesh_tick = NEVER
        """When it joined the mesh."""
        self.observed = 0.0
        """What had come of the topic when it joined, from anyone, as of `mesh_tick`."""
        self.silent_messages = 0
        """Messages that came while it was in the mesh and said nothing of the topic."""
        self.silent_ms: float = 0
        """How long that was."""

    def fold(self, tick: int, rules: TopicScore, zero: float) -> None:
        """Bring the counters to a tick."""
        passed = tick - self.tick
        if passed <= 0:
            return
        self.tick = tick
        self.first = _settled(self.first, rules.first_deliveries_decay, passed, zero)
        self.mesh = _settled(self.mesh, rules.mesh_deliveries_decay, passed, zero)
        self.failures = _settled(self.failures, rules.mesh_failure_decay, passed, zero)
        self.invalid = _settled(self.invalid, rules.invalid_decay, passed, zero)
        if self.silent_messages and self.mesh_tick == NEVER:
            factor = rules.mesh_failure_decay
            self.silent_ms = _settled(self.silent_ms, factor, passed, SILENCE_MS_MIN)
            if not self.silent_ms:
                self.silent_messages = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known."""
        return self.mesh_tick == NEVER and not (
            self.first or self.failures or self.invalid or self.silent_messages
        )


def _settled(value: float, factor: float, intervals: int, zero: float) -> float:
    """Gossipsub v1.1: parameter decay: what fell below `decay_to_zero` is 0."""
    if not value:
        return 0.0
    value = decayed(value, factor, intervals)
    return value if value >= zero or value <= -zero else 0.0


class Standing:
    """A peer, connected or remembered. `score` is that of `score_tick`, and right until then."""

    __slots__ = (
        "address",
        "application",
        "application_tick",
        "behaviour",
        "behaviour_tick",
        "is_direct",
        "left_ms",
        "peer",
        "score",
        "score_tick",
        "topics",
    )

    def __init__(self, peer: PeerId) -> None:
        self.peer = peer
        self.is_direct = False
        """An explicit peer: whatever it does, it is not judged."""
        self.address = ""
        """Its host, for P6; empty: none, or not counted."""
        self.topics: dict[str, TopicStanding] = {}
        self.application = 0.0
        """P5, as of `application_tick`."""
        self.application_tick = 0
        self.behaviour = 0.0
        """P7's counter, as of `behaviour_tick`."""
        self.behaviour_tick = 0
        self.left_ms = 0
        """When its connection ended."""
        self.score = 0.0
        self.score_tick = NEVER

    def add_behaviour(self, misdeeds: float, tick: int, parameters: ScoreParameters) -> None:
        """Count misbehaviour (P7)."""
        now = self.behaviour_at(tick, parameters)
        self.behaviour, self.behaviour_tick = now + misdeeds, tick
        self.score_tick = NEVER

    def behaviour_at(self, tick: int, parameters: ScoreParameters) -> float:
        """P7's counter at a tick."""
        passed = tick - self.behaviour_tick
        factor, zero = parameters.behaviour_decay, parameters.decay_to_zero
        return _settled(self.behaviour, factor, passed, zero) if passed > 0 else self.behaviour

    def set_application(self, points: float, tick: int) -> None:
        """Take over what the application thinks of the peer (P5)."""
        self.application, self.application_tick = points, tick
        self.score_tick = NEVER

    def application_at(self, tick: int, parameters: ScoreParameters) -> float:
        """P5 at a tick."""
        passed = tick - self.application_tick
        factor, zero = parameters.application_decay, parameters.decay_to_zero
        return _settled(self.application, factor, passed, zero) if passed > 0 else self.application
