"""Check what stands in the way of taking part in a federation, and say what to do about it."""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bcfl.errors import BcflError
from bcfl.folders import expanded

if TYPE_CHECKING:
    from bcfl.ledger.rpc import RpcChain

OK, WARNING, FAILED, SKIPPED = "ok", "warning", "failed", "skipped"
PYTHON: Final = (3, 11)
PACKAGES: Final = (
    "web3",
    "eth-tester",
    "py-evm",
    "coincurve",
    "torch",
    "numpy",
    "pydantic",
    "typer",
    "safetensors",
)
# A pinned version of what bcfl itself needs: nothing of an extra, no range.
REQUIREMENT: Final = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^;\s*]+)$")
LITTLE, TOO_LITTLE = 2 * 2**30, 2**28  # bytes that are free on the disk
SLOW: Final = 2.0  # seconds for an answer
AHEAD, BEHIND = 15, 600  # seconds between this machine's clock and the last block's
UNKNOWN: Final = "if that says too little, --debug behind the command that fails shows where it does"
PROBE: Final = b"bcfl doctor was here"


@dataclass(frozen=True)
class Finding:
    """The result of one check; `advice` says what to do where that is not ok."""

    check: str
    status: str
    found: str
    advice: str = ""


def check_machine(journal: Path) -> Iterator[Finding]:
    """Check Python, packages and disk."""
    version = ".".join(map(str, sys.version_info[:3]))
    is_new = sys.version_info[:2] >= PYTHON
    yield Finding(
        "python", OK if is_new else FAILED, version, "" if is_new else "install Python 3.11 or newer"
    )
    yield check_packages()
    yield check_disk(journal)


def check_packages() -> Finding:
    """Check that what bcfl needs is installed, and what it pins in the pinned version."""
    missing = [name for name in PACKAGES if _version(name) is None]
    if missing:
        return Finding(
            "packages", FAILED, f"missing: {', '.join(missing)}", "install bcfl again, in a new environment"
        )
    wrong = [
        f"{pin[1]} {_version(pin[1])} instead of {pin[2]}"
        for text in _requirements()
        if (pin := REQUIREMENT.match(text)) and _version(pin[1]) != pin[2]
    ]
    if wrong:
        return Finding("packages", WARNING, ", ".join(wrong), "install bcfl again, in a new environment")
    return Finding(
        "packages", OK, f"web3 {_version('web3')}, torch {_version('torch')}, numpy {_version('numpy')}"
    )


def check_disk(folder: Path) -> Finding:
    """Check that there is room where a party writes."""
    path = expanded(folder).absolute()
    while not path.exists():
        path = path.parent
    try:
        free = shutil.disk_usage(path).free
    except OSError as error:
        return Finding("disk", FAILED, f"{path}: {error.strerror}", "name another folder with --journal")
    status = FAILED if free < TOO_LITTLE else WARNING if free < LITTLE else OK
    advice = "" if status == OK else "free some space: a party that cannot write its journal waits"
    return Finding("disk", status, f"{free / 2**30:.1f} GiB free at {path}", advice)


def check_network(name: str | None, deployment: str, folder: Path) -> Iterator[Finding]:
    """Check node, chain id, clock and contract; what follows from another is skipped where that fails."""
    from bcfl.ledger.deployment import networks

    try:
        network = networks.resolve(name)
    except BcflError as error:
        yield _failed("network", error)
        return
    try:
        chain = networks.connect(network, timeout=10)
    except BcflError as error:
        yield _failed("node", error)
        for check in ("clock", "contract"):
            yield Finding(check, SKIPPED, "no node to ask", "mend the node first")
        return
    try:
        yield _attempt("node", lambda: check_node(chain))
        note = "" if network.chain_id else "; the network's section of bcfl.toml does not say which to expect"
        yield Finding("chain id", OK, f"{chain.chain_id}{note}")
        yield _attempt("clock", lambda: check_clock(chain.now(), time.time(), chain.view == "pending"))
        yield _attempt("contract", lambda: check_contract(chain, network.name, deployment, folder))
    finally:
        chain.close()


def check_node(chain: RpcChain) -> Finding:
    """Check which node answers, and how fast."""
    client = str(chain.request("web3_clientVersion"))[:60]
    start = time.monotonic()
    block = int(chain.request("eth_blockNumber"), 16)
    seconds = time.monotonic() - start
    if chain.request("eth_syncing"):
        return Finding(
            "node", WARNING, f"{client} is still syncing, at block {block:,}", "wait until it is done"
        )
    slow = seconds > SLOW
    advice = "its phases may end before a message is there: take a node that is nearer" if slow else ""
    text = f"{client} at {chain.url}, block {block:,}, {seconds * 1000:.0f} ms"
    return Finding("node", WARNING if slow else OK, text, advice)


def check_clock(chain_time: int, machine_time: float, movable: bool) -> Finding:
    """Check that the chain's clock is this machine's; `movable`: somebody may move the chain's."""
    ahead = chain_time - machine_time
    text = f"the chain is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine"
    if -BEHIND <= ahead <= AHEAD:
        return Finding("clock", OK, text)
    if movable:
        return Finding(
            "clock", WARNING, text, "somebody moved the time of this chain: deadlines follow the chain's"
        )
    advice = "set this machine's clock (NTP)" if ahead > 0 else "wait until the node has caught up"
    return Finding("clock", WARNING, text, advice)


def check_contract(chain: RpcChain, network: str, deployment: str, folder: Path) -> Finding:
    """Check that the code at the deployment's address is this version's; raises an error where it is not."""
    from bcfl.ledger.deployment import records
    from bcfl.ledger.deployment.addresses import parse_address
    from bcfl.ledger.deployment.inspection import inspect

    if deployment.startswith("0x"):
        address = parse_address(deployment, "--deployment")
    else:
        address = records.read(folder, network, deployment).address
    contract = inspect(chain, address)
    sources = contract.sources_sha256[:12]
    return Finding("contract", OK, f"{contract.address} is this version's (sources {sources})")


def check_store(address: str, gateway: str | None) -> Finding:
    """Check that a store keeps and gives bytes."""
    from bcfl.storage import open_store

    def probe() -> Finding:
        start = time.monotonic()
        store = open_store(address, gateway)
        store.get(store.put(PROBE), len(PROBE))
        return Finding(
            "store", OK, f"{address} keeps and gives, in {(time.monotonic() - start) * 1000:.0f} ms"
        )

    return _attempt("store", probe)


def _attempt(check: str, action: Callable[[], Finding]) -> Finding:
    try:
        return action()
    except BcflError as error:
        return _failed(check, error)


def _failed(check: str, error: BcflError) -> Finding:
    """Return an error as a finding; most say what to do after the last colon or semicolon."""
    text = " ".join(str(error).split())
    reason, _, advice = max(text.rpartition("; "), text.rpartition(": "), key=lambda parts: len(parts[0]))
    return Finding(check, FAILED, reason or text, advice if reason else UNKNOWN)


def _version(package: str) -> str | None:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def _requirements() -> list[str]:
    with suppress(metadata.PackageNotFoundError):
        return metadata.requires("bcfl") or []
    return []
