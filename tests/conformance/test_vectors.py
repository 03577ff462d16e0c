import json
from pathlib import Path
from typing import Any

from tests.conformance.vectors import check_vectors


def members(powers: dict[str, int]) -> dict[str, Any]:
    return {
        "validators": [
            {"address": name, "voting_power": str(power)} for name, power in powers.items()
        ]
    }


def signed(height: int, second: int, root: str, next_root: str, signers: str) -> dict[str, Any]:
    time = f"1970-01-01T00:00:{second:02}.000000001Z"
    header = {
        "height": str(height),
        "time": time,
        "validators_hash": root,
        "next_validators_hash": next_root,
    }
    signatures = [{"block_id_flag": 2, "validator_address": name} for name in signers]
    absent = {"block_id_flag": 1, "validator_address": ""}
    return {"header": header, "commit": {"signatures": [*signatures, absent]}}


def client_vector(verdict: str) -> dict[str, Any]:
    """Trust `abc` at height 1; a header of height 3 by `cde`, of whom we know one of three."""
    return {
        "description": "small",
        "initial": {
            "signed_header": signed(1, 1, "abc", "abc", "abc"),
            "next_validator_set": members({"a": 1, "b": 1, "c": 1}),
            "trusting_period": str(10**12),
            "now": "1970-01-01T00:00:09Z",
        },
        "input": [
            {
                "block": {
                    "signed_header": signed(3, 3, "cde", "cde", "cde"),
                    "validator_set": members({"c": 1, "d": 1, "e": 1}),
                    "next_validator_set": members({"c": 1, "d": 1, "e": 1}),
                },
                "now": "1970-01-01T00:00:09Z",
                "verdict": verdict,
            }
        ],
    }


def write(folder: Path, **values: object) -> None:
    for name, value in values.items():
        (folder / f"{name}.json").write_text(json.dumps(value))


def test_every_form_of_vector_is_known_by_its_content(tmp_path: Path) -> None:
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    write(
        tmp_path,
        a=client_vector("NOT_ENOUGH_TRUST"),
        b={"cases": [{"validators": {"a": 100, "b": 401}, "first": ["b", "b"]}]},
        c={"vectors": [{"desc": "empty tree", "hash": empty}]},
        d={"something": "else"},
    )
    assert list(check_vectors(tmp_path)) == [
        ("light_client", "a.json:step 1", None),
        ("proposer", "b.json:case 1", None),
        ("rfc6962", "c.json:vector 1", None),
    ]


def test_a_false_vector_is_told_and_stops_no_other(tmp_path: Path) -> None:
    write(
        tmp_path,
        a=client_vector("SUCCESS"),
        b={"cases": [{"validators": {"a": 100, "b": 401}, "first": ["a", "b"]}]},
        c={"vectors": [{"leaf_hex": "zz", "hash": ""}]},
    )
    (tmp_path / "d.json").write_text("{")
    outcomes = list(check_vectors(tmp_path))
    assert [kind for kind, _, _ in outcomes] == [
        "light_client",
        "proposer",
        "rfc6962",
        "unreadable",
    ]
    assert all(difference for _, _, difference in outcomes)
