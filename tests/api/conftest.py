"""A fake node for each test of the API."""

from pathlib import Path

import pytest

from tests.api.fake_node import FakeNode


@pytest.fixture
def node(tmp_path: Path) -> FakeNode:
    return FakeNode(tmp_path / "home")
