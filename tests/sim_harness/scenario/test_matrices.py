"""Files of round trips: what is in them, what is missing, and who lives where."""

from pathlib import Path

import pytest

from sim_harness.scenario.matrices import read_matrix
from sim_harness.scenario.reading import parse_scenario
from sim_harness.scenario.run import Run

WHOLE = """\
# three places, the third far away
0\t24.0\t88.5
24.0\t0\t71.25

90.5\t71.25\t0
"""


def matrix(directory: Path, text: str) -> list[list[int]]:
    path = directory / "some.rtt"
    path.write_text(text)
    return read_matrix(path)


def test_half_a_round_trip_is_the_way_there(tmp_path: Path) -> None:
    assert matrix(tmp_path, WHOLE) == [
        [0, 12_000, 44_250],
        [12_000, 0, 35_625],
        [45_250, 35_625, 0],
    ]


def test_what_was_not_measured_is_as_long_as_the_way_back(tmp_path: Path) -> None:
    assert matrix(tmp_path, "0 - \n 8 0") == [[0, 4_000], [4_000, 0]]


def test_what_was_measured_in_no_direction_leads_over_the_nearest_other_place(
    tmp_path: Path,
) -> None:
    found = matrix(tmp_path, "- 10 20 nan\n10 - 50 4\n20 50 - 6\nNaN 4 6 -")
    assert found[0] == [0, 5_000, 10_000, 7_000]
    assert found[3] == [7_000, 2_000, 3_000, 0]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is not a square of round trips: 0 rows"),
        ("0 1 2\n1 0 2", "is not a square of round trips: 2 rows"),
        ("0 1\n\n1 x", ":3: not a row of milliseconds"),
        ("0 -1\n1 0", ":1: a negative round trip: -1; one that nobody measured is -"),
        ("0 1\n1e7 0", ":2: a round trip of more than 600000 ms: 1e7"),
        ("0 inf\n1 0", ":1: a round trip of more than 600000 ms: inf"),
        ("0 -\n- 0", ": nothing leads from place 1 to place 2"),
        ("0 1 -\n1 0 -\n- - 0", ": nothing leads from place 1 to place 3"),
    ],
)
def test_a_file_that_says_no_distance_is_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"some\.rtt") as caught:
        matrix(tmp_path, text)
    assert str(caught.value).endswith(why)


def test_nodes_are_as_far_apart_as_their_places(tmp_path: Path) -> None:
    (tmp_path / "some.rtt").write_text(WHOLE)
    text = 'name = "x"\n[network]\nnodes = 5\nvalidators = 4\nrtt = "some.rtt"\njitter = "0ms"'
    links = Run(parse_scenario(text, tmp_path / "story.toml"), 1).world.links
    ways = {
        (one, two): links.delay_us(one, two) for one in range(5) for two in range(5) if one != two
    }
    # Five nodes at three places: the fourth and fifth live with the first and second.
    assert ways[0, 3] == ways[1, 4] == 0
    assert sorted({ways[0, 1], ways[0, 2], ways[1, 2]}) in (
        [12_000, 35_625, 44_250],
        [12_000, 35_625, 45_250],
    )
    assert ways[3, 2] == ways[0, 2]
