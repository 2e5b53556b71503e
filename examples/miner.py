"""Run a miner that verifies with data of one's own: `python examples/miner.py ACCOUNT [ROUNDS]`."""

import logging
import signal
import sys
from pathlib import Path

from device import task

from bcfl.errors import BcflError
from bcfl.federation.client import connect
from bcfl.federation.node import MinerOptions, Node, NodeOptions
from bcfl.learning.training import TorchLearner, layout
from bcfl.ledger.deployment import keystore, networks
from bcfl.roles.miner.verifier import Checks
from bcfl.storage import open_store


def main(account_name: str, rounds: int | None) -> None:
    """Stake, and verify for so many rounds, or until SIGTERM."""
    network = networks.resolve("local")
    account = networks.signer(network, account_name, lambda: keystore.read_password(None))
    options = MinerOptions(stake=2 * 10**18, checks=Checks(direction_tolerance=4.0))
    with connect(network, "federation") as client:
        store = open_store("store")
        fitted = client.task(task, store)  # with the scale of each tensor, as the first model has it
        learner = TorchLearner(fitted, None, task.dataset().test, seed=0)  # it judges by what it holds out
        node = Node(client, account, layout(fitted), store, NodeOptions(Path("journal")))
        with node.miner(learner, options) as daemon:
            signal.signal(signal.SIGTERM, daemon.stop)
            daemon.run(rounds)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    if not sys.argv[1:]:
        sys.exit(__doc__)
    try:
        main(sys.argv[1], int(sys.argv[2]) if sys.argv[2:] else None)
    except BcflError as error:
        sys.exit(f"error: {error}")
