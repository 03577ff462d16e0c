"""What every test shares: Ctrl-C."""

import pytest

from tests.conftest import pytest_pyfunc_call


def test_ctrl_c_within_a_nursery_ends_the_run_and_not_one_test_alone() -> None:
    hook = pytest_pyfunc_call()
    next(hook)
    with pytest.raises(KeyboardInterrupt):
        hook.throw(BaseExceptionGroup("nursery", [KeyboardInterrupt()]))


def test_other_errors_of_a_nursery_stay_as_they_are() -> None:
    hook = pytest_pyfunc_call()
    next(hook)
    with pytest.raises(ExceptionGroup):
        hook.throw(ExceptionGroup("nursery", [ValueError()]))
