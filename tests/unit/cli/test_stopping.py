"""Signals that end a run: those that the system has."""

from __future__ import annotations

import runpy
import signal

import pytest

from bcfl.cli.run import stopping


def test_a_system_without_sighup_has_sigterm_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Windows is."""
    assert stopping.SIGNALS == (signal.SIGTERM, signal.SIGHUP)
    monkeypatch.delattr(signal, "SIGHUP")
    module = runpy.run_path(stopping.__file__)
    assert module["SIGNALS"] == (signal.SIGTERM,)
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)  # commands of other tests leave theirs
    try:
        with module["stopped_by_signals"]():
            assert signal.getsignal(signal.SIGTERM) is module["_interrupt"]
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)
