"""`p2p receipt verify`: receipts, checked without a node."""

import json
from pathlib import Path

import msgspec
import pytest

from p2p.api.plain import row
from p2p.model.receipt import ServiceReceipt, sign_as_consumer, sign_as_provider
from p2p.primitives.digests import ZERO_DIGEST
from p2p.primitives.signing import Ed25519Signer
from p2p.primitives.units import Amount, ChannelId, Height
from tests.api.fake_node import GENESIS, KEY, OTHER, FakeNode
from tests.api.running import Run


def _receipt() -> ServiceReceipt:
    bare = ServiceReceipt(
        chain_id=GENESIS.chain_id,
        provider=OTHER.account,
        consumer=KEY.account,
        channel=ChannelId(bytes(32)),
        epoch=Height(3),
        seq=1,
        bytes_put=10,
        bytes_get=0,
        mib_epochs=1,
        amount=Amount(500_000),
        obligations_root=ZERO_DIGEST,
        ad_digest=ZERO_DIGEST,
    )
    return sign_as_provider(sign_as_consumer(bare, Ed25519Signer(KEY)), Ed25519Signer(OTHER))


def test_a_receipt_is_verified_from_its_file_alone(
    run: Run, node: FakeNode, tmp_path: Path
) -> None:
    path, home = tmp_path / "receipt.json", ("--home", node.home)
    receipt = _receipt()
    path.write_text(json.dumps([row(receipt, settled=None)]))
    valid = run("receipt", "verify", path, *home)
    assert valid.code == 0
    assert valid.out.endswith("0.5 tokens until epoch 3\n")

    greedy = msgspec.structs.replace(receipt, amount=Amount(600_000), chain_id=ZERO_DIGEST)
    path.write_text(json.dumps(row(greedy)))
    assert json.loads(run("receipt", "verify", path, *home, "--json").out) == {
        "valid": False,
        "faults": [
            "it belongs to another chain",
            "the consumer's signature does not verify",
            "the provider's signature does not verify",
        ],
    }


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "is not JSON"),
        ("[]", "holds no receipt: save one from `p2p receipt list --json`"),
        ("{}", "the receipt's provider is wrong: not the peer id"),
        (json.dumps({**row(_receipt()), "chain_id": "zz"}), "the receipt's chain_id is wrong"),
        (json.dumps({**row(_receipt()), "seq": -1}), "this is no receipt: Expected `int` >= 0"),
    ],
)
def test_what_is_no_receipt_is_explained(
    run: Run, node: FakeNode, tmp_path: Path, text: str, sentence: str
) -> None:
    path = tmp_path / "receipt.json"
    path.write_text(text)
    ran = run("receipt", "verify", path, "--home", node.home)
    assert ran.code == 1
    assert sentence in ran.err
