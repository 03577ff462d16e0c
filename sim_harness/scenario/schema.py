"""What a scenario says, once read: frozen values without units or selectors left to guess."""

from typing import ClassVar, Final

import msgspec

from p2p.model.blob import WINDOW_BYTES
from p2p.primitives.units import BASIS_POINTS, KIB, MIB, Millis
from sim_harness.virtual.cuts import Direction
from sim_harness.virtual.regions import REGIONS
from sim_harness.virtual.spans import seconds

NODES_MAX: Final = 10_000
DURATION_MIN: Final = seconds(20)
"""How long a scenario without a `duration` lasts at least."""


class Regions(msgspec.Struct, frozen=True):
    """Nodes take turns over regions; the built-in table says how far they are apart."""

    names: tuple[str, ...] = REGIONS


class Constant(msgspec.Struct, frozen=True):
    """The same distance, one way, between any two nodes."""

    millis: Millis


class Matrix(msgspec.Struct, frozen=True):
    """Half of the round trips of a file: one row of milliseconds a place, as PlanetLab's."""

    path: str


Distance = Regions | Constant | Matrix


class Network(msgspec.Struct, frozen=True):
    """Who there is. The first `validators` nodes vote."""

    nodes: int = 7
    validators: int = 4
    distance: Distance = Regions()
    jitter: Millis = Millis(2)
    bandwidth: int = 100_000_000
    """Bits a second of each node's uplink."""
    cpu: int | None = None
    """Basis points of a usual core that each node has to itself; None: steps take no time."""


class Load(msgspec.Struct, frozen=True):
    """What consumers do until the end of the faults."""

    consumers: int = 0
    """Nodes that buy work, the last ones; each from one provider among the others."""
    receipts_per_minute: int = 60
    """Windows of work that each consumer pays."""
    transfers_per_minute: int = 0
    """Of the whole network."""
    adds_per_minute: int = 0
    """Files that each consumer stores with providers, through the product's own transfers."""
    blob_bytes: tuple[int, int] = (4 * KIB, MIB)
    """Least and greatest size of a file."""
    replicas: int = 2
    """Providers that hold each file."""
    blob_epochs: int = 100
    """How long a file is paid for in advance."""
    window_bytes: int = WINDOW_BYTES
    """Work between two signatures."""


def usual_load(load: Load) -> Load:
    """What a load is unless said otherwise: who adds files buys nothing else."""
    usual = Load()
    return msgspec.structs.replace(usual, receipts_per_minute=0) if load.adds_per_minute else usual


# ---- faults --------------------------------------------------------------------------------------


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What goes wrong: from `at`, for a while or until the end, perhaps again and again.

    `line` is where it stands in its file; it makes no difference.
    """

    kind: ClassVar[str]

    at: Millis = Millis(0)
    lasts: Millis | None = None
    """`for` in files; None: until everything is healed."""
    every: Millis | None = None
    nodes: str = ""
    line: int = 0


class Kill(Fault, frozen=True):
    """Processes end at once, and start again on the same disk when it is over."""

    kind: ClassVar[str] = "kill"


class Restart(Fault, frozen=True):
    """Processes end, and start again a moment later."""

    kind: ClassVar[str] = "restart"


class Pause(Fault, frozen=True):
    """Processes freeze."""

    kind: ClassVar[str] = "pause"


class Disconnect(Fault, frozen=True):
    """Nodes are cut off from all others, and from one another."""

    kind: ClassVar[str] = "disconnect"


class Partition(Fault, frozen=True):
    """Groups do not hear one another; one-way, as seen from the first group."""

    kind: ClassVar[str] = "partition"

    groups: tuple[str, ...]
    direction: Direction = Direction.BOTH


class Delay(Fault, frozen=True):
    """Messages take longer."""

    kind: ClassVar[str] = "delay"

    add: Millis
    jitter: Millis = Millis(0)
    direction: Direction = Direction.BOTH


class Loss(Fault, frozen=True):
    """Packets are lost: late messages, and now and then a broken connection."""

    kind: ClassVar[str] = "loss"

    share: int
    """Basis points."""
    direction: Direction = Direction.BOTH


class Bandwidth(Fault, frozen=True):
    """Uplinks are narrow."""

    kind: ClassVar[str] = "bandwidth"

    rate: int
    """Bits a second."""


class SlowDisk(Fault, frozen=True):
    """Every fsync takes longer."""

    kind: ClassVar[str] = "slow_disk"

    add: Millis


class DiskFull(Fault, frozen=True):
    """Writes fail; a node that must write stops, and starts again when there is space."""

    kind: ClassVar[str] = "disk_full"


class TornWrite(Fault, frozen=True):
    """Power fails within the next write, which is lost; the node starts again afterwards."""

    kind: ClassVar[str] = "torn_write"


class CorruptPage(Fault, frozen=True):
    """Processes end, and find a page of their disks damaged when they start again."""

    kind: ClassVar[str] = "corrupt_page"

    table: str = ""
    """`blocks`, `state`, `journal`, ...; empty: any but those that tell what a key signed."""


class SlowCpu(Fault, frozen=True):
    """Processors are slow: every step takes what it costs, divided by the speed."""

    kind: ClassVar[str] = "slow_cpu"

    speed: int
    """Basis points of a usual core."""


class ClockSkew(Fault, frozen=True):
    """Clocks jump by an offset, and run fast or slow from then on; put right when it is over."""

    kind: ClassVar[str] = "clock_skew"

    offset: Millis = Millis(0)
    drift: int = 0
    """Parts per million."""


class Churn(Fault, frozen=True):
    """Nodes leave and come back: sessions and absences are drawn, or read from a trace."""

    kind: ClassVar[str] = "churn"

    sessions: str = "exponential"
    """`exponential`, `weibull`, or a file with one session a line, in seconds."""
    mean: Millis = seconds(60)
    """Of the sessions."""
    shape: float = 0.5
    """Of Weibull's distribution: below 1, few sessions are long and many short."""
    down: Millis = seconds(10)
    """Mean absence, exponential."""


FAULTS: Final[dict[str, type[Fault]]] = {
    one.kind: one
    for one in (
        Kill,
        Restart,
        Pause,
        Disconnect,
        Partition,
        Delay,
        Loss,
        Bandwidth,
        SlowDisk,
        DiskFull,
        TornWrite,
        CorruptPage,
        SlowCpu,
        ClockSkew,
        Churn,
    )
}


class AdversarySpec(msgspec.Struct, frozen=True):
    """Who lies: a kind of `sim_harness.adversaries`, on so many nodes or on those selected."""

    kind: str
    nodes: int | str = 1
    options: tuple[tuple[str, int | str | bool | float], ...] = ()
    line: int = 0


class Comparison(msgspec.Struct, frozen=True):
    """A statement about a moment, such as `height >= 3`, or a bare word such as `caught_up`."""

    quantity: str
    operator: str = ">="
    number: int = 1

    @property
    def text(self) -> str:
        """As it is written."""
        return f"{self.quantity} {self.operator} {self.number}"


class Expect(msgspec.Struct, frozen=True):
    """What must hold. The first four at every moment, the rest once everything is healed."""

    agreement: bool = True
    validity: bool = True
    supply: bool = True
    no_bans: bool = True
    """No honest node punishes another."""
    forked: bool = False
    """Instead of agreement: the chain forks, which ends the run, and disks name who is guilty."""
    heights: int = 1
    """What every honest node has committed in the end."""
    recovers_within: Millis = seconds(60)
    """From the last repair until every honest node commits a height that was new then."""
    ads_converge: bool = True
    receipts_settled: bool = True
    commit_latency_p95: Millis | None = None
    ad_latency_p95: Millis | None = None
    ad_delivery: int | None = None
    """Basis points: ads that reached the nodes which were up, of those published."""
    always: tuple[Comparison, ...] = ()
    eventually: tuple[Comparison, ...] = ()
    sometimes: tuple[Comparison, ...] = ()


class Scenario(msgspec.Struct, frozen=True):
    """A whole experiment; its seed may be given apart."""

    name: str
    about: str = ""
    """What it proves, in a sentence."""
    duration: Millis = DURATION_MIN
    """Of the first phase: faults and load. Then everything is healed, and liveness required."""
    network: Network = Network()
    parameters: tuple[tuple[str, int], ...] = ()
    """Overrides, sorted; local ones with their machine before a dot, as `gossip.flush_ms`."""
    load: Load = Load()
    faults: tuple[Fault, ...] = ()
    adversaries: tuple[AdversarySpec, ...] = ()
    expect: Expect = Expect()
    seed: int | None = None
    """The one it was found with, which runs take unless they are given another."""
    directory: str = ""
    """Where paths in the scenario begin; it makes no difference to what it says."""

    @property
    def cpu(self) -> int | None:
        """What each node has of a core: a whole one as soon as some are slow."""
        if self.network.cpu is None and any(isinstance(one, SlowCpu) for one in self.faults):
            return BASIS_POINTS
        return self.network.cpu
