"""Receipts checked from their JSON, without a node."""

import json
from pathlib import Path

import msgspec

from p2p.api.values import Row
from p2p.model.parameters import RECEIPT_BYTES_MAX
from p2p.model.receipt import ServiceReceipt
from p2p.node.errors import UserError
from p2p.node.toml_files import read_text
from p2p.primitives.codec import Malformed, decode, encode
from p2p.primitives.keys import parse_account
from p2p.primitives.signing import Ed25519Scheme, SignedKind
from p2p.primitives.units import Digest

_ACCOUNTS = ("provider", "consumer")
_FILE_BYTES_MAX = 64 * 1024


def load_receipt(path: Path) -> Row:
    """The JSON of one receipt, or the first of a list. Raises UserError."""
    try:
        value = json.loads(read_text(path, bytes_max=_FILE_BYTES_MAX))
    except ValueError:
        raise UserError(f"{path} is not JSON") from None
    row = value[0] if isinstance(value, list) and value else value
    if not isinstance(row, dict):
        raise UserError(f"{path} holds no receipt: save one from `p2p receipt list --json`")
    return row


def receipt_of(row: Row) -> ServiceReceipt:
    """The receipt that a JSON object says. Raises UserError."""
    values: list[object] = [ServiceReceipt.__struct_config__.tag]
    for field in msgspec.structs.fields(ServiceReceipt):
        value = row.get(field.name)
        try:
            if field.name in _ACCOUNTS:
                values.append(parse_account(str(value)))
            elif isinstance(value, str):
                values.append(bytes.fromhex(value))
            else:
                values.append(value)
        except ValueError as error:
            raise UserError(f"the receipt's {field.name} is wrong: {error}") from None
    try:
        return decode(encode(values), ServiceReceipt, bytes_max=RECEIPT_BYTES_MAX)
    except (Malformed, TypeError, OverflowError) as error:
        raise UserError(f"this is no receipt: {error}") from None


def receipt_faults(row: Row, chain_id: Digest) -> tuple[str, ...]:
    """What is wrong with a receipt; empty when both parties signed it on this chain."""
    receipt = receipt_of(row)
    faults = [] if receipt.chain_id == chain_id else ["it belongs to another chain"]
    parties = (
        ("consumer", SignedKind.RECEIPT_CONSUMER, receipt.consumer, receipt.consumer_body()),
        ("provider", SignedKind.RECEIPT_PROVIDER, receipt.provider, receipt.provider_body()),
    )
    for name, kind, account, body in parties:
        signature = getattr(receipt, f"{name}_signature")
        if not Ed25519Scheme().verify(account, kind, receipt.chain_id, body, signature):
            faults.append(f"the {name}'s signature does not verify")
    return tuple(faults)
