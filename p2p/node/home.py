"""The directory of one node.

    config.toml    what its owner decides
    genesis.toml   what its chain agrees on
    node.key       the seed of its key, for its owner's eyes only
    node.key.state what the key signed last, once it has: goes where the key goes
    api.token      what a program must show to use the local API, likewise
    data/          gigmesh.db (the store), blobs/, api.json (where the running node's API listens)

Secrets are made with mode 0600 and refused when others can read them. Files are replaced by
renaming, so that a crash leaves the old one or the new one.
"""

import contextlib
import os
import secrets
from pathlib import Path
from typing import Final, Protocol

import msgspec

from p2p.model.parameters import Genesis
from p2p.node.config import Config, config_text, read_config
from p2p.node.errors import UserError
from p2p.node.genesis import genesis_text, read_genesis
from p2p.node.toml_files import read_text
from p2p.primitives.keys import SEED_BYTES, Key

DEFAULT_HOME: Final = "~/.gigmesh"
HOME_VARIABLE: Final = "P2P_HOME"
TOKEN_BYTES: Final = 32
SECRET_FILE_BYTES_MAX: Final = 1024
OTHERS_MODE: Final = 0o077


class ApiAddress(msgspec.Struct, frozen=True):
    """Where a running node's API listens; in `data/api.json`."""

    pid: int
    url: str


class Home:
    """Names of the files in a node's directory."""

    __slots__ = ("path",)

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()

    @property
    def config_path(self) -> Path:
        return self.path / "config.toml"

    @property
    def genesis_path(self) -> Path:
        return self.path / "genesis.toml"

    @property
    def key_path(self) -> Path:
        return self.path / "node.key"

    @property
    def key_state_path(self) -> Path:
        return self.path / "node.key.state"

    @property
    def token_path(self) -> Path:
        return self.path / "api.token"

    @property
    def data_path(self) -> Path:
        return self.path / "data"

    @property
    def database_path(self) -> Path:
        return self.data_path / "gigmesh.db"

    @property
    def blobs_path(self) -> Path:
        return self.data_path / "blobs"

    @property
    def api_path(self) -> Path:
        return self.data_path / "api.json"

    def read_config(self) -> Config:
        """The configuration. Raises UserError."""
        self._check_made()
        return read_config(self.config_path)

    def read_genesis(self) -> Genesis:
        """The genesis. Raises UserError."""
        self._check_made()
        return read_genesis(self.genesis_path)

    def read_key(self) -> Key:
        """The node's key. Raises UserError, also when others can read it."""
        self._check_made()
        return Key(bytes.fromhex(_read_secret(self.key_path, SEED_BYTES)))

    def read_token(self) -> str:
        """The token of the local API. Raises UserError, also when others can read it."""
        self._check_made()
        return _read_secret(self.token_path, TOKEN_BYTES)

    def write_api_address(self, address: ApiAddress) -> None:
        """Say where the API listens."""
        write_file(self.api_path, msgspec.json.encode(address) + b"\n", mode=0o600)

    def read_api_address(self) -> ApiAddress | None:
        """Where the API listens, or None when no node has said so. Raises UserError."""
        self._check_made()
        if not self.api_path.exists():
            return None
        text = read_text(self.api_path, bytes_max=SECRET_FILE_BYTES_MAX)
        try:
            return msgspec.json.decode(text, type=ApiAddress)
        except msgspec.DecodeError:
            raise UserError(f"{self.api_path} is damaged: restart the node") from None

    def remove_api_address(self) -> None:
        """The node stops; nobody listens any more."""
        with contextlib.suppress(FileNotFoundError):
            self.api_path.unlink()

    def _check_made(self) -> None:
        if not self.config_path.exists():
            raise UserError(f"{self.path} is not a node's home: make one with `p2p init`")


def create_home(path: Path, key: Key, genesis: Genesis, config: Config) -> Home:
    """Make a home that has none of its files yet. Raises UserError."""
    home = Home(path)
    for file in (home.config_path, home.genesis_path, home.key_path, home.database_path):
        if file.exists():
            raise UserError(f"{file} exists already: choose another home")
    try:
        home.blobs_path.mkdir(parents=True, exist_ok=True)
        home.path.chmod(0o700)
        write_file(home.key_path, key.seed.hex().encode() + b"\n", mode=0o600)
        write_file(home.token_path, f"{secrets.token_hex(TOKEN_BYTES)}\n".encode(), mode=0o600)
        write_file(home.genesis_path, genesis_text(genesis).encode())
        # Last: what has a config is a home.
        write_file(home.config_path, config_text(config).encode())
    except OSError as error:
        raise UserError(f"cannot make {home.path}: {error.strerror}") from error
    return home


def new_key() -> Key:
    """A key from the system's randomness."""
    return Key(secrets.token_bytes(SEED_BYTES))


class Descriptors(Protocol):
    """Opens and closes as `os` does."""

    def open(self, path: Path, flags: int, mode: int = 0o644) -> int: ...

    def close(self, descriptor: int) -> None: ...


class _Plain:
    def open(self, path: Path, flags: int, mode: int = 0o644) -> int:
        return os.open(path, flags | os.O_CLOEXEC, mode)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)


def write_file(
    path: Path, data: bytes, *, mode: int = 0o644, descriptors: Descriptors | None = None
) -> None:
    """Replace a file durably: whoever reads it sees the old bytes or the new. Raises OSError."""
    files = descriptors or _Plain()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = files.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(descriptor, left) :]
            os.fsync(descriptor)
        finally:
            files.close(descriptor)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    directory = files.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        files.close(directory)


def _read_secret(path: Path, count: int) -> str:
    """Hex of `count` bytes from a file of our own. Raises UserError."""
    try:
        mode = path.stat().st_mode & 0o777
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    if mode & OTHERS_MODE:
        raise UserError(f"{path} can be read by others (mode {mode:04o}): chmod 600 {path}")
    text = read_text(path, bytes_max=SECRET_FILE_BYTES_MAX).strip()
    try:
        data = bytes.fromhex(text)
    except ValueError:
        data = b""
    if len(data) != count:
        raise UserError(f"{path} does not hold {count} bytes in hex: restore it")
    return text
