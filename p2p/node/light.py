"""The light client in the live world: nodes asked over `/gigmesh/light/1`.

It runs no node and holds no chain: a key of the moment, a few connections, and the pure library
`p2p.protocol.light`. No node is believed, our own not either; who lies is left out, and what it
costs us is one answer of bounded size.
"""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol, TypeVar

import msgspec
import trio

from p2p.model.light import (
    LIGHT_PROTOCOL,
    LIGHT_RESPONSE_BYTES_MAX,
    LightBlock,
    LightBlockRequest,
    LightRequest,
    LightResponse,
)
from p2p.model.requests import PeerRecord
from p2p.network import open_transport
from p2p.network.port import Direction, MessageStream, Transport, TransportError
from p2p.node.errors import UserError
from p2p.node.home import new_key
from p2p.primitives.codec import Malformed, Value, decode, encode
from p2p.primitives.keys import peer_id_of, peer_text
from p2p.primitives.signing import Ed25519Scheme
from p2p.primitives.units import Digest, Height, PeerId
from p2p.protocol.light import (
    Agrees,
    AskPrimary,
    Bisection,
    Diverged,
    Failed,
    Lied,
    LightAttack,
    LightParameters,
    PrimaryLied,
    Silent,
    TrustedBlock,
    Unclear,
    Verified,
    Witness,
    latest_before,
)
from p2p.protocol.light.trust import content_fault, with_known_sets
from p2p.protocol.light.witness import Testimony

log = logging.getLogger(__name__)

ANSWER_DEADLINE_S: Final = 10.0
DIAL_DEADLINE_S: Final = 15.0
SOURCES_MAX: Final = 16
"""Nodes that are asked at most."""

R = TypeVar("R", bound=Value)


class Source(Protocol):
    """A node that answers."""

    @property
    def name(self) -> str:
        """For people."""

    async def ask(self, request: LightRequest) -> LightResponse | None:
        """Its answer; None when it has none, is gone, too late, or sent junk."""


class LightError(UserError):
    """Nothing could be proven; the text says why, node by node."""


class Forked(UserError):
    """Two headers of one height are both proven: trust neither."""

    def __init__(self, sentence: str, attack: LightAttack) -> None:
        super().__init__(sentence)
        self.attack = attack


class Proven(msgspec.Struct, frozen=True):
    """A header that may be trusted, and who stands behind it."""

    block: LightBlock
    path: tuple[TrustedBlock, ...]
    """Everything trusted on the way, from the first."""
    primary: str
    agreed: tuple[str, ...]
    """Other nodes that hold the same header."""
    silent: tuple[str, ...]
    lied: tuple[str, ...]
    requests: int
    """Questions to all nodes."""


# ---- nodes that are asked -----------------------------------------------------------------------


class PeerSource:
    """A node that we are connected to."""

    def __init__(self, transport: Transport, peer: PeerId) -> None:
        self._transport = transport
        self._peer = peer
        self.bytes_received = 0

    @property
    def name(self) -> str:
        return peer_text(self._peer)

    async def ask(self, request: LightRequest) -> LightResponse | None:
        try:
            data = await self._transport.request(
                self._peer,
                LIGHT_PROTOCOL,
                encode(request),
                bytes_max=LIGHT_RESPONSE_BYTES_MAX,
                deadline_s=ANSWER_DEADLINE_S,
            )
        except TransportError as error:
            log.debug("%s: %s", self.name, error)
            return None
        self.bytes_received += len(data)
        kind: object = LightResponse
        try:
            return decode(data, kind, bytes_max=LIGHT_RESPONSE_BYTES_MAX)  # type: ignore[arg-type]
        except Malformed as error:
            log.info("%s sent junk: %s", self.name, error)
            return None


class _Deaf:
    """A handler that serves nobody."""

    def peer_connected(self, peer: PeerId, direction: Direction, address: str) -> None: ...

    def peer_disconnected(self, peer: PeerId, reason: str) -> None: ...

    def rpc_received(self, peer: PeerId, data: bytes) -> trio.Event | None: ...

    def rpc_sent(self, peer: PeerId) -> None: ...

    async def request_received(self, peer: PeerId, protocol: str, data: bytes) -> bytes | None: ...

    async def stream_opened(self, protocol: str, stream: MessageStream) -> None: ...


@asynccontextmanager
async def connected(records: Sequence[PeerRecord]) -> AsyncIterator[list[PeerSource]]:
    """Connections to those of these nodes that can be reached, in their order.

    Raises:
        LightError: none can be reached.
    """
    transport = open_transport(new_key(), (), requests=(), streams=())
    reached: list[PeerId] = []

    async def dial(record: PeerRecord) -> None:
        peer = peer_id_of(record.account)
        try:
            with trio.fail_after(DIAL_DEADLINE_S):
                await transport.dial(peer, record.addresses)
            reached.append(peer)
        except (TransportError, trio.TooSlowError) as error:
            log.info("cannot reach %s: %s", peer_text(peer), error)

    async with trio.open_nursery() as nursery:
        await nursery.start(transport.run, _Deaf())
        async with trio.open_nursery() as dials:
            for record in records[:SOURCES_MAX]:
                dials.start_soon(dial, record)
        if not reached:
            raise LightError(
                f"none of the {len(records)} nodes to ask can be reached: name others with --peer"
            )
        order = [peer_id_of(record.account) for record in records]
        yield [PeerSource(transport, peer) for peer in sorted(reached, key=order.index)]
        nursery.cancel_scope.cancel()


# ---- proving a header ------------------------------------------------------------------------


class LightClient:
    """Proves headers of one chain from what is trusted, by asking nodes that are not."""

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        chain_id: Digest,
        parameters: LightParameters,
        now_ms: int,
        witnesses_max: int = 3,
    ) -> None:
        self._sources = list(sources)
        self._chain_id = chain_id
        self._parameters = parameters
        self._now_ms = now_ms
        self._witnesses_max = witnesses_max
        self._requests = 0

    @property
    def sources(self) -> tuple[Source, ...]:
        """Nodes that have not been caught at a lie, in the order in which they are asked."""
        return tuple(self._sources)

    async def prove(self, trusted: Sequence[TrustedBlock], target: int) -> Proven:
        """Prove the header of a height, or the newest where it is 0.

        Raises:
            LightError: no node could prove it, or what is trusted lies above it.
            Forked: nodes proved two headers of one height.
        """
        known = next((block for block in trusted if 0 < block.height == target), None)
        if known is not None:
            return await self._known(known, trusted)
        start = latest_before(trusted, target - 1 if target else 2**53)
        if start is None:
            least = min((block.height for block in trusted), default=0)
            raise LightError(
                f"height {target} is not above the trusted height {least}:"
                " trust an earlier one, or the genesis"
            )
        faults = []
        is_newest = False
        for source in list(self._sources):
            if source not in self._sources:
                continue  # caught as a witness meanwhile
            result = await self._prove_by(source, start, target)
            if isinstance(result, Proven):
                return result
            faults.append(f"{source.name}: {result.detail}")
            is_newest = is_newest or (not target and result.is_empty)
            if result.lied:
                self._sources.remove(source)
        if is_newest and start.height > 0 and self._is_fresh(start):
            return await self._known(start, trusted)
        raise LightError("; ".join(faults) or "there is nobody left to ask")

    async def _prove_by(self, source: Source, start: TrustedBlock, target: int) -> Proven | Failed:
        found = await self._bisect(source, start, target)
        if isinstance(found, Failed):
            return found
        verified, session = found
        return await self._witnessed(source, start, verified.block, tuple(session.path))

    def _is_fresh(self, block: TrustedBlock) -> bool:
        return block.time_ms + self._parameters.trust_period_ms > self._now_ms

    async def _known(self, known: TrustedBlock, trusted: Sequence[TrustedBlock]) -> Proven:
        """The header that is trusted already, from whoever has it. Raises LightError, Forked."""
        for source in list(self._sources):
            answer = await self._light_block(source, _of_height(known.height))
            if answer is None or answer.header.digest() != known.header_digest:
                continue
            light = with_known_sets(answer, (known.next_validators,))
            if content_fault(light, self._chain_id) is None:
                start = latest_before(trusted, known.height - 1) or known
                proven = await self._witnessed(source, start, light, (known,))
                if isinstance(proven, Proven):
                    return proven
        raise LightError(f"no node shows the header of height {known.height} that is trusted")

    async def first(self, height: int, name: Digest) -> LightBlock:
        """The light block that a trusted hash names. Raises LightError when nobody has it."""
        for source in self._sources:
            answer = await self._light_block(source, _of_height(height))
            if answer is not None and answer.header.digest() == name:
                return with_known_sets(answer, ())
        raise LightError(f"no node has a header of height {height} with the trusted hash")

    async def _bisect(
        self, source: Source, start: TrustedBlock, target: int
    ) -> tuple[Verified, Bisection] | Failed:
        session = Bisection(
            start, chain_id=self._chain_id, scheme=Ed25519Scheme(), parameters=self._parameters
        )
        progress = session.begin(target)
        while isinstance(progress, LightBlockRequest):
            answer = await self._light_block(source, progress)
            progress = session.take(answer, now_ms=self._now_ms)
        return progress if isinstance(progress, Failed) else (progress, session)

    async def _witnessed(
        self,
        primary: Source,
        start: TrustedBlock,
        verified: LightBlock,
        path: tuple[TrustedBlock, ...],
    ) -> Proven | Failed:
        """What the witnesses make of it; `Failed` where the primary is not to be believed."""
        agreed: list[str] = []
        silent: list[str] = []
        lied: list[str] = []
        unclear: Failed | None = None
        for source in [one for one in self._sources if one is not primary]:
            if len(agreed) >= self._witnesses_max:
                break
            said = await self._testimony(primary, source, start, verified)
            match said:
                case Agrees():
                    agreed.append(source.name)
                case Diverged(attack=attack):
                    names = f"{primary.name} and {source.name}"
                    sentence = f"{names} prove {attack.what}; trust neither"
                    raise Forked(f"the chain was forked: {sentence}", attack)
                case PrimaryLied(detail=detail):
                    return Failed(detail, lied=True)
                case Unclear(height=height):
                    unclear = Failed(f"it does not show its header of height {height}", lied=False)
                    silent.append(source.name)
                case Lied(detail=detail):
                    lied.append(f"{source.name}: {detail}")
                    self._sources.remove(source)
                case _:
                    silent.append(source.name)
        if unclear is not None and not agreed:
            return unclear
        return Proven(
            block=verified,
            path=path,
            primary=primary.name,
            agreed=tuple(agreed),
            silent=tuple(silent),
            lied=tuple(lied),
            requests=self._requests,
        )

    async def _testimony(
        self, primary: Source, source: Source, start: TrustedBlock, verified: LightBlock
    ) -> Testimony:
        """What another node says of a header that follows from `start`, or is it."""
        height = verified.header.height
        if start.height == height:  # nothing earlier is trusted that could prove another one
            answer = await self._light_block(source, _of_height(height))
            if answer is None or answer.header.height != height:
                return Silent()
            if answer.header.digest() == start.header_digest:
                return Agrees()
            return Lied(f"it shows another header of height {height} than the trusted one")
        witness = Witness(
            start,
            verified,
            chain_id=self._chain_id,
            scheme=Ed25519Scheme(),
            parameters=self._parameters,
        )
        said = witness.begin()
        while isinstance(said, LightBlockRequest | AskPrimary):
            if isinstance(said, AskPrimary):
                answer = await self._light_block(primary, said.request)
            else:
                answer = await self._light_block(source, said)
            said = witness.take(answer, now_ms=self._now_ms)
        return said

    async def _light_block(self, source: Source, request: LightBlockRequest) -> LightBlock | None:
        return await self.ask(source, request, LightBlock)

    async def ask(self, source: Source, request: LightRequest, kind: type[R]) -> R | None:
        """An answer of the kind that a request has, or None."""
        self._requests += 1
        answer = await source.ask(request)
        return answer if isinstance(answer, kind) else None


def _of_height(height: int) -> LightBlockRequest:
    return LightBlockRequest(Height(height), Height(height - 1), Height(height + 1))
