"""Follow a run with your own function, Weights & Biases or MLflow: `python examples/callbacks.py [NAME]`.

NAME is `wandb` or `mlflow`; both work offline, in the folder `tracked`. A callback gets a `Progress` at every
step; its `report` is there when a round has just ended (bcfl/federation/reports.py).
"""

import sys
from collections.abc import Callable
from pathlib import Path

from bcfl.config import Config
from bcfl.federation import simulation
from bcfl.federation.logbooks import Observer, scalars, several
from bcfl.federation.reports import Progress

FOLDER = Path("tracked")


def print_round(progress: Progress) -> None:
    """Print a line when a round has ended."""
    if progress.report is not None:
        print(progress.round, progress.report.status, progress.report.metrics, f"loss {progress.report.loss}")


def wandb_callback() -> Observer:
    """Return a callback that logs to Weights & Biases, offline."""
    try:
        import wandb
    except ImportError:
        raise SystemExit("Weights & Biases is missing: pip install wandb") from None
    run = wandb.init(project="bcfl", mode="offline", dir=FOLDER)

    def log(progress: Progress) -> None:
        if progress.report is not None:
            run.log(scalars(progress.report), step=progress.round)

    return log


def mlflow_callback() -> Observer:
    """Return a callback that logs to MLflow, into a folder."""
    try:
        import mlflow
    except ImportError:
        raise SystemExit("MLflow is missing: pip install mlflow") from None
    mlflow.set_tracking_uri(FOLDER.absolute().as_uri())
    mlflow.set_experiment("bcfl")
    mlflow.start_run()

    def log(progress: Progress) -> None:
        if progress.report is not None:
            mlflow.log_metrics(scalars(progress.report), step=progress.round)

    return log


CALLBACKS: dict[str, Callable[[], Observer]] = {"wandb": wandb_callback, "mlflow": mlflow_callback}

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    observers = [CALLBACKS[name]() for name in sys.argv[1:]]
    config = Config(devices=4, miners=3, rounds=2, partition="iid")
    simulation.run(config, on_progress=several(print_round, *observers))
