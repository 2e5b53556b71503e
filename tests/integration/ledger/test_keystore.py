"""Keys at rest: other tools, wrong passwords, damaged and hostile files; and nothing shows a secret."""

from __future__ import annotations

import io
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account as Signer

from bcfl.errors import ConfigError
from bcfl.ledger.deployment import keystore
from bcfl.ledger.deployment.keystore import (
    LIGHT,
    decrypt,
    derive,
    list_entries,
    new_key,
    parse_key,
    read_password,
    save,
    unlock,
)

KEY = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
ADDRESS = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
JUNK = "test test test test test test test test test test test junk"
# Test vector of the Web3 Secret Storage definition: PBKDF2, password "testpassword".
VECTOR = {
    "crypto": {
        "cipher": "aes-128-ctr",
        "cipherparams": {"iv": "6087dab2f9fdbbfaddc31a909735c1e6"},
        "ciphertext": "5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46",
        "kdf": "pbkdf2",
        "kdfparams": {
            "c": 262144,
            "dklen": 32,
            "prf": "hmac-sha256",
            "salt": "ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd",
        },
        "mac": "517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2",
    },
    "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
    "address": "008aeeda4d805471df9b2a5b0f38a0c3bcba786b",
    "version": 3,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "home" / "keys"


@pytest.fixture
def entry(folder: Path) -> keystore.Entry:
    return save(folder, KEY, "open sesame", LIGHT)


def refusal(call: Any, *arguments: Any) -> str:
    with pytest.raises(ConfigError) as excinfo:
        call(*arguments)
    message = str(excinfo.value)
    assert "\n" not in message
    assert not any(secret in message for secret in (KEY.hex(), "sesame", "junk"))
    assert excinfo.value.__suppress_context__ or excinfo.value.__context__ is None
    return message


def test_default_behavior(folder: Path, entry: keystore.Entry) -> None:
    assert list_entries(folder) == [entry]
    assert entry.address == ADDRESS
    assert unlock(folder, ADDRESS, lambda: "open sesame").key == KEY
    assert unlock(folder, "f39fd6", lambda: "open sesame").key == KEY
    assert stat.S_IMODE(entry.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [path.name for path in folder.iterdir()] == [entry.path.name]


def test_other_tools_read_it_and_it_reads_theirs(folder: Path, entry: keystore.Entry) -> None:
    assert Signer.decrypt(entry.path.read_text(), "open sesame") == KEY
    assert KEY.hex() not in entry.path.read_text()
    (folder / "vector.json").write_text(json.dumps(VECTOR))
    account = unlock(folder, "0x008AeEda4D805471dF9b2A5B0f38A0C3bCBA786b", lambda: "testpassword")
    assert account.key.hex() == "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d"


def test_standard_work_is_the_default() -> None:
    assert keystore.STANDARD == 262_144
    assert save.__defaults__ == (keystore.STANDARD,)


def test_wrong_password(folder: Path, entry: keystore.Entry) -> None:
    assert "not the password of 0xf39F" in refusal(unlock, folder, ADDRESS, lambda: "close sesame")
    assert decrypt(entry, "open sesame").address == ADDRESS


def test_account_twice(folder: Path, entry: keystore.Entry) -> None:
    assert "already" in refusal(save, folder, KEY, "another", LIGHT)
    assert list_entries(folder) == [entry]


def test_empty_password(folder: Path) -> None:
    assert "empty" in refusal(save, folder, KEY, "", LIGHT)
    assert list_entries(folder) == []


def test_who_is_not_there(folder: Path, entry: keystore.Entry) -> None:
    del entry
    save(folder, new_key(), "open sesame", LIGHT)
    for name in ("0x" + "11" * 20, "", "0x", "f3", "alice", "../x"):
        assert "no account" in refusal(unlock, folder, name, lambda: "") or name in ("", "0x", "f3")
    assert list_entries(folder / "absent") == []
    assert "several" in refusal(unlock, folder, "0x", lambda: "")


@pytest.mark.parametrize(
    "change",
    [
        {"version": 1},
        {"version": None},
        {"crypto": None},
        {"crypto": {"kdf": "scrypt"}},
        {"crypto": {"kdf": "none"}},
        {"crypto": {"ciphertext": "zz"}},
        {"crypto": {"mac": None}},
        {"crypto": {"cipherparams": {}}},
        {"crypto": {"kdfparams": []}},
        {"crypto": {"kdfparams": {"n": 2**40}}},
        {"crypto": {"kdfparams": {"r": 2**40}}},
        {"crypto": {"kdfparams": {"p": 2**20}}},
        {"crypto": {"kdfparams": {"n": -1}}},
        {"crypto": {"kdfparams": {"n": 3}}},
        {"crypto": {"kdfparams": {"n": "4096"}}},
        {"crypto": {"kdfparams": {"dklen": 2**40}}},
        {"crypto": {"kdfparams": {"salt": 5}}},
        {"crypto": {"kdf": "pbkdf2", "kdfparams": {"c": 2**40, "prf": "hmac-sha256"}}},
    ],
)
def test_damaged_and_hostile_files(entry: keystore.Entry, change: dict[str, Any]) -> None:
    content = json.loads(entry.path.read_text())
    entry.path.write_text(json.dumps(merge(content, change)))
    if change == {"crypto": {"kdf": "scrypt"}}:
        assert decrypt(entry, "open sesame").key == KEY
    else:
        assert "damaged" in refusal(decrypt, entry, "open sesame")


def merge(content: Any, change: Any) -> Any:
    if not isinstance(change, dict) or not change or not isinstance(content, dict):
        return change
    return content | {name: merge(content.get(name), value) for name, value in change.items()}


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 20_000, "\x00", '{"version": 3}', "x" * 70_000])
def test_files_that_are_no_keystore(folder: Path, entry: keystore.Entry, text: str) -> None:
    stray = folder / "notes.json"
    stray.write_text(text)
    assert list_entries(folder) == [entry]
    assert unlock(folder, ADDRESS, lambda: "open sesame").key == KEY
    refusal(decrypt, keystore.Entry(ADDRESS, stray), "open sesame")


def test_file_that_says_another_address(entry: keystore.Entry) -> None:
    other = keystore.Entry("0x" + "11" * 20, entry.path)
    assert "holds the key of another account" in refusal(decrypt, other, "open sesame")


def test_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be" in refusal(save, tmp_path / "file", KEY, "open sesame", LIGHT)
    assert "cannot be" in refusal(save, tmp_path / "file" / "keys", KEY, "open sesame", LIGHT)


@pytest.mark.parametrize("text", [KEY.hex(), "0x" + KEY.hex().upper(), f"  {KEY.hex()}\n"])
def test_keys(text: str) -> None:
    assert parse_key(text) == KEY


@pytest.mark.parametrize(
    "text", ["", "0x", KEY.hex()[1:], KEY.hex() + "0", "g" * 64, "0" * 64, "f" * 64, JUNK]
)
def test_what_is_no_key(text: str) -> None:
    assert "not a private key" in refusal(parse_key, text)


def test_new_keys_differ() -> None:
    assert len({new_key() for _ in range(5)}) == 5


def test_mnemonic() -> None:
    first, second = derive(JUNK, 0, 2)
    assert (first.address, first.key) == (ADDRESS, KEY)
    assert derive(f" {JUNK.replace(' ', '  ')}\n", 1, 1)[0].address == second.address
    for words in (JUNK[5:], JUNK + " sesame", "", "sesame"):
        assert "not one" in refusal(derive, words, 0, 1)


def test_password_comes_from_file_then_environment_then_prompt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "password"
    file.write_bytes(b"from file \r\nsecond line")
    env = {"ETH_KEYSTORE_PASSWORD": "from environment"}
    answers = iter(["typed", "typed", "typed", "mistyped"])
    monkeypatch.setattr("getpass.getpass", lambda _: next(answers))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    assert read_password(file, env=env) == "from file "
    assert read_password(None, env=env) == "from environment"
    assert read_password(None, confirm=True, env={}) == "typed"
    with pytest.raises(ConfigError, match="differ"):
        read_password(None, confirm=True, env={})
    monkeypatch.setattr("sys.stdin", io.StringIO("piped"))
    with pytest.raises(ConfigError, match="--password-file"):
        read_password(None, env={})


def test_password_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff")
    (tmp_path / "large").write_bytes(b"x" * 70_000)
    for name, words in (("absent", "No such file"), ("binary", "not text"), ("large", "too large")):
        assert words in refusal(read_password, tmp_path / name)
