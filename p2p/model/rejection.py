"""Why an input was refused: a peer's fault is data, not an exception."""

from enum import Enum

import msgspec


class Reason(Enum):
    """Reasons, as they stand in logs, metrics and answers to people."""

    # form
    MALFORMED = "not a well-formed message"
    TOO_LARGE = "larger than allowed"
    WRONG_CHAIN = "belongs to another chain"
    BAD_SIGNATURE = "its signature does not verify"
    OUT_OF_BOUNDS = "a number of it is out of bounds"
    UNKNOWN_TOPIC = "not one of our topics"
    TOO_MANY = "more of them than allowed"
    BACKOFF = "asked to join the mesh before its backoff was over"
    GRAYLISTED = "its gossip score fell below the graylist threshold"
    # ads
    EXPIRED = "has expired"
    FROM_THE_FUTURE = "is dated ahead of our clock"
    OUTDATED = "an equal or newer one is known"
    EQUIVOCATION = "conflicts with another one of the same number"
    # consensus
    NOT_A_VALIDATOR = "its signer is not a validator of that height"
    WRONG_PROPOSER = "its signer is not the proposer of that round"
    WRONG_HEIGHT = "is not for the height it must be for"
    ROUND_TOO_FAR = "is for a round too far ahead"
    BAD_CERTIFICATE = "its certificate does not prove the block"
    # blocks
    WRONG_PARENT = "does not extend our chain"
    BAD_TIME = "its time is not acceptable"
    BAD_ROOT = "a root or total of its header is wrong"
    # ledger
    BAD_NONCE = "its nonce is not the sender's next"
    FEE_TOO_LOW = "its fee is below the minimum"
    INSUFFICIENT_FUNDS = "the account cannot pay for it"
    UNKNOWN_ACCOUNT = "the account does not exist"
    UNKNOWN_CHANNEL = "the channel does not exist"
    CHANNEL_CLOSED = "the channel is closed"
    WRONG_PARTY = "names a party that the channel does not have"
    COUNTER_FELL = "a counter or the amount is lower than before"
    OVERSPENT = "the amount exceeds the channel's deposit"
    MISPRICED = "the amount is not the price of the work"
    WRONG_EPOCH = "its epoch is too old or still to come"
    ZERO_AMOUNT = "moves nothing"
    LAST_STAKE = "would leave the chain without a validator"
    JAILED = "the account is jailed"
    # evidence
    NO_CONTRADICTION = "its two statements do not contradict each other"
    PUNISHED = "has been punished already"
    NO_STAKE = "the offender has nothing at stake"
    # service
    NOT_ACCEPTING = "the provider takes nothing new"
    NO_SPACE = "the provider has no room for it"
    UNKNOWN_BLOB = "the provider does not hold the blob"
    UNPAID = "the last window of work has not been paid"
    BUSY = "the channel is in use by another transfer"
    WRONG_CONTENT = "its content is not what its name says"
    OBLIGATIONS_DIFFER = "the parties do not agree on which blobs are held"
    DISK_FAULT = "the provider's disk failed"


class Rejected(msgspec.Struct, frozen=True):
    """A refused input; the machine that returned it is unchanged."""

    reason: Reason
    detail: str = ""
