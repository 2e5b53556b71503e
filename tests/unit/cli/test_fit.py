"""`bcfl run` says how well values fit the lanes, and warns where they do not."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bcfl import federation
from bcfl.federation.reports import LaneFit
from bcfl.roles.device.fit import Counts
from tests.unit.cli.conftest import Bcfl
from tests.unit.cli.test_run import Stage, round_report


def test_values_that_do_not_fit_are_warned_about(bcfl: Bcfl, monkeypatch: pytest.MonkeyPatch) -> None:
    fits = LaneFit(1000, 20, 0, 7, {"bias": Counts(20, 0, 40)})
    stage = Stage()
    monkeypatch.setattr(federation, "simulation", stage, raising=False)
    stage.reports = (round_report(1, fit=replace(fits, edge=0)), round_report(2, fit=fits, loss=0.1))
    answer = bcfl("run")
    assert answer.code == 0
    assert "lanes 2.00% of 2,000 changes saturated, 0.00% vanished" in " ".join(answer.out.split())
    assert "1 quality, 1 time, values do not fit" in answer.err
    warning = "2.00% of the changes saturate their lanes (bias) and 7 values of the model stand at the edge"
    assert f"warning: {warning}" in answer.err
    report = json.loads(bcfl("run", "--json").out)
    assert report["fit_warning"].startswith(warning)
    assert report["warning"] is None
    tensor = {"saturated": 20, "vanished": 0, "moved": 40}
    counts = {"moved": 1000, "saturated": 20, "vanished": 0, "edge": 7, "tensors": {"bias": tensor}}
    assert report["rounds"][1]["fit"] == counts
