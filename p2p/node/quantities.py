"""Quantities as people write them: sizes, rates and money, exact in both directions."""

import re
from decimal import Decimal
from typing import Final

from p2p.primitives.units import AMOUNT_MAX, Amount

COUNT_MAX: Final = 2**53
MICRO: Final = 1_000_000
"""Micro-tokens in a token."""

_QUANTITY: Final = re.compile(r"\s*(\d{1,19}(?:[_,]\d{3})*)(\.\d{1,9})?\s*([A-Za-zµ/]*)\s*")
_BYTE_UNITS: Final = {
    "b": 1,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
    "pib": 2**50,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
}
_RATE_UNITS: Final = {"bit/s": 1, "kbit/s": 10**3, "mbit/s": 10**6, "gbit/s": 10**9}
_SPAN_UNITS: Final = {
    "ms": 1,
    "s": 1_000,
    "m": 60_000,
    "min": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
}
_AMOUNT_UNITS: Final = {"": 1, "µ": 1, "micro": 1, "t": MICRO, "token": MICRO, "tokens": MICRO}


def parse_bytes(text: str) -> int:
    """Bytes of `10 GiB`, `1.5 MB` or `0`. Raises ValueError."""
    return _parse(text, {"": 1, **_BYTE_UNITS}, COUNT_MAX, "a size such as '10 GiB'")


def parse_rate(text: str) -> int:
    """Bits a second of `100 Mbit/s`. Raises ValueError."""
    return _parse(text, {"": 1, **_RATE_UNITS}, COUNT_MAX, "a rate such as '100 Mbit/s'")


def parse_amount(text: str) -> Amount:
    """Micro-tokens of `2500000`, `2.5 tokens` or `2.5t`. Raises ValueError."""
    example = "an amount such as '2.5 tokens', or whole micro-tokens"
    return Amount(_parse(text, _AMOUNT_UNITS, AMOUNT_MAX, example))


def parse_span_ms(text: str) -> int:
    """Milliseconds of `14d`, `12 h` or `90 s`. Raises ValueError."""
    return _parse(text, _SPAN_UNITS, COUNT_MAX, "a span such as '14d'")


def bytes_text(count: int) -> str:
    """Exact text of a size: the largest binary unit that divides it."""
    units = [(2**50, "PiB"), (2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")]
    return _exact(count, units, "B")


def rate_text(bits_per_second: int) -> str:
    """Exact text of a rate."""
    units = [(10**9, "Gbit/s"), (10**6, "Mbit/s"), (10**3, "kbit/s")]
    return _exact(bits_per_second, units, "bit/s")


def amount_text(amount: int) -> str:
    """Exact text of an amount in tokens, without trailing zeros."""
    sign, rest = ("-", -amount) if amount < 0 else ("", amount)
    whole, micro = divmod(rest, MICRO)
    fraction = f".{micro:06}".rstrip("0") if micro else ""
    return f"{sign}{whole:,}{fraction} {'token' if rest == MICRO else 'tokens'}"


def _parse(text: str, units: dict[str, int], maximum: int, example: str) -> int:
    match = _QUANTITY.fullmatch(text)
    unit = units.get(match[3].lower()) if match else None
    if match is None or unit is None:
        raise ValueError(f"expected {example}, not {text[:40]!r}")
    number = Decimal(re.sub("[_,]", "", match[1]) + (match[2] or ""))
    quantity = number * unit
    if quantity != quantity.to_integral_value() or quantity > maximum:
        raise ValueError(f"{text[:40]!r} is not a whole number of units up to {maximum}")
    return int(quantity)


def _exact(count: int, units: list[tuple[int, str]], smallest: str) -> str:
    for size, name in units:
        if count and count % size == 0:
            return f"{count // size} {name}"
    return f"{count} {smallest}"
