"""The file of what a light client trusts: where its next command begins."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

from msgspec import Meta

from p2p.node.errors import UserError
from p2p.node.home import write_file
from p2p.primitives.codec import Malformed, Value, decode, encode
from p2p.primitives.units import Digest
from p2p.protocol.light import TrustedBlock

TRUSTED_MAX: Final = 64
"""Blocks that the file holds: 300 KiB with 100 validators each."""
TRUST_FILE_BYTES_MAX: Final = 1024 * 1024


class TrustFile(Value, frozen=True, tag="trust"):
    """What a client has come to trust of one chain."""

    chain_id: bytes
    blocks: Annotated[tuple[TrustedBlock, ...], Meta(max_length=TRUSTED_MAX)]


def read_trust(path: Path, chain_id: Digest) -> tuple[TrustedBlock, ...]:
    """The trusted blocks in a file, none if there is no file. Raises UserError."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    try:
        file = decode(data, TrustFile, bytes_max=TRUST_FILE_BYTES_MAX)
    except Malformed:
        raise UserError(f"{path} is damaged: delete it, and trust begins anew") from None
    if file.chain_id != chain_id:
        raise UserError(f"{path} holds trust in another chain: name another --store")
    return file.blocks


def write_trust(path: Path, chain_id: Digest, blocks: Sequence[TrustedBlock]) -> None:
    """Replace the file: the first of these blocks and the highest ones. Raises UserError."""
    ordered = sorted({block.height: block for block in blocks}.values(), key=_height)
    kept = ordered if len(ordered) <= TRUSTED_MAX else [ordered[0], *ordered[1 - TRUSTED_MAX :]]
    try:
        write_file(path, encode(TrustFile(chain_id, tuple(kept))), mode=0o600)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error


def _height(block: TrustedBlock) -> int:
    return block.height
