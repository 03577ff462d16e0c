"""Bytes that nobody would send, into the RPC decoder and the gossip machine, for as long as wanted.

    python -m benchmarks.fuzz_gossip [--cpu-s 600] [--seed 1] [--replay FILE] [--json]

An input is a session: RPCs of six peers as raw bytes, between them heartbeats, verdicts, peers that
come and go, our own messages. Malformed RPCs must be rejected, and nothing else raised; every table
stays within its bound after every step, no message is verified twice, and whatever the machine
sends can be decoded again.

Where `atheris` is installed (it is no dependency: `pip install atheris`), coverage guides the
inputs; else a plain mutator changes valid sessions. An input that breaks anything is written to a
file, which `--replay` plays again.
"""

import argparse
import hashlib
import importlib
import importlib.util
import json
import os
import random
import sys
import time
from enum import Enum, auto
from pathlib import Path
from typing import Final

from p2p.model.inputs import PeerConnected, PeerDisconnected, TimerFired
from p2p.model.rpc import (
    IHave,
    Message,
    MessageId,
    PeerInfo,
    Prune,
    Rpc,
    RpcReceived,
    RpcSent,
    SendRpc,
    Subscription,
    decode_rpc,
    encode_rpc,
)
from p2p.primitives.codec import Malformed
from p2p.primitives.units import KIB, Millis, PeerId
from p2p.protocol.gossip import (
    HEARTBEAT,
    Gossip,
    GossipInput,
    GossipParameters,
    MessageValidated,
    Published,
    ScoreParameters,
    Subscribed,
    Unsubscribed,
    Validate,
    Verdict,
)

PEERS: Final = [PeerId(b"peer %d" % number) for number in range(6)]
TOPICS: Final = ("a", "b", "c")
HEADER_BYTES: Final = 4
"""Of one event of a session: kind, peer, and the size of what follows."""
INPUT_BYTES_MAX: Final = 16 * KIB


class Kind(Enum):
    """What an event of a session is."""

    RPC = auto()
    BEAT = auto()
    VERDICT = auto()
    SENT = auto()
    PUBLISH = auto()
    CONNECT = auto()
    DISCONNECT = auto()
    TOPIC = auto()
    WAIT = auto()


KINDS: Final = (*[Kind.RPC] * 7, *Kind)
"""By the first byte of an event: every other one is an RPC."""

SMALL: Final = GossipParameters(
    degree=3,
    degree_low=2,
    degree_high=4,
    degree_out=1,
    degree_lazy=2,
    backoffs_per_topic_max=3,
    prune_backoff_ms=3_000,
    fanout_topics_max=2,
    message_bytes_max=8 * KIB,
    history_messages_max=4,
    history_bytes_max=12 * KIB,
    ihave_ids_max=4,
    iwant_ids_max=8,
    wanted_ids_max=6,
    promises_max=3,
    idontwant_bytes=90,
    idontwant_ids_max=3,
    seen_max=16,
    validations_max=3,
    validations_per_peer_max=2,
    validation_bytes_max=10 * KIB,
    rpc_bytes_max=8 * KIB,
    queue_messages_max=4,
    queue_bytes_max=10 * KIB,
    peers_max=5,
    topics_per_peer_max=2,
    scores=ScoreParameters(retained_max=2, retain_ms=4_000, colocation_threshold=2),
)
"""Bounds so small that an input of a few KiB meets every one of them."""
BOUNDS: Final = {
    "seen": SMALL.seen_max,
    "history_messages": SMALL.history_messages_max,
    "history_bytes": SMALL.history_bytes_max,
    "validations": SMALL.validations_max,
    "validation_bytes": SMALL.validation_bytes_max,
    "wanted_ids": SMALL.wanted_ids_max,
    "promises": SMALL.promises_max,
    "retained_scores": SMALL.scores.retained_max,
    "unwanted_ids": SMALL.idontwant_ids_max,
    "peers": SMALL.peers_max,
    "topics": len(TOPICS),
    "fanout_topics": SMALL.fanout_topics_max,
    "backoffs": SMALL.backoffs_per_topic_max * len(TOPICS),
    "topics_per_peer": SMALL.topics_per_peer_max,
    "queue_messages": SMALL.queue_messages_max,
    "queue_bytes": SMALL.queue_bytes_max,
}


class Session:
    """A machine, and the peers that bytes play."""

    def __init__(self) -> None:
        self._gossip = Gossip(PeerId(b"me"), SMALL, b"fuzz")
        self._now_ms = 1_000_000
        self._waiting: list[MessageId] = []
        self.steps = 0
        self.malformed = 0
        for topic in TOPICS[:2]:
            self._step(Subscribed(topic))
        for number, peer in enumerate(PEERS[:4]):
            self._step(PeerConnected(peer, number % 2 == 0, "/ip4/10.0.0.1/tcp/1"))

    def play(self, data: bytes) -> None:
        """All events of an input."""
        while len(data) >= HEADER_BYTES:
            kind, peer = KINDS[data[0] % len(KINDS)], PEERS[data[1] % len(PEERS)]
            size = int.from_bytes(data[2:HEADER_BYTES])
            body, data = data[HEADER_BYTES : HEADER_BYTES + size], data[HEADER_BYTES + size :]
            if kind is Kind.WAIT:
                self._now_ms += size
            elif kind is Kind.RPC:
                self._receive(peer, body)
            else:
                event = self._event(kind, peer, size, body)
                if event is not None:
                    self._step(event)

    def _receive(self, peer: PeerId, body: bytes) -> None:
        try:
            rpc = decode_rpc(body)
        except Malformed:
            self.malformed += 1
            return
        self._step(RpcReceived(peer, rpc))

    def _event(self, kind: Kind, peer: PeerId, size: int, body: bytes) -> GossipInput | None:
        topic = TOPICS[size % len(TOPICS)]
        match kind:
            case Kind.BEAT:
                self._now_ms += SMALL.heartbeat_ms
                return TimerFired(HEARTBEAT)
            case Kind.VERDICT if self._waiting:
                verdict = list(Verdict)[size % len(Verdict)]
                return MessageValidated(self._waiting.pop(0), verdict)
            case Kind.SENT:
                return RpcSent(peer)
            case Kind.PUBLISH:
                return Published(topic, body[: SMALL.message_bytes_max])
            case Kind.CONNECT:
                return PeerConnected(peer, size % 2 == 0, f"/ip4/10.0.0.{size % 3}/tcp/1")
            case Kind.DISCONNECT:
                return PeerDisconnected(peer)
            case Kind.TOPIC:
                return Subscribed(topic) if size & 4 else Unsubscribed(topic)
            case _:
                return None

    def _step(self, event: GossipInput) -> None:
        self.steps += 1
        for effect in self._gossip.step(event, Millis(self._now_ms)):
            if isinstance(effect, SendRpc):
                assert decode_rpc(encode_rpc(effect.rpc)) == effect.rpc, "sent what cannot be read"
            elif isinstance(effect, Validate):
                assert effect.message_id not in self._waiting, "verified twice"
                self._waiting.append(effect.message_id)
        sizes = self._gossip.sizes()
        over = {name: size for name, size in sizes.items() if not 0 <= size <= BOUNDS[name]}
        assert not over, f"beyond their bounds: {over}"


class Fuzzer:
    """Counts, and keeps what broke."""

    def __init__(self, cpu_s: float, *, guided: bool, as_json: bool) -> None:
        self._cpu_s, self._guided, self._as_json = cpu_s, guided, as_json
        self._executions = self._steps = self._malformed = 0

    def one(self, data: bytes) -> None:
        """Play one input. Whatever it raises is a finding."""
        session = Session()
        try:
            session.play(data)
        except Exception:
            path = Path(f"fuzz-gossip-{hashlib.sha256(data).hexdigest()[:12]}")
            path.write_bytes(data)
            print(f"broken by {path}", file=sys.stderr)
            raise
        self._executions += 1
        self._steps += session.steps
        self._malformed += session.malformed
        if time.process_time() > self._cpu_s:
            self._end()

    def _end(self) -> None:
        """Tell the figures, and leave: libFuzzer returns to nobody."""
        found = {
            "guided": self._guided,
            "executions": self._executions,
            "steps": self._steps,
            "malformed": self._malformed,
            "cpu_s": round(time.process_time(), 1),
            "findings": 0,
        }
        print(json.dumps(found) if self._as_json else found, flush=True)
        os._exit(0)


def event(kind: Kind, peer: int = 0, body: bytes = b"", size: int | None = None) -> bytes:
    """One event of a session."""
    number = len(body) if size is None else size
    return bytes([KINDS.index(kind), peer]) + number.to_bytes(2) + body


def valid_sessions() -> list[bytes]:
    """Where mutation begins: every kind of entry and event at least once."""
    small, large = Message("a", b"small"), Message("b", bytes(200))
    ids = (small.id, large.id, MessageId(bytes(20)))
    rpcs = (
        Rpc(subscriptions=tuple(Subscription(True, topic) for topic in TOPICS)),
        Rpc(graft=TOPICS[:2]),
        Rpc(publish=(small, large)),
        Rpc(ihave=(IHave("a", ids),), iwant=ids),
        Rpc(idontwant=ids),
        Rpc(prune=(Prune("a", 60, (PeerInfo(PEERS[3]),)),)),
        Rpc(subscriptions=(Subscription(False, "b"),), publish=(small,), graft=("a",)),
    )
    said = [event(Kind.RPC, number % 4, encode_rpc(rpc)) for number, rpc in enumerate(rpcs)]
    others = [
        event(Kind.VERDICT, size=0),
        event(Kind.VERDICT, size=1),
        event(Kind.BEAT),
        event(Kind.PUBLISH, body=b"our own"),
        event(Kind.SENT, 1),
        event(Kind.DISCONNECT, 2),
        event(Kind.CONNECT, 2, size=0),
        event(Kind.TOPIC, size=6),
        event(Kind.WAIT, size=5_000),
        event(Kind.BEAT),
    ]
    return [b"".join(said + others), *said, b"".join(others + said + others)]


def mutated(draws: random.Random, corpus: list[bytes]) -> bytes:
    """A few changes to one of the inputs, or two spliced."""
    data = bytearray(draws.choice(corpus))
    for _ in range(draws.randint(1, 8)):
        at = draws.randrange(len(data) + 1)
        match draws.randrange(5):
            case 0 if data:
                data[at % len(data)] = draws.randrange(256)
            case 1:
                data[at:at] = draws.randbytes(draws.randint(1, 8))
            case 2:
                del data[at : at + draws.randint(1, 8)]
            case 3:
                other = draws.choice(corpus)
                data[at:at] = other[draws.randrange(len(other)) :]
            case _:
                data[at:at] = data[at : at + draws.randint(1, 200)]
    return bytes(data[:INPUT_BYTES_MAX])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cpu-s", type=float, default=600, help="seconds of processor time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replay", type=Path, help="play one input, and no other")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    guided = importlib.util.find_spec("atheris") is not None
    fuzzer = Fuzzer(given.cpu_s, guided=guided, as_json=given.json)
    if given.replay is not None:
        fuzzer.one(given.replay.read_bytes())
        return
    if guided:
        atheris = importlib.import_module("atheris")
        atheris.instrument_all()
        flags = [f"-seed={given.seed}", f"-max_len={INPUT_BYTES_MAX}", "-verbosity=0"]
        folder = Path("fuzz-gossip-corpus")
        folder.mkdir(exist_ok=True)
        for number, data in enumerate(valid_sessions()):
            (folder / f"valid-{number}").write_bytes(data)
        atheris.Setup([sys.argv[0], *flags, str(folder)], fuzzer.one)
        atheris.Fuzz()
    draws, corpus = random.Random(given.seed), valid_sessions()
    while True:
        fuzzer.one(mutated(draws, corpus))


if __name__ == "__main__":
    main()
