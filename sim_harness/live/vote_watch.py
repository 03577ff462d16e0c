"""Listens to the votes and proposals that reach a node, before the node's own rules look at them.

It stands around the node's verifier: what is well-formed and truly signed is told to the harness,
wanted by consensus or not, since a second, conflicting vote is just what a rule may drop.
"""

from p2p.model.rejection import Reason, Rejected
from p2p.model.requests import Response, RoundMessages
from p2p.model.topic import GossipValue, Topic
from p2p.model.vote import Proposal, ProposedBlock, Vote
from p2p.node.port import NodePort
from p2p.node.verifier import Admits, Voters
from p2p.primitives.codec import encode
from p2p.primitives.signing import Verified
from sim_harness.live.crash_audit import noted
from sim_harness.live.messages import SignedNoted
from sim_harness.live.task import Reporter


def watch_votes(node: NodePort, reporter: Reporter, *, encoded: bool = False) -> None:
    """Tell every signed vote and proposal that reaches the node, in full if `encoded`."""
    check_message, check_response = node.verifier.message, node.verifier.response

    def watched_message(
        topic: Topic, data: bytes, admits: Admits | None = None
    ) -> Verified[GossipValue] | Rejected:
        if topic is Topic.VOTES:
            answer = check_message(topic, data, _not_a_whole_block)
            if isinstance(answer, Verified):
                _tell(answer.value, reporter, encoded)
        return check_message(topic, data, admits)

    def watched_response(
        response: Response, voters: Voters | None = None
    ) -> Verified[Response] | Rejected:
        verified = check_response(response, voters)
        if isinstance(verified, Verified) and isinstance(response, RoundMessages):
            for vote in response.votes:
                _tell(vote, reporter, encoded)
            if response.proposal is not None:
                _tell(response.proposal, reporter, encoded)
        return verified

    node.verifier.message = watched_message  # type: ignore[method-assign]
    node.verifier.response = watched_response  # type: ignore[method-assign]


def _not_a_whole_block(value: GossipValue) -> Reason | None:
    return None if isinstance(value, Vote | ProposedBlock) else Reason.MALFORMED


def _tell(value: object, reporter: Reporter, encoded: bool) -> None:
    message = value.proposal if isinstance(value, ProposedBlock) else value
    if isinstance(message, Vote | Proposal):
        reporter.tell(SignedNoted(encode(message)) if encoded else noted(message))
