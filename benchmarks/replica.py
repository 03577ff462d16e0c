"""What one gossip message costs a replica: `python -m benchmarks.replica [--json]`.

A replica with a full mesh hears capacity ads of providers it does not know, each from one mesh
peer (first seen) and then from another (duplicate). First seen counts all between the decoded RPC
and the orders to forward it: message id, decoding, context, registry, mesh; not the signature,
which is timed beside it as the floor.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial

import msgspec

from p2p.model.ad import CapacityAd, sign_ad
from p2p.model.parameters import Parameters
from p2p.model.rejection import Rejected
from p2p.model.rpc import Message, Rpc, RpcReceived, RpcSent, SendRpc
from p2p.model.topic import Topic, topic_name
from p2p.node.verifier import Verifier
from p2p.primitives.codec import encode
from p2p.primitives.digests import digest
from p2p.primitives.keys import Key, verify_bytes
from p2p.primitives.signing import Ed25519Scheme, Ed25519Signer, SignedKind
from p2p.primitives.units import AccountId, Digest, Millis, PeerId
from p2p.protocol.interface import MessageVerified, ReplicaInput, Verify
from p2p.protocol.replica import Replica
from sim_harness.virtual.conditions import height_at_least
from sim_harness.virtual.world import World


class Trusting:
    """A scheme that finds every signature good: what is left is everything else."""

    def verify(
        self, account: AccountId, kind: SignedKind, chain_id: Digest, body: bytes, signature: bytes
    ) -> bool:
        return True


def replica_in_a_mesh(nodes: int) -> tuple[Replica, Millis]:
    """A replica of a running virtual network, which then stands still."""
    world = World(seed=1, nodes=nodes, validators=4, parameters=Parameters(epoch_ms=Millis(2_000)))
    world.start()
    world.run_until(height_at_least(6))
    replica = world.nodes[nodes - 1].replica
    assert replica is not None
    return replica, world.now_ms


def ads(replica: Replica, now_ms: Millis, count: int) -> list[bytes]:
    """Ads of providers that nobody knows."""
    template = replica.registry.ads()[0].value
    made = []
    for index in range(count):
        signer = Ed25519Signer(Key(digest(b"benchmark", b"%d" % index)))
        draft: CapacityAd = msgspec.structs.replace(
            template, provider=signer.account, seq=1, issued_ms=now_ms
        )
        made.append(encode(sign_ad(draft, signer)))
    return made


def timed(act: Callable[[], object]) -> float:
    """Microseconds of one call."""
    start = time.perf_counter()
    act()
    return (time.perf_counter() - start) * 1e6


def measure(count: int, nodes: int) -> dict[str, float]:
    """Medians in microseconds."""
    replica, now_ms = replica_in_a_mesh(nodes)
    verifier = Verifier(replica.chain_id, Trusting())
    name = topic_name(Topic.ADS, replica.chain_id)
    first, second = replica.gossip.mesh(name)[:2]
    forwards: list[int] = []

    def step(item: ReplicaInput) -> None:
        sent: list[PeerId] = []
        for effect in replica.step(item, now_ms):
            if isinstance(effect, Verify):
                answer = verifier.message(effect.topic, effect.data, replica.admits)
                assert not isinstance(answer, Rejected)
                step(MessageVerified(effect.message_id, effect.topic, effect.peer, answer))
            elif isinstance(effect, SendRpc):
                sent.append(effect.peer)
        if sent:
            forwards.append(len(sent))
        pending.extend(sent)

    pending: list[PeerId] = []
    fresh: list[float] = []
    duplicate: list[float] = []
    bodies = ads(replica, now_ms, count)
    for data in bodies:
        heard = RpcReceived(first, Rpc(publish=(Message(name, data),)))
        again = RpcReceived(second, Rpc(publish=(Message(name, data),)))
        fresh.append(timed(partial(step, heard)))
        duplicate.append(timed(partial(step, again)))
        for peer in pending:
            replica.step(RpcSent(peer), now_ms)
        pending.clear()
    scheme = Verifier(replica.chain_id, Ed25519Scheme())
    checked = [timed(partial(scheme.message, Topic.ADS, data)) for data in bodies]
    key = Key(bytes(32))
    signature = key.sign_bytes(bytes(300))
    bare = [timed(lambda: verify_bytes(key.account, bytes(300), signature)) for _ in bodies]
    return {
        "duplicate_us": statistics.median(duplicate),
        "first_seen_us": statistics.median(fresh),
        "forwards": statistics.median(forwards),
        "verify_ad_us": statistics.median(checked),
        "ed25519_floor_us": statistics.median(bare),
        "first_seen_per_floor": statistics.median(fresh) / statistics.median(bare),
    }


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=2_000, help="messages")
    parser.add_argument("--nodes", type=int, default=30, help="nodes of the network around it")
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    options = parser.parse_args()
    result = measure(options.count, options.nodes)
    if options.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:24} {value:10.1f}")


if __name__ == "__main__":
    main()
