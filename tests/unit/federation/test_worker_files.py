"""What workers are given is in files, each large array once, and nobody else can read it."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bcfl.federation.worker_files import LARGE, WorkerFiles, WorkerReader
from bcfl.roles.checks.shared import is_shared, share


def numbers(count: int = LARGE // 4) -> Any:
    return np.arange(count, dtype=np.float32)


def names(folder: Path) -> list[str]:
    return sorted(path.suffix for path in folder.iterdir())


def test_what_is_written_is_read(tmp_path: Path) -> None:
    large, small, objects = numbers(), numbers(3), np.array([1, "a"] * LARGE, dtype=object)
    files, reader = WorkerFiles(tmp_path), WorkerReader()
    path = files.write({"large": large, "small": [small], "objects": objects[:2], "text": "a"})
    content = reader.read(path)
    assert np.array_equal(content["large"], large)
    assert np.array_equal(content["small"][0], small)
    assert content["objects"].tolist() == [1, "a"]
    assert content["text"] == "a"
    assert names(tmp_path) == [".npy", ".pickle"]
    assert not content["large"].flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        content["large"][0] = 1.0
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.iterdir())
    files.remove(path)
    assert names(tmp_path) == []


def test_a_shared_array_is_written_once_and_is_there_as_long_as_it_is_named(tmp_path: Path) -> None:
    files, reader, array = WorkerFiles(tmp_path), WorkerReader(), share(numbers())
    first, second = files.write((1, array)), files.write((2, array, array))
    assert names(tmp_path).count(".npy") == 1
    _, one = reader.read(first)
    files.remove(first)
    _, other, again = reader.read(second)
    assert other is one
    assert again is one
    assert is_shared(one), "what is found of it is kept"
    files.remove(second)
    assert names(tmp_path) == []
    assert np.array_equal(one, array), "who has it open keeps it"


def test_an_array_that_can_be_written_to_is_written_as_it_is(tmp_path: Path) -> None:
    files, reader, array = WorkerFiles(tmp_path), WorkerReader(), numbers()
    first = files.write(array)
    array[0] = 7.0
    assert reader.read(files.write(array))[0] == 7.0
    assert reader.read(first)[0] == 0.0


def test_a_file_after_a_removed_one_has_its_own_arrays(tmp_path: Path) -> None:
    """An array may get the identity of one that is gone."""
    files, reader = WorkerFiles(tmp_path), WorkerReader()
    for value in range(5):
        path = files.write(share(np.full(LARGE, value, np.uint8)))
        assert reader.read(path)[0] == value
        files.remove(path)
        gc.collect()
    assert names(tmp_path) == []


def test_a_row_of_a_matrix_is_no_matrix(tmp_path: Path) -> None:
    matrix = np.arange(LARGE, dtype=np.float32).reshape(2, -1)
    content = WorkerReader().read(WorkerFiles(tmp_path).write((matrix[1], matrix.T)))
    assert np.array_equal(content[0], matrix[1])
    assert np.array_equal(content[1], matrix.T)
