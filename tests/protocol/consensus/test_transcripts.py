from pathlib import Path

import pytest

from tests.protocol.consensus.transcript import files, replay


@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
def test_a_node_orders_what_its_transcript_says(path: Path) -> None:
    text = path.read_text()
    assert replay(text) == text


def test_the_transcripts_cite_every_rule_of_the_paper() -> None:
    told = "".join(path.read_text() for path in files())
    lines = (11, 19, 21, 22, 26, 28, 29, 32, 34, 36, 42, 44, 47, 49, 55, 57, 61, 65)
    assert [line for line in lines if f"L{line}" not in told] == []
