"""Put a federation on a chain: check the funds, create the contracts, fund the pool, register the devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bcfl.errors import LedgerError, Reverted
from bcfl.ledger.artifact import FACETS, artifact, deploy
from bcfl.ledger.chain import Chain, code_at
from bcfl.ledger.contract import Contract, Key
from bcfl.ledger.deployment.networks import Network
from bcfl.ledger.deployment.records import FOLDER, Deployment, reserve, write
from bcfl.protocol.hashing import keccak
from bcfl.protocol.limits import MAX_REGISTRATIONS
from bcfl.protocol.types import Terms

DEPLOY_GAS: Final = 25_000_000  # of the five contracts; what is not used is not paid
REGISTER_GAS: Final = 100_000  # of one device
ETHER: Final = 10**18


def check_funds(chain: Chain, owner: str, pool: int, devices: int = 0) -> None:
    """Raise LedgerError, with the amounts, unless an account can pay for a deployment; `pool` in wei."""
    balance = int(chain.request("eth_getBalance", owner, "latest"), 16)
    fees = chain.fees()[0] * (DEPLOY_GAS + REGISTER_GAS * devices)
    if balance < pool + fees:
        raise LedgerError(
            f"{owner} has {ether(balance)} and needs {ether(pool + fees)}, {ether(pool)} of it for the pool "
            "and the rest for gas: send it more, or lower --pool"
        )


def deploy_federation(
    chain: Chain, key: Key, network: Network, name: str, terms: Terms, root: bytes, cid: bytes, pool: int,
    options: Mapping[str, Any] | None = None, folder: Path = FOLDER, devices: int = 0,
) -> tuple[Contract, Deployment]:  # fmt: skip
    """Deploy facets and federation, fund the pool with `pool` wei, and write the record.

    The owner must also be able to pay for the registration of so many `devices`. Raises ConfigError and
    RunError as `reserve` does, LedgerError for too little ether, Reverted for terms that are refused.
    """
    with reserve(folder, network, name) as path:
        check_funds(chain, key.address, pool, devices)
        contract, (*receipts, main) = deploy(chain, key, terms, root, cid, pool)
        content, names = artifact(), [name for name, _ in FACETS]
        facets = {name: str(receipt.contract) for name, receipt in zip(names, receipts, strict=True)}
        addresses = {"Federation": contract.address, **facets}
        deployment = Deployment(
            name=name,
            network=network.name,
            chain_id=chain.chain_id,
            address=contract.address,
            facets=facets,
            owner=key.address,
            block=main.block,
            created=f"{datetime.fromtimestamp(main.timestamp, UTC):%Y-%m-%dT%H:%M:%SZ}",
            transaction=_hex(main.hash),
            facet_transactions={
                name: _hex(receipt.hash) for name, receipt in zip(names, receipts, strict=True)
            },
            constructor={"terms": asdict(terms), "root": root, "cid": cid, "pool": pool},
            options=dict(options or {}),
            compiler=content["compiler"],
            sources_sha256=content["sources_sha256"],
            bytecode_keccak256={
                part: _hex(keccak(bytes.fromhex(code[2:]))) for part, code in content["bytecode"].items()
            },
            code_keccak256={
                part: _hex(keccak(code_at(chain, address))) for part, address in addresses.items()
            },
        )
        write(path, deployment)
    return contract, deployment


def register(contract: Contract, owner: Key, devices: Sequence[str]) -> int:
    """Register the devices that are not yet registered, in their order; returns how many those were."""
    missing = [device for device in devices if not _is_registered(contract, device)]
    for start in range(0, len(missing), MAX_REGISTRATIONS):
        contract.send(owner, "register_devices", missing[start : start + MAX_REGISTRATIONS])
    return len(missing)


def ether(wei: int) -> str:
    """Format an amount in ether, rounded up to six places."""
    micro = -(-wei // 10**12)
    return f"{micro // 10**6:,}.{micro % 10**6:06d}".rstrip("0").rstrip(".") + " ether"


def _is_registered(contract: Contract, device: str) -> bool:
    try:
        contract.call("device_of", device)
    except Reverted:
        return False
    return True


def _hex(value: bytes) -> str:
    return "0x" + value.hex()
