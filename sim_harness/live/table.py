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

CELLS_PER_LINE: Final = 8
LATE_HEIGHTS: Final = 1
SLOWEST: Final = 6

_STYLES: Final = {
    NodeState.DOWN: "red",
    NodeState.STARTING: "yellow",
    NodeState.UP: "green",
    NodeState.PAUSED: "magenta",
}


def live_table(
    cluster: LiveCluster,
    now: Figures,
    *,
    elapsed_s: float,
    lines: int,
    below: RenderableType | None = None,
    below_lines: int = 0,
) -> RenderableType:
    """All nodes as they stand, for a terminal of so many lines; `below` is shown under them."""
    fits = len(cluster.nodes) + FRAME_LINES + below_lines <= lines
    body = _by_line(cluster) if fits else _by_cell(cluster, lines - FRAME_LINES - below_lines)
    parts: list[RenderableType] = [Text(summary_line(now, elapsed_s), style="bold"), body]
    return Group(*parts, *([] if below is None else [below]))


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
        "mesh",
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
        str(status.mesh),
        str(status.ads),
        str(status.receipts),
        str(status.earned),
        f"{status.cpu_ms / 1000:.1f}",
        str(status.rss_bytes // MIB),
    ]


def _by_cell(cluster: LiveCluster, lines: int) -> RenderableType:
    """A cell a node with its height, or dots where even that is too much; then who is slow."""
    highest = max((node.height for node in cluster.nodes), default=0)
    cells = [_cell(node, highest) for node in cluster.nodes]
    if len(cells) > CELLS_PER_LINE * max(1, lines):
        dots = Text()
        for node in cluster.nodes:
            dots.append("●" if node.status else "○", style=_style(node, highest))
        return Group(dots, _slow(cluster, highest))
    return Group(Columns(cells, padding=(0, 2), column_first=True), _slow(cluster, highest))


def _cell(node: LiveNode, highest: int) -> Text:
    told = f"{node.height:>4}" if node.status else f"{node.state.value[:4]:>4}"
    return Text(f"{node.index:03}{told}", style=_style(node, highest))


def _style(node: LiveNode, highest: int) -> str:
    """Green: up with all others; yellow: up and behind."""
    is_late = node.state is NodeState.UP and node.height < highest - LATE_HEIGHTS
    return "yellow" if is_late else _STYLES[node.state]


def _slow(cluster: LiveCluster, highest: int) -> Text:
    """The nodes that are furthest behind."""
    told = [node for node in cluster.nodes if node.status is not None and node.height < highest]
    slowest = sorted(told, key=lambda node: node.height)[:SLOWEST]
    words = [f"n{node.index} {node.height - highest}" for node in slowest]
    down = sum(node.state is NodeState.DOWN for node in cluster.nodes)
    text = f"behind: {', '.join(words)}" if words else "nobody is behind"
    return Text(text + (f"; {down} down" if down else ""), style="dim")
