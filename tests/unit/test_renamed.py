"""Whoever imports by a former name is told the new one."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from bcfl.renamed import MODULES, NAMES


@pytest.mark.parametrize(("old", "new"), MODULES.items())
def test_a_former_module_names_the_new_one(old: str, new: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=rf"^bcfl\.{old} is now bcfl\.{new}( |$)"):
        import_module(f"bcfl.{old}")
    assert import_module(f"bcfl.{new}").__doc__


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("bcfl.roles.device", "Device", "bcfl.roles.device.device.Device"),
        ("bcfl.roles.miner", "Miner", "bcfl.roles.miner.miner.Miner"),
        ("bcfl.roles.watchtower", "Watchtower", "bcfl.roles.watchtower.watchtower.Watchtower"),
        ("bcfl.adversaries.attack", "Scene", "AttackContext"),
        ("bcfl.adversaries.attack", "DeviceKit", "DeviceParts"),
        ("bcfl.adversaries.attack", "MinerKit", "MinerParts"),
        ("bcfl.learning.training", "initial", "initial_model"),
    ],
)
def test_a_former_name_names_the_new_one(module: str, old: str, new: str) -> None:
    with pytest.raises(ImportError, match=rf"^{module}\.{old} is now {new}$"):
        getattr(import_module(module), old)
    place, _, name = new.rpartition(".")
    assert getattr(import_module(place or module), name)


def test_a_name_that_never_was_is_refused_as_usual() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'bcfl\.nothing'"):
        import_module("bcfl.nothing")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = import_module("bcfl.roles.miner").nothing


def test_a_script_ends_with_the_new_name() -> None:
    command = [sys.executable, "-c", "from bcfl.parties import reach"]
    script = subprocess.run(command, capture_output=True, text=True, check=False)
    assert script.returncode == 1
    last_line = script.stderr.splitlines()[-1]
    assert last_line == f"ModuleNotFoundError: bcfl.parties is now bcfl.federation.node ({NAMES['parties']})"
