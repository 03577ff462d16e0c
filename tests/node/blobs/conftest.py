"""Fixtures of the blob tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.node.blobs.tools import SIZE
from tests.node.blobs.world import World, open_world, pattern


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path) as made:
        yield made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    source = tmp_path / "holiday.jpg"
    source.write_bytes(pattern(SIZE))
    return source
