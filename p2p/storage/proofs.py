"""Proofs of commits, as a store can give them: what convicts who forked a chain."""

from p2p.model.accusation import COMMIT_PROOF_BYTES_MAX, CommitProof, Polkas
from p2p.model.evidence import SlashRow
from p2p.model.parameters import BLOCK_BYTES_MAX
from p2p.model.persistence import Table, number_key
from p2p.primitives.codec import decode
from p2p.primitives.units import Height
from p2p.storage.light import stored_header, stored_validators
from p2p.storage.port import Store


def stored_proof(store: Store, height: Height) -> CommitProof | None:
    """The commit of a height, who voted, and the polkas that are still kept; None without it."""
    signed = stored_header(store, height)
    if signed is None:
        return None
    validators = stored_validators(store, signed.header.validators_root)
    if validators is None:
        return None
    data = store.get(Table.POLKAS, number_key(height))
    polkas = () if data is None else decode(data, Polkas, bytes_max=COMMIT_PROOF_BYTES_MAX)
    return CommitProof(signed.header, validators, signed.certificate, polkas)


def stored_slashes(store: Store, limit: int) -> list[SlashRow]:
    """The newest punishments, the last block's first."""
    found: list[SlashRow] = []
    for _, data in store.scan(Table.SLASHES, reverse=True, limit=limit):
        found += decode(data, tuple[SlashRow, ...], bytes_max=BLOCK_BYTES_MAX)
    return found[:limit]
