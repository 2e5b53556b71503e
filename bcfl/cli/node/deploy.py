"""`bcfl deploy`, `verify-contract`, `register-devices`: a federation on any network, and its check."""

from __future__ import annotations

import inspect
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bcfl.cli.node.account import PasswordFile
from bcfl.cli.node.joining import (
    FOLDER,
    AccountOption,
    FolderOption,
    KeystoreOption,
    NetworkOption,
    StoreOption,
    signing,
)
from bcfl.cli.options import JsonOption, config_parameters
from bcfl.cli.output.printing import ether, plural, print_fields, print_json
from bcfl.config import RUN_OPTIONS, Config
from bcfl.errors import BcflError, ConfigError, LedgerError

if TYPE_CHECKING:
    from bcfl.ledger.deployment.records import Deployment

NameOption = Annotated[str, typer.Option("--name", metavar="NAME", help="What to call the deployment.")]


def own_parameters(
    network: NetworkOption = None,
    name: NameOption = "federation",
    account: AccountOption = None,
    keystore: KeystoreOption = None,
    password_file: PasswordFile = None,
    store: StoreOption = "store",
    register_file: Annotated[
        Path | None,
        typer.Option(
            "--register",
            metavar="FILE",
            show_default=False,
            help="Register the devices of FILE, an address a line.",
        ),
    ] = None,
    folder: FolderOption = FOLDER,
    pairs: Annotated[
        list[str] | None,
        typer.Option("-c", metavar="KEY=VALUE", show_default=False, help="Set an option; may be repeated."),
    ] = None,
    toml: Annotated[
        Path | None,
        typer.Option(
            "--config", metavar="FILE", show_default=False, help="Read options from FILE, not bcfl.toml."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """The parameters of `bcfl deploy` that are no options of a run."""


def deploy(**given: Any) -> None:
    """Deploy a federation: fix its terms, fund its pool, publish its genesis model, write down where it is.

    The terms follow from the same options as those of `bcfl run`. The record is DIR/NETWORK/NAME.json.
    """
    from bcfl.federation.genesis import deploy_genesis
    from bcfl.ledger.deployment import networks, records
    from bcfl.ledger.deployment.addresses import read_addresses
    from bcfl.ledger.deployment.deploy import check_funds, register
    from bcfl.storage import open_store

    own = {name: given.pop(name) for name in inspect.signature(own_parameters).parameters}
    flags = {name: value for name, value in given.items() if value is not None}
    config = Config.load(flags, own["pairs"] or (), own["toml"])
    network = networks.resolve(own["network"])
    records.free_place(own["folder"], network, own["name"])
    devices = [] if own["register_file"] is None else read_addresses(own["register_file"])
    if len(devices) > config.devices:
        raise ConfigError(
            f"{own['register_file']} has {len(devices)} devices, more than devices={config.devices}"
        )
    with closing(networks.connect(network)) as chain:
        owner = signing(network, own["account"], own["keystore"], own["password_file"])
        check_funds(chain, owner.address, config.funding, len(devices))
        contract, made = deploy_genesis(
            config, chain, owner, network, open_store(own["store"]), own["name"], own["folder"], len(devices)
        )
        try:
            registered = register(contract, owner, devices)
        except BcflError as error:
            raise LedgerError(
                f"{made.address} is deployed, but not all devices are registered ({error}): go on with "
                f"`bcfl register-devices {own['register_file']} --network {network.name} --name {made.name}`"
            ) from error
    _print_deployed(
        made, records.place(own["folder"], network.name, made.name), registered, config, own["as_json"]
    )


deploy.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [
        *inspect.signature(own_parameters, eval_str=True).parameters.values(),
        *(option for option in config_parameters() if option.name not in {*RUN_OPTIONS, "wish"}),
    ]
)


def verify_contract(
    which: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="The contract, or the name of a deployment.")
    ],
    network: NetworkOption = None,
    folder: FolderOption = FOLDER,
    as_json: JsonOption = False,
) -> None:
    """Check that the code at an address, its annex and its court are what this version of bcfl deploys."""
    from bcfl.ledger.deployment import networks, records
    from bcfl.ledger.deployment.addresses import parse_address
    from bcfl.ledger.deployment.inspection import inspect

    chosen = networks.resolve(network)
    if which.startswith("0x"):
        address = parse_address(which, "ADDRESS")
    else:
        address = records.read(folder, chosen.name, which).address
    with closing(networks.connect(chosen)) as chain:
        found = inspect(chain, address)
    content = {
        "address": found.address,
        "annex": found.annex,
        "court": found.court,
        "owner": found.owner,
        "block": found.block,
        "transaction": found.transaction,
        "sources_sha256": found.sources_sha256,
    }
    if as_json:
        print_json({"verified": True, **content})
    else:
        print_fields(
            [("verified", "the contract, its annex and its court are this version's"), *content.items()]
        )


def register_devices(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The devices, an address a line.")],
    name: NameOption = "federation",
    network: NetworkOption = None,
    account: AccountOption = None,
    keystore: KeystoreOption = None,
    password_file: PasswordFile = None,
    folder: FolderOption = FOLDER,
) -> None:
    """Register devices with a deployed federation, as its owner; those that are already are passed over."""
    from bcfl.ledger.artifact import federation_at
    from bcfl.ledger.chain import code_at
    from bcfl.ledger.deployment import networks, records
    from bcfl.ledger.deployment.addresses import read_addresses
    from bcfl.ledger.deployment.deploy import register

    chosen = networks.resolve(network)
    made = records.read(folder, chosen.name, name)
    devices = read_addresses(file)
    with closing(networks.connect(chosen)) as chain:
        code_at(chain, made.address)
        owner = signing(chosen, account, keystore, password_file)
        count = register(federation_at(chain, made.address), owner, devices)
    print_fields(
        [("registered", plural(count, "device")), ("before", plural(len(devices) - count, "device"))]
    )


def register(parent: typer.Typer) -> None:
    """Add the commands of this module."""
    parent.command("deploy")(deploy)
    parent.command("verify-contract")(verify_contract)
    parent.command("register-devices")(register_devices)


def _print_deployed(made: Deployment, path: Path, registered: int, config: Config, as_json: bool) -> None:
    content = {
        "address": made.address,
        "annex": made.annex,
        "court": made.court,
        "owner": made.owner,
        "network": made.network,
        "chain": str(made.chain_id),
        "block": str(made.block),
        "transaction": made.transaction,
    }
    if as_json:
        print_json({**content, "chain": made.chain_id, "block": made.block, "record": str(path)})
        return
    shown = [("pool", ether(config.funding)), ("registered", plural(registered, "device")), ("record", path)]
    print_fields([*content.items(), *shown])
