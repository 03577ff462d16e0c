"""What a provider published of each channel, and whether it came in time.

A receipt is published when its epoch is committed, and `late_epochs` blocks have to settle it.
Where they come faster than messages travel, that moment can be too late for all receipts alike, the
renewed ones too. So what was missed is counted: from the second miss on a channel's receipts are
dated ahead, by one epoch more a miss, and published at once, until the ledger settles one.
"""

import msgspec

from p2p.model.ledger import Channel
from p2p.model.receipt import EPOCHS_AHEAD_MAX
from p2p.primitives.units import ChannelId, Height


class _Waiting(msgspec.Struct, frozen=True):
    """What was published of a channel since the ledger last settled a receipt of it."""

    settled: Height
    """The last epoch that was settled then."""
    since: Height | None = None
    """The first epoch published that is not counted as missed."""
    misses: int = 0
    """How often what was published came too late."""


class Publications:
    """By channel; mutable, changed by its machine alone."""

    def __init__(self, late_epochs: int) -> None:
        self._late_epochs = late_epochs
        self._last: dict[ChannelId, Height] = {}
        self._waiting: dict[ChannelId, _Waiting] = {}

    def last(self, channel: ChannelId) -> Height:
        """The last epoch whose receipt was published; -1 when none was."""
        return self._last.get(channel, Height(-1))

    def epochs_ahead(self, channel: ChannelId) -> int:
        """How far ahead to date the channel's receipts; 0 unless they come too late."""
        waiting = self._waiting.get(channel)
        return 0 if waiting is None else max(0, min(EPOCHS_AHEAD_MAX, waiting.misses - 1))

    def misses(self, channel: ChannelId) -> int:
        """How often what was published came too late since a receipt of the channel settled."""
        waiting = self._waiting.get(channel)
        return 0 if waiting is None else waiting.misses

    def restore(self, channel: ChannelId, epoch: Height) -> None:
        """A former process may have published the receipt of an epoch."""
        self._last[channel] = epoch

    def note(self, channel: ChannelId, epoch: Height, ledger: Channel) -> None:
        """A receipt of the epoch is published."""
        self._last[channel] = epoch
        waiting = self._waiting.get(channel, _Waiting(ledger.last_settled_epoch))
        if waiting.since is None:
            waiting = _Waiting(waiting.settled, epoch, waiting.misses)
        self._waiting[channel] = waiting

    def follow(self, channel: ChannelId, ledger: Channel, height: Height) -> None:
        """A block is final; `ledger` is the channel after it."""
        waiting = self._waiting.get(channel)
        if waiting is None:
            return
        last, since, settled = self.last(channel), waiting.since, ledger.last_settled_epoch
        if settled > waiting.settled:
            del self._waiting[channel]
            if last > settled:
                self._waiting[channel] = _Waiting(settled, last)
        elif since is not None and height + 1 > since + self._late_epochs:
            later = last if last > since else None
            self._waiting[channel] = _Waiting(waiting.settled, later, waiting.misses + 1)

    def forget(self, channel: ChannelId) -> None:
        """The channel left the ledger."""
        self._last.pop(channel, None)
        self._waiting.pop(channel, None)
