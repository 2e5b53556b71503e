"""`bcfl account`: where key and password come from, and that neither ever shows."""

from __future__ import annotations

import io
import stat
from pathlib import Path

import pytest

from bcfl.cli.node import account
from bcfl.ledger.deployment import keystore

from .conftest import Bcfl, install

KEY = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
ADDRESS = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"


@pytest.fixture(autouse=True)
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, account.register)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ETH_KEYSTORE_PASSWORD", raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    (tmp_path / "password").write_text("open sesame\n")
    (tmp_path / "key").write_text(KEY + "\n")


def test_new_list_and_use(bcfl: Bcfl, tmp_path: Path) -> None:
    account = bcfl("account", "new", "--light", "--password-file", "password", "--json").json
    assert bcfl("account", "list", "--json").json == {"accounts": [account]}
    assert account["address"] in bcfl("account", "list").text
    folder = tmp_path / "home" / ".bcfl" / "keystore"
    assert Path(account["file"]).parent == folder
    assert stat.S_IMODE(Path(account["file"]).stat().st_mode) == 0o600
    assert keystore.unlock(folder, account["address"], lambda: "open sesame").address == account["address"]


def test_several_at_once_and_their_addresses_alone(bcfl: Bcfl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BCFL_KEYSTORE", "keys")
    monkeypatch.setenv("ETH_KEYSTORE_PASSWORD", "open sesame")
    lines = bcfl("account", "new", "--count", 3, "--light", "--addresses").out.splitlines()
    assert len(set(lines)) == 3
    assert bcfl("account", "list", "--addresses").out.splitlines() == sorted(lines)
    assert len(bcfl("account", "new", "--count", 2, "--light", "--json").json["accounts"]) == 2
    assert keystore.unlock(Path("keys"), lines[2], lambda: "open sesame").address == lines[2]
    assert bcfl("account", "list", "--keystore", "none", "--addresses").out == ""


def test_no_account_yet(bcfl: Bcfl) -> None:
    assert "no account" in bcfl("account", "list").text
    assert bcfl("account", "list", "--json").json == {"accounts": []}


@pytest.mark.parametrize("source", ["file", "stdin", "prompt"])
def test_import(bcfl: Bcfl, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    answers = iter([KEY, "open sesame", "open sesame"])
    if source == "stdin":
        monkeypatch.setattr("sys.stdin", io.StringIO(KEY + "\n"))
        monkeypatch.setenv("ETH_KEYSTORE_PASSWORD", "open sesame")
    if source == "prompt":
        monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        monkeypatch.setattr("getpass.getpass", lambda _: next(answers))
    options = ["--key-file", "key", "--password-file", "password"] if source == "file" else []
    answer = bcfl("account", "import", "--light", "--keystore", "keys", *options)
    assert ADDRESS in answer.text
    assert KEY not in answer.out
    assert "sesame" not in answer.out
    assert keystore.unlock(Path("keys"), ADDRESS, lambda: "open sesame").key.hex() == KEY


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["import"], "no key: name a file with --key-file"),
        (["import", "--key-file", "absent"], "absent cannot be read"),
        (["import", "--key-file", "password"], "not a private key"),
        (["import", "--key-file", "key"], "no password: name a file with --password-file"),
        (["import", "--key", KEY], "No such option"),
        (["new"], "set ETH_KEYSTORE_PASSWORD"),
        (["new", "--password-file", "absent"], "absent cannot be read"),
        (["new", "--password-file", "password", "--light", "--keystore", "key"], "key cannot be read"),
    ],
)
def test_refusals(bcfl: Bcfl, arguments: list[str], words: str) -> None:
    refusal = bcfl("account", *arguments).refusal
    assert words in refusal
    assert KEY not in refusal


def test_twice(bcfl: Bcfl) -> None:
    options = ["--light", "--keystore", "keys", "--key-file", "key", "--password-file", "password"]
    assert bcfl("account", "import", *options).code == 0
    assert "in the keystore already" in bcfl("account", "import", *options).refusal
