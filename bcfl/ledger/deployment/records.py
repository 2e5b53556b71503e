"""Write down where a federation was deployed and read it back: the `Deployment` record.

The file `deployments/NETWORK/NAME.json` is enough to find the federation, to check it and to build a client
for it. The chain decides what is true; `inspection` compares.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from bcfl.errors import ConfigError, RunError
from bcfl.ledger.artifact import artifact
from bcfl.ledger.deployment.networks import NAME, Network
from bcfl.protocol.addresses import checksummed

FORMAT: Final = 3
FOLDER: Final = Path("deployments")
SAFE: Final = 2**53  # integers from here on are text in JSON: other readers would round them


@dataclass(frozen=True)
class Deployment:
    """One federation on one network: where it is, what it was made from, by whom."""

    name: str
    network: str
    chain_id: int
    address: str
    facets: dict[str, str]  # address by name
    owner: str
    block: int  # of the federation's own transaction
    created: str  # time of that block, UTC
    transaction: str
    facet_transactions: dict[str, str]  # hash by name
    constructor: dict[str, Any]  # terms by name, root, cid, pool
    options: dict[str, Any]  # what the owner made the terms from; clients train by it
    compiler: str
    sources_sha256: str
    bytecode_keccak256: dict[str, str]  # of the creation code without arguments, by contract
    code_keccak256: dict[str, str]  # of the code on chain, by contract


def place(folder: Path, network: str, name: str) -> Path:
    """Return the path of a record; raises ConfigError for a name that cannot name a file."""
    for text in (network, name):
        if not NAME.fullmatch(text):
            raise ConfigError(f"{text!r} cannot name a deployment: use at most 40 letters, digits, - and _")
    return folder / network / f"{name}.json"


def free_place(folder: Path, network: Network, name: str) -> Path:
    """Return the path of a new record; raises ConfigError when there is one of that name."""
    path = place(folder, network.name, name)
    if path.exists():
        raise ConfigError(
            f"{name} is deployed on {network.name} already ({path}): choose another --name, "
            "or remove that file if the chain was begun anew"
        )
    return path


@contextmanager
def reserve(folder: Path, network: Network, name: str) -> Iterator[Path]:
    """Lock the path of a new record for as long as a deployment lasts, and give that path.

    The lock ends with the process, however it ends. Contracts of a deployment that was interrupted stay on
    the chain without a record, and the next one makes its own.

    Raises ConfigError when there is one of that name, or one in the making, RunError for a folder that
    cannot be written: before any ether is spent.
    """
    path = free_place(folder, network, name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = lock_file(path.with_name(f".{name}.deploying"))
    except BlockingIOError:
        raise ConfigError(f"{name} is being deployed on {network.name}: wait for it to end") from None
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}") from None
    try:
        yield free_place(folder, network, name)  # it may have been deployed while the lock was waited for
    finally:
        with suppress(OSError):
            path.with_name(f".{name}.deploying").unlink()
        os.close(lock)


def lock_file(path: Path) -> int:
    """Lock a file until the number that is returned is closed; raises BlockingIOError where it is locked."""
    while True:
        lock = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock), path.stat()):
                    return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)  # another has removed it meanwhile


def write(path: Path, deployment: Deployment) -> None:
    """Write a record as a whole; raises RunError, which names the address, when that is not possible."""
    content = {"format": FORMAT, **asdict(deployment), "abi": artifact()["abi"]}
    try:
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, prefix=f".{path.name}.", delete=False, encoding="utf-8"
        ) as file:
            file.write(json.dumps(_json_value(content), indent=1) + "\n")
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
    """Read the record of a deployment; raises ConfigError when there is none, RunError when it is damaged."""
    path = place(folder, network, name)
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        names = ", ".join(sorted(record.stem for record in path.parent.glob("*.json"))) or "nothing"
        raise ConfigError(f"{name} is not deployed on {network} (no {path}): there is {names}") from None
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        content = None
    try:
        return _deployment(content)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise RunError(f"{path} is damaged, or of another version of bcfl: put it back from a copy") from None


def _deployment(content: Any) -> Deployment:
    """Return a record from its JSON; raises whatever wrong JSON leads to."""
    if content["format"] != FORMAT:
        raise ValueError
    types = {"int": int, "str": str}
    values = {}
    for name, annotation in Deployment.__annotations__.items():
        values[name] = content[name]
        if type(values[name]) is not types.get(annotation, dict):
            raise TypeError
    for name in ("address", "owner"):
        values[name] = checksummed(values[name])
    values["facets"] = {name: checksummed(address) for name, address in values["facets"].items()}
    return Deployment(**values)


def _json_value(value: Any) -> Any:
    """Return a value as every reader of JSON takes it: bytes as 0x and digits, large integers as text."""
    if isinstance(value, Mapping):
        return {key: _json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_value(item) for item in value]
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value) if abs(value) < SAFE else str(int(value))
    return value
