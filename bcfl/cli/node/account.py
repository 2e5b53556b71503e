"""`bcfl account`: keys in encrypted files. No key is ever an option of a command, and none is printed."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from bcfl.cli.node.options import PasswordFileOption
from bcfl.cli.options import JsonOption, optional
from bcfl.cli.output.printing import Column, print_fields, print_json, print_table
from bcfl.cli.output.terminal import say
from bcfl.errors import ConfigError
from bcfl.folders import expanded
from bcfl.ledger.deployment.networks import KEYSTORE

if TYPE_CHECKING:
    from bcfl.ledger.deployment.keystore import Entry

MAX_KEY: Final = 4_096  # letters read from stdin in search of a key
NAMELESS: Final = "(in the file; --account takes the file's name)"
MAX_NEW: Final = 1_000  # accounts

Folder = Annotated[
    Path,
    typer.Option(
        "--keystore", metavar="DIR", envvar="BCFL_KEYSTORE", help="The folder of the encrypted keys."
    ),
]
Light = Annotated[
    bool,
    typer.Option(
        "--light", metavar="", help="Encrypt fast and weakly: for tests, and keys that are worth nothing."
    ),
]
Addresses = Annotated[
    bool,
    typer.Option(
        "--addresses", metavar="", help="Print the addresses alone, one a line, as `bcfl deploy` reads them."
    ),
]

app = typer.Typer(help="Keys of devices, miners and owners, encrypted.", no_args_is_help=True)


@app.command("new")
def new(
    folder: Folder = KEYSTORE,
    count: Annotated[
        int, typer.Option("--count", metavar="N", min=1, max=MAX_NEW, help="How many accounts.")
    ] = 1,
    password_file: PasswordFileOption = None,
    light: Light = False,
    addresses: Addresses = False,
    as_json: JsonOption = False,
) -> None:
    """Make a new account, or several with the same password."""
    from bcfl.ledger.deployment import keystore

    keys = [keystore.new_key() for _ in range(count)]
    entries = _save(folder, keys, password_file, light)
    if as_json and count == 1:
        _print(entries[0], as_json)
    else:
        _list(entries, addresses, as_json)


@app.command("import")
def import_(
    folder: Folder = KEYSTORE,
    key_file: Annotated[
        Path | None,
        optional("--key-file", "FILE", "Read the key from FILE; else from stdin, or it is asked for."),
    ] = None,
    password_file: PasswordFileOption = None,
    light: Light = False,
    as_json: JsonOption = False,
) -> None:
    """Encrypt an existing private key: 64 hexadecimal digits from a file, from stdin or from a prompt."""
    from bcfl.ledger.deployment import keystore

    _print(_save(folder, [keystore.parse_key(_key_text(key_file))], password_file, light)[0], as_json)


@app.command("list")
def list_(folder: Folder = KEYSTORE, addresses: Addresses = False, as_json: JsonOption = False) -> None:
    """List the accounts of a keystore."""
    from bcfl.ledger.deployment import keystore

    entries = keystore.list_entries(expanded(folder))
    if entries or addresses or as_json:
        _list(entries, addresses, as_json)
    else:
        say(f"no account in {folder}: make one with `bcfl account new`")


def register(parent: typer.Typer) -> None:
    """Add `bcfl account`."""
    parent.add_typer(app, name="account")


def _save(folder: Path, keys: Sequence[bytes], password_file: Path | None, light: bool) -> list[Entry]:
    """Encrypt keys with one password."""
    from bcfl.ledger.deployment import keystore

    password = keystore.read_password(password_file, confirm=True)
    work = keystore.LIGHT if light else keystore.STANDARD
    return [keystore.save(expanded(folder), key, password, work) for key in keys]


def _list(entries: Sequence[Entry], addresses: bool, as_json: bool) -> None:
    if addresses:
        for entry in entries:
            if entry.address:
                say(entry.address)
    elif as_json:
        print_json({"accounts": [{"address": e.address or None, "file": str(e.path)} for e in entries]})
    elif len(entries) == 1:
        _print(entries[0], as_json)
    else:
        print_table([Column("address"), Column("file")], [(e.address or NAMELESS, e.path) for e in entries])


def _print(entry: Entry, as_json: bool) -> None:
    if as_json:
        print_json({"address": entry.address or None, "file": str(entry.path)})
    else:
        print_fields([("address", entry.address or NAMELESS), ("file", entry.path)])


def _key_text(file: Path | None) -> str:
    """Read a key from a file, stdin or, without an echo, the terminal; raises ConfigError where none is."""
    from bcfl.ledger.deployment import keystore

    if file is not None:
        return keystore.read_secret(file)
    if sys.stdin.isatty():
        return getpass.getpass("Private key: ")
    text = sys.stdin.readline(MAX_KEY)
    if not text.strip():
        raise ConfigError("no key: name a file with --key-file, or write the key to stdin")
    return text
