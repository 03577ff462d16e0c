"""What catching up costs: `python -m benchmarks.sync [--heights 10000] [--validators 16] [--json]`.

A chain is made by its validators' keys, without a network. Then, each on one core and in CPU time:

- block sync: a new node takes all blocks from two neighbours as bytes (decoding, certificates,
  execution, invariants, commits to SQLite);
- its floor: the Ed25519 verifications of one quorum a height, by libsodium alone, in the same run;
- snapshot sync: a new node takes the state of the last height instead, with more accounts in it;
- light client: bisection from the genesis to the last header, and on a chain on which every
  validator was replaced three times;
- state root: what one more block costs at so many accounts, beside hashing all of them.

What the answering side does is not counted.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec

from p2p.model.effects import Persist
from p2p.model.inputs import PeerConnected, TimerFired
from p2p.model.ledger import Account, State
from p2p.model.light import LIGHT_BLOCK_BYTES_MAX, LightBlock, LightBlockRequest, LightRequest
from p2p.model.persistence import Write
from p2p.model.requests import (
    RESPONSE_BYTES_MAX,
    Blocks,
    BlocksRequest,
    Response,
    Status,
    StatusRequest,
)
from p2p.model.snapshot import PartRequest, SnapshotRequest, entries_of, offer_of
from p2p.model.vote import certificate_votes
from p2p.node.verifier import Verifier
from p2p.primitives.codec import decode, encode
from p2p.primitives.digests import digest, merkle_root
from p2p.primitives.keys import verify_bytes
from p2p.primitives.signing import Ed25519Scheme, Ed25519Signer, SignedKind, signing_bytes
from p2p.primitives.units import AccountId, Amount, Height, Millis
from p2p.protocol.interface import ReplicaInput, ResponseArrived, Saved, SendRequest, Started
from p2p.protocol.light import Bisection, Verified, trusted_genesis
from p2p.protocol.replica import NodeParameters, Replica
from p2p.storage.blocks import stored_blocks
from p2p.storage.light import light_answer
from p2p.storage.memory import MemoryStore
from p2p.storage.port import Store
from p2p.storage.sqlite import SqliteStore
from sim_harness.made_chain import MadeChain, made_key

NEIGHBOURS = 2
ROUNDS_MAX = 20_000
PARAMETERS = NodeParameters(snapshot_gap=0)
WITH_SNAPSHOTS = NodeParameters(snapshot_gap=1, snapshot_interval=2, snapshot_patience_ms=0)


class Newcomer:
    """A node that knows the genesis alone, between neighbours who have the chain."""

    def __init__(
        self, chain: MadeChain, source: MemoryStore, store: Store, parameters: NodeParameters
    ) -> None:
        self.chain = chain
        self.source = source
        self.store = store
        self.cpu_s = 0.0
        self.received_bytes = 0
        self._verifier = Verifier(chain.chain_id, Ed25519Scheme())
        self._now_ms = Millis(chain.now_ms)
        self._asked: list[SendRequest] = []
        self._offer = offer_of(chain.state)
        self._lowest = 1 if parameters is PARAMETERS else chain.state.height
        self._replica = Replica(
            genesis=chain.genesis,
            signer=Ed25519Signer(made_key("newcomer")),
            parameters=parameters,
            seeds=(),
            saved=Saved(),
            seed=b"benchmark",
        )

    def catch_up(self) -> None:
        """Until the last height."""
        self._timed(partial(self._step, Started(())))
        for number in range(NEIGHBOURS):
            peer = made_key(f"neighbour{number}").peer
            self._timed(partial(self._step, PeerConnected(peer, True, "")))
        for _ in range(ROUNDS_MAX):
            if self._replica.state.height == self.chain.state.height:
                return
            if not self._asked:
                self._now_ms = Millis(self._now_ms + 1_000)
                self._timed(partial(self._step, TimerFired("sync/poll")))
            asked, self._asked = self._asked, []
            for one in asked:
                answer = self._answer(one)
                if answer is not None:
                    data = encode(answer)
                    self.received_bytes += len(data)
                    self._timed(partial(self._take, one, data))
        raise RuntimeError(f"stuck at height {self._replica.state.height}")

    def _timed(self, work: Callable[[], None]) -> None:
        begun = time.process_time()
        work()
        self.cpu_s += time.process_time() - begun

    def _step(self, item: ReplicaInput) -> None:
        """One step, and one commit of all it writes, as the driver does."""
        writes: list[Write] = []
        for effect in self._replica.step(item, self._now_ms):
            if isinstance(effect, Persist):
                writes += effect.writes
            elif isinstance(effect, SendRequest):
                self._asked.append(effect)
        self.store.commit(writes)

    def _take(self, asked: SendRequest, data: bytes) -> None:
        kind: object = Response
        response: Response = decode(data, kind, bytes_max=RESPONSE_BYTES_MAX)  # type: ignore[arg-type]
        verified = self._verifier.response(response, self._replica.voters)
        assert not hasattr(verified, "reason"), "the neighbours tell the truth"
        self._step(ResponseArrived(asked.request_id, asked.peer, verified))

    def _answer(self, asked: SendRequest) -> Response | None:
        """What an honest neighbour says."""
        state, request = self.chain.state, asked.request
        match request:
            case StatusRequest():
                lowest = Height(self._lowest)
                return Status(self.chain.chain_id, state.height, state.header_digest, lowest)
            case BlocksRequest(from_height=first, count=count):
                return Blocks(stored_blocks(self.source, first, count))
            case SnapshotRequest():
                return self._offer
            case PartRequest(number=number):
                return entries_of(state, number)
            case _ if isinstance(request, LightRequest):
                return light_answer(self.source, state, request)
            case _:
                return None


def made(heights: int, validators: int, accounts: int = 4) -> tuple[MadeChain, MemoryStore]:
    """A chain of empty blocks, and a store that holds it."""
    overrides = {"validators_max": max(validators, 4)}
    chain = MadeChain(validators=validators, accounts=accounts, overrides=overrides)
    store = MemoryStore()
    chain.keep_in(store)
    chain.grow(heights)
    return chain, store


def block_sync(chain: MadeChain, source: MemoryStore) -> dict[str, float]:
    """All blocks into SQLite, and what bounds it."""
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "sync.db")
        newcomer = Newcomer(chain, source, store, PARAMETERS)
        begun = time.monotonic()
        newcomer.catch_up()
        wall_s = time.monotonic() - begun
        store.close()
    heights = chain.state.height
    floor_s = floor(chain)
    return {
        "block_sync_heights_per_cpu_s": round(heights / newcomer.cpu_s, 1),
        "block_sync_heights_per_wall_s": round(heights / wall_s, 1),
        "block_sync_cpu_ms_per_height": round(1_000 * newcomer.cpu_s / heights, 3),
        "quorum_verify_ms_per_height": round(1_000 * floor_s, 3),
        "block_sync_ratio_to_floor": round(newcomer.cpu_s / heights / floor_s, 2),
        "block_sync_bytes_per_height": round(newcomer.received_bytes / heights),
    }


def floor(chain: MadeChain) -> float:
    """CPU seconds of a quorum's signatures of one height, by libsodium alone."""
    checked = 0
    spent = 0.0
    for committed in chain.blocks[-200:]:
        votes = certificate_votes(committed.certificate)
        for vote in votes[: 2 * len(votes) // 3 + 1]:
            message = signing_bytes(SignedKind.VOTE, vote.chain_id, vote.body())
            begun = time.process_time()
            assert verify_bytes(vote.validator, message, vote.signature)
            spent += time.process_time() - begun
        checked += 1
    return spent / checked


def snapshot_sync(chain: MadeChain, source: MemoryStore) -> dict[str, float]:
    """The state of the last height into SQLite."""
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "sync.db")
        newcomer = Newcomer(chain, source, store, WITH_SNAPSHOTS)
        begun = time.monotonic()
        newcomer.catch_up()
        wall_s = time.monotonic() - begun
        store.close()
    return {
        "snapshot_accounts": len(chain.state.accounts),
        "snapshot_cpu_s": round(newcomer.cpu_s, 3),
        "snapshot_wall_s": round(wall_s, 3),
        "snapshot_kib": round(newcomer.received_bytes / 1024, 1),
    }


def light(name: str, chain: MadeChain, source: MemoryStore) -> dict[str, float]:
    """Bisection from the genesis to the last header."""
    session = Bisection(
        trusted_genesis(chain.genesis), chain_id=chain.chain_id, scheme=Ed25519Scheme()
    )
    spent, received, asked = 0.0, 0, 0
    progress = session.begin()
    while isinstance(progress, LightBlockRequest):
        data = encode(light_answer(source, chain.state, progress))
        received += len(data)
        asked += 1
        begun = time.process_time()
        block = decode(data, LightBlock, bytes_max=LIGHT_BLOCK_BYTES_MAX)
        progress = session.take(block, now_ms=chain.now_ms)
        spent += time.process_time() - begun
    assert isinstance(progress, Verified), progress
    return {
        f"{name}_cpu_ms": round(1_000 * spent, 2),
        f"{name}_kib": round(received / 1024, 1),
        f"{name}_headers": asked,
    }


def turned_over(heights: int, validators: int) -> tuple[MadeChain, MemoryStore]:
    """A chain on which every validator is replaced three times, evenly over its heights."""
    overrides = {"validators_max": max(validators, 4)}
    chain = MadeChain(validators=validators, accounts=3 * validators, overrides=overrides)
    store = MemoryStore()
    chain.keep_in(store)
    order = [f"v{number}" for number in range(validators)]
    order += [f"a{number}" for number in range(3 * validators)]
    apart = max(1, heights // (3 * validators))
    for place in range(3 * validators):
        chain.grow(min(apart - 1, heights - chain.state.height - 1))
        chain.replace_voter(order[place], order[place + validators])
    chain.grow(heights - chain.state.height)
    return chain, store


def state_root(entries: int, touched: int) -> dict[str, float]:
    """The root after a block that touched some accounts, beside a tree over all of them."""
    chain = MadeChain(validators=4, accounts=0)
    names = sorted(AccountId(digest(b"%d" % number)) for number in range(entries))
    before: State = msgspec.structs.replace(
        chain.state, accounts={name: Account(Amount(1)) for name in names}
    )
    assert before.root
    after: State = msgspec.structs.replace(
        before,
        accounts={**before.accounts, **{name: Account(Amount(2)) for name in names[:touched]}},
    )
    begun = time.process_time()
    after.inherit_digests(before, names[:touched], ())
    assert after.root
    incremental_s = time.process_time() - begun
    begun = time.process_time()
    merkle_root([encode(account) for account in after.accounts.values()])
    whole_s = time.process_time() - begun
    return {
        "state_root_accounts": entries,
        "state_root_touched": touched,
        "state_root_ms": round(1_000 * incremental_s, 3),
        "state_root_whole_ms": round(1_000 * whole_s, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--heights", type=int, default=10_000)
    parser.add_argument("--validators", type=int, default=16)
    parser.add_argument("--accounts", type=int, default=9_900, help="in the snapshot's state")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures: dict[str, float] = {"heights": options.heights, "validators": options.validators}
    chain, source = made(options.heights, options.validators)
    figures |= block_sync(chain, source)
    figures |= light("light", chain, source)
    del chain, source
    chain, source = turned_over(options.heights, options.validators)
    figures |= light("light_turnover", chain, source)
    del chain, source
    # As long as a genesis may be: 10,000 accounts; the time does not depend on heights.
    rich, held = made(20, options.validators, min(options.accounts, 9_900))
    figures |= snapshot_sync(rich, held)
    figures |= state_root(100_000, 100)
    if options.json:
        print(json.dumps(figures, indent=1))
    else:
        for name, value in figures.items():
            print(f"{name:36} {value:>14,}")


if __name__ == "__main__":
    main()
