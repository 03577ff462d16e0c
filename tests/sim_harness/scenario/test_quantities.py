"""Quantities read back as they are written."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_harness.scenario.quantities import (
    DRIFT_PPM_MAX,
    SPAN_MS_MAX,
    drift_text,
    parse_drift,
    parse_share,
    parse_span,
    share_text,
    span_text,
)


@pytest.mark.parametrize(
    ("text", "millis"),
    [("20s", 20_000), ("150ms", 150), ("1.5m", 90_000), ("1h", 3_600_000), ("-3s", -3_000)],
)
def test_spans_have_units(text: str, millis: int) -> None:
    assert parse_span(text) == millis


@pytest.mark.parametrize(
    ("parse", "text", "why"),
    [
        (parse_span, "20", "expected a time such as '20s' or '150ms', not '20'"),
        (parse_span, "20 parsecs", "expected a time such as '20s' or '150ms', not '20 parsecs'"),
        (parse_span, "0.5ms", "'0.5ms' is not a whole number of milliseconds up to a day"),
        (parse_span, "25h", "'25h' is not a whole number of milliseconds up to a day"),
        (parse_share, "101%", "expected a share such as '5%', not '101%'"),
        (parse_share, "5", "expected a share such as '5%', not '5'"),
        (parse_drift, "1s", "expected a drift such as '200 ppm', not '1s'"),
        (parse_drift, "50%", "a drift of '50%' is beyond 100000 ppm"),
    ],
)
def test_what_is_none_is_refused(parse: Callable[[str], int], text: str, why: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole text follows
        parse(text)
    assert str(caught.value) == why


@given(st.integers(-SPAN_MS_MAX, SPAN_MS_MAX))
def test_a_span_reads_back(millis: int) -> None:
    assert parse_span(span_text(millis)) == millis


@given(st.integers(0, 10_000))
def test_a_share_reads_back(points: int) -> None:
    assert parse_share(share_text(points)) == points


@given(st.integers(-DRIFT_PPM_MAX, DRIFT_PPM_MAX))
def test_a_drift_reads_back(ppm: int) -> None:
    assert parse_drift(drift_text(ppm)) == ppm
