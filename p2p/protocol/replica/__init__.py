"""The replica: all machines of one node behind one `step`; the one thing that worlds drive."""

from p2p.protocol.replica.bookkeeping import Bookkeeper
from p2p.protocol.replica.parameters import NodeParameters
from p2p.protocol.replica.replica import Replica

__all__ = ["Bookkeeper", "NodeParameters", "Replica"]
