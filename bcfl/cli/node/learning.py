"""What a party learns from, and what its updates may tell of it, as options of `bcfl start`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from bcfl.cli.node.options import parse_share
from bcfl.cli.options import CPU, DeviceOption, optional
from bcfl.errors import ConfigError

if TYPE_CHECKING:
    from bcfl.federation.budget import BudgetLedger
    from bcfl.learning.kinds import AnyTask


@dataclass(frozen=True)
class LearningOptions:
    """What a party learns from."""

    task: Annotated[str | None, optional("--task", "NAME", "The learning task; else as it was deployed.")] = (
        None
    )
    data: Annotated[
        Path | None,
        optional("--data", "DIR", "The folder of this party's own data, which the task's `load` gets."),
    ] = None
    flower: Annotated[
        Path | None,
        optional("--flower", "DIR", "The folder of the Flower app, where the federation has one."),
    ] = None
    node_config: Annotated[
        str | None,
        optional("--node-config", "PAIRS", "The app's node config of this party: 'key=value ...'."),
    ] = None
    part: Annotated[
        str | None,
        optional(
            "--share", "I/N", "Where all have the same data: hold the I-th of N shares, not all of them."
        ),
    ] = None
    pairs: Annotated[
        list[str] | None,
        optional(
            "-c",
            "KEY=VALUE",
            "An option of learning (partition, seed, epochs...), where it differs from the deployment's.",
        ),
    ] = None

    torch_device: DeviceOption = CPU

    @property
    def flags(self) -> dict[str, Any]:
        """Return the options of learning that are set; raises ConfigError for a pair that is none."""
        flags: dict[str, Any] = {}
        for pair in self.pairs or ():
            key, equals, value = pair.partition("=")
            if not equals:
                raise ConfigError(f"-c {pair[:60]} is not key=value: write, for example, -c partition=iid")
            flags[key.strip().replace("-", "_")] = value.strip()
        fields = {
            "task": self.task,
            "data": self.data,
            "flower": self.flower,
            "node_config": self.node_config,
        }
        return flags | {name: value for name, value in fields.items() if value is not None}

    @property
    def share(self) -> tuple[int, int] | None:
        """Return index and number of the shares; raises ConfigError."""
        return None if self.part is None else parse_share(self.part)


@dataclass(frozen=True)
class BudgetOptions:
    """What a device's updates may tell of its data, where the federation hides it in noise."""

    budget: Annotated[
        str | None,
        optional(
            "--budget",
            "epsilon=X",
            "With noise: sit out what would tell more of the data, in all federations; also ,delta=1e-6.",
        ),
    ] = None
    budget_file: Annotated[
        Path | None,
        optional("--budget-file", "FILE", "Where it is counted; else in the folder --data."),
    ] = None

    def ledger(self, task: AnyTask, data: Path | None, name: str) -> BudgetLedger | None:
        """Return where a device of the federation `name` counts; raises ConfigError."""
        from bcfl.federation.budget import ledger_of
        from bcfl.protocol.noise import Noise, budget_of_options

        budget = None if self.budget is None else budget_of_options(self.budget)
        has_noise = Noise.of(task.agreement) is not None
        return ledger_of(has_noise, data, budget, self.budget_file, name)
