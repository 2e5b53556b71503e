"""Run a miner that verifies with data of one's own: `python examples/miner.py ACCOUNT [ROUNDS]`."""

import logging
import signal
import sys
from pathlib import Path

from device import task

from bcfl.federation.client import connect
from bcfl.federation.node import MinerOptions, Node, NodeOptions
from bcfl.learning.training import TorchLearner, layout
from bcfl.ledger.deployment import keystore, networks
from bcfl.roles.miner.verifier import Checks
from bcfl.storage import open_store

logging.basicConfig(level=logging.INFO)
network = networks.resolve("local")
account = networks.signer(network, sys.argv[1], lambda: keystore.read_password(None))
options = MinerOptions(stake=2 * 10**18, checks=Checks(direction_tolerance=4.0))

with connect(network, "federation") as client:
    store = open_store("store")
    fitted = client.task(task, store)  # with the scale of each tensor, as the first model has it
    learner = TorchLearner(fitted, None, task.dataset().test, seed=0)  # it judges by what it holds out
    node = Node(client, account, layout(fitted), store, NodeOptions(Path("journal")))
    with node.miner(learner, options) as daemon:
        signal.signal(signal.SIGTERM, daemon.stop)
        daemon.run(int(sys.argv[2]) if len(sys.argv) > 2 else None)
