"""Serve the counters of a process that has no inbox to Prometheus: of a device, a chain, a watch."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Protocol

from bcfl.relay.counters import PROMETHEUS, Counters, label
from bcfl.relay.statements import Statement
from bcfl.transport.server import Handler, Limits, Server

LIMITS: Final = Limits(
    body_bytes=0, connections=8, per_address=4, idle_seconds=10, reading_seconds=5, answer_seconds=5,
    rate=8, burst=32,
)  # fmt: skip


class Observed(Protocol):
    """A process that counts what it does and knows if it is well."""

    @property
    def counters(self) -> Counters:
        """What it counts."""

    def health(self) -> tuple[bool, Mapping[str, Any]]:
        """Return whether all is well, and details; from any thread."""


class MetricsServer(Server):
    """What a process tells of itself at `host`:`port` (0: a free one)."""

    def __init__(self, process: Observed, host: str, port: int) -> None:
        self.process = process
        super().__init__(host, port, _MetricsHandler, LIMITS)


class _MetricsHandler(Handler):
    """GET /metrics and GET /healthz."""

    server: MetricsServer

    def get(self) -> None:
        """Answer with counters, or with health."""
        if self.path == "/metrics":
            self.answer(200, self.server.process.counters.text().encode(), PROMETHEUS)
        elif self.path == "/healthz":
            is_healthy, details = self.server.process.health()
            content = json.dumps({"ok": is_healthy, **details}).encode() + b"\n"
            self.answer(200 if is_healthy else 503, content)
        else:
            self.refuse(404, "there is nothing here")


@contextmanager
def serve(process: Observed, host: str, port: int) -> Iterator[str]:
    """Serve the counters of a process as long as the block lasts; gives the URL.

    Raises ConfigError where nothing can listen.
    """
    server = MetricsServer(process, host, port)
    server.start()
    try:
        yield server.url
    finally:
        server.stop()


def show(counters: Counters, statement: Statement) -> None:
    """Set the gauges of what a party has stated last."""
    counters.set("stated_round", statement.round)
    counters.set("stated_samples", statement.samples)
    counters.set("stated_loss", math.nan if statement.loss is None else statement.loss)
    for name, value in statement.metrics.items():
        counters.set("stated_metric", math.nan if value is None else value, label("metric", name))
