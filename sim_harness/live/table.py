"""The live table: a line a node, a cell where the terminal is too low for that, or a dot."""

from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from p2p.primitives.units import MIB
from sim_harness.live.cluster import LiveCluster, LiveNode, NodeState
from sim_harness.live.figures import Figures, Spread

FRAME_LINES: Final = 8
"""What the table needs besides its lines: summary, legend, who is behind, margins."""
CELL_COLUMNS: Final = 9
"""Of a node's number, its height, and what parts it from the next."""
WORDS_LINES_MIN: Final = 6
"""Kept for what was said and answered."""
LATE_HEIGHTS: Final = 1
SLOWEST: Final = 6

_STYLES: Final = {
    NodeState.DOWN: "red",
    NodeState.STARTING: "yellow",
    NodeState.UP: "green",
    NodeState.PAUSED: "magenta",
}


def live_table(
    cluster: LiveCluster, now: Figures, *, elapsed_s: float, lines: int, columns: int
) -> tuple[RenderableType, int]:
    """All nodes as they stand, for a terminal of so many lines and columns; how many are left."""
    count, room = len(cluster.nodes), lines - FRAME_LINES
    each = max(1, columns // CELL_COLUMNS)
    needed = -(-count // each)
    body: RenderableType
    if count + WORDS_LINES_MIN <= room:
        body, needed = _by_line(cluster), count
    elif needed + WORDS_LINES_MIN <= room:
        body = _by_cell(cluster, each)
    else:
        body, needed = _by_dot(cluster), -(-count // max(1, columns))
    head = Text(summary_line(now, elapsed_s), style="bold")
    return Group(head, _legend(), body, _slow(cluster)), max(WORDS_LINES_MIN, room - needed)


def summary_line(now: Figures, elapsed_s: float) -> str:
    """All nodes in a line."""
    agreement = "agreed" if now.agreement else "DISAGREE"
    states = [f"{now.up}/{now.nodes} up"]
    states += [f"{now.frozen} frozen"] if now.frozen else []
    states += [f"{now.down} down"] if now.down else []
    return (
        f"{elapsed_s:6.1f} s  {', '.join(states)}; height {_range(now.height)} {agreement},"
        f" round {now.round}; peers {_range(now.peers)}, mesh {_range(now.mesh)},"
        f" ads {_range(now.ads)}; {now.receipts} receipts, {now.earned} earned;"
        f" cpu {now.cpu_s:.1f} s"
    )


def _legend() -> Text:
    """What the colours say."""
    words = [("up", "green"), ("up and behind", "yellow"), ("frozen", "magenta"), ("down", "red")]
    parts: list[str | tuple[str, str]] = []
    for text, style in words:
        parts += [("\u25cf ", style), (f"{text}   ", "dim")]
    return Text.assemble(*parts, ("number of the node, and its height", "dim"))


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


def _by_cell(cluster: LiveCluster, each: int) -> Text:
    """A cell a node with its height, in order, so many in a line."""
    highest, text = _highest(cluster), Text()
    for at, node in enumerate(cluster.nodes):
        text.append_text(_cell(node, highest))
        text.append("\n" if at % each == each - 1 else "  ")
    return text


def _by_dot(cluster: LiveCluster) -> Text:
    """A dot a node, where there is no room for more."""
    highest, dots = _highest(cluster), Text()
    for node in cluster.nodes:
        dots.append("\u25cf" if node.status else "\u25cb", style=_style(node, highest))
    return dots


def _highest(cluster: LiveCluster) -> int:
    return max((node.height for node in cluster.nodes), default=0)


def _cell(node: LiveNode, highest: int) -> Text:
    told = f"{node.height:>4}" if node.status else f"{node.state.value[:4]:>4}"
    return Text(f"{node.index:03}{told}", style=_style(node, highest))


def _style(node: LiveNode, highest: int) -> str:
    """Green: up with all others; yellow: up and behind."""
    is_late = node.state is NodeState.UP and node.height < highest - LATE_HEIGHTS
    return "yellow" if is_late else _STYLES[node.state]


def _slow(cluster: LiveCluster) -> Text:
    """The nodes that are furthest behind."""
    highest = _highest(cluster)
    told = [node for node in cluster.nodes if node.status is not None and node.height < highest]
    slowest = sorted(told, key=lambda node: node.height)[:SLOWEST]
    words = [f"n{node.index} by {highest - node.height}" for node in slowest]
    return Text(f"behind: {', '.join(words)}" if words else "nobody is behind", style="dim")
