"""Genesis and parameters."""

import msgspec
import pytest

from p2p.model.parameters import (
    Genesis,
    GenesisAccount,
    Parameters,
    is_timely,
    timeout_ms,
    with_overrides,
)
from p2p.primitives.codec import encode
from p2p.primitives.digests import digest
from p2p.primitives.units import AccountId, Amount, Millis

ONE, TWO = AccountId(b"\x01" * 32), AccountId(b"\x02" * 32)


def genesis() -> Genesis:
    accounts = (GenesisAccount(ONE, Amount(5)), GenesisAccount(TWO, Amount(0), Amount(7)))
    return Genesis("net", Millis(1), Parameters(), accounts)


SMALL = {"validators_max": 7, "reporter_rate": 7}
"""Values for parameters that may not be large."""


def test_a_chain_is_named_by_all_of_its_genesis() -> None:
    start = genesis()
    others = [
        msgspec.structs.replace(start, name="net2"),
        msgspec.structs.replace(start, time_ms=Millis(2)),
        msgspec.structs.replace(start, accounts=start.accounts[:1]),
        *(
            msgspec.structs.replace(
                start, parameters=msgspec.structs.replace(start.parameters, **{field.name: value})
            )
            for field in msgspec.structs.fields(Parameters)
            if (value := SMALL.get(field.name, 4_097))
        ),
    ]
    names = {other.chain_id for other in others}
    assert start.chain_id == digest(encode(start))
    assert len(names) == len(others)
    assert start.chain_id not in names


def test_accounts_with_a_bond_are_validators() -> None:
    assert genesis().validators == (GenesisAccount(TWO, Amount(0), Amount(7)),)


def test_timeouts_grow_by_round() -> None:
    parameters = with_overrides(Parameters(), {"timeout_delta_ms": 250})
    assert [timeout_ms(Millis(1_000), round_, parameters) for round_ in (0, 1, 4)] == [
        1_000,
        1_250,
        2_000,
    ]


def test_overrides_replace_what_they_name() -> None:
    changed = with_overrides(Parameters(), {"epoch_ms": 7, "fee_rate": 0})
    assert changed == msgspec.structs.replace(Parameters(), epoch_ms=Millis(7), fee_rate=0)


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        ({"epoch": 1}, "unknown parameter 'epoch'; known: block_bytes_max, bonus_rate"),
        ({"fee_rate": 10_001}, "bad parameter: .*<= 10000.*"),
        ({"validators_max": 0}, "bad parameter: .*>= 1.*"),
        ({"epoch_ms": "soon"}, "bad parameter: .*int.*str.*"),
        ({"epoch_ms": 1.5}, "bad parameter: .*int.*float.*"),
    ],
)
def test_a_bad_override_is_told_in_a_sentence(overrides: dict[str, int], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        with_overrides(Parameters(), overrides)


@pytest.mark.parametrize(
    ("sent_ms", "round_", "timely"),
    [
        # Sent at most a precision after we received it by our clock.
        (100_500, 0, True),
        (100_501, 0, False),
        # Received at most delay and precision after it was sent.
        (100_000 - 2_000 - 500, 0, True),
        (100_000 - 2_000 - 501, 0, False),
        # The delay grows by a tenth a round, the precision does not.
        (100_000 - 2_200 - 500, 1, True),
        (100_000 - 2_200 - 501, 1, False),
        (100_000 - 4_000 - 500, 10, True),
        (100_501, 10, False),
    ],
)
def test_a_time_is_timely_within_precision_and_delay(
    sent_ms: int, round_: int, timely: bool
) -> None:
    parameters = Parameters(time_precision_ms=Millis(500), time_delay_ms=Millis(2_000))
    verdict = is_timely(
        Millis(sent_ms), received_ms=Millis(100_000), round_=round_, parameters=parameters
    )
    assert verdict is timely


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        ({"evidence_age_epochs": 100}, "unbonding_epochs is 100, and must be more than"),
        ({"receipt_late_epochs": 0}, "receipt_late_epochs is 0, and must be 1 or more"),
    ],
)
def test_numbers_that_no_chain_can_have_are_refused_with_the_reason(
    overrides: dict[str, int], fault: str
) -> None:
    with pytest.raises(ValueError, match=fault):
        with_overrides(Parameters(), overrides)
