"""Flower apps as `flwr new` makes them: a folder with a pyproject.toml and a package."""

from __future__ import annotations

from pathlib import Path

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "1.0.0"
dependencies = ["flwr>=1.41.0"]

[tool.flwr.app]
publisher = "somebody"

[tool.flwr.app.components]
serverapp = "{package}.server_app:app"
clientapp = "{package}.client_app:app"

[tool.flwr.app.config]
num-server-rounds = 3
fraction-evaluate = 1.0
local-epochs = 2
learning-rate = 0.1
"""

TORCH_TASK = """
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

PIXELS, LABELS = load_digits(return_X_y=True)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.norm, self.outer = nn.Linear(64, 32), nn.BatchNorm1d(32), nn.Linear(32, 10)

    def forward(self, x):
        return self.outer(torch.relu(self.norm(self.inner(x))))


def load_data(partition_id, num_partitions):
    order = np.random.RandomState(0).permutation(len(LABELS))[partition_id::num_partitions]
    x = torch.tensor(PIXELS[order] / 16, dtype=torch.float32)
    y = torch.tensor(LABELS[order])
    cut = len(order) // 5
    return (x[cut:], y[cut:]), (x[:cut], y[:cut])


def train(net, data, epochs, lr):
    x, y = data
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    net.train()
    for epoch in range(epochs):
        generator = torch.Generator().manual_seed(epoch)
        for part in torch.randperm(len(y), generator=generator).tensor_split(len(y) // 16):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(x[part]), y[part])
            loss.backward()
            optimizer.step()
    return loss.item()


def test(net, data):
    x, y = data
    net.eval()
    with torch.no_grad():
        out = net(x)
    return nn.functional.cross_entropy(out, y).item(), (out.argmax(1) == y).float().mean().item()
"""

NUMPY_CLIENT = """
import torch
from flwr.app import Context
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp

from {package}.task import Net, load_data, test, train


class FlowerClient(NumPyClient):
    def __init__(self, net, data, epochs, lr):
        self.net, (self.training, self.held_out), self.epochs, self.lr = net, data, epochs, lr

    def get_parameters(self, config):
        return [value.numpy() for value in self.net.state_dict().values()]

    def set_parameters(self, parameters):
        names = self.net.state_dict()
        self.net.load_state_dict(dict(zip(names, map(torch.tensor, parameters))), strict=True)

    def fit(self, parameters, config):
        self.set_parameters(parameters)
        print("training in round", config["server_round"])
        loss = train(self.net, self.training, self.epochs, self.lr)
        return self.get_parameters({{}}), len(self.training[1]), {{"train_loss": loss}}

    def evaluate(self, parameters, config):
        self.set_parameters(parameters)
        loss, accuracy = test(self.net, self.held_out)
        return loss, len(self.held_out[1]), {{"accuracy": accuracy}}


def client_fn(context: Context):
    node, run = context.node_config, context.run_config
    data = load_data(node["partition-id"], node["num-partitions"])
    return FlowerClient(Net(), data, run["local-epochs"], run["learning-rate"]).to_client()


app = ClientApp(client_fn=client_fn)
"""

NUMPY_SERVER = """
from flwr.app import Context
from flwr.common import ndarrays_to_parameters
from flwr.server import ServerApp, ServerAppComponents, ServerConfig
from flwr.server.strategy import FedAvg

from {package}.task import Net


def server_fn(context: Context):
    parameters = ndarrays_to_parameters([value.numpy() for value in Net().state_dict().values()])
    strategy = FedAvg(
        fraction_evaluate=context.run_config["fraction-evaluate"],
        initial_parameters=parameters,
        on_fit_config_fn=lambda server_round: {{"server_round": server_round}},
    )
    config = ServerConfig(num_rounds=context.run_config["num-server-rounds"])
    return ServerAppComponents(strategy=strategy, config=config)


app = ServerApp(server_fn=server_fn)
"""

MESSAGE_CLIENT = """
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from {package}.task import Net, load_data, test, train as train_fn

app = ClientApp()


def prepare(msg, context):
    net = Net()
    net.load_state_dict(msg.content["arrays"].to_torch_state_dict())
    return net, load_data(context.node_config["partition-id"], context.node_config["num-partitions"])


@app.train()
def train(msg: Message, context: Context):
    net, (data, _) = prepare(msg, context)
    loss = train_fn(net, data, context.run_config["local-epochs"], msg.content["config"]["lr"])
    past = context.state.metric_records.setdefault("past", MetricRecord({{"rounds": 0}}))
    past["rounds"] += 1
    metrics = MetricRecord({{"train_loss": loss, "num-examples": len(data[1])}})
    content = RecordDict({{"arrays": ArrayRecord(net.state_dict()), "metrics": metrics}})
    return Message(content=content, reply_to=msg)


@app.evaluate()
def evaluate(msg: Message, context: Context):
    net, (_, data) = prepare(msg, context)
    loss, accuracy = test(net, data)
    metrics = MetricRecord({{"eval_loss": loss, "eval_acc": accuracy, "num-examples": len(data[1])}})
    if "past" in context.state.metric_records:
        metrics["rounds_trained"] = context.state["past"]["rounds"]
    return Message(content=RecordDict({{"metrics": metrics}}), reply_to=msg)
"""

MESSAGE_SERVER = """
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from {package}.task import Net, load_data, test

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    net = Net()
    strategy = FedAvg(fraction_evaluate=context.run_config["fraction-evaluate"])
    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord(net.state_dict()),
        train_config=ConfigRecord({{"lr": context.run_config["learning-rate"]}}),
        num_rounds=context.run_config["num-server-rounds"],
        evaluate_fn=global_evaluate,
    )
    torch.save(result.arrays.to_torch_state_dict(), "final_model.pt")


def global_evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:
    net = Net()
    net.load_state_dict(arrays.to_torch_state_dict())
    loss, accuracy = test(net, load_data(0, 1)[1])
    return MetricRecord({{"accuracy": accuracy, "loss": loss}})
"""

SKLEARN_TASK = """
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression

FEATURES, LABELS = load_breast_cancer(return_X_y=True)
FEATURES = (FEATURES - FEATURES.mean(0)) / FEATURES.std(0)


def load_data(partition_id, num_partitions):
    order = np.random.RandomState(0).permutation(len(LABELS))[partition_id::num_partitions]
    x, y = FEATURES[order], LABELS[order]
    cut = len(order) // 5
    return (x[cut:], y[cut:]), (x[:cut], y[:cut])


def create_model(epochs):
    model = LogisticRegression(C=0.1, max_iter=epochs, warm_start=True)
    model.classes_ = np.arange(2)
    model.coef_, model.intercept_ = np.zeros((1, FEATURES.shape[1])), np.zeros(1)
    return model


def get_params(model):
    return [model.coef_, model.intercept_]


def set_params(model, params):
    model.coef_, model.intercept_ = params
    return model
"""

SKLEARN_CLIENT = """
import warnings

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from sklearn.metrics import log_loss

from {package}.task import create_model, get_params, load_data, set_params

app = ClientApp()


def prepare(msg, context):
    model = create_model(context.run_config["local-epochs"])
    set_params(model, msg.content["arrays"].to_numpy_ndarrays())
    return model, load_data(context.node_config["partition-id"], context.node_config["num-partitions"])


@app.train()
def train(msg: Message, context: Context):
    model, ((x, y), _) = prepare(msg, context)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(x, y)
    metrics = MetricRecord({{"num-examples": len(x), "train_logloss": log_loss(y, model.predict_proba(x))}})
    content = RecordDict({{"arrays": ArrayRecord(get_params(model)), "metrics": metrics}})
    return Message(content=content, reply_to=msg)


@app.evaluate()
def evaluate(msg: Message, context: Context):
    model, (_, (x, y)) = prepare(msg, context)
    loss = log_loss(y, model.predict_proba(x), labels=[0, 1])
    metrics = MetricRecord({{"num-examples": len(x), "test_logloss": loss, "accuracy": model.score(x, y)}})
    return Message(content=RecordDict({{"metrics": metrics}}), reply_to=msg)
"""

SKLEARN_SERVER = """
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from {package}.task import create_model, get_params

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    model = create_model(context.run_config["local-epochs"])
    strategy = FedAvg(fraction_evaluate=context.run_config["fraction-evaluate"])
    strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord(get_params(model)),
        num_rounds=context.run_config["num-server-rounds"],
    )
"""

SOURCES = {
    "numpy": (TORCH_TASK, NUMPY_CLIENT, NUMPY_SERVER),
    "message": (TORCH_TASK, MESSAGE_CLIENT, MESSAGE_SERVER),
    "sklearn": (SKLEARN_TASK, SKLEARN_CLIENT, SKLEARN_SERVER),
}


def write_app(folder: Path, kind: str, package: str, **changes: str) -> Path:
    """Write an app of a kind to `folder` and return it; `changes` of client_app: text to what replaces it."""
    home = folder / package
    home.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PROJECT.format(name=package.replace("_", "-"), package=package))
    (home / "__init__.py").touch()
    for name, source in zip(("task", "client_app", "server_app"), SOURCES[kind], strict=True):
        text = source if name == "task" else source.format(package=package)
        (home / f"{name}.py").write_text(changes.get(name, "{}").replace("{}", text))
    return folder
