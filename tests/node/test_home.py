"""A node's directory: made once, read strictly, with secrets kept secret."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.model.parameters import Genesis, GenesisAccount, Parameters
from p2p.node.config import Config
from p2p.node.errors import UserError
from p2p.node.genesis import genesis_text, read_genesis
from p2p.node.home import ApiAddress, Home, create_home, new_key, write_file
from p2p.primitives.keys import Key, account_text
from p2p.primitives.units import Amount, Millis

KEY = Key(bytes(range(32)))
GENESIS = Genesis(
    name="test",
    time_ms=Millis(1_767_225_600_123),
    parameters=Parameters(epoch_ms=Millis(250)),
    accounts=(
        GenesisAccount(KEY.account, Amount(5), Amount(7)),
        GenesisAccount(Key(bytes(32)).account, Amount(9)),
    ),
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return create_home(tmp_path / "home", KEY, GENESIS, Config())


def test_a_new_home_has_everything_a_node_needs(home: Home) -> None:
    assert home.read_config() == Config()
    assert home.read_genesis() == GENESIS
    assert home.read_key().account == KEY.account
    assert len(bytes.fromhex(home.read_token())) == 32
    assert home.read_api_address() is None
    assert sorted(str(path.relative_to(home.path)) for path in home.path.rglob("*")) == [
        "api.token",
        "config.toml",
        "data",
        "data/blobs",
        "genesis.toml",
        "node.key",
    ]


def test_secrets_are_for_their_owner_alone(home: Home) -> None:
    assert [path.stat().st_mode & 0o777 for path in (home.key_path, home.token_path)] == [0o600] * 2
    home.key_path.chmod(0o640)
    with pytest.raises(UserError) as caught:
        home.read_key()
    assert str(caught.value) == (
        f"{home.key_path} can be read by others (mode 0640): chmod 600 {home.key_path}"
    )


@pytest.mark.parametrize("content", ["", "zz", "00" * 31])
def test_a_damaged_key_is_refused(home: Home, content: str) -> None:
    home.key_path.write_text(content)
    with pytest.raises(UserError, match=r"node.key does not hold 32 bytes in hex: restore it"):
        home.read_key()


def test_a_missing_key_is_named(home: Home) -> None:
    home.key_path.unlink()
    with pytest.raises(UserError, match=r"cannot read .*node.key: No such file or directory"):
        home.read_key()


def test_a_home_is_never_made_over_another(home: Home) -> None:
    with pytest.raises(UserError, match=r"config.toml exists already: choose another home"):
        create_home(home.path, new_key(), GENESIS, Config())
    assert home.read_key().account == KEY.account


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=f"cannot make {tmp_path}/file/home: Not a directory"):
        create_home(tmp_path / "file" / "home", KEY, GENESIS, Config())


def test_a_directory_that_is_no_home_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        Home(tmp_path).read_key()
    assert str(caught.value) == f"{tmp_path} is not a node's home: make one with `p2p init`"


def test_a_running_node_says_where_its_api_listens(home: Home) -> None:
    address = ApiAddress(pid=7, url="http://127.0.0.1:9")
    home.write_api_address(address)
    assert home.read_api_address() == address
    home.remove_api_address()
    home.remove_api_address()
    assert home.read_api_address() is None
    home.api_path.write_text("{}")
    with pytest.raises(UserError, match=r"api.json is damaged: restart the node"):
        home.read_api_address()


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_file(path, b"one")
    write_file(path, b"two", mode=0o600)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        write_file(path, b"three")
    assert list(tmp_path.iterdir()) == [path]


# ---- genesis.toml -------------------------------------------------------------------------------


def test_the_genesis_file_lists_every_parameter_and_the_chain_id() -> None:
    text = genesis_text(GENESIS)
    assert f"# Chain id: {GENESIS.chain_id.hex()}" in text
    assert "time = 2026-01-01T00:00:00.123Z" in text
    for field in msgspec.structs.fields(Parameters):
        assert f"\n{field.name} = " in text


@given(
    name=st.text(max_size=64),
    time_ms=st.integers(min_value=0, max_value=2**47),
    amounts=st.lists(st.integers(min_value=0, max_value=2**50), min_size=1, max_size=4),
)
def test_a_genesis_survives_its_file(
    name: str, time_ms: int, amounts: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    keys = [Key(bytes([index]) * 32) for index in range(len(amounts))]
    accounts = tuple(
        GenesisAccount(key.account, Amount(amount), Amount(amount // 3 + 1))
        for key, amount in zip(keys, amounts, strict=True)
    )
    genesis = msgspec.structs.replace(
        GENESIS, name=name, time_ms=Millis(time_ms), accounts=accounts
    )
    path = tmp_path_factory.mktemp("genesis") / "genesis.toml"
    path.write_bytes(genesis_text(genesis).encode())
    assert read_genesis(path).chain_id == genesis.chain_id


def _row(key: Key, bonded: int) -> str:
    return f'[[account]]\nid = "{account_text(key.account)}"\nbonded = {bonded}\n'


HEAD = 'name = "x"\ntime = 2026-01-01T00:00:00Z\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD, "missing key account"),
        (HEAD.replace("Z", "") + _row(KEY, 1), "time needs a time zone"),
        (HEAD.replace("2026", "1969") + _row(KEY, 1), "time is before 1970"),
        (HEAD + _row(KEY, 0), "no account is bonded, so nobody can decide a block"),
        (HEAD + _row(KEY, 1) * 2, f"account {account_text(KEY.account)} is there twice"),
        (HEAD + _row(KEY, 2**60 + 1), "the supply is more than 1,152,921,504,606.846976 tokens"),
        (HEAD + _row(KEY, -1), "account[0].bonded: expected a whole number >= 0"),
        (HEAD + _row(KEY, 1) + '[[account]]\nid = "me"\n', "not the peer id of an Ed25519 key"),
        (HEAD + "[parameters]\nepoch = 1\n" + _row(KEY, 1), "unknown parameter 'epoch'"),
        (HEAD + "[parameters]\nepoch_ms = -1\n" + _row(KEY, 1), "bad parameter: "),
        (HEAD + "".join(_row(Key(bytes([i]) * 32), 1) for i in range(101)), "more than 100 accou"),
    ],
)
def test_a_bad_genesis_is_explained(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "genesis.toml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_genesis(path)
    assert str(caught.value).startswith((f"{path}: {message}", f"{path} {message}"))
