"""`sim-harness up`: a network on this machine, watched and hurt by words until it is ended."""

import os
import secrets
import stat
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Final

import msgspec
import trio
from rich.console import Console as Screen
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from p2p.primitives.units import MIB
from sim_harness.live.cluster import LiveCluster
from sim_harness.live.console import Console
from sim_harness.live.console_words import complete
from sim_harness.live.figures import Cost, Figures, cost, figures, is_brought_up, usages
from sim_harness.live.interrupt import interruptible
from sim_harness.live.line_editor import LineEditor, raw_terminal, read_keys
from sim_harness.live.network import LocalPlan, open_network
from sim_harness.live.process_memory import usage
from sim_harness.live.setup import FILE as SETUP_FILE
from sim_harness.live.table import live_table, summary_line

REFRESH_S: Final = 0.5
TYPED_S: Final = 0.2
"""Between two pictures on a terminal, where somebody may be typing."""
WORDS_SHOWN: Final = 28
"""What was said and answered, where the terminal has room: help takes as many lines."""
PROMPT_LINES: Final = 2
PROMPT_HINT: Final = "help lists what can be said; Tab completes; Ctrl-C ends"
LINE_EVERY_S: Final = 3.0
"""Between lines where there is no terminal."""
SETTLE_S: Final = 5.0
"""After the bring-up: joining costs handshakes, which are no rest."""
REST_S: Final = 10.0
"""Over which the processor use at rest is measured."""
BRING_UP_DEADLINE_S: Final = 600.0


class UpReport(msgspec.Struct, kw_only=True):
    """What `up` measured. Times in seconds since its start; None where it ended before."""

    nodes: int
    validators: int
    epoch_ms: int
    warm_s: float | None = None
    """When the parent of all nodes had imported everything."""
    started_s: float | None = None
    """When every node served."""
    bring_up_s: float | None = None
    """When every node had a block and knew every node's ad."""
    cost: Cost | None = None
    seconds: float = 0.0
    interrupted: bool = False
    figures: Figures | None = None


async def up(plan: LocalPlan, console: Screen, *, for_s: float | None = None) -> UpReport:
    """Bring a network up and watch it, for a time from then on or until Ctrl-C.

    Raises:
        UserError: the plan cannot be carried out.
        ClusterError: a node ended by itself, or the network did not come up.
    """
    return await _Up(plan, console, for_s).run()


class _Up:
    def __init__(self, plan: LocalPlan, console: Screen, for_s: float | None) -> None:
        self._plan = plan
        self._console = console
        self._for_s = for_s
        self._began_s = time.monotonic()
        self._report = UpReport(
            nodes=plan.nodes, validators=min(plan.validators, plan.nodes), epoch_ms=plan.epoch_ms
        )

    def _elapsed_s(self) -> float:
        return round(time.monotonic() - self._began_s, 2)

    async def run(self) -> UpReport:
        report = self._report
        seed = secrets.randbits(32) if self._plan.seed is None else self._plan.seed
        # The parent of all nodes removes it, too: it outlives us by a moment when we are killed.
        with tempfile.TemporaryDirectory(
            prefix="gigmesh-up-", ignore_cleanup_errors=True
        ) as scratch:
            await self._run(seed, Path(scratch) / SETUP_FILE)
        report.seconds = self._elapsed_s()
        return report

    async def _run(self, seed: int, setup: Path) -> None:
        report = self._report
        options = {**self._plan.options, "setup": str(setup)}
        plan = msgspec.structs.replace(
            self._plan, seed=seed, options=options, scratch=(setup.parent,)
        )
        async with interruptible() as state, open_network(plan) as cluster:
            report.warm_s = self._elapsed_s()
            words = Console(cluster, seed=seed, validators=report.validators, setup=setup)
            editor = LineEditor(lambda text: complete(text, words.population))
            try:
                async with trio.open_nursery() as nursery:
                    await nursery.start(words.run)
                    nursery.start_soon(self._show, cluster, words, editor)
                    nursery.start_soon(self._listen, words, editor)
                    await self._bring_up(cluster)
                    await self._watch(cluster, words)
                    nursery.cancel_scope.cancel()
            finally:
                report.figures = figures(cluster)
        report.interrupted = state.interrupted

    async def _listen(self, words: Console, editor: LineEditor) -> None:
        """Take words from the terminal, or from a pipe; none where there is neither."""
        try:
            mode = os.fstat(sys.stdin.fileno()).st_mode
        except (OSError, ValueError):
            return
        typed = self._console.is_terminal and sys.stdin.isatty()
        if not (typed or stat.S_ISFIFO(mode)):
            return
        with raw_terminal() if typed else nullcontext():
            while keys := await read_keys(sys.stdin.fileno()):
                for line in editor.feed(keys):
                    words.tell(f"> {line}")
                    words.say(line)

    async def _bring_up(self, cluster: LiveCluster) -> None:
        await cluster.start_all()
        self._report.started_s = self._elapsed_s()
        await cluster.wait(
            is_brought_up,
            deadline_s=BRING_UP_DEADLINE_S,
            what="every node to have a block and every ad",
        )
        self._report.bring_up_s = self._elapsed_s()
        self._console.print(
            f"{len(cluster.nodes)} nodes are up after {self._report.bring_up_s:.1f} s"
            " (every one has a block and knows every ad)",
            highlight=False,
        )
        if cluster.kernel is not None:
            home = str(cluster.nodes[0].home)
            enter = " ".join(cluster.kernel.namespace.inside(["p2p", "status", "--home", home]))
            self._console.print(
                f"they have a network of their own; to reach a node: {enter}",
                highlight=False,
                soft_wrap=True,
            )

    async def _watch(self, cluster: LiveCluster, words: Console) -> None:
        end_s = None if self._for_s is None else time.monotonic() + self._for_s
        short = 1.0 if self._for_s is None else min(1.0, self._for_s / (SETTLE_S + REST_S))
        await trio.sleep(SETTLE_S * short)
        began_s = time.monotonic()
        before = usages(cluster.nodes)
        await trio.sleep(REST_S * short)
        after = usages(cluster.nodes)
        self._report.cost = cost(
            before, after, seconds=time.monotonic() - began_s, parent=usage(cluster.zygote_pid)
        )
        if self._report.cost is not None:
            self._console.print(cost_line(self._report.cost), highlight=False)
        left_s = float("inf") if end_s is None else end_s - time.monotonic()
        with trio.move_on_after(max(0.0, left_s)):
            # An end of a node that nobody ordered ends the watching, too.
            await cluster.wait(lambda _: words.quits.is_set(), deadline_s=float("inf"))

    async def _show(self, cluster: LiveCluster, words: Console, editor: LineEditor) -> None:
        console = self._console
        if not console.is_terminal:
            while True:
                line = summary_line(figures(cluster), self._elapsed_s())
                console.print(line, highlight=False, soft_wrap=True)
                due_s = trio.current_time() + LINE_EVERY_S
                while trio.current_time() < due_s:
                    while words.lines:
                        console.print(words.lines.popleft(), highlight=False, soft_wrap=True)
                    await trio.sleep(REFRESH_S)
        with Live(console=console, auto_refresh=False, transient=False) as live:
            try:
                while True:
                    live.update(self._table(cluster, words, editor), refresh=True)
                    await trio.sleep(TYPED_S)
            finally:
                live.update(self._table(cluster, words, editor), refresh=True)

    def _table(self, cluster: LiveCluster, words: Console, editor: LineEditor) -> RenderableType:
        size = self._console.size
        table, left = live_table(
            cluster,
            figures(cluster),
            elapsed_s=self._elapsed_s(),
            lines=size.height,
            columns=size.width,
        )
        said = list(words.lines)[-min(WORDS_SHOWN, left - PROMPT_LINES) :]
        text = Text("\n".join(said), style="dim", no_wrap=True, overflow="ellipsis")
        prompt = Text.assemble(("> ", "bold cyan"), editor.text, ("▏", "bold cyan"))
        offers = Text("  ".join(editor.offers) or PROMPT_HINT, style="dim")
        return Group(table, text, prompt, offers)


def cost_line(found: Cost) -> str:
    """Memory and rest of the nodes in a line."""
    return (
        f"a node takes {found.pss_mean_bytes / MIB:.1f} MiB (its share; at most"
        f" {found.pss_max_bytes / MIB:.1f}), {found.private_mean_bytes / MIB:.1f} MiB of it its"
        f" own; all together {found.pss_total_bytes / MIB:.0f} MiB; at rest"
        f" {found.cpu_percent_node:.2f} % of a core each, {found.cpu_percent_total:.0f} % together"
    )
