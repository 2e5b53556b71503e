"""Files of keys are parsed strictly, kept from others, and say nothing of what is in them."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bcfl.errors import ConfigError
from bcfl.federation import keyfile
from bcfl.federation.keyring import Keyring
from bcfl.protocol.readers import announcement
from bcfl.protocol.sealing import ReaderKey
from bcfl.protocol.submissions import Domain
from bcfl.roles.common.keys import Keys

DOMAIN = Domain(31337, "0x" + "Ab" * 20)
ROOT, KEY = b"\x01" * 32, b"\x5e" * 32
KEYS = Keys({(2, 3, ROOT): KEY}, {(1, ROOT): b"\x5f" * 32})
SECRETS = (KEY.hex(), (b"\x5f" * 32).hex())


def content(**changes: Any) -> bytes:
    """Return the file of KEYS with other values; `update` changes its one update."""
    whole = json.loads(keyfile.encode(KEYS, DOMAIN))
    whole["updates"][0] |= changes.pop("update", {})
    return json.dumps(whole | changes).encode()


def test_keys_survive_their_file(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    keyfile.save(path, KEYS, DOMAIN)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert keyfile.load([path], DOMAIN) == KEYS
    more = Keys({(9, 0, ROOT): KEY}, {})
    keyfile.save(path, more, DOMAIN)
    assert keyfile.load([path], DOMAIN).updates == {**KEYS.updates, **more.updates}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{",
        b"[" * 100_000,
        content(format="bcfl keys 2"),
        content(chain_id="31337"),
        content(contract="nowhere"),
        content(more=1),
        content(updates=None),
        content(update={"key": KEY.hex().upper()}),
        content(update={"key": KEY.hex()[2:]}),
        content(update={"key": " " + KEY.hex()[1:]}),
        content(update={"round": -1}),
        content(update={"round": 2.0}),
        content(update={"device": 2**32}),
        content(update={"more": 1}),
        content(updates=json.loads(content())["updates"] * 2),
        keyfile.encode(KEYS, DOMAIN)[:-20],
    ],
)
def test_garbage_is_refused_in_one_line_that_shows_no_key(data: bytes) -> None:
    with pytest.raises(ConfigError, match=r"^it ") as refusal:
        keyfile.decode(data, DOMAIN, "it")
    assert "\n" not in str(refusal.value)
    assert not any(secret[:16] in str(refusal.value).lower() for secret in SECRETS)


@pytest.mark.parametrize("other", [Domain(1, DOMAIN.contract), Domain(31337, "0x" + "cd" * 20)])
def test_the_keys_of_another_federation_are_refused(other: Domain) -> None:
    with pytest.raises(ConfigError, match="is of the federation"):
        keyfile.decode(keyfile.encode(KEYS, other), DOMAIN, "it")
    assert keyfile.decode(keyfile.encode(KEYS, Domain(31337, DOMAIN.contract.lower())), DOMAIN, "it") == KEYS


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    for read in (lambda: keyfile.load([path], DOMAIN), lambda: keyfile.read_secret(path)):
        with pytest.raises(ConfigError, match="larger than any file of keys"):
            read()


@pytest.mark.parametrize("item", [b"0", b"{}", b"[]"])
def test_a_hostile_file_has_the_errors_of_one_item_and_not_of_millions(item: bytes) -> None:
    """Each is a kilobyte of memory: a file of 16 MiB would take more than there is."""
    for part in ("updates", "models"):
        many = b'"%s": [%s]' % (part.encode(), b",".join([item] * 10_000))
        data = content(**{part: []}).replace(f'"{part}": []'.encode(), many)
        with pytest.raises(ValidationError) as errors:
            keyfile._KeyFile.model_validate_json(data)
        assert errors.value.error_count() <= 4  # the members of one item
        with pytest.raises(ConfigError, match=rf"damaged \(at {part}\.0"):
            keyfile.decode(data, DOMAIN, "it")


def test_a_file_of_more_members_than_it_can_have_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyfile._KeyFile, "model_validate_json", None)
    data = b"{%s}" % b",".join(b'"%x":0' % number for number in range(10_000))
    with pytest.raises(ConfigError, match="is not a key file, or is damaged"):
        keyfile.decode(data, DOMAIN, "it")


def test_as_many_keys_as_a_file_can_have_are_parsed() -> None:
    """With the shortest numbers: what bounds members bounds no right file."""
    many = Keys(
        {(0, 0, number.to_bytes(32, "big")): KEY for number in range(2_000)},
        {(0, number.to_bytes(32, "big")): KEY for number in range(2_000)},
    )
    assert keyfile.decode(keyfile.encode(many, DOMAIN), DOMAIN, "it") == many


def test_nothing_is_lost_where_a_file_is_there(tmp_path: Path) -> None:
    path, folder, link = tmp_path / "model.bin", tmp_path / "folder", tmp_path / "link"
    path.write_bytes(b"mine")
    folder.mkdir()
    link.symlink_to(path)
    for place in (path, folder, link):
        with pytest.raises(ConfigError):
            keyfile.save(place, KEYS, DOMAIN)
        with pytest.raises(ConfigError):
            keyfile.new_secret(place)
    assert path.read_bytes() == b"mine"
    assert sorted(item.name for item in tmp_path.iterdir()) == ["folder", "link", "model.bin"]


def test_who_lets_others_read_a_key_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keyfile.save(tmp_path / "keys", KEYS, DOMAIN)
    public = keyfile.new_secret(tmp_path / "secret")
    (tmp_path / "it").write_bytes(keyfile.seal(KEYS, DOMAIN, 2, public, b"\x07" * 32))
    paths = [tmp_path / "keys", tmp_path / "it"]
    for mode, told in ((0o600, set()), (0o640, {"keys", "secret"})):
        for path in tmp_path.iterdir():
            path.chmod(mode)
        caplog.clear()
        keyfile.load(paths, DOMAIN, tmp_path / "secret")
        assert {name for name in ("keys", "secret", "it") if f"{name}: chmod" in caplog.text} == told


def test_two_files_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    for name, key in (("a", KEY), ("b", ROOT)):
        keyfile.save(tmp_path / name, Keys({(2, 3, ROOT): key}, {}), DOMAIN)
    with pytest.raises(ConfigError, match="another key than a file before it"):
        keyfile.load([tmp_path / "a", tmp_path / "b"], DOMAIN)
    assert keyfile.load([tmp_path / "a", tmp_path / "a"], DOMAIN).updates == {(2, 3, ROOT): KEY}


def test_a_disclosure_opens_for_its_key_and_its_federation_alone(tmp_path: Path) -> None:
    public = keyfile.new_secret(tmp_path / "mine")
    keyfile.new_secret(tmp_path / "other")
    assert stat.S_IMODE((tmp_path / "mine").stat().st_mode) == 0o600
    mine, other = (keyfile.read_secret(tmp_path / name) for name in ("mine", "other"))
    assert mine.public == public
    data = keyfile.seal(KEYS, DOMAIN, 2, public, b"\x07" * 32)
    assert keyfile.unseal(data, DOMAIN, mine, "it") == KEYS
    assert not any(secret in data.decode() for secret in SECRETS)
    assert json.loads(data)["to"] == announcement(public)
    with pytest.raises(ConfigError, match="is for x25519="):
        keyfile.unseal(data, DOMAIN, other, "it")
    forged = json.loads(data) | {"to": announcement(other.public)}
    with pytest.raises(ConfigError, match="damaged, or not of this federation and round"):
        keyfile.unseal(json.dumps(forged).encode(), DOMAIN, other, "it")


@pytest.mark.parametrize("field", ["round", "chain_id", "contract"])
def test_a_disclosure_is_bound_to_chain_contract_and_round(field: str) -> None:
    """Whoever changes where it is of, and reads it there, opens nothing."""
    secret = ReaderKey(b"\x03" * 32)
    place = {"round": 3, "chain_id": 1, "contract": "0x" + "cd" * 20}[field]
    data = json.loads(keyfile.seal(KEYS, DOMAIN, 2, secret.public, b"\x07" * 32)) | {field: place}
    there = Domain(data["chain_id"], data["contract"])
    with pytest.raises(ConfigError, match="damaged, or not of this federation and round"):
        keyfile.unseal(json.dumps(data).encode(), there, secret, "it")


def test_a_disclosure_needs_the_file_of_its_key(tmp_path: Path) -> None:
    path = tmp_path / "it"
    path.write_bytes(keyfile.seal(KEYS, DOMAIN, 2, ReaderKey(b"\x03" * 32).public, b"\x07" * 32))
    with pytest.raises(ConfigError, match="--key-file"):
        keyfile.load([path], DOMAIN)
    with pytest.raises(ConfigError, match="not a key of `bcfl keys new`"):
        keyfile.load([path], DOMAIN, path)


def test_a_key_is_written_as_miners_announce_theirs() -> None:
    public = ReaderKey(b"\x03" * 32).public
    assert keyfile.parse_public(announcement(public)) == public
    for text in ("", "x25519=", announcement(public)[:-1], "#" + announcement(public), public.hex()):
        with pytest.raises(ConfigError, match="is not a key"):
            keyfile.parse_public(text)


def test_no_key_stands_in_the_text_of_a_value() -> None:
    for value in (KEYS, Keyring(given=KEYS), ReaderKey(KEY)):
        assert repr(KEY) not in repr(value)
        assert KEY.hex() not in repr(value)
