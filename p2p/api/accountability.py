"""What the local API tells of liars: evidence that waits, punishments, proofs of commits."""

from p2p.api.plain import row
from p2p.api.queries import NotFound
from p2p.api.values import Json, Row
from p2p.model.evidence import offence_height, offence_id, offence_kind, offender
from p2p.node.port import NodePort
from p2p.primitives.codec import encode
from p2p.primitives.keys import account_text
from p2p.primitives.units import Height
from p2p.storage.proofs import stored_proof, stored_slashes


def evidence(node: NodePort, limit: int) -> Row:
    """Evidence that waits for a block, most to be slashed first; and the newest punishments."""
    waiting: list[Json] = []
    for one in node.replica.mempool.evidence[:limit]:
        height = offence_height(one.offence)
        waiting.append(
            {
                "kind": offence_kind(one.offence),
                "offender": account_text(offender(one.offence)),
                "height": None if height is None else int(height),
                "reporter": account_text(one.reporter),
                "offence": offence_id(one.offence).hex(),
            }
        )
    punished: list[Json] = [row(entry) for entry in stored_slashes(node.store, limit)]
    return {"waiting": waiting, "punished": punished}


def commit_proof(node: NodePort, height: Height) -> Row:
    """The commit of a height with its polkas, as bytes for `p2p evidence analyze`."""
    proof = stored_proof(node.store, height)
    if proof is None:
        raise NotFound(f"no commit of height {height} is stored here, or not who voted for it")
    return {
        "height": int(height),
        "header_digest": proof.certificate.header_digest.hex(),
        "round": int(proof.certificate.round),
        "polkas": len(proof.polkas),
        "proof": encode(proof).hex(),
    }
