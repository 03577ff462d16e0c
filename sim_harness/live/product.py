"""Drives a node as its owner would: by the `p2p` command, a process of its own, and its API."""

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final, cast

import trio

from p2p.api.client import ApiClient
from p2p.api.values import Json, Row
from sim_harness.live.cluster import ClusterError

COMMAND_DEADLINE_S: Final = 60.0
POLL_S: Final = 0.5


async def p2p(home: Path, *words: str, deadline_s: float = COMMAND_DEADLINE_S) -> Row:
    """The result of a `p2p` command with `--json`. Raises ClusterError when it fails."""
    command = [sys.executable, "-m", "p2p.api.cli", *words, "--home", str(home), "--json"]
    with trio.move_on_after(deadline_s):
        done = await trio.run_process(
            command, capture_stdout=True, capture_stderr=True, check=False
        )
        if done.returncode != 0:
            said = (done.stderr or done.stdout).decode(errors="replace").strip()
            raise ClusterError(f"`p2p {words[0]}` at {home.name} failed: {said[-500:]}")
        return cast(Row, json.loads(done.stdout.decode().splitlines()[-1]))
    raise ClusterError(f"`p2p {words[0]}` at {home.name} took more than {deadline_s:.0f} s")


async def api_get(home: Path, path: str, **query: str | int) -> Json:
    """The answer of a node's API. Raises UserError."""
    return await trio.to_thread.run_sync(partial(_get, home, path, query))


async def api_rows(home: Path, path: str, **query: str | int) -> list[Row]:
    """The same where it is a list of objects."""
    return cast("list[Row]", await api_get(home, path, **query))


async def wait_paid(homes: Sequence[Path], *, deadline_s: float) -> list[str]:
    """Until the ledger settled every receipt that both parties signed; what is still owed then.

    Raises:
        UserError: a node does not answer.
    """
    owed = ["no node has answered yet"]
    with trio.move_on_after(deadline_s):
        while True:
            owed = [
                f"{row['settled']} of {row['amount']} to {row['provider']}"
                for home in homes
                for row in await api_rows(home, "/receipts")
                if row["settled"] != row["amount"]
            ]
            if not owed:
                break
            await trio.sleep(POLL_S)
    return owed


def _get(home: Path, path: str, query: dict[str, str | int]) -> Json:
    return ApiClient(home).get(path, **query)
