"""What one node saw and did, one readable line a step: the voice of `sim-harness replay`.

    t=31.204s n07 h=12 r=1 timer consensus/propose -> PREVOTE nil  # Tendermint L57: propose timeout

A step is one input and what the node did about it; steps about which nothing can be said (a
duplicate, a timer of gossip) are left out unless everything is asked for.
"""

from collections.abc import Callable
from typing import Final, assert_never

from p2p.model.ad import CapacityAd
from p2p.model.block import CommittedBlock
from p2p.model.effects import Dial, HangUp, Persist
from p2p.model.evidence import Evidence, offence_kind, offender
from p2p.model.inputs import PeerConnected, PeerDisconnected, RequestFailed, TimerFired
from p2p.model.receipt import ServiceReceipt
from p2p.model.requests import Blocks, BlocksRequest, RoundMessages
from p2p.model.rpc import Rpc, RpcReceived, SendRpc
from p2p.model.topic import GossipValue, Topic, topic_name
from p2p.model.transaction import Transaction
from p2p.model.vote import Proposal, ProposedBlock, Vote, VoteKind
from p2p.primitives.codec import Malformed, decode
from p2p.primitives.units import Digest, PeerId
from p2p.protocol.interface import (
    Committed,
    DialFailed,
    EquivocationFound,
    EvidenceFound,
    InvariantViolated,
    Notify,
    PeerMisbehaved,
    PeerPenalized,
    ReplicaEffect,
    ReplicaInput,
    RequestArrived,
    ResponseArrived,
    RoundStarted,
    SendRequest,
    StakeSlashed,
    Started,
)
from sim_harness.virtual.node import Behaviour, VirtualNode
from sim_harness.virtual.world import World

Print = Callable[[str], None]

RULES: Final = {
    "consensus/propose": "Tendermint L57: propose timeout",
    "consensus/prevote": "Tendermint L61: prevote timeout",
    "consensus/precommit": "Tendermint L65: precommit timeout",
    "chain/height": "the height opens",
}
_KINDS: Final[dict[Topic, object]] = {
    Topic.ADS: CapacityAd,
    Topic.BLOCKS: CommittedBlock,
    Topic.EVIDENCE: Evidence,
    Topic.RECEIPTS: ServiceReceipt,
    Topic.TRANSACTIONS: Transaction,
    Topic.VOTES: Vote | ProposedBlock,
}
IDS_MAX: Final = 65_536
"""Messages remembered, so that a duplicate is not told again."""


class Trace:
    """Watches one node of a world; it goes on doing what it did."""

    def __init__(self, world: World, node: VirtualNode, out: Print) -> None:
        self._world = world
        self._node = node
        self._out = out
        self._start_ms = world.now_ms
        self._topics = {topic_name(topic, world.genesis.chain_id): topic for topic in Topic}
        self._said: dict[bytes, None] = {}
        """Messages that this node published or heard."""
        self._under: Behaviour | None = node.behaviour
        self._round = 0
        node.behaviour = self._watch

    def _watch(
        self, node: VirtualNode, item: ReplicaInput, effects: list[ReplicaEffect]
    ) -> list[ReplicaEffect]:
        if self._under is not None:
            effects = self._under(node, item, effects)
        what, why = self._input(item)
        done = self._effects(effects)
        if what or done:
            at_s = (self._world.now_ms - self._start_ms) / 1000
            place = f"t={at_s:.3f}s n{node.index:02} h={node.height + 1} r={self._round}"
            arrow = " -> " + ", ".join(done) if done else ""
            rule = why or self._rule(done)
            comment = f"  # {rule}" if rule else ""
            self._out(f"{place} {what or 'and so'}{arrow}{comment}")
        return effects

    # ---- inputs ------------------------------------------------------------------------------

    def _input(self, item: ReplicaInput) -> tuple[str, str]:
        """What happened, and the rule it belongs to."""
        match item:
            case RpcReceived(peer=peer, rpc=rpc):
                return self._heard(peer, rpc), ""
            case TimerFired(key=key):
                rule = RULES.get(key, "")
                return (f"timer {key}" if rule else ""), rule
            case Started():
                return "started", "from its disk"
            case RequestArrived(peer=peer, request=BlocksRequest() as request):
                return f"{self._peer(peer)} asks for blocks from {request.from_height}", ""
            case ResponseArrived(peer=peer, response=response):
                return self._response(response.value, peer), ""
            case _:
                return self._link(item), ""

    def _heard(self, peer: PeerId, rpc: Rpc) -> str:
        fresh = [one for one in rpc.publish if self._is_fresh(one.id)]
        texts = [self._message(one.topic, one.data) for one in fresh]
        if rpc.graft:
            texts.append(f"graft {self._short(rpc.graft)}")
        if rpc.prune:
            texts.append(f"prune {self._short(tuple(one.topic for one in rpc.prune))}")
        return f"heard {', '.join(texts)} from {self._peer(peer)}" if texts else ""

    def _link(self, item: ReplicaInput) -> str:
        match item:
            case PeerConnected(peer=peer, outbound=outbound):
                return f"connected {'to' if outbound else 'by'} {self._peer(peer)}"
            case PeerDisconnected(peer=peer, reason=reason):
                return f"lost {self._peer(peer)}: {reason}"
            case DialFailed(peer=peer):
                return f"could not reach {self._peer(peer)}"
            case RequestFailed(peer=peer):
                return f"no answer from {self._peer(peer)}"
            case PeerMisbehaved(peer=peer, reason=reason):
                return f"caught {self._peer(peer)}: {reason.value}"
            case _:
                return ""

    def _response(self, response: object, peer: PeerId) -> str:
        match response:
            case Blocks(blocks=blocks) if blocks:
                heights = [block.block.header.height for block in blocks]
                return f"got blocks {heights[0]}-{heights[-1]} of {self._peer(peer)}"
            case RoundMessages(votes=votes, proposal=proposal) if votes or proposal is not None:
                with_it = " and a proposal" if proposal is not None else ""
                return f"got {len(votes)} votes{with_it} of {self._peer(peer)}"
            case _:
                return ""

    # ---- effects -----------------------------------------------------------------------------

    def _effects(self, effects: list[ReplicaEffect]) -> list[str]:
        done: list[str] = []
        for effect in effects:
            match effect:
                case SendRpc(rpc=rpc):
                    fresh = [one for one in rpc.publish if self._is_fresh(one.id)]
                    done += [self._message(one.topic, one.data) for one in fresh]
                case Persist(writes=writes):
                    done.append(f"persist {len(writes)}")
                case Dial(peer=peer):
                    done.append(f"dial {self._peer(peer)}")
                case HangUp(peer=peer, reason=reason):
                    done.append(f"hang up on {self._peer(peer)} ({reason})")
                case SendRequest(peer=peer, request=BlocksRequest() as request):
                    done.append(f"ask {self._peer(peer)} for blocks from {request.from_height}")
                case Notify(event=event):
                    done += self._event(event)
                case _:
                    pass
        return done

    def _rule(self, done: list[str]) -> str:
        """The line of the paper behind what the node said in a step of consensus."""
        me = f"by n{self._node.index:02}"
        for text in done:
            word = text.partition(" ")[0]
            if word == "COMMIT":
                return "Tendermint L51: decide"
            if not text.endswith(me):
                continue
            if word == "PROPOSAL":
                return "Tendermint L19: our turn"
            if word == "PREVOTE":
                return "Tendermint L24: the proposal is judged"
            if word == "PRECOMMIT":
                return "Tendermint L45: nil" if " nil " in text else "Tendermint L40: locked"
        return ""

    def _event(self, event: object) -> list[str]:
        match event:
            case Committed(height=height, header_digest=found, receipts=receipts):
                self._round = 0
                more = f" with {receipts} receipts" if receipts else ""
                return [f"COMMIT {height} {_name(found)}{more}"]
            case RoundStarted(round=round_):
                self._round = round_
                return [f"enter round {round_}"]
            case PeerPenalized(peer=peer, reason=reason):
                return [f"penalize {self._peer(peer)}: {reason.value}"]
            case EquivocationFound(what=what):
                return [f"FOUND two {what}s of one validator"]
            case EvidenceFound(kind=kind, offender=who):
                return [f"EVIDENCE of {kind} by {self._account(who)}"]
            case StakeSlashed(row=row):
                return [f"SLASHED {self._account(row.offender)} of {row.slashed} for {row.kind}"]
            case InvariantViolated(name=name, detail=detail):
                return [f"INVARIANT {name}: {detail}"]
            case _:
                return []

    # ---- words -------------------------------------------------------------------------------

    def _is_fresh(self, message_id: bytes) -> bool:
        if message_id in self._said:
            return False
        self._said[message_id] = None
        if len(self._said) > IDS_MAX:
            del self._said[next(iter(self._said))]
        return True

    def _message(self, topic_text: str, data: bytes) -> str:
        topic = self._topics.get(topic_text)
        if topic is None:
            return f"junk on {topic_text}"
        try:
            value: GossipValue = decode(data, _KINDS[topic], bytes_max=len(data))  # type: ignore[arg-type]
        except Malformed:
            return f"junk on {topic.value}"
        return self._value(value)

    def _value(self, value: GossipValue) -> str:
        match value:
            case Vote(validator=who, height=height, round=round_, kind=kind, header_digest=found):
                word = "PREVOTE" if kind is VoteKind.PREVOTE else "PRECOMMIT"
                return f"{word} {height}/{round_} {_name(found)} by {self._account(who)}"
            case ProposedBlock(proposal=proposal):
                return self._proposal(proposal)
            case CommittedBlock(block=block):
                return f"block {block.header.height} {_name(block.header.digest())}"
            case CapacityAd(provider=provider, seq=seq):
                return f"ad {seq} of {self._account(provider)}"
            case ServiceReceipt(provider=provider, epoch=epoch, amount=amount):
                return f"receipt of {self._account(provider)} for {amount} in epoch {epoch}"
            case Transaction(sender=sender, action=action):
                return f"{type(action).__name__} of {self._account(sender)}"
            case Evidence(offence=offence):
                return f"evidence of {offence_kind(offence)} by {self._account(offender(offence))}"
            case _:
                assert_never(value)

    def _proposal(self, proposal: Proposal) -> str:
        valid = f" valid since {proposal.valid_round}" if proposal.valid_round >= 0 else ""
        where = f"{proposal.height}/{proposal.round}"
        by = self._account(proposal.proposer)
        return f"PROPOSAL {where} {_name(proposal.header_digest)}{valid} by {by}"

    def _peer(self, peer: PeerId) -> str:
        node = self._world.by_peer.get(peer)
        return "a stranger" if node is None else f"n{node.index:02}"

    def _account(self, account: bytes) -> str:
        for node in self._world.nodes:
            if node.key.account == account:
                return f"n{node.index:02}"
        return account.hex()[:8]

    def _short(self, topics: tuple[str, ...]) -> str:
        found = [self._topics.get(one) for one in topics]
        return " ".join("?" if one is None else one.value for one in found)


def _name(found: Digest | None) -> str:
    return "nil" if found is None else found.hex()[:8]
