"""Every key of a file has its line."""

import tomllib
from collections.abc import Iterator

import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from sim_harness.scenario.lines import Lines, Path

TEXT = (
    '''# a comment = with "quotes"
name = "a # b = [" # trailing
"odd key" = 1
about = """
[not.a.table]
key = "no"
""" # after

[network]
nodes = 4 ; '''.replace(" ; ", "\n")
    + """groups = [
  "a", # [fault]
  "b]",
]
deep.er = 'x"'

[[fault]]
at = "1s"

[[fault]]   # the second
at = { inner = 2 }
[fault.options]
strict = true
"""
)


def test_statements_are_found_among_strings_comments_and_arrays() -> None:
    lines = Lines(TEXT)
    tomllib.loads(TEXT)
    assert {path: lines.of(path) for path in PLACES} == PLACES


PLACES: dict[Path, int] = {
    ("name",): 2,
    ("odd key",): 3,
    ("about",): 4,
    ("network",): 9,
    ("network", "nodes"): 10,
    ("network", "groups"): 11,
    ("network", "groups", 1): 11,
    ("network", "deep", "er"): 15,
    ("fault",): 17,
    ("fault", 0, "at"): 18,
    ("fault", 1): 20,
    ("fault", 1, "at"): 21,
    ("fault", 1, "at", "inner"): 21,
    ("fault", 1, "options", "strict"): 23,
    ("nowhere", "at", "all"): 1,
}

keys = st.text("abcdez-_09 .\"'#=[]{}", min_size=1, max_size=6)
scalars = st.integers(0, 9) | st.booleans() | st.text("ab\"'#=[]\n\\{}", max_size=8)
values = scalars | st.lists(scalars, max_size=3)
tables = st.dictionaries(keys, values, max_size=3)
documents = st.dictionaries(
    keys, values | tables | st.lists(tables, min_size=1, max_size=3), max_size=5
)


@given(documents)
def test_every_key_of_any_file_is_found_where_it_stands(document: dict[str, object]) -> None:
    text = tomlkit.dumps(document)
    assert tomllib.loads(text) == document
    lines, found = Lines(text), text.split("\n")
    for path in _paths(document):
        key = path[-1]
        line = found[lines.of(path) - 1]
        if isinstance(key, str):
            assert tomlkit.key(key).as_string() in line or key in line
        else:
            assert line.startswith("[[")


def _paths(table: dict[str, object], above: Path = ()) -> Iterator[Path]:
    for key, value in table.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from _paths(value, (*above, key))
        if isinstance(value, list) and value and isinstance(value[0], dict):
            for number, one in enumerate(value):
                yield (*above, key, number)
                yield from _paths(one, (*above, key, number))


def test_a_backslash_escapes_in_basic_strings_alone() -> None:
    text = 'path = \'c:\\\'\nsaid = "a \\" = ["\nlast = 1\n'
    assert tomllib.loads(text) == {"path": "c:\\", "said": 'a " = [', "last": 1}
    assert [Lines(text).of((key,)) for key in ("path", "said", "last")] == [1, 2, 3]
