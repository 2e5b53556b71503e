"""Parse addresses and check their checksums: one of them, or a file with one a line."""

from __future__ import annotations

from pathlib import Path

from bcfl.errors import ConfigError
from bcfl.protocol.addresses import checksummed, has_checksum


def read_addresses(path: Path) -> list[str]:
    """Read the addresses of a file, one a line, `#` before remarks; raises ConfigError with the line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(f"{path} cannot be read: {reason}") from None
    addresses: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not (text := line.split("#", 1)[0].strip()):
            continue
        address = parse_address(text, f"{path}, line {number}")
        if address in addresses:
            raise ConfigError(f"{path}, line {number}: {address} is on line {addresses[address]} already")
        addresses[address] = number
    return list(addresses)


def parse_address(text: str, source: str) -> str:
    """Return the checksummed address; raises ConfigError for what is none, or has a wrong checksum.

    `source` is the option, or the file and line, that the message names.
    """
    try:
        address = checksummed(text) if text.startswith("0x") else ""
    except ValueError:
        address = ""
    if not address:
        raise ConfigError(f"{source}: {text[:60]!r} is not an address")
    if has_checksum(text) and text != address:
        raise ConfigError(f"{source}: the checksum of {text} is wrong; look for a mistyped digit")
    return str(address)
