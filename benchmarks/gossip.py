"""What the delivery of a gossiped message costs, beside py-libp2p and js-libp2p.

    python -m benchmarks.gossip [--nodes 30 [100 200 ...]] [--messages 300] [--rate 50] [--json]

The same network for each stack, all of its nodes in one process of its own, one stack after the
other: the same connections, D = 6, heartbeats of 1 s, messages of 300 bytes published by everyone
in turn. Every stack verifies one signature a message and node: py-libp2p and js-libp2p in their
own envelopes (StrictSign, their default), ours in the payload (StrictNoSign). `--unsigned` leaves
that out everywhere. py-libp2p's limit of ten messages a second is lifted.

CPU is the process's own, from the first publication to the last delivery, after a warm-up that is
not counted; a delivery is one message at one node that did not publish it. With more than one
size, ours alone runs at the further ones, for how its cost grows.

`floor_us` is what one delivery takes at least, measured by itself: to receive and decrypt one RPC
over a socket, to hash it, to verify its signature.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.gossip_stacks.plan import Plan, Result, plan

ROOT: Final = Path(__file__).parent.parent
JS: Final = ROOT / "tests" / "interop" / "js"
STACK_S_MAX: Final = 900
"""A stack that takes longer is ended."""
MESSAGE_BYTES: Final = 300
FLUSHES_MS: Final = (0, 50)
FLOOR_ROUNDS: Final = 5_000

Figures = dict[str, object]


def run_stack(command: Sequence[str], load: Plan) -> Result:
    """One stack in a process of its own. Raises RuntimeError when it fails."""
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    ) as process:
        try:
            output, errors = process.communicate(msgspec.json.encode(load), timeout=STACK_S_MAX)
        except BaseException:
            process.kill()
            raise
    try:
        return msgspec.json.decode(output, type=Result)
    except msgspec.DecodeError:
        tail = errors.decode(errors="replace")[-2_000:]
        raise RuntimeError(f"{' '.join(command)} gave no result:\n{tail}") from None


def python(stack: str) -> Sequence[str]:
    return (sys.executable, "-m", f"benchmarks.gossip_stacks.{stack}")


def js_missing() -> str:
    """Why js-libp2p cannot run; empty when it can."""
    if shutil.which("node") is None:
        return "no node here"
    if not (JS / "node_modules" / "libp2p").is_dir():
        return "its packages are not installed: make interop"
    return ""


def figures_of(name: str, result: Result) -> Figures:
    """The lines of one stack."""
    return {
        f"{name}_ms": round(result.ms_per_delivery, 3),
        f"{name}_p50_ms": round(result.p50_ms, 1),
        f"{name}_p99_ms": round(result.p99_ms, 1),
        f"{name}_delivered": round(result.delivered, 4),
        f"{name}_mesh_degree": round(result.mesh_degree, 1),
        f"{name}_version": result.version,
    }


def compare(load: Callable[[int, int], Plan], nodes: int) -> Figures:
    """All stacks at one size. `ours` is the run with `flush_ms` 50; `ours_flush_0` the other."""
    found: Figures = {}
    at_once, coalesced = (run_stack(python("ours"), load(nodes, ms)) for ms in FLUSHES_MS)
    py = run_stack(python("py_libp2p"), load(nodes, 0))
    found |= figures_of("ours", coalesced)
    found |= figures_of("ours_flush_0", at_once)
    found |= figures_of("py_libp2p", py)
    found["delivered"] = min(coalesced.delivered, at_once.delivered)
    found["ratio_py_libp2p"] = ratio(py, coalesced)
    found["ratio_py_libp2p_flush_0"] = ratio(py, at_once)
    if reason := js_missing():
        print(f"js-libp2p: {reason}", file=sys.stderr)
        return found | {"js_ms": None, "ratio_js": None}
    js = run_stack(("node", str(JS / "network.mjs")), load(nodes, 0))
    found |= figures_of("js", js)
    found["ratio_js"] = ratio(js, coalesced)
    found["ratio_js_flush_0"] = ratio(js, at_once)
    return found


def ratio(theirs: Result, ours: Result) -> float:
    """How many times our CPU theirs is, a delivery."""
    return round(theirs.ms_per_delivery / ours.ms_per_delivery, 1)


def growth(load: Callable[[int, int], Plan], sizes: Sequence[int]) -> Figures:
    """How the cost of a delivery grows with the network: ours, with `flush_ms` 50."""
    costs = {size: run_stack(python("ours"), load(size, FLUSHES_MS[1])) for size in sizes}
    found: Figures = {}
    for size, result in costs.items():
        found[f"ours_{size}_nodes_ms"] = round(result.ms_per_delivery, 3)
        found[f"ours_{size}_nodes_p99_ms"] = round(result.p99_ms, 1)
        found[f"ours_{size}_nodes_delivered"] = round(result.delivered, 4)
    first, last = costs[sizes[0]], costs[sizes[-1]]
    found["growth"] = round(last.ms_per_delivery / first.ms_per_delivery, 2)
    return found


def floor() -> Figures:
    """Microseconds of CPU that the parts of one delivery take by themselves."""
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    from p2p.primitives.keys import Key, verify_bytes

    key, data = Key(bytes(32)), os.urandom(MESSAGE_BYTES + 96)
    signature = key.sign_bytes(data)
    cipher, nonce = ChaCha20Poly1305(bytes(32)), bytes(12)
    sealed = cipher.encrypt(nonce, data, None)
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
        with near, far:
            both = cost_us(lambda: (near.send(sealed), far.recv(65_536)))
            for _ in range(FLOOR_ROUNDS):
                near.send(sealed[:2])
            receive = cost_us(lambda: far.recv(2))
    parts = {
        "receive_us": receive,
        "send_us": round(both - receive, 2),
        "decrypt_us": cost_us(lambda: cipher.decrypt(nonce, sealed, None)),
        "encrypt_us": cost_us(lambda: cipher.encrypt(nonce, data, None)),
        "hash_us": cost_us(lambda: sha256(data).digest()),
        "verify_us": cost_us(lambda: verify_bytes(key.account, data, signature)),
    }
    needed = ("receive_us", "decrypt_us", "hash_us", "verify_us")
    return {**parts, "floor_us": round(sum(parts[name] for name in needed), 1)}


def cost_us(work: Callable[[], object]) -> float:
    started = time.process_time()
    for _ in range(FLOOR_ROUNDS):
        work()
    return round((time.process_time() - started) / FLOOR_ROUNDS * 1e6, 2)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, nargs="+", default=[30], help="sizes of the network")
    parser.add_argument("--messages", type=int, default=300)
    parser.add_argument("--rate", type=float, default=50.0, help="messages a second, of all nodes")
    parser.add_argument("--unsigned", action="store_true", help="sign and verify nothing")
    parser.add_argument("--only-ours", action="store_true", help="leave out the other stacks")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    if min(options.nodes) < 2 or options.messages < 1 or options.rate <= 0:
        parser.error("at least 2 nodes, 1 message and a rate above 0")

    def load(nodes: int, flush_ms: int) -> Plan:
        return plan(
            nodes,
            options.messages,
            options.rate,
            MESSAGE_BYTES,
            flush_ms=flush_ms,
            signed=not options.unsigned,
        )

    figures: Figures = {"nodes": options.nodes, "messages": options.messages}
    figures |= floor()
    if not options.only_ours:
        figures |= compare(load, options.nodes[0])
    if len(options.nodes) > 1 or options.only_ours:
        figures |= growth(load, options.nodes)
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:32} {value}")


if __name__ == "__main__":
    main()
