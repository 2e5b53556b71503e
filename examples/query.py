"""What the chain says of every round, and how good the last model is: `python examples/query.py`."""

from device import task

from bcfl.federation.node import reach
from bcfl.learning.training import TorchLearner, layout
from bcfl.ledger.deployment import networks
from bcfl.storage import open_store

with reach(networks.resolve("local"), "federation") as client:
    history = client.ledger.history()
    for found in history.rounds.values():
        accepted = [history.devices[item.update.device] for item in found.taken()]
        print(f"round {found.number}: {found.status}, led by {found.leader}, accepted {accepted}")
    print("credits of the first device:", client.ledger.contract.call("credits", history.devices[0]), "wei")
    model = client.archive(layout(task), open_store("store")).values(history.head)
    print("accuracy:", TorchLearner(task, None, task.dataset().test, seed=0).evaluate(model).accuracy)
