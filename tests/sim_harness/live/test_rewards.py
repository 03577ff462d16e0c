"""The reward table adds up what blocks settled."""

from p2p.api.values import Row
from sim_harness.live.rewards import PaidChannel, paid_channels, unbalanced


def row(channel: str, amount: int, fee: int, bonus: int, validators: int) -> Row:
    return {
        "channel": channel,
        "provider": "p",
        "consumer": "c",
        "amount": amount,
        "fee": fee,
        "bonus": bonus,
        "validators": validators,
        "burned": fee - bonus - validators,
        "received": amount - fee + bonus,
    }


def test_settlements_of_a_channel_are_one_line_with_the_ledgers_bytes() -> None:
    rows = [row("x", 1_000, 50, 40, 5), row("y", 100, 5, 4, 1), row("x", 200, 10, 8, 1)]
    channels: dict[str, Row] = {"x": {"bytes_put": 7, "bytes_get": 9}}
    paid = paid_channels(rows, channels)
    assert paid == [
        PaidChannel("x", "p", "c", 7, 9, 2, 1_200, 60, 48, 6, 6, 1_188),
        PaidChannel("y", "p", "c", 0, 0, 1, 100, 5, 4, 1, 0, 99),
    ]
    assert unbalanced(paid) == []


def test_a_micro_token_too_many_is_seen() -> None:
    paid = paid_channels([row("x", 1_000, 50, 40, 5) | {"received": 991}], {})
    assert unbalanced(paid) == ["channel x: the parts of 1000 do not add up"]
