"""What every test shares: trio as the event loop, and two hypothesis profiles."""

import os
from collections.abc import Generator

import pytest
from hypothesis import settings

pytest_plugins = ["sim_harness.pytest_plugin"]

# A deadline measures how busy the machine is; nothing here is a property of time.
settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on trio, as the node does."""
    return "trio"


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Generator[None, object, object]:
    """Ctrl-C ends the run: a nursery raises it in a group, which would fail one test alone."""
    try:
        return (yield)
    except BaseExceptionGroup as group:
        if group.subgroup(KeyboardInterrupt) is not None:
            raise KeyboardInterrupt from group
        raise
