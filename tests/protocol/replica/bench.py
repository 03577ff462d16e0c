"""One replica on a bench: real verification, a store in memory, other validators' keys at hand."""

from collections.abc import Iterable
from hashlib import sha256

from p2p.model.block import Block, Certificate, CommitSignature, CommittedBlock
from p2p.model.effects import Persist, SetTimer
from p2p.model.inputs import PeerConnected, TimerFired
from p2p.model.ledger import Executed, State, rules_of
from p2p.model.parameters import Genesis, GenesisAccount, Parameters
from p2p.model.rejection import Rejected
from p2p.model.requests import PeerRecord, Request, Response
from p2p.model.rpc import Message, Rpc, RpcReceived, RpcSent, SendRpc, Subscription
from p2p.model.topic import GossipValue, Topic, topic_name
from p2p.model.vote import Proposal, ProposedBlock, Vote, VoteKind, sign_proposal, sign_vote
from p2p.node.verifier import Verifier
from p2p.primitives.codec import decode, encode
from p2p.primitives.keys import Key
from p2p.primitives.signing import Ed25519Scheme, Ed25519Signer, Verified
from p2p.primitives.units import NO_ROUND, Amount, Digest, Height, Millis, PeerId, Round
from p2p.protocol.interface import (
    Event,
    MessageRefused,
    MessageVerified,
    Notify,
    ReplicaEffect,
    ReplicaInput,
    RequestArrived,
    Respond,
    ResponseArrived,
    SendRequest,
    Started,
    Verify,
)
from p2p.protocol.ledger import build_block
from p2p.protocol.replica import NodeParameters, Replica
from p2p.storage.memory import MemoryStore
from p2p.storage.saved import read_saved

GENESIS_MS = Millis(1_700_000_000_000)
PARAMETERS = Parameters(epoch_ms=Millis(1_000))
ADDRESS = "/ip4/127.0.0.1/tcp/4001"


def key_of(name: str) -> Key:
    return Key(sha256(name.encode()).digest())


VALIDATORS = [key_of(f"validator {number}") for number in range(4)]
OBSERVER, STRANGER = key_of("observer"), key_of("stranger")


def genesis_of(parameters: Parameters = PARAMETERS) -> Genesis:
    accounts = [GenesisAccount(key.account, Amount(10**6), Amount(10**6)) for key in VALIDATORS]
    accounts.append(GenesisAccount(OBSERVER.account, Amount(10**6)))
    return Genesis("bench", GENESIS_MS, parameters, tuple(accounts))


GENESIS = genesis_of()
CHAIN = GENESIS.chain_id


def vote(
    key: Key,
    header_digest: Digest | None,
    *,
    kind: VoteKind = VoteKind.PREVOTE,
    height: int = 1,
    round_: int = 0,
) -> Vote:
    """A signed vote."""
    draft = Vote(CHAIN, kind, Height(height), Round(round_), header_digest, key.account)
    return sign_vote(draft, Ed25519Signer(key))


def propose(
    key: Key, block: Block, *, round_: int = 0, valid_round: int = NO_ROUND
) -> ProposedBlock:
    """A signed proposal with its block."""
    header = block.header
    draft = Proposal(
        CHAIN, header.height, Round(round_), header.digest(), Round(valid_round), key.account
    )
    return ProposedBlock(sign_proposal(draft, Ed25519Signer(key)), block)


def certify(
    block: Block, signers: Iterable[Key] = VALIDATORS, *, round_: int = 0
) -> CommittedBlock:
    """The block with precommits of these validators."""
    header = block.header
    name = header.digest()
    signatures = tuple(
        CommitSignature(one.validator, one.signature)
        for key in sorted(signers, key=lambda key: key.account)
        for one in [vote(key, name, kind=VoteKind.PRECOMMIT, height=header.height, round_=round_)]
    )
    return CommittedBlock(block, Certificate(CHAIN, header.height, Round(round_), name, signatures))


class Bench:
    """Drives one replica; `key` is its own."""

    def __init__(
        self, key: Key = OBSERVER, *, genesis: Genesis = GENESIS, store: MemoryStore | None = None
    ) -> None:
        self.key = key
        self.genesis = genesis
        self.store = store or MemoryStore()
        self.now_ms = GENESIS_MS
        self.verifier = Verifier(CHAIN, Ed25519Scheme())
        self.timers: dict[str, Millis] = {}
        self.replica = Replica(
            genesis=genesis,
            signer=Ed25519Signer(key),
            parameters=NodeParameters(),
            seeds=(PeerRecord(VALIDATORS[0].account, (ADDRESS,)),),
            saved=read_saved(self.store),
            seed=b"bench",
        )

    def restarted(self) -> "Bench":
        """Another process on the same disk, at the same moment."""
        again = Bench(self.key, genesis=self.genesis, store=self.store)
        again.now_ms = self.now_ms
        return again

    # ---- steps

    def step(self, item: ReplicaInput) -> list[ReplicaEffect]:
        """Step; keep what is persisted, verify what is asked; the other effects."""
        effects: list[ReplicaEffect] = []
        for effect in self.replica.step(item, self.now_ms):
            match effect:
                case Persist(writes=writes):
                    self.store.commit(writes)
                    effects.append(effect)
                case Verify():
                    effects += self.step(self.verified(effect))
                case SetTimer(key=key, at_ms=at_ms):
                    self.timers[key] = at_ms
                case _:
                    effects.append(effect)
        return effects

    def verified(self, effect: Verify) -> MessageVerified | MessageRefused:
        answer = self.verifier.message(effect.topic, effect.data, self.replica.admits)
        origin = (effect.message_id, effect.topic, effect.peer)
        if isinstance(answer, Rejected):
            return MessageRefused(*origin, answer.reason, answer.detail)
        return MessageVerified(*origin, answer)

    def start(self) -> "Bench":
        self.step(Started((ADDRESS,)))
        return self

    def fire(self, key: str) -> list[ReplicaEffect]:
        """Let time pass to a timer."""
        self.now_ms = Millis(max(self.now_ms, self.timers.pop(key)))
        return self.step(TimerFired(key))

    def open_height(self) -> list[ReplicaEffect]:
        """Let consensus begin the next height."""
        return self.fire("chain/height")

    # ---- neighbours

    def connect(self, *keys: Key) -> list[ReplicaEffect]:
        """These peers connect, and subscribe to everything."""
        effects: list[ReplicaEffect] = []
        for key in keys:
            effects += self.step(PeerConnected(key.peer, outbound=False, address=ADDRESS))
            topics = tuple(Subscription(True, topic_name(topic, CHAIN)) for topic in Topic)
            effects += self.step(RpcReceived(key.peer, Rpc(subscriptions=topics)))
            effects += self.step(RpcSent(key.peer))
        return effects

    def graft(self) -> "Bench":
        """A heartbeat: every neighbour is in every mesh, and has all that was due to it."""
        self.fire("gossip/heartbeat")
        self.drain()
        return self

    def drain(self) -> list[ReplicaEffect]:
        """Every RPC under way has left, and so has what waited for that."""
        effects: list[ReplicaEffect] = []
        for _ in range(2):
            for peer in self.replica.membership.connected:
                effects += self.step(RpcSent(peer))
        return effects

    def hear(self, peer: PeerId, topic: Topic, value: GossipValue) -> list[ReplicaEffect]:
        """A peer gossips a value."""
        message = Message(topic_name(topic, CHAIN), encode(value))
        return self.step(RpcReceived(peer, Rpc(publish=(message,))))

    def respond(self, asked: SendRequest, response: Response) -> list[ReplicaEffect]:
        """The peer that was asked answers."""
        return self.step(ResponseArrived(asked.request_id, asked.peer, Verified(response)))

    def ask(self, peer: PeerId, request: Request) -> Response | None:
        """A peer's question, and our answer."""
        (answer,) = [
            one for one in self.step(RequestArrived(7, peer, request)) if isinstance(one, Respond)
        ]
        assert answer.request_id == 7
        return answer.response

    # ---- blocks

    @property
    def state(self) -> State:
        return self.replica.state

    def build(self, proposer: Key | None = None, *, later_ms: int = 0) -> Executed:
        """The next block as its proposer in round 0 builds it now, or a little later."""
        account = self.replica.chain.proposer(0) if proposer is None else proposer.account
        return build_block(
            self.state,
            rules_of(self.genesis),
            proposer=account,
            time_ms=Millis(max(self.now_ms, self.state.time_ms + 1) + later_ms),
            transactions=(),
            receipts=(),
        )

    def proposer(self, round_: int = 0) -> Key:
        """Whose turn it is."""
        account = self.replica.chain.proposer(round_)
        return next(key for key in VALIDATORS if key.account == account)


def events(effects: Iterable[ReplicaEffect]) -> list[Event]:
    """What was notified."""
    return [effect.event for effect in effects if isinstance(effect, Notify)]


def requests(effects: Iterable[ReplicaEffect]) -> list[SendRequest]:
    """What was asked."""
    return [effect for effect in effects if isinstance(effect, SendRequest)]


def published(effects: Iterable[ReplicaEffect], topic: Topic) -> list[bytes]:
    """What was gossiped on a topic, each message once."""
    name = topic_name(topic, CHAIN)
    found = {
        message.data: None
        for effect in effects
        if isinstance(effect, SendRpc)
        for message in effect.rpc.publish
        if message.topic == name
    }
    return list(found)


def votes_of(effects: Iterable[ReplicaEffect]) -> list[Vote]:
    """The votes that were gossiped."""
    found = []
    for data in published(effects, Topic.VOTES):
        value = decode(data, Vote | ProposedBlock, bytes_max=2**20)  # type: ignore[arg-type]
        if isinstance(value, Vote):
            found.append(value)
    return found
