"""An independent model of algorithm 1, to write traces with: plain messages, naive rules.

It is the paper read aloud, over sets of messages in the traces' own words, and shares no line with
the machines that it checks. Traces come out as one node's history: inputs drawn by a seed, and what
the paper makes of them.

Source: arXiv 1807.04938, algorithm 1, with the conventions of the traces: proposals do not count
for L55, the first vote of a slot counts, where several rules hold a decision goes first, then a
later round, then the current round from its proposal to its precommits.
"""

import random
from collections.abc import Iterator
from typing import Any, Final

Event = dict[str, Any]
Trace = dict[str, Any]
VALUES: Final = ("A", "B", "C", "invalid")


class Paper:
    """One node."""

    def __init__(self, me: str, weights: dict[str, int]) -> None:
        self.me = me
        self.weights = weights
        self.total = sum(weights.values())
        self.round, self.step = -1, "no"
        self.locked: list[Any] = [-1, None]
        self.valid: list[Any] = [-1, None]
        self.proposals: list[tuple[int, str, int]] = []
        self.votes: dict[tuple[str, int, str], str | None] = {}
        self.together: set[tuple[str, int, str | None]] = set()
        """Kinds, rounds and values for which a whole quorum came, whatever counted before."""
        self.done: set[str] = set()
        self.asked = False
        self.out: list[Event] = []

    # ------------------------------------------------------------------------------ messages

    def proposer(self, round_: int) -> str:
        names = sorted(self.weights)
        return names[(round_ + 1) % len(names)]

    def take(self, event: Event) -> list[Event]:
        """One input, and the rules to their fixed point."""
        self.out = []
        kind = event["t"]
        if kind == "start":
            self.start_round(0)
        elif kind == "proposal":
            told = (event["round"], event["value"], event["pol"])
            if event["src"] == self.proposer(event["round"]) and told not in self.proposals:
                self.proposals.append(told)
        elif kind == "vote":
            self.hear(event)
        elif kind == "certificate":
            self.certificate(event["votes"])
        elif kind == "propose_value":
            if self.asked and self.step == "propose":
                self.asked = False
                self.out.append(proposal(self.round, event["value"], self.valid[0]))
        elif kind == "timeout":
            self.timeout(event["kind"], event["round"])
        self.run()
        return self.out

    def run(self) -> None:
        while self.step not in {"no", "commit"} and self.rule():
            pass

    def hear(self, vote: Event) -> None:
        """The first vote of a slot counts."""
        self.votes.setdefault((vote["kind"], vote["round"], vote["src"]), vote["value"])

    def certificate(self, votes: list[Event]) -> None:
        """Votes with one voice: a quorum of them counts as one, fewer one by one."""
        senders = {vote["src"] for vote in votes}
        is_quorum = 3 * sum(self.weights[src] for src in senders) > 2 * self.total
        if is_quorum:
            self.together.add((votes[0]["kind"], votes[0]["round"], votes[0]["value"]))
        for vote in votes:
            self.hear(vote)
            if not is_quorum:
                self.run()

    def state(self) -> Event:
        return {
            "round": self.round,
            "step": self.step,
            "locked": list(self.locked),
            "valid": list(self.valid),
        }

    # ------------------------------------------------------------------------------- counting

    def power(self, kind: str, round_: int, *values: str | None) -> int:
        return sum(
            self.weights[src]
            for (other, r, src), value in self.votes.items()
            if (other, r) == (kind, round_) and (not values or value in values)
        )

    def quorum(self, kind: str, round_: int, *values: str | None) -> bool:
        if any((kind, round_, value) in self.together for value in values):
            return True
        return 3 * self.power(kind, round_, *values) > 2 * self.total

    def later_round(self) -> int | None:
        rounds = {r for _, r, _ in self.votes if r > self.round}
        seen = {r: {src for _, other, src in self.votes if other == r} for r in rounds}
        third = [r for r in rounds if 3 * sum(self.weights[s] for s in seen[r]) > self.total]
        return max(third, default=None)

    # ---------------------------------------------------------------------------------- rules

    def start_round(self, round_: int) -> None:  # L11
        self.round, self.step, self.done, self.asked = round_, "propose", set(), False
        if self.proposer(round_) != self.me:
            self.schedule("propose")  # L21
        elif self.valid[1] is not None:
            self.out.append(proposal(round_, self.valid[1], self.valid[0]))  # L16
        else:
            self.asked = True
            self.schedule("propose")
            self.out.append({"t": "get_value", "round": round_})  # L18

    def rule(self) -> bool:
        """Run one rule that holds; False if none does."""
        return self.rule_of_any_round() or self.rule_of_this_round()

    def rule_of_any_round(self) -> bool:
        for round_, value, _ in self.proposals:  # L49
            if value != "invalid" and self.quorum("precommit", round_, value):
                self.step = "commit"
                self.out.append({"t": "decide", "round": round_, "value": value})
                return True
        later = self.later_round()
        if later is not None:  # L55
            self.start_round(later)
            return True
        return False

    def rule_of_this_round(self) -> bool:
        here = self.round
        mine = [(v, pol) for r, v, pol in self.proposals if r == here]
        if self.step == "propose":
            for value, pol in mine:
                if pol == -1:  # L22
                    self.prevote(value, free=self.locked[0] == -1)
                    return True
                if 0 <= pol < here and self.quorum("prevote", pol, value):  # L28
                    self.prevote(value, free=self.locked[0] <= pol)
                    return True
        for value in dict.fromkeys(v for v, _ in mine):  # L36
            if value == "invalid" or self.step == "propose" or "L36" in self.done:
                continue
            if self.quorum("prevote", here, value):
                self.done.add("L36")
                self.valid = [here, value]
                if self.step == "prevote":
                    self.locked = [here, value]
                    self.precommit(value)
                return True
        if self.step == "prevote" and self.quorum("prevote", here, None):  # L44
            self.precommit(None)
            return True
        if self.step == "prevote" and self.quorum("prevote", here) and self.first("L34"):
            self.schedule("prevote")
            return True
        if self.quorum("precommit", here) and self.first("L47"):
            self.schedule("precommit")
            return True
        return False

    def timeout(self, kind: str, round_: int) -> None:
        if round_ != self.round or self.step in {"no", "commit"}:
            return
        if kind == self.step == "propose":  # L57
            self.send("prevote", None)
        elif kind == self.step == "prevote":  # L61
            self.precommit(None)
        elif kind == "precommit":  # L65
            self.start_round(self.round + 1)

    def first(self, line: str) -> bool:
        fresh = line not in self.done
        self.done.add(line)
        return fresh

    def prevote(self, value: str, *, free: bool) -> None:  # L23, L29
        good = value != "invalid" and (free or self.locked[1] == value)
        self.send("prevote", value if good else None)

    def precommit(self, value: str | None) -> None:
        self.send("precommit", value)

    def send(self, kind: str, value: str | None) -> None:
        self.step = kind
        self.out.append({"t": "vote", "kind": kind, "round": self.round, "value": value})

    def schedule(self, kind: str) -> None:
        self.out.append({"t": "timeout", "kind": kind, "round": self.round})


def proposal(round_: int, value: str, pol: int) -> Event:
    return {"t": "proposal", "round": round_, "value": value, "pol": pol}


# ---------------------------------------------------------------------------------------- traces


def draw_trace(seed: int, *, events: int = 60, delay_own: float = 0.0) -> Trace:
    """A history of one node: who liars are, what comes when, drawn from a seed."""
    dice = random.Random(seed)
    count = dice.choice((1, 2, 3, 4, 4, 4, 5, 6, 7))
    weights = {f"v{i + 1}": dice.choice((1, 1, 1, 2, 3, 5)) for i in range(count)}
    me = dice.choice(sorted(weights))
    node, pending = Paper(me, weights), [{"t": "start"}]
    told: list[Event] = []
    looping: list[Event] = []
    world = _Dice(dice, me, weights)
    while len(told) < events:
        if looping and not (delay_own and dice.random() < delay_own):
            event = looping.pop(0)
        elif pending:
            event = pending.pop(0)
        else:
            event = world.draw(node)
        out = node.take(event)
        told.append({"in": event, "out": out, "post": node.state()})
        world.heard(event, out)
        looping += [{**o, "src": me} for o in out if o["t"] in {"vote", "proposal"}]
    return {
        "id": f"paper {seed}",
        "me": me,
        "weights": weights,
        "strict": True,
        "tags": ["own_vote_not_looped"] if delay_own else [],
        "events": told,
    }


class _Dice:
    """Draws what comes next: mostly what moves the round on, sometimes anything.

    Every round has a favourite value, which most votes and proposals of it are for; precommits of
    others are nil as often as a run's `_reluctance` says, so that locks meet later rounds.
    """

    def __init__(self, dice: random.Random, me: str, weights: dict[str, int]) -> None:
        self._dice = dice
        self._others = [name for name in sorted(weights) if name != me]
        self._chaos = dice.choice((0.05, 0.2, 0.6))
        self._reluctance = dice.choice((0.0, 0.5, 0.9))
        self._certificates = dice.choice((0.0, 0.0, 0.1))
        self._favourites: dict[int, str] = {}
        self._timeouts: list[Event] = []
        self._owed = False

    def heard(self, event: Event, out: list[Event]) -> None:
        if event["t"] == "propose_value":
            self._owed = False
        self._owed = self._owed or any(o["t"] == "get_value" for o in out)
        self._timeouts += [o for o in out if o["t"] == "timeout"]
        for told in (event, *out):
            if told["t"] == "proposal":
                self._favourites[told["round"]] = told["value"]

    def draw(self, node: Paper) -> Event:
        dice = self._dice
        if self._owed and dice.random() < 0.5:
            return {"t": "propose_value", "value": dice.choice(("A", "B", "C"))}
        if self._timeouts and dice.random() < 0.12:
            return self._timeouts.pop(dice.randrange(len(self._timeouts)))
        if not self._others:
            return {"t": "propose_value", "value": "A"}
        round_ = self._round(node)
        if dice.random() < (0.4 if node.step == "propose" else 0.1):
            return self._proposal(node, round_)
        busy = round_ == node.round and node.step == "precommit"
        kind = "precommit" if dice.random() < (0.7 if busy else 0.25) else "prevote"
        reluctant = kind == "precommit" and dice.random() < self._reluctance
        value = None if reluctant or dice.random() < 0.1 else self._value(round_)
        if dice.random() < self._certificates:
            return self._certificate(node, kind, round_, value)
        src = dice.choice(self._others)
        return {"t": "vote", "kind": kind, "src": src, "round": round_, "value": value}

    def _proposal(self, node: Paper, round_: int) -> Event:
        """Mostly of the proposer, and often of a value that has a polka."""
        dice = self._dice
        src = node.proposer(round_)
        if src == node.me or dice.random() < self._chaos / 4:
            src = dice.choice(self._others)
        value, pol = self._value(round_), -1 if dice.random() < 0.6 else dice.randrange(round_ + 2)
        polkas = [(r, v) for r in range(round_) for v in VALUES if node.quorum("prevote", r, v)]
        if polkas and dice.random() < 0.6:
            pol, value = dice.choice(polkas)
        return {**proposal(round_, value, pol), "src": src}

    def _certificate(self, node: Paper, kind: str, round_: int, value: str | None) -> Event:
        """Votes of many for one value, of whom less than a third lie."""
        names = [name for name in self._others if self._dice.random() < 0.8] or self._others
        slots = [(name, node.votes.get((kind, round_, name), value)) for name in names]
        liars = [name for name, first in slots if first != value]
        if 3 * sum(node.weights[name] for name in liars) >= node.total:
            names = [name for name in names if name not in liars] or self._others[:1]
        votes = [
            {"t": "vote", "kind": kind, "src": name, "round": round_, "value": value}
            for name in names
        ]
        return {"t": "certificate", "votes": votes}

    def _value(self, round_: int) -> str:
        if self._dice.random() < self._chaos:
            return self._dice.choice(VALUES)
        return self._favourites.setdefault(round_, self._dice.choice(VALUES[:3]))

    def _round(self, node: Paper) -> int:
        here = max(0, node.round)
        if self._dice.random() > self._chaos:
            return here
        return max(0, here + self._dice.choice((-2, -1, -1, 0, 0, 1, 1, 2, 3)))


def traces(seeds: range, *, events: int = 60, delay_own: float = 0.0) -> Iterator[Trace]:
    """A trace for each seed."""
    for seed in seeds:
        yield draw_trace(seed, events=events, delay_own=delay_own)
