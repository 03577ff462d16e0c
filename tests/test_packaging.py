"""The ground: what is pinned, and that nothing in it depends on where packages come from."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import p2p

ROOT = Path(__file__).parent.parent
LOCKS = ("requirements.lock", "requirements-build.lock")


def locked(lock: str) -> dict[str, str]:
    """The version that `lock` pins of each package, by canonical name."""
    pins = re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / lock).read_text(), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in pins}


def declared() -> dict[str, list[Requirement]]:
    """The requirements in pyproject.toml, by the lock file that must satisfy them."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, groups = table["project"], table["dependency-groups"]
    build = table["build-system"]["requires"] + groups["build"]
    return {
        "requirements.lock": [
            Requirement(line)
            for line in project["dependencies"] + project["optional-dependencies"]["dev"]
        ],
        "requirements-build.lock": [Requirement(line) for line in build],
    }


@pytest.mark.parametrize("lock", LOCKS)
def test_every_declared_package_is_locked_at_a_version_it_allows(lock: str) -> None:
    pins = locked(lock)
    for requirement in declared()[lock]:
        version = pins.get(canonicalize_name(requirement.name))
        assert version is not None, f"{lock} lacks {requirement.name}: run `make lock`"
        assert version in requirement.specifier, f"{lock} has {requirement.name} {version}"


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_a_hash(lock: str) -> None:
    entries = (ROOT / lock).read_text().replace("\\\n", " ").splitlines()
    pins = [line for line in entries if line and not line.startswith("#")]
    assert len(pins) == len(locked(lock))
    assert [line for line in pins if "--hash=sha256:" not in line] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_names_no_address_and_no_option(lock: str) -> None:
    lines = (ROOT / lock).read_text().splitlines()
    assert [line for line in lines if "://" in line or line.startswith("-")] == []


def test_the_changelog_begins_with_the_version_in_the_making() -> None:
    sections = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert sections[0] in {"Unreleased", p2p.__version__}


async def test_async_tests_run_on_trio() -> None:
    import trio

    assert trio.lowlevel.in_trio_run()
