"""Say which part of the data a party has, in Flower's words, and keep what its app keeps between rounds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from bcfl.errors import RunError
from bcfl.learning.own import KEPT, Records

RECORD = "flower.bin"
NUMBER_BYTES = 8
UserConfig = dict[str, bool | float | int | str]


class States:
    """The state of an app's context, serialized, after each round in which the party has trained."""

    def __init__(self) -> None:
        self._by_round: dict[int, bytes] = {}
        self._records: Records | None = None

    @property
    def latest(self) -> bytes:
        """Return what the last training left, empty before any."""
        return self._by_round[max(self._by_round)] if self._by_round else b""

    def before(self, round_: int) -> bytes:
        """Return what the trainings before a round left."""
        earlier = [number for number in self._by_round if number < round_]
        return self._by_round[max(earlier)] if earlier else b""

    def put(self, round_: int, state: bytes) -> None:
        """Take what the training of a round left; it survives the process where records are kept."""
        if not state and not self._by_round:
            return
        self._by_round[round_] = state
        for number in sorted(self._by_round)[:-KEPT]:
            del self._by_round[number]
        if self._records is not None:
            items = sorted(self._by_round.items())
            self._records.write(RECORD, b"".join(_number(n) + _number(len(s)) + s for n, s in items))

    def keep(self, records: Records) -> None:
        """Read what an earlier process has kept, and keep from now on; raises RunError if it is damaged."""
        self._records, self._by_round = records, {}
        data, start = records.read(RECORD) or b"", 0
        while start < len(data):
            head = data[start : start + 2 * NUMBER_BYTES]
            number = int.from_bytes(head[:NUMBER_BYTES], "big")
            length = int.from_bytes(head[NUMBER_BYTES:], "big")
            start += 2 * NUMBER_BYTES + length
            if len(head) < 2 * NUMBER_BYTES or start > len(data):
                raise RunError(f"the journal record {RECORD} is damaged: remove it to start anew")
            self._by_round[number] = data[start - length : start]


def _number(value: int) -> bytes:
    return value.to_bytes(NUMBER_BYTES, "big")


@dataclass(frozen=True, eq=False)
class Node:
    """One party as its app sees it: `config` comes before the numbers of the partition."""

    partition: int = 0
    partitions: int = 1
    config: UserConfig = field(default_factory=dict)
    states: States = field(default_factory=States)
    samples: int = 1  # to train on, as far as anybody knows before it has trained

    @property
    def node_config(self) -> UserConfig:
        """Return the node config that the app gets."""
        return {"partition-id": self.partition, "num-partitions": self.partitions, **self.config}

    def anew(self) -> Node:
        """Return the same node without a memory."""
        return Node(self.partition, self.partitions, self.config, samples=self.samples)


@dataclass(frozen=True, eq=False)
class Nodes:
    """All parties of a run: a partition for each device. A miner judges by the test part of a device's."""

    devices: tuple[Node, ...]
    miners: tuple[Node, ...]
    most_samples: int = 1  # that a device may claim
    classes: int = 0  # bcfl does not see the data
    test: Any = None

    @classmethod
    def share(cls, devices: int, miners: int, config: UserConfig) -> Nodes:
        """Return nodes for so many parties."""
        return cls(
            tuple(Node(index, devices, config) for index in range(devices)),
            tuple(Node(index % devices, devices, config) for index in range(miners)),
        )

    def with_samples(self, samples: int, most: int) -> Nodes:
        """Return the same where each device is taken to have so many samples, and may claim `most`."""
        devices, miners = (
            tuple(replace(node, samples=samples) for node in nodes) for nodes in (self.devices, self.miners)
        )
        return Nodes(devices, miners, most)
