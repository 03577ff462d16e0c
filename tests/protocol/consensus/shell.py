"""A world for one driver: disk, timers, crashes. And one for several, with links that may lose."""

from collections.abc import Callable, Iterable

from p2p.model.block import ValidatorSet
from p2p.model.effects import CancelTimer, Persist, SetTimer
from p2p.model.inputs import TimerFired
from p2p.model.parameters import Parameters
from p2p.model.persistence import Delete, Put, Table
from p2p.model.vote import Vote
from p2p.primitives.signing import Verified
from p2p.primitives.units import Digest, Height, Millis, Round
from p2p.protocol.consensus.driver import ConsensusDriver
from p2p.protocol.consensus.interface import (
    BlockRestored,
    BroadcastProposal,
    BroadcastVote,
    BuildValue,
    ConsensusEffect,
    ConsensusInput,
    Decided,
    EquivocationFound,
    HeightStarted,
    JournalRestored,
    ProposalReceived,
    ValueBuilt,
    VoteReceived,
    VotesReceived,
)
from p2p.protocol.consensus.proposer import Proposers
from p2p.protocol.consensus.round_machine import RoundState
from p2p.protocol.consensus.sign_state import SIGN_STATE_KEY, Message
from tests.conformance import words

PARAMETERS = Parameters()
FIRST = Height(1)
SIGNED = BroadcastVote | BroadcastProposal


class Shell:
    """Carries out what a driver orders; `sent` is all that ever left."""

    def __init__(
        self, name: str, weights: dict[str, int], *, proposers: Proposers | None = None
    ) -> None:
        self.name = name
        self.validators: ValidatorSet = words.validator_set(weights)
        self.proposers = proposers or words.RotatingProposers(list(weights))
        self.signer = words.NameSigner(name)
        self.disk: dict[tuple[Table, bytes], bytes] = {}
        self.timers: dict[str, Millis] = {}
        self.sent: list[Message] = []
        self.decisions: list[Decided] = []
        self.evidence: list[EquivocationFound] = []
        self.blocks: set[Digest] = set()
        self.now_ms = Millis(0)
        self.spoke_at: RoundState | None = None
        """The state at the end of the step in which it last signed."""
        self.driver = self._driver()

    def _driver(self) -> ConsensusDriver:
        return ConsensusDriver(self.signer.account, self.signer, words.CHAIN, PARAMETERS)

    @property
    def state(self) -> RoundState:
        state = self.driver.state
        assert state is not None
        return state

    @property
    def round(self) -> Round:
        return self.state.round

    def start(self, height: Height) -> list[ConsensusEffect]:
        return self.step(HeightStarted(height, self.validators, self.proposers, self.validators))

    def step(self, input_: ConsensusInput) -> list[ConsensusEffect]:
        """Feed an input and carry out the effects in order."""
        if isinstance(input_, TimerFired):
            self.timers.pop(input_.key, None)
        elif isinstance(input_, ValueBuilt) and input_.header_digest is not None:
            self.blocks.add(input_.header_digest)
        elif isinstance(input_, ProposalReceived):
            self.blocks.add(input_.proposal.value.header_digest)
        effects = self.driver.step(input_, self.now_ms)
        self.carry_out(effects)
        if any(isinstance(effect, Persist) for effect in effects):
            self.spoke_at = self.driver.state
        return effects

    def carry_out(self, effects: Iterable[ConsensusEffect]) -> None:
        for effect in effects:
            match effect:
                case Persist():
                    self._persist(effect)
                case SetTimer(key=key, at_ms=at_ms):
                    self.timers[key] = at_ms
                case CancelTimer(key=key):
                    del self.timers[key]
                case BroadcastVote(vote=vote):
                    assert vote in self.durable(), "a vote leaves before it is durable"
                    self.sent.append(vote)
                case BroadcastProposal(proposal=proposal):
                    assert proposal in self.durable(), "a proposal leaves before it is durable"
                    assert proposal.header_digest in self.blocks, "a proposal without its block"
                    self.sent.append(proposal)
                case Decided():
                    self.decisions.append(effect)
                case EquivocationFound():
                    self.evidence.append(effect)
                case BlockRestored(header_digest=digest):
                    self.blocks.add(digest)
                case _:
                    pass

    def crash(
        self, height: Height | None = None, *, keep_journal: bool = True
    ) -> list[ConsensusEffect]:
        """Lose the memory, read the disk, and start the height again."""
        if not keep_journal:
            self.disk = {slot: v for slot, v in self.disk.items() if slot[0] is not Table.JOURNAL}
        height = height or self.state.height
        self.timers.clear()
        self.blocks.clear()
        self.driver = self._driver()
        self.driver.step(self.restored(), self.now_ms)
        return self.start(height)

    def restored(self) -> JournalRestored:
        """What a restart finds on the disk."""
        keys = sorted(key for table, key in self.disk if table is Table.JOURNAL)
        entries = tuple(self.disk[Table.JOURNAL, key] for key in keys)
        return JournalRestored(entries, self.disk.get((Table.META, SIGN_STATE_KEY)))

    def durable(self) -> tuple[Message, ...]:
        """What the sign state on the disk remembers."""
        probe = self._driver()
        probe.step(self.restored(), Millis(0))
        state = probe.sign_state
        return () if state is None else state.messages

    def _persist(self, order: Persist) -> None:
        for write in order.writes:
            match write:
                case Put(table=table, key=key, value=value):
                    self.disk[table, key] = value
                case Delete(table=table, key=key):
                    self.disk.pop((table, key), None)
                case _:
                    for slot in [s for s in self.disk if s[0] is write.table]:
                        if write.start <= slot[1] < write.end:
                            del self.disk[slot]


class Cluster:
    """Nodes that hear each other, by a schedule that the test draws."""

    def __init__(self, weights: dict[str, int]) -> None:
        self.nodes = {name: Shell(name, weights) for name in weights}
        self.inboxes: dict[str, list[Message]] = {name: [] for name in weights}
        self._heard: dict[str, int] = dict.fromkeys(weights, 0)

    def start(self, height: Height = FIRST) -> None:
        for name, node in self.nodes.items():
            self.after(name, node.start(height))

    def after(self, name: str, effects: list[ConsensusEffect]) -> None:
        """Answer the node's application and put what it sent into the others' inboxes."""
        node = self.nodes[name]
        for effect in effects:
            if isinstance(effect, BuildValue):
                value = words.some_value(f"{name} {effect.height} {effect.round}")
                built = ValueBuilt(effect.height, effect.round, value, words.text_bytes(value))
                self.after(name, node.step(built))
        for message in node.sent[self._heard[name] :]:
            for other in self.nodes:
                if other != name:
                    self.inboxes[other].append(message)
        self._heard[name] = len(node.sent)

    def deliver(self, name: str, index: int = 0) -> None:
        """Let a node hear one message of its inbox."""
        message = self.inboxes[name].pop(index)
        self.hear(name, message)

    def hear(self, name: str, message: Message) -> None:
        node = self.nodes[name]
        if isinstance(message, Vote):
            self.after(name, node.step(VoteReceived(Verified(message))))
        else:
            block = words.text_bytes(message.header_digest)
            heard = ProposalReceived(Verified(message), valid=True, block=block)
            self.after(name, node.step(heard))

    def fire(self, name: str) -> bool:
        """Fire a node's earliest timer, if it has one."""
        node = self.nodes[name]
        if not node.timers:
            return False
        key = min(node.timers, key=lambda k: (node.timers[k], k))
        node.now_ms = max(node.now_ms, node.timers[key])
        self.after(name, node.step(TimerFired(key)))
        return True

    def exchange(self, one: str, other: str) -> None:
        """`one` shows `other` what it holds, and hears what it lacks."""
        summary = self.nodes[one].driver.summary()
        assert summary is not None
        offer = self.nodes[other].driver.missing_from(summary)
        for proposal in offer.proposals:
            self.hear(one, proposal)
        if offer.votes:
            verified = tuple(Verified(vote) for vote in offer.votes)
            self.after(one, self.nodes[one].step(VotesReceived(verified)))

    def settle(self, names: Iterable[str], done: Callable[[], bool], rounds_max: int = 40) -> None:
        """Heal: gaps are filled and timers fire, until `done`."""
        names = list(names)
        for _ in range(rounds_max):
            if done():
                return
            for one in names:
                for other in names:
                    if one != other:
                        self.exchange(one, other)
            if done():
                return
            for name in names:
                self.fire(name)
        assert done(), "the nodes do not settle"
