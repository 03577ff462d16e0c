"""Receipts between two parties: the machine `Channels` and what it remembers."""

from p2p.protocol.receipts.book import ChannelRecord, Obligations, decode_record
from p2p.protocol.receipts.channels import (
    BlockCommitted,
    Channels,
    PublishReceipt,
    ReceiptsEffect,
    ReceiptsInput,
    Restored,
)

__all__ = [
    "BlockCommitted",
    "ChannelRecord",
    "Channels",
    "Obligations",
    "PublishReceipt",
    "ReceiptsEffect",
    "ReceiptsInput",
    "Restored",
    "decode_record",
]
