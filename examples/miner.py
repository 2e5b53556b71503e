"""A miner that verifies with data of one's own: `python examples/miner.py ACCOUNT [ROUNDS]`."""

import logging
import signal
import sys
from pathlib import Path

from device import task

from bcfl.federation.node import miner, reach
from bcfl.learning.training import TorchLearner, layout
from bcfl.ledger.deployment import keystore, networks
from bcfl.roles.miner.verifier import Checks
from bcfl.storage import open_store

logging.basicConfig(level=logging.INFO)
network = networks.resolve("local")
account = networks.signer(network, sys.argv[1], lambda: keystore.read_password(None))
learner = TorchLearner(task, None, task.dataset().test, seed=0)  # what it holds out is what it judges by
options = {"stake": 2 * 10**18, "checks": Checks(quality_tolerance=4.0)}

with (
    reach(network, "federation") as client,
    miner(client, account, learner, layout(task), open_store("store"), Path("journal"), **options) as party,
):
    signal.signal(signal.SIGTERM, party.stop)
    party.run(int(sys.argv[2]) if len(sys.argv) > 2 else None)
