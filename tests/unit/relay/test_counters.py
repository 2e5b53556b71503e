"""The counters of an inbox in the text format of Prometheus."""

from __future__ import annotations

from bcfl.relay.server import Counters


def test_counters_are_prometheus_text() -> None:
    counters = Counters()
    for label in ('kind="a"', 'kind="b"', 'kind="a"'):
        counters.count("messages_total", label)
    counters.set("round", 3)
    assert counters.text() == (
        '# TYPE bcfl_messages_total counter\nbcfl_messages_total{kind="a"} 2\n'
        'bcfl_messages_total{kind="b"} 1\n'
        "# TYPE bcfl_round gauge\nbcfl_round 3\n"
    )
