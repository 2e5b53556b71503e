"""Tasks: the built-in ones, the user's own, and one line for whatever is wrong with either."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bcfl.errors import ConfigError, DataError
from bcfl.learning import BUILT_IN, Dataset, Samples, Task, resolve

OWN = """
import numpy as np
from bcfl.learning import Dataset, Samples, Task

def load(folder):
    samples = Samples(np.eye(4, dtype=np.float32), np.arange(4))
    return Dataset(samples, samples)

def build():
    from torch import nn
    return nn.Linear(4, 4)

spiral = Task("spiral", "four points", load, build, epochs=1)
number = 3
"""


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Writes modules into the current directory; they are forgotten again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    modules = set(sys.modules)

    def write(name: str, source: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)

    yield write
    for name in set(sys.modules) - modules:
        if name.startswith("own_"):
            del sys.modules[name]


def a_task(load: Callable[[Path | None], object]) -> Task:
    return Task("mine", "a test", load, lambda: pytest.fail("not built"))  # type: ignore[arg-type]


def test_built_in_tasks_by_name() -> None:
    assert list(BUILT_IN) == ["digits", "breast-cancer", "fashion-mnist"]
    digits = resolve("digits")
    assert (digits.epochs, digits.batch_size, digits.learning_rate) == (5, 16, 0.2)


def test_own_task_from_the_current_directory(write_module: Callable[[str, str], None]) -> None:
    write_module("own_tasks.py", OWN)
    task = resolve("own_tasks:spiral")
    assert task.name == "spiral"
    assert len(task.dataset().train) == 4


def test_own_task_in_a_package(write_module: Callable[[str, str], None]) -> None:
    write_module("own_package/__init__.py", "")
    write_module("own_package/tasks.py", OWN)
    assert resolve("own_package.tasks:spiral").name == "spiral"


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("digitz", "", "unknown task 'digitz': did you mean digits"),
        ("imagenet", "", "known: digits, breast-cancer, fashion-mnist"),
        ("own_absent:spiral", "", "importing own_absent failed: ModuleNotFoundError"),
        ("own_tasks:spirale", OWN, "has no spirale: did you mean spiral"),
        ("own_tasks:number", OWN, "is a int, not a bcfl.learning.Task"),
        ("own_tasks:task", "", "has no task: known: none"),
        ("own_tasks:spiral", "1 / 0", "failed: ZeroDivisionError: division by zero"),
        ("own_tasks:spiral", "def", "failed: SyntaxError"),
        ("own_tasks:spiral", "raise SystemExit", "failed: SystemExit"),
        ("own_tasks:spiral", "raise ValueError('two\\nlines')", "failed: ValueError: two$"),
        ("own_tasks:spiral", OWN.replace("epochs=1", "epochs=0"), "epochs must be a whole number above 0"),
        ("own_tasks:", "", "not of the form package.module:attribute"),
        (":spiral", "", "not of the form"),
        ("../own:spiral", "", "not of the form"),
        ("own_tasks:a:b", "", "not of the form"),
    ],
)
def test_what_cannot_be_resolved_is_one_line(
    write_module: Callable[[str, str], None], name: str, source: str, message: str
) -> None:
    write_module("own_tasks.py", source)
    with pytest.raises(ConfigError, match=message) as error:
        resolve(name)
    assert "\n" not in str(error.value)


def test_options_replace_what_is_given() -> None:
    task = resolve("digits").with_options(epochs=1, learning_rate=0.1)
    assert (task.epochs, task.batch_size, task.learning_rate) == (1, 16, 0.1)
    assert resolve("digits").with_options() == resolve("digits")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be a whole number above 0, not 0"),
        ({"batch_size": -1}, "batch_size must be"),
        ({"batch_size": True}, "batch_size must be"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0"),
        ({"learning_rate": "fast"}, "learning_rate must be above 0"),
        ({"model": "cn"}, "unknown model 'cn': did you mean cnn"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve("digits").with_options(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"weights": 5}, "weights must name a file, not 5"),
        ({"shape": (1.5,)}, r"shape must be a tuple of whole numbers, not \(1.5,\)"),
        ({"shape": "ab"}, "shape must be a tuple"),
        ({"classes": "3"}, "classes must be a whole number, not '3'"),
    ],
)
def test_parts_of_another_type_are_refused(part: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^task digits: {message}"):
        replace(resolve("digits"), **part)


def test_a_data_set_is_of_samples() -> None:
    samples = resolve("digits").dataset().test
    with pytest.raises(DataError, match=r"^a Dataset is of two Samples, not of a list: give Samples"):
        Dataset(samples, [])  # type: ignore[arg-type]


def test_a_model_can_be_chosen_where_the_task_says_its_shape() -> None:
    model = resolve("digits").with_options(model="cnn").build()
    assert type(model).__name__ == "Cnn"
    with pytest.raises(ConfigError, match="brings its own model"):
        a_task(lambda _folder: None).with_options(model="mlp")
    with pytest.raises(ConfigError, match="needs pictures"):
        resolve("breast-cancer").with_options(model="cnn").build()


def test_an_option_that_the_task_would_ignore_is_refused() -> None:
    task = replace(resolve("digits"), steps=5, optimizer=lambda _: None)  # type: ignore[arg-type, return-value]
    with pytest.raises(ConfigError, match=r"^task digits counts steps: leave --epochs out$"):
        task.with_options(epochs=2)
    with pytest.raises(
        ConfigError, match=r"^task digits brings its own optimizer: leave --learning-rate out$"
    ):
        task.with_options(learning_rate=0.1)
    assert task.with_options(batch_size=3).batch_size == 3


def test_loading_passes_the_folder_on(tmp_path: Path) -> None:
    samples = Samples(np.eye(2, dtype=np.float32), np.arange(2))
    folders: list[Path | None] = []

    def load(folder: Path | None) -> Dataset:
        folders.append(folder)
        return Dataset(samples, samples)

    a_task(load).dataset(tmp_path)
    assert folders == [tmp_path]


def test_loading_that_fails_is_one_line_that_names_the_folder(tmp_path: Path) -> None:
    def broken(folder: Path | None) -> Dataset:
        raise KeyError("column\nmissing", folder)

    def alone(_: Path | None) -> Dataset:
        raise KeyError("column")

    def ends(_folder: Path | None) -> Dataset:
        raise SystemExit(3)

    with pytest.raises(DataError, match="task mine: its data cannot be loaded without --data: KeyError"):
        a_task(broken).dataset()
    with pytest.raises(DataError, match=f"its data cannot be loaded from {tmp_path}: KeyError"):
        a_task(broken).dataset(tmp_path)
    with pytest.raises(DataError, match=f"its data cannot be loaded, there is no {tmp_path / 'x'}: KeyError"):
        a_task(broken).dataset(tmp_path / "x")
    with pytest.raises(DataError, match="SystemExit: 3"):
        a_task(ends).dataset()
    with pytest.raises(DataError, match="load must return a Dataset, or two torch data sets, not NoneType"):
        a_task(lambda _folder: None).dataset()
    with pytest.raises(
        DataError, match="its data cannot be loaded: KeyError: 'column'"
    ):  # which asks for no folder
        a_task(alone).dataset()
    with pytest.raises(DataError, match="loaded: labels must be a numpy array"):
        a_task(lambda _folder: Samples(np.eye(2, dtype=np.float32), [0, 1])).dataset()  # type: ignore[arg-type]
