"""How many drawn scenarios each broken build survives, and that the product survives them all.

    python -m benchmarks.canaries --seeds 200 --json

`rows`: one for a build and a range of seeds: {build, from_seed, seeds, seed, finding, cpu_s};
`product`: {seeds, failures, cpu_s}.
"""

import argparse
import json
import time

from sim_harness.canaries import CANARIES, hunt, play, provocation, stage

RANGES = (0, 1_000, 2_000)
"""Where the hunts begin: three of each, or the first would say little."""


def hunts(seeds_max: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for build in CANARIES.values():
        for first in RANGES:
            start = time.process_time()
            caught = hunt(build, range(first, first + seeds_max))
            row = {
                "build": build.name,
                "from_seed": first,
                "seeds": None if caught is None else caught.seeds,
                "seed": None if caught is None else caught.seed,
                "finding": "not caught" if caught is None else caught.finding[:100],
                "cpu_s": round(time.process_time() - start, 1),
            }
            rows.append(row)
    return rows


def control(seeds: int) -> dict[str, object]:
    start, failures = time.process_time(), []
    for seed in range(seeds):
        drawn = provocation(seed)
        try:
            play(stage(drawn), drawn)
        except AssertionError as failure:
            failures.append(f"seed {seed}: {failure}")
    cpu_s = round(time.process_time() - start, 1)
    return {"seeds": seeds, "failures": failures, "cpu_s": cpu_s}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=200, help="scenarios a hunt may take")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    rows = hunts(arguments.seeds)
    product = control(arguments.seeds)
    failures = product["failures"]
    if arguments.json:
        print(json.dumps({"rows": rows, "product": product}, indent=2))
        return
    for row in rows:
        print("{build:18} from {from_seed:5}: {seeds} seeds, {cpu_s} s, {finding}".format(**row))
    print(f"the product, {product['seeds']} seeds: {failures or 'nothing found'}")


if __name__ == "__main__":
    main()
