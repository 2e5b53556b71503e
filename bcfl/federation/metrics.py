"""Serve the counters of a process to Prometheus: of a device too, which has no inbox."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from bcfl.federation.daemon import Daemon
from bcfl.relay.counters import PROMETHEUS, Counters, label
from bcfl.relay.statements import Statement
from bcfl.transport.server import Handler, Limits, Server

LIMITS: Final = Limits(
    body_bytes=0, connections=8, per_address=4, idle_seconds=10, reading_seconds=5, answer_seconds=5,
    rate=8, burst=32,
)  # fmt: skip


class MetricsServer(Server):
    """What a daemon tells of itself at `host`:`port` (0: a free one)."""

    def __init__(self, daemon: Daemon, host: str, port: int) -> None:
        self.daemon = daemon
        super().__init__(host, port, _MetricsHandler, LIMITS)


class _MetricsHandler(Handler):
    """GET /metrics and GET /healthz."""

    server: MetricsServer

    def get(self) -> None:
        """Answer with counters, or with health."""
        if self.path == "/metrics":
            self.answer(200, self.server.daemon.counters.text().encode(), PROMETHEUS)
        elif self.path == "/healthz":
            is_healthy, details = self.server.daemon.health()
            content = json.dumps({"ok": is_healthy, **details}).encode() + b"\n"
            self.answer(200 if is_healthy else 503, content)
        else:
            self.refuse(404, "there is nothing here")


@contextmanager
def serve(daemon: Daemon, host: str, port: int) -> Iterator[str]:
    """Serve the counters of a daemon as long as the block lasts; raises ConfigError where nothing can listen.

    Gives the URL.
    """
    server = MetricsServer(daemon, host, port)
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
