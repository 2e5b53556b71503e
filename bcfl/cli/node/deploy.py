"""`bcfl deploy`, `verify-contract`, `register-devices`: a federation on any network, and its check."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from bcfl.cli.groups import grouped, with_flags
from bcfl.cli.node.options import (
    FOLDER,
    FolderOption,
    NetworkOption,
    SignerOptions,
    StoreOption,
)
from bcfl.cli.options import ConfigFileOption, JsonOption, PairsOption, optional
from bcfl.cli.output.challenges import challenge_content, challenge_fields
from bcfl.cli.output.committee import committee_fields, warn
from bcfl.cli.output.printing import ether, plural, print_fields, print_json
from bcfl.config import RUN_OPTIONS, Config
from bcfl.errors import BcflError, ConfigError, LedgerError

if TYPE_CHECKING:
    from bcfl.federation.views.committee import CommitteeView
    from bcfl.ledger.deployment.records import Deployment

NameOption = Annotated[str, typer.Option("--name", metavar="NAME", help="The name of the deployment.")]


@dataclass(frozen=True)
class RecordOptions:
    """Where the record of a deployment is: DIR/NETWORK/NAME.json."""

    network: NetworkOption = None
    name: NameOption = "federation"
    folder: FolderOption = FOLDER


@with_flags(
    *RUN_OPTIONS,
    "wish",
    rounds="Rounds whose rewards go into the pool; training ends when you say. (default: 10)",
)
@grouped
def deploy(
    record: RecordOptions,
    signer: SignerOptions,
    flags: Mapping[str, object],
    store: StoreOption = "store",
    register_file: Annotated[
        Path | None, optional("--register", "FILE", "Register the devices of FILE, an address a line.")
    ] = None,
    pairs: PairsOption = None,
    toml: ConfigFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Deploy a federation: fix its terms, fund its pool, publish its genesis model, write down where it is.

    The terms follow from the same options as those of `bcfl run`. Layout and terms come from the task, and
    --max-samples says how many training samples a device may claim; of a task that comes with bcfl the data
    say it. Else no data is needed; with --data a short trial on them finds the units of the model's tensors.
    The record is DIR/NETWORK/NAME.json.
    """
    from bcfl.federation.genesis import deploy_genesis, packaged_data, require_max_samples
    from bcfl.federation.views.committee import deployment_committee
    from bcfl.ledger.deployment import networks, records
    from bcfl.ledger.deployment.addresses import read_addresses
    from bcfl.ledger.deployment.deploy import check_funds, register
    from bcfl.storage import open_store

    config = Config.load(flags, pairs or (), toml)
    data = packaged_data(config)
    if data is None:
        require_max_samples(config)
    network = networks.resolve(record.network)
    records.free_place(record.folder, network, record.name)
    devices = [] if register_file is None else read_addresses(register_file)
    if len(devices) > config.devices:
        raise ConfigError(f"{register_file} has {len(devices)} devices, more than devices={config.devices}")
    committee = deployment_committee(config)
    with closing(networks.connect(network)) as chain:
        owner = signer.unlock(network)
        check_funds(chain, owner.address, config.funding, len(devices))
        warn(committee)
        contract, deployment = deploy_genesis(
            config, chain, owner, network, open_store(store), record.name, record.folder, len(devices), data
        )
        try:
            registered = register(contract, owner, devices)
        except BcflError as error:
            raise LedgerError(
                f"{deployment.address} is deployed, but not all devices are registered ({error}): go on with "
                f"`bcfl register-devices {quote(str(register_file))} --network {network.name} "
                f"--name {deployment.name}`"
            ) from error
    path = records.place(record.folder, network.name, deployment.name)
    _print_deployed(deployment, path, registered, config, committee, as_json)


def verify_contract(
    contract: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="The contract, or the name of a deployment.")
    ],
    network: NetworkOption = None,
    folder: FolderOption = FOLDER,
    as_json: JsonOption = False,
) -> None:
    """Check that the codes at an address and of its facets are what this version of bcfl deploys."""
    from bcfl.ledger.deployment import networks, records
    from bcfl.ledger.deployment.addresses import parse_address
    from bcfl.ledger.deployment.inspection import inspect

    resolved = networks.resolve(network)
    if contract.startswith("0x"):
        address = parse_address(contract, "ADDRESS")
    else:
        address = records.read(folder, resolved.name, contract).address
    with closing(networks.connect(resolved)) as chain:
        federation = inspect(chain, address)
    content = {
        "address": federation.address,
        **federation.facets,
        "owner": federation.owner,
        "block": federation.block,
        "transaction": federation.transaction,
        "sources_sha256": federation.sources_sha256,
    }
    if as_json:
        print_json({"verified": True, **content})
    else:
        print_fields([("verified", "the contract and its facets are this version's"), *content.items()])


@grouped
def register_devices(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The devices, an address a line.")],
    record: RecordOptions,
    signer: SignerOptions,
) -> None:
    """Register devices with a deployed federation, as its owner; those that are already are passed over."""
    from bcfl.ledger.artifact import federation_at
    from bcfl.ledger.chain import code_at
    from bcfl.ledger.deployment import networks, records
    from bcfl.ledger.deployment.addresses import read_addresses
    from bcfl.ledger.deployment.deploy import register

    network = networks.resolve(record.network)
    deployment = records.read(record.folder, network.name, record.name)
    devices = read_addresses(file)
    with closing(networks.connect(network)) as chain:
        code_at(chain, deployment.address)
        owner = signer.unlock(network)
        count = register(federation_at(chain, deployment.address), owner, devices)
    print_fields(
        [("registered", plural(count, "device")), ("before", plural(len(devices) - count, "device"))]
    )


def register(parent: typer.Typer) -> None:
    """Add the commands of this module."""
    parent.command("deploy")(deploy)
    parent.command("verify-contract")(verify_contract)
    parent.command("register-devices")(register_devices)


def _print_deployed(
    deployment: Deployment,
    path: Path,
    registered: int,
    config: Config,
    committee: CommitteeView | None,
    as_json: bool,
) -> None:
    content: dict[str, object] = {
        "address": deployment.address,
        **deployment.facets,
        "owner": deployment.owner,
        "network": deployment.network,
        "chain": str(deployment.chain_id),
        "block": str(deployment.block),
        "transaction": deployment.transaction,
    }
    if as_json:
        numbers = {"chain": deployment.chain_id, "block": deployment.block}
        extra = {} if committee is None else {"committee": committee}
        print_json({**content, **numbers, "record": str(path), **challenge_content(config.window), **extra})
        return
    fields = [("pool", ether(config.funding)), ("registered", plural(registered, "device")), ("record", path)]
    terms = [*challenge_fields(config.window), *committee_fields(committee)]
    print_fields([*content.items(), *fields, *terms])
