"""A run that goes on with other data, another model or options is refused, and what changed is named."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from bcfl.config import Config
from bcfl.errors import RunError
from bcfl.federation import fingerprint, simulation
from bcfl.federation.own_source import reached
from bcfl.learning import Dataset, Samples, Task, resolve
from bcfl.learning.metrics import Mean

THIS = "tests.integration.test_fingerprint"


def clouds(count: int = 120) -> Dataset:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, count)
    features = rng.normal(size=(count, 4)) + labels[:, None]
    whole = Samples(features, labels)
    return Dataset(whole.take(np.arange(0, count * 3 // 4)), whole.take(np.arange(count * 3 // 4, count)))


def narrow() -> nn.Module:
    return nn.Linear(4, 3)


def with_bias_of_one() -> nn.Module:
    model = nn.Linear(4, 3)
    nn.init.ones_(model.bias)
    return model


def squares(outputs: Any, labels: Any) -> Any:
    return ((outputs.argmax(1) - labels) ** 2).float().mean() + outputs.square().mean()


def longer(outputs: Any, labels: Any) -> Any:
    return ((outputs.argmax(1) - labels) ** 2).float().mean() + 2 * outputs.square().mean()


task = Task("clouds", "", lambda _: clouds(), narrow, epochs=1, loss=squares)


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    options: dict[str, Any] = {"task": f"{THIS}:task", "devices": 3, "miners": 2, "rounds": 1}
    simulation.run(Config(**options, partition="iid", run_dir=tmp_path / "run"))
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"load": lambda _: clouds(124)}, "training data, miners' data, test data have changed"),
        ({"build": with_bias_of_one}, "model has changed"),
        ({"learning_rate": 0.3, "epochs": 2}, "option epochs, option learning_rate have changed"),
        ({"loss": longer}, "option loss has changed"),
        ({"metrics": ("accuracy",)}, "option metrics has changed"),
    ],
)
def test_what_has_changed_is_named(
    begun: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], named: str
) -> None:
    monkeypatch.setattr(f"{THIS}.task", replace(task, **changes))
    with pytest.raises(RunError, match=f"^{named} since this run began: put back what was there"):
        simulation.resume(begun)


def test_no_address_stands_for_a_function() -> None:
    """Another process has others."""
    metrics = {"mine": squares, "mean": Mean(squares), "names": ("accuracy",)}
    text = fingerprint._text(metrics)
    assert "0x" not in text
    assert text != fingerprint._text(metrics | {"mean": Mean(longer)})


def test_the_same_goes_on(begun: Path) -> None:
    assert len(simulation.resume(begun).rounds) == 1
    file = begun / fingerprint.FILE
    assert set(json.loads(file.read_text())) >= {"training data", "model", "option loss"}
    file.unlink()  # of a run of an earlier version
    assert len(simulation.resume(begun).rounds) == 1
    file.write_text("{")
    with pytest.raises(RunError, match="damaged: remove it to go on"):
        simulation.resume(begun)


SOURCE = '''
import numpy as np
import torch
from torch import nn

import own_helpers
from bcfl.learning import Dataset, Samples, Task

RATE = 0.1


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.between, self.last = nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)

    def forward(self, values):
        return self.last(torch.relu(self.between(self.first(values))))


def load(_):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 60)
    whole = Samples(rng.normal(size=(60, 4)) + labels[:, None], labels)
    return Dataset(whole.take(np.arange(40)), whole.take(np.arange(40, 60)))


def step(model, features, labels):
    nn.functional.cross_entropy(model(features), labels).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= RATE * parameter.grad
            parameter.grad.zero_()


def fit(model, data, context):
    """Train on all."""
    step(model, *data.tensors)
    own_helpers.tidy(model)


def other():
    return 1


task = Task("own", "", load, Net, fit=fit)
'''
HELPERS = "def tidy(model):\n    return 1\n"


def own_task(folder: Path, source: str, helpers: str) -> Task:
    """Return the task of modules that are new to Python, as another process has them."""
    for name, text in (("own_net", source), ("own_helpers", helpers)):
        sys.modules.pop(name, None)
        (folder / f"{name}.py").write_text(text)
        shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    importlib.invalidate_caches()
    return resolve("own_net:task")


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("torch.relu", "torch.tanh", "own_net.Net has"),
        ("RATE * parameter.grad", "2 * RATE * parameter.grad", "own_net.step has"),
        ("RATE = 0.1", "RATE = 0.2", "own_net.RATE has"),
        ("nn.ReLU()", "nn.Tanh()", "model structure, own_net.Net have"),
        ("return 1\n", "return 2\n", "own_helpers.tidy has"),
        ("fit=fit", "loss=lambda o, y: o.sum(), fit=fit", "option loss has"),
    ],
)
def test_code_that_builds_the_same_tensors_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, named: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    first = fingerprint.task_fingerprint(own_task(tmp_path, SOURCE, HELPERS), 0)
    fingerprint.check(tmp_path, first)
    changed = own_task(tmp_path, SOURCE.replace(old, new), HELPERS.replace(old, new))
    with pytest.raises(RunError, match=rf"^{named} changed since this run began: put back") as refusal:
        fingerprint.check(tmp_path, fingerprint.task_fingerprint(changed, 0))
    (tmp_path / fingerprint.FILE).unlink()
    fingerprint.check(tmp_path, fingerprint.task_fingerprint(changed, 0))
    assert "learning.json to go on with what is there now" in str(refusal.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Train on all."""', "# as one pleases"),
        ("step(model, *data.tensors)", "step(  # all at once\n        model, *data.tensors\n    )"),
        ("def other():\n    return 1", "def another():\n    return 2"),
    ],
)
def test_comments_layout_and_code_that_nobody_calls_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert old in SOURCE
    first = fingerprint.task_fingerprint(own_task(tmp_path, SOURCE, HELPERS), 0)
    assert {"own_net.RATE", "own_helpers.tidy"} <= set(first)
    changed = own_task(tmp_path, SOURCE.replace(old, new), HELPERS)
    assert fingerprint.task_fingerprint(changed, 0) == first


def test_code_is_not_compared_with_what_another_python_has_written(begun: Path) -> None:
    file = begun / fingerprint.FILE
    known = json.loads(file.read_text())
    file.write_text(json.dumps(known | {"python": "3.0", f"{THIS}.narrow": "code 0"}))
    assert len(simulation.resume(begun).rounds) == 1
    file.write_text(json.dumps(known | {f"{THIS}.narrow": "code 0"}))
    with pytest.raises(RunError, match="narrow has changed"):
        simulation.resume(begun)


NEVER = "raise SystemExit('a module that nobody has imported was run')\n"
TREE = {
    "own_lazy.py": """
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..above import nothing
    from own_side import x
    from own_package.part import deep

try:
    from .own_side import x
except ImportError:
    pass


def fit():
    import own_spread.part.leaf
    from own_package import part
    from own_side import x

    return x, part.deep, own_spread.part.leaf.end
""",
    "own_side.py": NEVER + "def x():\n    return 1\n",
    "own_package/__init__.py": NEVER,
    "own_package/part/__init__.py": NEVER + "from .inner import deep\n",
    "own_package/part/inner.py": NEVER + "def deep():\n    return 2\n",
    "own_spread/part/leaf.py": NEVER + "def end():\n    return 3\n",
}


def write_tree(folder: Path) -> None:
    for name, text in TREE.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_code_is_read_and_none_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tree(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    fit = importlib.import_module("own_lazy").fit
    code = reached([fit])
    assert {name for name in set(sys.modules) - before if name.startswith("own_")} == {"own_lazy"}
    deep, end = "own_package.part.inner.deep", "own_spread.part.leaf.end"
    assert {"own_lazy.fit", "own_side.x", deep, end} <= set(code)
    (tmp_path / "own_package/part/inner.py").write_text("def deep():\n    return 4\n")
    importlib.invalidate_caches()
    assert {name for name, value in reached([fit]).items() if value != code[name]} == {deep}
    del sys.modules["own_lazy"]


def test_code_in_the_folder_of_its_python_is_noticed_and_a_library_is_not(tmp_path: Path) -> None:
    """A virtual environment can be the folder of the project."""
    venv.create(tmp_path, symlinks=True)
    folder = Path(sysconfig.get_path("purelib", vars={"base": str(tmp_path), "platbase": str(tmp_path)}))
    (folder / "own_library.py").write_text("def used():\n    return 1\n")
    (tmp_path / "own_code.py").write_text("import own_library\n\n\ndef fit():\n    own_library.used()\n")
    script = """
import sys
import own_code
from bcfl.federation.own_source import reached
print(sys.prefix, *sorted(reached([own_code.fit])))
"""
    paths = [str(Path(fingerprint.__file__).parents[2]), *filter(None, sys.path)]
    answer = subprocess.run(
        [tmp_path / "bin" / "python", "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.split() == [str(tmp_path), "own_code.fit", "own_code.own_library"]
