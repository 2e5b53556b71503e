"""Deploys a federation: what `bcfl deploy` does, as a script to read and to change.

    bcfl chain up &
    python deploy/deploy.py --network local --name demo devices=8 miners=3 task=digits

It fixes the terms, publishes the genesis model on the store, deploys court, annex and federation, funds the
pool of rewards, registers the devices and writes deployments/NETWORK/NAME.json.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bcfl.config import Config
from bcfl.errors import BcflError
from bcfl.federation.simulation import material
from bcfl.federation.terms import terms_of
from bcfl.learning.training import initial_model, layout
from bcfl.ledger.deployment import keystore, networks
from bcfl.ledger.deployment.addresses import read_addresses
from bcfl.ledger.deployment.deploy import deploy_federation, register
from bcfl.protocol import fixedpoint
from bcfl.roles.common.archive import Archive
from bcfl.storage import open_store


def main() -> None:
    """One federation, from options to record."""
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
    given = parser.parse_args()

    # What the federation agrees on: everything that is in the terms follows from these options.
    config = Config.load(pairs=given.options)
    task, shares = material(config)
    shape = layout(task)
    terms = terms_of(config, shape, largest=max(len(share) for share in shares.devices))

    # Where, and who pays. A mnemonic is for test networks; elsewhere the key comes from the keystore.
    network = networks.resolve(given.network)
    chain = networks.connect(network)
    owner = networks.signer(network, given.account, lambda: keystore.read_password(given.password_file))

    # The genesis model goes to the store; the chain gets its Merkle root and the digest of its CID.
    archive = Archive(open_store(given.store), shape, terms)
    genesis = archive.put(fixedpoint.encode(initial_model(task, config.seed), terms.scale_bits))

    # Three transactions: the court, the annex that delegates to it, and the federation that delegates to
    # the annex, with the pool in it.
    contract, record = deploy_federation(
        chain,
        owner,
        network,
        given.name,
        terms,
        genesis.root,
        genesis.cid,
        pool=config.funding,
        options=config.model_dump(mode="json", exclude={"runs", "run_dir"}),
    )
    print(f"{record.name} is at {record.address} on {network.name}, block {record.block}")

    # Devices are admitted by the owner; miners join by themselves, with their stake.
    if given.register is not None:
        count = register(contract, owner, read_addresses(given.register))
        print(f"registered {count} devices")
    chain.close()


if __name__ == "__main__":
    try:
        main()
    except BcflError as error:
        sys.exit(f"error: {error}")
