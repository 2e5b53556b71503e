"""`bcfl doctor`: what stands in the way of taking part, and what to do about each."""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from bcfl.cli.node.joining import (
    FOLDER,
    DeploymentOption,
    FolderOption,
    GatewayOption,
    NetworkOption,
    StoreOption,
)
from bcfl.cli.options import JsonOption
from bcfl.cli.output.printing import Column, plural, print_json, print_table
from bcfl.errors import BcflError

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
REQUIREMENT: Final = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^;\s]+)")
LITTLE, TOO_LITTLE = 2 * 2**30, 2**28  # bytes that are free on the disk
SLOW: Final = 2.0  # seconds for an answer
AHEAD, BEHIND = 15, 600  # seconds between this machine's clock and the last block's
PROBE: Final = b"bcfl doctor was here"
FAILURE: Final = 1


@dataclass(frozen=True)
class Finding:
    """What one check found; `advice` says what to do where that is not ok."""

    check: str
    status: str
    found: str
    advice: str = ""


def doctor(
    network: NetworkOption = None,
    deployment: DeploymentOption = "federation",
    store: StoreOption = "store",
    gateway: GatewayOption = None,
    journal: Annotated[
        Path,
        typer.Option("--journal", metavar="DIR", help="Where a party writes down what it must not forget."),
    ] = Path("journal"),
    folder: FolderOption = FOLDER,
    as_json: JsonOption = False,
) -> None:
    """Check Python, packages, node, chain, contract, store, clock and disk; exit code 1 if one fails."""
    findings = [*_machine(journal), *_network(network, deployment, folder), _store(store, gateway)]
    well = all(finding.status != FAILED for finding in findings)
    if as_json:
        print_json({"ok": well, "checks": [asdict(finding) for finding in findings]})
    else:
        _print(findings)
    if not well:
        raise typer.Exit(FAILURE)


def register(parent: typer.Typer) -> None:
    """Add `bcfl doctor`."""
    parent.command("doctor")(doctor)


def _machine(journal: Path) -> Iterator[Finding]:
    """What has nothing to do with a network."""
    found = ".".join(map(str, sys.version_info[:3]))
    new = sys.version_info[:2] >= PYTHON
    yield Finding("python", OK if new else FAILED, found, "" if new else "install Python 3.11 or newer")
    yield packages()
    yield disk(journal)


def packages() -> Finding:
    """Whether what bcfl needs is there, and those packages that it pins in the pinned version."""
    missing = [name for name in PACKAGES if _version(name) is None]
    if missing:
        return Finding(
            "packages", FAILED, f"missing: {', '.join(missing)}", "install bcfl again, in a new environment"
        )
    wrong = [
        f"{found[1]} {_version(found[1])} instead of {found[2]}"
        for text in _requirements()
        if (found := REQUIREMENT.match(text)) and _version(found[1]) != found[2]
    ]
    if wrong:
        return Finding("packages", WARNING, ", ".join(wrong), "install bcfl again, in a new environment")
    return Finding(
        "packages", OK, f"web3 {_version('web3')}, torch {_version('torch')}, numpy {_version('numpy')}"
    )


def disk(folder: Path) -> Finding:
    """Whether there is room where a party writes."""
    place = folder.expanduser().absolute()
    while not place.exists():
        place = place.parent
    try:
        free = shutil.disk_usage(place).free
    except OSError as error:
        return Finding("disk", FAILED, f"{place}: {error.strerror}", "name another folder with --journal")
    status = FAILED if free < TOO_LITTLE else WARNING if free < LITTLE else OK
    advice = "" if status == OK else "free some space: a party that cannot write its journal stops"
    return Finding("disk", status, f"{free / 2**30:.1f} GiB free at {place}", advice)


def _network(name: str | None, deployment: str, folder: Path) -> Iterator[Finding]:
    """Node, chain id, clock and contract; what follows from another is skipped where that fails."""
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
        yield _attempt("node", lambda: node(chain))
        expected = (
            "" if network.chain_id else "; the network's section of bcfl.toml does not say which to expect"
        )
        yield Finding("chain id", OK, f"{chain.chain_id}{expected}")
        yield _attempt("clock", lambda: clock(chain.now(), time.time(), chain.view == "pending"))
        yield _attempt("contract", lambda: _contract(chain, network.name, deployment, folder))
    finally:
        chain.close()


def node(chain: RpcChain) -> Finding:
    """Which node answers, and how fast."""
    client = str(chain.request("web3_clientVersion"))[:60]
    started = time.monotonic()
    block = int(chain.request("eth_blockNumber"), 16)
    seconds = time.monotonic() - started
    if chain.request("eth_syncing"):
        return Finding(
            "node", WARNING, f"{client} is still syncing, at block {block:,}", "wait until it is done"
        )
    slow = seconds > SLOW
    advice = "its phases may end before a message is there: take a node that is nearer" if slow else ""
    text = f"{client} at {chain.url}, block {block:,}, {seconds * 1000:.0f} ms"
    return Finding("node", WARNING if slow else OK, text, advice)


def clock(of_chain: int, of_machine: float, own: bool) -> Finding:
    """Whether this machine's clock and the chain's agree; `own`: a chain whose time may be moved."""
    ahead = of_chain - of_machine
    text = f"the chain is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine"
    if -BEHIND <= ahead <= AHEAD:
        return Finding("clock", OK, text)
    if own:
        return Finding(
            "clock", WARNING, text, "somebody moved the time of this chain: deadlines follow the chain's"
        )
    advice = "set this machine's clock (NTP)" if ahead > 0 else "wait until the node has caught up"
    return Finding("clock", WARNING, text, advice)


def _contract(chain: RpcChain, network: str, deployment: str, folder: Path) -> Finding:
    from bcfl.ledger.deployment import records
    from bcfl.ledger.deployment.addresses import parse_address
    from bcfl.ledger.deployment.inspection import inspect

    if deployment.startswith("0x"):
        address = parse_address(deployment, "--deployment")
    else:
        address = records.read(folder, network, deployment).address
    found = inspect(chain, address)
    return Finding("contract", OK, f"{found.address} is this version's (sources {found.sources_sha256[:12]})")


def _store(address: str, gateway: str | None) -> Finding:
    from bcfl.storage import open_store

    def probe() -> Finding:
        started = time.monotonic()
        store = open_store(address, gateway)
        store.get(store.put(PROBE), len(PROBE))
        return Finding(
            "store", OK, f"{address} keeps and gives, in {(time.monotonic() - started) * 1000:.0f} ms"
        )

    return _attempt("store", probe)


def _attempt(check: str, action: Callable[[], Finding]) -> Finding:
    try:
        return action()
    except BcflError as error:
        return _failed(check, error)


def _failed(check: str, error: BcflError) -> Finding:
    """An error of ours names what to do after its last colon or semicolon, if it does."""
    text = " ".join(str(error).split())
    found, _, advice = max(text.rpartition("; "), text.rpartition(": "), key=lambda parts: len(parts[0]))
    return Finding(check, FAILED, found or text, advice if found else "see `bcfl doctor --debug`")


def _version(package: str) -> str | None:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def _requirements() -> list[str]:
    with suppress(metadata.PackageNotFoundError):
        return metadata.requires("bcfl") or []
    return []


def _print(findings: list[Finding]) -> None:
    print_table(
        [Column("check"), Column("status"), Column("found")], [(f.check, f.status, f.found) for f in findings]
    )
    advice = [(f.check, f.advice) for f in findings if f.advice]
    if advice:
        print_table([Column("check"), Column("what to do")], advice, "What to do")
    failed = sum(f.status == FAILED for f in findings)
    print()
    print(f"{plural(failed, 'check')} failed" if failed else "nothing stands in the way")
