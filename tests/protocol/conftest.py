"""Fixtures of the machines' tests."""

import pytest

from tests.protocol.parties import Pair


@pytest.fixture
def pair() -> Pair:
    """A consumer and its provider."""
    return Pair()
