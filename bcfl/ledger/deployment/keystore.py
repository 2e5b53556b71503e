"""Keep keys in encrypted files, one an account, as other Ethereum tools write them.

The files are Web3 Secret Storage, version 3, with scrypt. No message ever holds a key or a password.
"""

from __future__ import annotations

import getpass
import json
import os
import re
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bcfl.errors import ConfigError
from bcfl.folders import private_folder, write_whole
from bcfl.ledger.abi import address_of
from bcfl.protocol.accounts import Account

STANDARD: Final = 2**18  # scrypt's N: a quarter of a GB and about a second
LIGHT: Final = 2**12  # geth's --lightkdf: for tests, and for keys that are worth nothing
PASSWORD_VARIABLE: Final = "ETH_KEYSTORE_PASSWORD"
MAX_FILE: Final = 2**16  # bytes of a keystore, a password or a key
MAX_MEMORY: Final = 2**30  # bytes that scrypt may take
MAX_ITERATIONS: Final = 10**7  # of PBKDF2
KEY: Final = re.compile(r"(?:0x)?([0-9a-fA-F]{64})")
ADDRESS: Final = re.compile(r"(?:0x)?[0-9a-fA-F]{40}")
ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141  # of secp256k1
PATH: Final = "m/44'/60'/0'/0/{}"  # BIP-44: where development chains have their accounts


@dataclass(frozen=True)
class Entry:
    """A file of a keystore; the address is the one that the file names, empty where it names none."""

    address: str
    path: Path


def new_key() -> bytes:
    """Return a fresh private key of 32 bytes."""
    return (1 + secrets.randbelow(ORDER - 1)).to_bytes(32, "big")


def parse_key(text: str) -> bytes:
    """Return the private key that a hexadecimal text is; raises ConfigError, without showing it."""
    if text.lstrip().startswith("{"):
        raise ConfigError("that is a keystore file and no key: name its folder with --keystore")
    match = KEY.fullmatch(text.strip())
    key = bytes.fromhex(match[1]) if match else b""
    if not 0 < int.from_bytes(key, "big") < ORDER:
        raise ConfigError(
            "that is not a private key: it has 64 hexadecimal digits and is below the curve's order"
        )
    return key


def derive(mnemonic: str, first: int, count: int) -> list[Account]:
    """Derive `count` accounts of a mnemonic, from `first` on; raises ConfigError, without showing it."""
    from eth_account.hdaccount import key_from_seed, seed_from_mnemonic

    try:
        seed = seed_from_mnemonic(" ".join(mnemonic.split()), passphrase="")
    except Exception:  # the library's own kinds, whose messages show the words
        raise ConfigError(
            "the mnemonic is not one: it has 12 to 24 words of BIP-39, the last a checksum"
        ) from None
    return [Account(key_from_seed(seed, PATH.format(index))) for index in range(first, first + count)]


def save(folder: Path, key: bytes, password: str, work: int = STANDARD) -> Entry:
    """Encrypt a key into a new file of `folder`, which is created if absent; only the user may read them.

    `work` is scrypt's N. Raises ConfigError when the account is there already or nothing can be written.
    """
    from eth_keyfile.keyfile import create_keyfile_json

    account = Account(key)
    for entry in list_entries(folder):
        if entry.address == account.address:
            raise ConfigError(f"{account.address} is in the keystore already: {entry.path}")
    if not password:
        raise ConfigError("the password is empty: whoever reads the file would have the key; choose another")
    content = create_keyfile_json(key, password.encode(), kdf="scrypt", iterations=work)
    content["address"] = account.address[2:].lower()
    path = folder / f"UTC--{datetime.now(UTC):%Y-%m-%dT%H-%M-%S.%fZ}--{content['address']}"
    try:
        private_folder(folder, ("UTC--", ".UTC--"))
        write_whole(path, json.dumps(content).encode())
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None
    return Entry(account.address, path)


def list_entries(folder: Path) -> list[Entry]:
    """Return the files of a keystore, by address, those that name none last; none where there is no folder.

    An address is optional in a keystore file: other tools leave it out.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError(f"{folder} cannot be read: {error.strerror}") from None
    entries = []
    for path in paths:
        with suppress(ConfigError):
            content = _content(path)
            address = str(content.get("address"))
            if ADDRESS.fullmatch(address):
                entries.append(Entry(address_of("0x" + address.removeprefix("0x").lower()), path))
            elif content.get("address") is None and isinstance(content.get("crypto"), dict):
                entries.append(Entry("", path))
    return sorted(entries, key=lambda entry: (not entry.address, entry.address, entry.path))


def unlock(folder: Path, name: str, password: Callable[[], str]) -> Account:
    """Decrypt the account whose address, or the only one whose address's beginning, or whose file is `name`.

    Raises ConfigError for none, several, a wrong password or a file that is no keystore.
    """
    for entry in list_entries(folder):
        if entry.path.name == name:
            return decrypt(entry, password())
    prefix = name.lower() if name.lower().startswith("0x") else f"0x{name.lower()}"
    entries = [entry for entry in list_entries(folder) if entry.address.lower().startswith(prefix)]
    if len({entry.address for entry in entries}) != 1 or len(prefix) < 6:
        count = "several accounts" if entries else "no account"
        raise ConfigError(f"{folder} holds {count} {name}: give an address that `bcfl account list` shows")
    return decrypt(entries[0], password())


def decrypt(entry: Entry, password: str) -> Account:
    """Decrypt the account in a file; raises ConfigError for a wrong password or a damaged file."""
    from eth_keyfile.keyfile import decode_keyfile_json

    content = _content(entry.path)
    message = f"{entry.path} is damaged, or no keystore of version 3: put it back from a copy"
    if content.get("version") != 3 or not _is_affordable(content):
        raise ConfigError(message)
    try:
        account = Account(decode_keyfile_json(content, password.encode()))
    except Exception as error:  # whatever wrong types and values make of the library
        if "MAC mismatch" in str(error):
            raise ConfigError(
                f"that is not the password of {entry.address or 'this file'}, or {entry.path} is damaged"
            ) from None
        raise ConfigError(message) from None
    if entry.address and account.address != entry.address:
        raise ConfigError(
            f"{entry.path} says {entry.address} and holds the key of another account: remove it"
        )
    return account


def read_password(file: Path | None, *, confirm: bool = False, env: Mapping[str, str] | None = None) -> str:
    """Read a password from `file`, else from ETH_KEYSTORE_PASSWORD, else from a prompt (twice to `confirm`).

    Raises ConfigError where none of them has it.
    """
    if file is not None:
        return read_secret(file).split("\n", 1)[0].rstrip("\r")
    password = (os.environ if env is None else env).get(PASSWORD_VARIABLE)
    if password is not None:
        return password
    if not sys.stdin.isatty():
        raise ConfigError(f"no password: name a file with --password-file, or set {PASSWORD_VARIABLE}")
    password = getpass.getpass("Password: ")
    if confirm and getpass.getpass("The same again: ") != password:
        raise ConfigError("the two passwords differ: try again")
    return password


def read_secret(file: Path) -> str:
    """Read the text of a small file; raises ConfigError."""
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise ConfigError(f"{file} is too large for what it should hold")
        return data.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file} is not text") from None


def _content(path: Path) -> dict[str, Any]:
    """Read a keystore file's object; raises ConfigError."""
    try:
        content = json.loads(read_secret(path))
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} is damaged, or no keystore of version 3: put it back from a copy")
    return content


def _is_affordable(content: Mapping[str, Any]) -> bool:
    """Return whether opening a file takes no more memory and time than a keystore should."""
    crypto = content.get("crypto", content.get("Crypto"))
    params = crypto.get("kdfparams") if isinstance(crypto, dict) else None
    if not isinstance(params, dict):
        return False
    sizes: Sequence[Any] = [params.get(name, 1) for name in ("n", "r", "p", "c", "dklen")]
    if not all(type(size) is int and size > 0 for size in sizes):
        return False
    n, r, p, c, length = sizes
    return bool(128 * n * r <= MAX_MEMORY and p <= 16 and c <= MAX_ITERATIONS and length == 32)
