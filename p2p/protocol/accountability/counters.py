"""What became of evidence, for people and tests; no decision rests on it."""

import msgspec

from p2p.model.evidence import SlashRow


class EvidenceCounters(msgspec.Struct):
    """Totals since the node started."""

    found: dict[str, int] = {}
    """Contradictions that this node found itself, by kind: at most one key a kind."""
    published: int = 0
    """Evidence that this node gossiped first, or offered again."""
    accepted: int = 0
    """Of others, put in the pool and passed on."""
    ignored: int = 0
    """Of others: known, too old, punished, too early, or worth too little."""
    refused: int = 0
    """Of others: what no state would take; its sender is blamed."""
    punished: dict[str, int] = {}
    """In committed blocks, by kind."""
    slashed: int = 0
    """Micro-tokens that those lost: rewarded + burned."""
    rewarded: int = 0
    burned: int = 0
    last_block: tuple[SlashRow, ...] = ()
    """Punishments of the newest block."""

    def note_found(self, kind: str) -> None:
        """This node found a contradiction."""
        self.found[kind] = self.found.get(kind, 0) + 1

    def note_block(self, rows: tuple[SlashRow, ...]) -> None:
        """A block was committed that punished for these."""
        self.last_block = rows
        for row in rows:
            self.punished[row.kind] = self.punished.get(row.kind, 0) + 1
            self.slashed += row.slashed
            self.rewarded += row.rewarded
            self.burned += row.burned
