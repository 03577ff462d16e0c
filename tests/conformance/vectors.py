"""Replay vectors of other implementations: `python -m tests.conformance --vectors DIR`.

A file is known by what is in it: steps of a light client, sequences of a weighted proposer, roots
of RFC 6962. Each case raises AssertionError where we differ; a file that holds none is left alone.
"""

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from p2p.model.block import Validator, ValidatorSet
from p2p.model.proposer import advance, initial_priorities
from p2p.primitives.digests import leaf_digest, merkle_root, merkle_root_of_digests, node_digest
from p2p.primitives.units import Amount, Digest
from p2p.protocol.light.rule import Basis, Claim, judge, verdict_of
from tests.conformance import words

Vector = dict[str, Any]
Outcome = tuple[str, str, str | None]
"""Kind, name, and how we differ, or None."""
NANOS_PER_MS = 1_000_000
VOTED = 2
"""`block_id_flag` of a signature for the block; others are absent or for nil."""


def check_vectors(folder: Path) -> Iterator[Outcome]:
    """Every case of every JSON file below a folder."""
    for path in sorted(folder.rglob("*.json")):
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            yield "unreadable", path.name, f"{type(error).__name__}: {error}"
            continue
        for kind, name, check in _cases(value):
            title = f"{path.name}:{name}"
            try:
                difference = check()
            except Exception as error:  # noqa: BLE001 - whatever it is, this case failed
                difference = f"{type(error).__name__}: {error}"
            yield kind, title, difference


def _cases(value: Any) -> Iterator[tuple[str, str, Callable[[], str | None]]]:
    if not isinstance(value, dict):
        return
    if "initial" in value and "input" in value:
        client = LightClient(value["initial"])
        for number, step in enumerate(value["input"], 1):
            yield "light_client", f"step {number}", partial(client.take, step)
    for number, case in enumerate(value.get("cases", ()), 1):
        if isinstance(case.get("validators"), dict):
            yield "proposer", f"case {number}", partial(proposer_difference, case)
    for number, vector in enumerate(value.get("vectors", ()), 1):
        if "hash" in vector:
            yield "rfc6962", f"vector {number}", partial(merkle_difference, vector)


# ------------------------------------------------------------------------------------ light client


class LightClient:
    """Drives the rule with set hashes as opaque names and votes as the set of who signed."""

    def __init__(self, initial: Vector) -> None:
        header = initial["signed_header"]["header"]
        self._period_ms = int(initial["trusting_period"]) // NANOS_PER_MS
        self._basis = _basis(header, initial["next_validator_set"])

    def take(self, step: Vector) -> str | None:
        """One header; how the verdict differs, or None."""
        block = step["block"]
        header = block["signed_header"]["header"]
        signatures = block["signed_header"]["commit"]["signatures"] or []
        claim = Claim(
            height=int(header["height"]),
            time_ms=_millis(header["time"]),
            root=header["validators_hash"].encode(),
            powers=_powers(block["validator_set"]),
            signers=tuple(
                one["validator_address"].encode()
                for one in signatures
                if one["block_id_flag"] == VOTED
            ),
        )
        now_ms = _millis(step["now"])
        fault = judge(self._basis, claim, trust_period_ms=self._period_ms, now_ms=now_ms)
        if fault is None:
            self._basis = _basis(header, block["next_validator_set"])
        got = verdict_of(fault).name
        return None if got == step["verdict"] else f"{got} ({fault}), not {step['verdict']}"


def _basis(header: Vector, next_set: Vector) -> Basis:
    return Basis(
        height=int(header["height"]),
        time_ms=_millis(header["time"]),
        next_root=header["next_validators_hash"].encode(),
        next_powers=_powers(next_set),
    )


def _powers(validators: Vector) -> dict[bytes, int]:
    members = validators["validators"] or []
    return {one["address"].encode(): int(one["voting_power"]) for one in members}


def _millis(text: str) -> int:
    """Unix milliseconds of RFC 3339 text with up to nine digits behind the second."""
    second, _, fraction = text.removesuffix("Z").partition(".")
    moment = datetime.fromisoformat(f"{second}+00:00")
    return int(moment.timestamp()) * 1000 + int(fraction.ljust(9, "0")[:3])


# ---------------------------------------------------------------------------------------- proposer


def proposer_difference(case: Vector) -> str | None:
    """How our turns differ from those that a case states, or None."""
    expected: Any
    got: Any
    if "sequence_repeats" in case:
        cycle, count = case["sequence_repeats"], case["n"]
        expected = [cycle[place % len(cycle)] for place in range(count)]
        got = _turns(case["validators"], count)
    elif "proposals_in_120" in case:
        expected = case["proposals_in_120"]
        names = _turns(case["validators"], 120)
        got = {name: names.count(name) for name in expected}
    else:
        key = next(key for key in ("first_99_proposers", "first") if key in case)
        expected = case[key]
        got = _turns(case["validators"], len(expected))
    return None if got == expected else f"{got}, not {expected}"


def _turns(powers: dict[str, int], count: int) -> list[str]:
    members = [Validator(words.account(name), Amount(power)) for name, power in powers.items()]
    validators = ValidatorSet(tuple(sorted(members, key=lambda one: (-one.power, one.account))))
    priorities, names = initial_priorities(validators), []
    for _ in range(count):
        priorities, proposer = advance(priorities, validators)
        names.append(words.name_of(proposer))
    return names


# ----------------------------------------------------------------------------------------- RFC 6962


def merkle_difference(vector: Vector) -> str | None:
    """How our digest differs from the one that a vector states, or None."""
    if "leaf_hex" in vector:
        data = bytes.fromhex(vector["leaf_hex"])
        got = leaf_digest(data)
        assert merkle_root([data]) == got, "a tree of one leaf is that leaf"
    elif "left_hex" in vector:
        left, right = (Digest(bytes.fromhex(vector[side])) for side in ("left_hex", "right_hex"))
        got = node_digest(left, right)
        assert merkle_root_of_digests([left, right]) == got, "a tree of two is their node"
    else:
        got = merkle_root([])
    return None if got.hex() == vector["hash"] else f"{got.hex()}, not {vector['hash']}"
