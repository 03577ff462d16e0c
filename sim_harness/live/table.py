"""The live table: a line a node, or a cell a node when the terminal is too low for that."""

from typing import Final

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from p2p.primitives.units import MIB
from sim_harness.live.cluster import LiveCluster, LiveNode, NodeState
from sim_harness.live.figures import Figures, Spread

FRAME_LINES: Final = 8
"""What the table needs besides its lines: summary, heading, margins."""

_STYLES: Final = {
    NodeState.DOWN: "red",
    NodeState.STARTING: "yellow",
    NodeState.UP: "green",
    NodeState.PAUSED: "magenta",
}


def live_table(
    cluster: LiveCluster, now: Figures, *, elapsed_s: float, lines: int
) -> RenderableType:
    """All nodes as they stand, for a terminal of so many lines."""
    fits = len(cluster.nodes) + FRAME_LINES <= lines
    body = _by_line(cluster) if fits else _by_cell(cluster)
    return Group(Text(summary_line(now, elapsed_s), style="bold"), body)


def summary_line(now: Figures, elapsed_s: float) -> str:
    """All nodes in a line."""
    agreement = "agreed" if now.agreement else "DISAGREE"
    return (
        f"{elapsed_s:6.1f} s  {now.up}/{now.nodes} up, height {_range(now.height)} {agreement},"
        f" peers {now.peers.min}/{now.peers.median:g}/{now.peers.max}, ads {_range(now.ads)},"
        f" {now.receipts} receipts, {now.earned} earned, cpu {now.cpu_s:.1f} s,"
        f" rss {now.rss_bytes // MIB} MiB"
    )


def _range(spread: Spread) -> str:
    return f"{spread.min}" if spread.min == spread.max else f"{spread.min} to {spread.max}"


def _by_line(cluster: LiveCluster) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in (
        "node",
        "state",
        "height",
        "state root",
        "round",
        "peers",
        "ads",
        "receipts",
        "earned",
        "cpu s",
        "rss MiB",
    ):
        table.add_column(name, justify="left" if name in ("state", "state root") else "right")
    for node in cluster.nodes:
        state = Text(node.state.value, style=_STYLES[node.state])
        table.add_row(f"{node.index:03}", state, *_cells(node))
    return table


def _cells(node: LiveNode) -> list[str]:
    status = node.status
    if status is None:
        return []
    return [
        str(status.height),
        status.state_root.hex()[:10],
        str(status.round),
        str(status.peers),
        str(status.ads),
        str(status.receipts),
        str(status.earned),
        f"{status.cpu_ms / 1000:.1f}",
        str(status.rss_bytes // MIB),
    ]


def _by_cell(cluster: LiveCluster) -> Columns:
    cells = []
    for node in cluster.nodes:
        status = node.status
        told = f"{status.height} {status.peers}p {status.ads}a" if status else node.state.value
        cells.append(Text(f"{node.index:03} {told}", style=_STYLES[node.state]))
    return Columns(cells, padding=(0, 2), column_first=True)
