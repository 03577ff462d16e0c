"""Quantities as scenario files write them, exact in both directions: `20s`, `5%`, `100 ppm`."""

import re
from decimal import Decimal
from typing import Final

from p2p.primitives.units import BASIS_POINTS, Millis

SPAN_MS_MAX: Final = 24 * 3_600_000
"""A day: the longest span of a scenario."""
DRIFT_PPM_MAX: Final = 100_000
"""A tenth: no crystal is as bad."""

_NUMBER: Final = re.compile(r"(-?\d{1,12}(?:\.\d{1,6})?) ?([a-zA-Z%]*)")
_SPANS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "min": 60_000, "h": 3_600_000}


def parse_span(text: str) -> Millis:
    """Milliseconds of `150ms`, `20s`, `1.5m` or `1h`; may be negative. Raises ValueError."""
    number, unit = _split(text)
    if unit not in _SPANS:
        raise ValueError(f"expected a time such as '20s' or '150ms', not {text!r}")
    millis = number * _SPANS[unit]
    if millis != int(millis) or abs(millis) > SPAN_MS_MAX:
        raise ValueError(f"{text!r} is not a whole number of milliseconds up to a day")
    return Millis(int(millis))


def span_text(millis: int) -> str:
    """Text that `parse_span` reads back."""
    for factor, unit in ((3_600_000, "h"), (60_000, "m"), (1_000, "s")):
        if millis and millis % factor == 0:
            return f"{millis // factor}{unit}"
    return f"{millis}ms"


def parse_share(text: str) -> int:
    """Basis points of `5%` or `0.25%`. Raises ValueError."""
    number, unit = _split(text)
    points = number * (BASIS_POINTS // 100)
    if unit != "%" or points != int(points) or not 0 <= points <= BASIS_POINTS:
        raise ValueError(f"expected a share such as '5%', not {text!r}")
    return int(points)


def share_text(basis_points: int) -> str:
    """Text that `parse_share` reads back."""
    return f"{(Decimal(basis_points) / 100).normalize():f}%"


def parse_drift(text: str) -> int:
    """Parts per million of `200 ppm` or `-0.5%`. Raises ValueError."""
    number, unit = _split(text)
    factor = {"ppm": 1, "%": 10_000}.get(unit)
    if factor is None or number * factor != int(number * factor):
        raise ValueError(f"expected a drift such as '200 ppm', not {text!r}")
    if abs(number * factor) > DRIFT_PPM_MAX:
        raise ValueError(f"a drift of {text!r} is beyond {DRIFT_PPM_MAX} ppm")
    return int(number * factor)


def drift_text(ppm: int) -> str:
    """Text that `parse_drift` reads back."""
    return f"{ppm} ppm"


def _split(text: str) -> tuple[Decimal, str]:
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        return Decimal(0), "?"
    return Decimal(match[1]), match[2]
