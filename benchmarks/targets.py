"""The project's speed targets in one run: `python -m benchmarks.targets [--json]`.

Runs the benchmarks one after the other and holds what they measured against what was promised.
Throughputs are ratios to bare py-libp2p streams of the same run, since machines differ.
"""

import argparse
import json
import platform
import subprocess
import sys
from typing import Final

import msgspec

MODULES: Final = ("replica", "streams", "blobs")


class Row(msgspec.Struct, frozen=True):
    """One promise: what was measured, and the bound that it has to keep."""

    what: str
    measured: float
    bound: str
    kept: bool


def figures_of(module: str) -> dict[str, float]:
    """What a benchmark prints as JSON. Raises CalledProcessError when it fails."""
    command = [sys.executable, "-m", f"benchmarks.{module}", "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def table(figures: dict[str, dict[str, float]]) -> list[Row]:
    """The promises, with what was measured in this run."""
    replica, streams, blobs = (figures[module] for module in MODULES)
    bare = streams["bare_mib_per_s"]

    def below(what: str, value: float, bound: float) -> Row:
        return Row(what, value, f"< {bound:g}", value < bound)

    def share(what: str, value: float) -> Row:
        return Row(what, value / bare, ">= 0.5", value / bare >= 0.5)

    return [
        below("replica.step, duplicate message (us)", replica["duplicate_us"], 20),
        below(
            "replica.step, first-seen message without its signature (us)",
            replica["first_seen_us"],
            150,
        ),
        share("message streams / bare py-libp2p streams", streams["ours_mib_per_s"]),
        share("add of 200 MiB / bare py-libp2p streams", blobs["add_mib_per_s"]),
        share("get of 200 MiB / bare py-libp2p streams", blobs["get_mib_per_s"]),
    ]


def main() -> None:
    """Measure, print a table or JSON, and exit 1 when a promise is not kept."""
    parser = argparse.ArgumentParser(description="the project's speed targets in one run")
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    options = parser.parse_args()
    figures = {module: figures_of(module) for module in MODULES}
    rows = table(figures)
    if options.json:
        machine = {"python": platform.python_version(), "machine": platform.machine()}
        print(json.dumps({"rows": msgspec.to_builtins(rows), "figures": figures, **machine}))
    else:
        for row in rows:
            verdict = "kept" if row.kept else "NOT KEPT"
            print(f"{row.what:62} {row.measured:8.2f}  {row.bound:7} {verdict}")
    sys.exit(0 if all(row.kept for row in rows) else 1)


if __name__ == "__main__":
    main()
