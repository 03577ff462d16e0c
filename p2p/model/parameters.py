"""What a chain agrees on before its first block: parameters and genesis.

`chain_id` is the digest of the genesis, so two networks with one different number never accept each
other's signatures.
"""

from functools import cached_property
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from p2p.model.fields import AccountField, AmountField, MomentField, NameText
from p2p.primitives.codec import Value, encode
from p2p.primitives.digests import digest
from p2p.primitives.units import BASIS_POINTS, KIB, Amount, Digest, Millis

AD_BYTES_MAX: Final = 4 * KIB
RECEIPT_BYTES_MAX: Final = 1 * KIB
TRANSACTION_BYTES_MAX: Final = 4 * KIB
BLOCK_BYTES_MAX: Final = 512 * KIB
VOTE_BYTES_MAX: Final = 1 * KIB
VALIDATORS_MAX: Final = 100
"""A certificate holds one signature a validator: 100 keep it under 10 KiB and 9 ms to verify."""
CERTIFICATE_BYTES_MAX: Final = 16 * KIB
GENESIS_BYTES_MAX: Final = 1024 * KIB
COMMITTED_BYTES_MAX: Final = BLOCK_BYTES_MAX + CERTIFICATE_BYTES_MAX
PROPOSAL_BYTES_MAX: Final = BLOCK_BYTES_MAX + VOTE_BYTES_MAX

REPORTER_RATE_MAX: Final = 500
"""5 %: whoever reports itself still loses 95 % of what it is slashed."""

_Span = Annotated[Millis, Meta(ge=0, le=24 * 3600 * 1000)]
_Rate = Annotated[int, Meta(ge=0, le=BASIS_POINTS)]
_Epochs = Annotated[int, Meta(ge=0, le=2**32)]


class Parameters(Value, frozen=True):
    """Numbers that every node of a chain must share. Rates are basis points (1/10000)."""

    epoch_ms: _Span = Millis(5_000)
    """From one commit to the start of the next height."""
    validators_max: Annotated[int, Meta(ge=1, le=VALIDATORS_MAX)] = 32
    propose_timeout_ms: _Span = Millis(3_000)
    prevote_timeout_ms: _Span = Millis(1_000)
    precommit_timeout_ms: _Span = Millis(1_000)
    timeout_delta_ms: _Span = Millis(500)
    """Growth of every timeout per round (Tendermint's linear timeouts; Malachite's 500 ms)."""
    time_precision_ms: _Span = Millis(500)
    """How far correct clocks may differ (PBTS: PRECISION)."""
    time_delay_ms: _Span = Millis(15_000)
    """How long a proposal of round 0 may travel before its time counts as untimely (PBTS:
    MSGDELAY); CometBFT's value. Later rounds allow more (`is_timely`)."""
    fee_rate: _Rate = 500
    """F: share of a settled amount that is the network's fee."""
    validator_rate: _Rate = 1_000
    """V: share of the fee that goes to the validators."""
    bonus_rate: _Rate = 8_000
    """R: share of the fee that a provider of full quality gets back."""
    quality_initial: _Rate = BASIS_POINTS
    """Quality of a provider without a record; audits move it."""
    receipt_late_epochs: _Epochs = 2
    """A receipt of epoch e settles in blocks e to e + this; 1 or more, or hardly any would."""
    unbonding_epochs: _Epochs = 100
    """Stake stays slashable this long after an unbond: longer than evidence lives."""
    evidence_age_epochs: _Epochs = 50
    """Evidence of votes and receipts is taken for this long after their height."""
    evidence_age_ms: _Span = Millis(250_000)
    """Evidence of ads, which have no height, is taken for this long after their time."""
    slash_double_vote: _Rate = 500
    """Share of an offender's stake, bonded and unbonding, that an offence costs."""
    slash_double_proposal: _Rate = 500
    slash_amnesia: _Rate = 500
    slash_double_receipt: _Rate = 1_000
    slash_double_ad: _Rate = 100
    reporter_rate: Annotated[int, Meta(ge=0, le=REPORTER_RATE_MAX)] = REPORTER_RATE_MAX
    """Share of a slash that goes to who found the evidence; the rest burns."""
    jail_epochs: _Epochs = 50
    """How long a validator that voted against itself has no power at least."""
    transaction_fee_min: AmountField = Amount(10)
    """Burned; what a transaction costs at least, so that spam costs."""
    block_bytes_max: Annotated[int, Meta(ge=4 * KIB, le=BLOCK_BYTES_MAX)] = BLOCK_BYTES_MAX


class GenesisAccount(Value, frozen=True):
    """One account at height 0; `bonded` > 0 makes it a validator."""

    account: AccountField
    balance: AmountField
    bonded: AmountField = Amount(0)


class Genesis(Value, frozen=True, dict=True):
    """The whole of a chain's beginning."""

    name: NameText
    time_ms: MomentField
    parameters: Parameters
    accounts: Annotated[tuple[GenesisAccount, ...], Meta(min_length=1, max_length=10_000)]

    @cached_property
    def chain_id(self) -> Digest:
        """Digest of the canonical genesis; computed at most once."""
        return digest(encode(self))

    @property
    def validators(self) -> tuple[GenesisAccount, ...]:
        """Accounts with a bond, in genesis order."""
        return tuple(entry for entry in self.accounts if entry.bonded > 0)


def timeout_ms(base_ms: Millis, round_: int, parameters: Parameters) -> Millis:
    """Timeout of a round: grows linearly, so that rounds outlast any fixed delay."""
    return Millis(base_ms + round_ * parameters.timeout_delta_ms)


def is_timely(time_ms: Millis, *, received_ms: Millis, round_: int, parameters: Parameters) -> bool:
    """Whether a new block's time agrees with the moment at which it was received.

    Not dated after we received it, nor before it can have been sent; give or take the clocks. The
    allowed delay grows by a tenth a round, so that too small a parameter slows a chain down and
    does not stop it.

    Source: CometBFT, spec/consensus/proposer-based-timestamp, `timely`; its SynchronyParams.InRound
    grows the delay by a tenth a round, too, with interest.
    """
    delay_ms = parameters.time_delay_ms * (10 + round_) // 10
    precision_ms = parameters.time_precision_ms
    return time_ms - precision_ms <= received_ms <= time_ms + precision_ms + delay_ms


def parameters_fault(parameters: Parameters) -> str | None:
    """Why a chain cannot have these numbers together, or None."""
    if parameters.unbonding_epochs <= parameters.evidence_age_epochs:
        return (
            f"unbonding_epochs is {parameters.unbonding_epochs}, and must be more than"
            f" evidence_age_epochs, {parameters.evidence_age_epochs}: who lies could leave with all"
        )
    if parameters.receipt_late_epochs < 1:
        return (
            "receipt_late_epochs is 0, and must be 1 or more: a receipt is published when the block"
            " of its epoch is final, so only a later one can settle it"
        )
    return None


def with_overrides(parameters: Parameters, overrides: dict[str, int]) -> Parameters:
    """Parameters with some fields replaced. Raises ValueError naming an unknown or bad field."""
    known = {field.name for field in msgspec.structs.fields(Parameters)}
    unknown = sorted(set(overrides) - known)
    if unknown:
        raise ValueError(f"unknown parameter {unknown[0]!r}; known: {', '.join(sorted(known))}")
    merged = {**msgspec.structs.asdict(parameters), **overrides}
    try:
        values = [merged[field.name] for field in msgspec.structs.fields(Parameters)]
        found = msgspec.convert(values, Parameters)
    except msgspec.ValidationError as error:
        raise ValueError(f"bad parameter: {error}") from None
    fault = parameters_fault(found)
    if fault is not None:
        raise ValueError(fault)
    return found
