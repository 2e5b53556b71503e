"""Deploy a federation: what `bcfl deploy` does, as a script to read and to change.

    bcfl chain up &
    python examples/deploy.py --network local --name demo devices=8 miners=3 task=digits max_samples=1500

The script fixes the terms, puts the first model on the store, deploys the contracts, funds the pool of
rewards, registers the devices and writes deployments/NETWORK/NAME.json. It reads no data.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from pathlib import Path

from bcfl.config import Config
from bcfl.errors import BcflError
from bcfl.federation.genesis import deploy_genesis
from bcfl.ledger.deployment import keystore, networks
from bcfl.ledger.deployment.addresses import read_addresses
from bcfl.ledger.deployment.deploy import register
from bcfl.storage import open_store


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", help="a network of bcfl.toml, or local")
    parser.add_argument("--name", default="federation", help="what to call the deployment")
    parser.add_argument("--account", help="who signs and pays")
    parser.add_argument("--password-file", type=Path, help="of the keystore")
    parser.add_argument("--store", default="store", help="a folder, or ipfs:/ip4/127.0.0.1/tcp/5001")
    parser.add_argument("--register", type=Path, help="a file with the addresses of the devices, one a line")
    parser.add_argument("options", nargs="*", help="key=value, as for `bcfl run -c`")
    return parser.parse_args()


def main() -> None:
    """Deploy one federation, from options to record."""
    arguments = parse_arguments()
    # What the federation agrees on: everything that is in the terms follows from these options.
    config = Config.load(pairs=arguments.options)
    # Where, and who pays. A mnemonic is for test networks; elsewhere the key comes from the keystore.
    network = networks.resolve(arguments.network)
    owner = networks.signer(
        network, arguments.account, lambda: keystore.read_password(arguments.password_file)
    )
    with closing(networks.connect(network)) as chain:
        # The first model goes to the store; the chain gets its Merkle root and the digest of its CID.
        contract, record = deploy_genesis(
            config, chain, owner, network, open_store(arguments.store), arguments.name
        )
        print(f"{record.name} is at {record.address} on {network.name}, block {record.block}")
        # The owner admits devices; miners join by themselves, with their stake.
        if arguments.register is not None:
            count = register(contract, owner, read_addresses(arguments.register))
            print(f"registered {count} devices")


if __name__ == "__main__":
    try:
        main()
    except BcflError as error:
        sys.exit(f"error: {error}")
