"""What tests of receipts share: work, and what a step answered."""

from p2p.model.commands import (
    Work,
)
from p2p.model.receipt import ServiceReceipt
from p2p.model.rejection import Reason, Rejected
from p2p.primitives.units import MIB

WINDOW = Work(bytes_put=MIB)
NOTHING = Work()


def reason(result: object) -> Reason:
    assert isinstance(result, Rejected), result
    return result.reason


def signed(result: object) -> ServiceReceipt:
    assert isinstance(result, ServiceReceipt), result
    return result
