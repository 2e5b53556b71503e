"""Run a device with a model and data of one's own: `python examples/device.py ACCOUNT SHARE [ROUNDS]`.

The federation: `bcfl deploy --task examples.device:task --max-samples 142`. ACCOUNT: an address or an index.
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_wine  # type: ignore[import-untyped]
from torch import nn

from bcfl.federation.client import connect
from bcfl.federation.node import Node, NodeOptions
from bcfl.learning import Dataset, Samples, Task
from bcfl.learning.training import TorchLearner, layout
from bcfl.ledger.deployment import keystore, networks
from bcfl.storage import open_store


def load(_: Path | None) -> Dataset:
    """Load 178 wines, 13 measurements each: put your own arrays here, float32 features and int64 labels."""
    features, labels = load_wine(return_X_y=True)
    features = ((features - features.mean(axis=0)) / features.std(axis=0)).astype(np.float32)
    order = np.random.RandomState(0).permutation(len(labels))
    wines = Samples(features, labels.astype(np.int64)).take(order)
    return Dataset(wines.take(np.arange(36, 178)), wines.take(np.arange(36)))


task = Task("wine", "wines", load, lambda: nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 3)))

if __name__ == "__main__":
    share = task.dataset().train.take(np.arange(int(sys.argv[2]), 142, 4))
    network = networks.resolve("local")
    account = networks.signer(network, sys.argv[1], lambda: keystore.read_password(None))
    learner = TorchLearner(task, share, None, seed=int(sys.argv[2]))
    with connect(network, "federation") as client:
        node = Node(client, account, layout(task), open_store("store"), NodeOptions(Path("journal")))
        node.device(learner).run(int(sys.argv[3]) if sys.argv[3:] else None)
