"""Real sockets on 127.0.0.1 under trio; conditions are waited for, nothing sleeps."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "trio"
