"""One-way latency between regions.

The table is half of the round trips between AWS regions that WonderNetwork published, in
milliseconds, as Commonware's estimator carries it (Apache-2.0).
"""

from collections.abc import Callable, Sequence
from typing import Final

REGIONS: Final = (
    "N_Virginia",
    "Canada",
    "N_California",
    "London",
    "Oregon",
    "Ireland",
    "Frankfurt",
    "S_Paulo",
    "Tokyo",
    "Mumbai",
    "Sydney",
    "Seoul",
    "Singapore",
)

_ONE_WAY_MS: Final = (
    (0, 7, 30, 38, 39, 33, 44, 58, 73, 93, 98, 87, 105),
    (7, 0, 38, 39, 29, 35, 46, 63, 70, 94, 97, 85, 103),
    (30, 39, 0, 68, 10, 68, 75, 88, 54, 116, 69, 67, 86),
    (38, 39, 68, 0, 63, 5, 8, 94, 104, 56, 131, 118, 82),
    (39, 29, 10, 63, 0, 59, 68, 88, 49, 109, 69, 63, 84),
    (33, 35, 68, 5, 59, 0, 13, 88, 100, 61, 127, 114, 90),
    (44, 46, 75, 8, 68, 13, 0, 101, 111, 60, 143, 109, 77),
    (58, 63, 88, 94, 88, 89, 101, 0, 128, 151, 155, 142, 161),
    (73, 70, 54, 104, 49, 100, 111, 128, 0, 60, 57, 16, 39),
    (93, 94, 116, 56, 109, 61, 60, 151, 60, 0, 76, 57, 27),
    (98, 97, 69, 131, 69, 127, 143, 155, 57, 76, 0, 69, 45),
    (87, 84, 67, 118, 63, 114, 109, 142, 17, 57, 69, 0, 36),
    (105, 103, 86, 82, 81, 90, 77, 161, 39, 27, 45, 36, 0),
)
WITHIN_REGION_US: Final = 1_000

_PLACES: Final = {region: place for place, region in enumerate(REGIONS)}


def one_way_us(source: str, target: str) -> int:
    """Microseconds from one region to another. Raises ValueError for an unknown region."""
    for region in (source, target):
        if region not in _PLACES:
            raise ValueError(f"unknown region {region!r}; known: {', '.join(REGIONS)}")
    if source == target:
        return WITHIN_REGION_US
    return _ONE_WAY_MS[_PLACES[source]][_PLACES[target]] * 1_000


def latencies_of(places: Sequence[str]) -> Callable[[int, int], int]:
    """One-way microseconds between nodes that stand in these regions, in turns."""
    count = len(places)
    rows = [[one_way_us(source, target) for target in places] for source in places]
    return lambda source, target: rows[source % count][target % count]
