"""Putting a federation on a network, and what is written down about it (step 1, initialization).

The record of a deployment is `deployments/NETWORK/NAME.json`: enough for anybody to find the federation, to
check it and to build a client for it. What is true is on chain; `inspection` compares.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from eth_utils.address import is_checksum_formatted_address, to_checksum_address
from eth_utils.crypto import keccak

from bcfl.errors import ConfigError, LedgerError, Reverted, RunError
from bcfl.ledger.artifact import artifact, deploy
from bcfl.ledger.chain import Chain
from bcfl.ledger.contract import Contract, Key
from bcfl.ledger.deployment.networks import NAME, Network
from bcfl.protocol.types import Terms

FORMAT: Final = 2
FOLDER: Final = Path("deployments")
DEPLOY_GAS: Final = 17_000_000  # of the three contracts; what is not used is not paid
REGISTER_GAS: Final = 100_000  # of one device
AT_ONCE: Final = 64  # devices registered in one transaction
SAFE: Final = 2**53  # integers from here on are text in JSON: other readers would round them
ETHER: Final = 10**18


@dataclass(frozen=True)
class Deployment:
    """One federation on one network: where it is, what it was made from, by whom."""

    name: str
    network: str
    chain_id: int
    address: str
    annex: str
    court: str
    owner: str
    block: int  # of the federation's own transaction
    created: str  # time of that block, UTC
    transaction: str
    annex_transaction: str
    court_transaction: str
    constructor: dict[str, Any]  # terms by name, root, cid, pool
    options: dict[str, Any]  # what the owner made the terms from; clients train by it
    compiler: str
    sources_sha256: str
    bytecode_keccak256: dict[str, str]  # of the creation code without arguments, by contract
    code_keccak256: dict[str, str]  # of the code on chain, by contract


def place(folder: Path, network: str, name: str) -> Path:
    """Where a record is or would be; raises ConfigError for a name that cannot name a file."""
    for text in (network, name):
        if not NAME.fullmatch(text):
            raise ConfigError(f"{text!r} cannot name a deployment: use at most 40 letters, digits, - and _")
    return folder / network / f"{name}.json"


def free_place(folder: Path, network: Network, name: str) -> Path:
    """The place of a new record; raises ConfigError when there is one of that name."""
    path = place(folder, network.name, name)
    if path.exists():
        raise ConfigError(
            f"{name} is deployed on {network.name} already ({path}): choose another --name, "
            "or remove that file if the chain was begun anew"
        )
    return path


@contextmanager
def reserved(folder: Path, network: Network, name: str) -> Iterator[Path]:
    """The place of a new record, taken for as long as a deployment lasts.

    Raises ConfigError when there is one of that name, or one in the making, RunError for a folder that
    cannot be written: before any ether is spent.
    """
    path = free_place(folder, network, name)
    lock = path.with_name(f".{name}.deploying")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    except FileExistsError:
        raise ConfigError(
            f"{name} is being deployed on {network.name}: wait; if that was interrupted, remove {lock}"
        ) from None
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}") from None
    try:
        yield path
    finally:
        with suppress(OSError):
            lock.unlink()


def check_funds(chain: Chain, owner: str, pool: int, devices: int = 0) -> None:
    """Raise LedgerError, with the amounts, unless an account can pay for a deployment."""
    balance = int(chain.request("eth_getBalance", owner, "latest"), 16)
    fees = chain.fees()[0] * (DEPLOY_GAS + REGISTER_GAS * devices)
    if balance < pool + fees:
        raise LedgerError(
            f"{owner} has {ether(balance)} and needs {ether(pool + fees)}, {ether(pool)} of it for the pool "
            "and the rest for gas: send it more, or lower --pool"
        )


def found(
    chain: Chain, key: Key, network: Network, name: str, terms: Terms, root: bytes, cid: bytes, pool: int,
    options: Mapping[str, Any] | None = None, folder: Path = FOLDER, devices: int = 0,
) -> tuple[Contract, Deployment]:  # fmt: skip
    """Deploy court, annex and federation, fund the pool, write the record; `devices` more are to be paid for.

    Raises ConfigError and RunError as `reserved` does, LedgerError for too little ether, Reverted for terms
    that the contract refuses.
    """
    with reserved(folder, network, name) as path:
        check_funds(chain, key.address, pool, devices)
        contract, (court, annex, main) = deploy(chain, key, terms, root, cid, pool)
        content = artifact()
        parts = {"Annex": str(annex.contract), "Court": str(court.contract)}
        addresses = {"Federation": contract.address, **parts}
        deployment = Deployment(
            name=name,
            network=network.name,
            chain_id=chain.chain_id,
            address=contract.address,
            annex=addresses["Annex"],
            court=addresses["Court"],
            owner=key.address,
            block=main.block,
            created=f"{datetime.fromtimestamp(main.timestamp, UTC):%Y-%m-%dT%H:%M:%SZ}",
            transaction=_hex(main.hash),
            annex_transaction=_hex(annex.hash),
            court_transaction=_hex(court.hash),
            constructor={"terms": asdict(terms), "root": root, "cid": cid, "pool": pool},
            options=dict(options or {}),
            compiler=content["compiler"],
            sources_sha256=content["sources_sha256"],
            bytecode_keccak256={
                part: _hex(keccak(hexstr=code)) for part, code in content["bytecode"].items()
            },
            code_keccak256={part: _hex(keccak(code_at(chain, at))) for part, at in addresses.items()},
        )
        write(path, deployment)
    return contract, deployment


def register(contract: Contract, owner: Key, devices: Sequence[str]) -> int:
    """Register the devices that are not yet, in their order; returns how many those were."""
    missing = [device for device in devices if not _registered(contract, device)]
    for start in range(0, len(missing), AT_ONCE):
        contract.send(owner, "register_devices", missing[start : start + AT_ONCE])
    return len(missing)


def read_addresses(path: Path) -> list[str]:
    """The addresses of a file, one a line, `#` before remarks; raises ConfigError that names the line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(f"{path} cannot be read: {reason}") from None
    addresses: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not (text := line.split("#", 1)[0].strip()):
            continue
        address = address_in(text, f"{path}, line {number}")
        if address in addresses:
            raise ConfigError(f"{path}, line {number}: {address} is on line {addresses[address]} already")
        addresses[address] = number
    return list(addresses)


def address_in(text: str, where: str) -> str:
    """A checksummed address; raises ConfigError for what is none, or has a wrong checksum."""
    try:
        address = to_checksum_address(text) if text.startswith("0x") else ""
    except ValueError:
        address = ""
    if not address:
        raise ConfigError(f"{where}: {text[:60]!r} is not an address")
    if is_checksum_formatted_address(text) and text != address:
        raise ConfigError(f"{where}: the checksum of {text} is wrong; look for a mistyped digit")
    return str(address)


def write(path: Path, deployment: Deployment) -> None:
    """Write a record as a whole; raises RunError, which tells the address, when that is not possible."""
    content = {"format": FORMAT, **asdict(deployment), "abi": artifact()["abi"]}
    try:
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, prefix=f".{path.name}.", delete=False, encoding="utf-8"
        ) as file:
            file.write(json.dumps(_shown(content), indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.chmod(file.name, 0o644)
        os.replace(file.name, path)
    except OSError as error:
        raise RunError(
            f"{path} cannot be written ({error.strerror}), but the federation is deployed: note its address, "
            f"{deployment.address}, block {deployment.block}"
        ) from None


def read(folder: Path, network: str, name: str) -> Deployment:
    """The record of a deployment; raises ConfigError when there is none, RunError when it is damaged."""
    path = place(folder, network, name)
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        known = ", ".join(sorted(other.stem for other in path.parent.glob("*.json"))) or "nothing"
        raise ConfigError(f"{name} is not deployed on {network} (no {path}): there is {known}") from None
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        content = None
    try:
        return _deployment(content)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise RunError(f"{path} is damaged, or of another version of bcfl: put it back from a copy") from None


def code_at(chain: Chain, address: str) -> bytes:
    """The code on chain; raises LedgerError where there is none."""
    code = bytes.fromhex(chain.request("eth_getCode", address, "latest")[2:])
    if not code:
        raise LedgerError(
            f"there is no contract at {address} on chain {chain.chain_id}: check address and network"
        )
    return code


def ether(wei: int) -> str:
    """An amount in ether, rounded up to six places."""
    micro = -(-wei // 10**12)
    return f"{micro // 10**6:,}.{micro % 10**6:06d}".rstrip("0").rstrip(".") + " ether"


def _registered(contract: Contract, device: str) -> bool:
    try:
        contract.call("device_of", device)
    except Reverted:
        return False
    return True


def _deployment(content: Any) -> Deployment:
    """A record from its JSON; raises what wrong JSON makes of it."""
    if content["format"] != FORMAT:
        raise ValueError
    kinds = {"int": int, "str": str}
    values = {}
    for name, kind in Deployment.__annotations__.items():
        values[name] = content[name]
        if type(values[name]) is not kinds.get(kind, dict):
            raise TypeError
    for name in ("address", "annex", "court", "owner"):
        values[name] = to_checksum_address(values[name])
    return Deployment(**values)


def _shown(value: Any) -> Any:
    """A value as JSON holds it for every reader: bytes as 0x and digits, large integers as text."""
    if isinstance(value, Mapping):
        return {key: _shown(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_shown(item) for item in value]
    if isinstance(value, bytes):
        return _hex(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value) if abs(value) < SAFE else str(int(value))
    return value


def _hex(value: bytes) -> str:
    return "0x" + value.hex()
