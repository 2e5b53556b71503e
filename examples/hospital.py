"""Define a task whose parties have files of their own: `python examples/hospital.py sites` writes three.

docs/own-data.md goes through all commands: `bcfl deploy --task examples.hospital:biopsies`, and so on.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from torch import nn

from bcfl.learning import Dataset, Samples, Task

FILE = "patients.csv"  # a patient a line: ten measurements, and 0 malignant or 1 benign
SIZES = {"north": 40, "south": 150, "west": 379}  # patients of the example files
MEAN = np.array([14, 19, 92, 650, 0.1, 0.1, 0.09, 0.05, 0.18, 0.06], np.float32)
DEVIATION = np.array([4, 4, 24, 350, 0.01, 0.05, 0.08, 0.04, 0.03, 0.007], np.float32)


def load(folder: Path | None) -> Dataset:
    """Load the patients of the party in whose folder this runs; every fifth is held out."""
    if folder is None:
        raise ValueError(f"a party has its own {FILE}")
    rows = np.loadtxt(folder / FILE, delimiter=",", dtype=np.float32, ndmin=2)
    # All scale by the same numbers: with a mean of one's own, the same value would mean something else.
    patients = Samples((rows[:, :-1] - MEAN) / DEVIATION, rows[:, -1].astype(np.int64))
    is_held_out = np.arange(len(rows)) % 5 == 0
    return Dataset(patients.take(np.flatnonzero(~is_held_out)), patients.take(np.flatnonzero(is_held_out)))


def build() -> nn.Module:
    """Build a new model; bcfl seeds what it draws at random."""
    return nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 2))


biopsies = Task("biopsies", "is a tumour benign, from ten measurements", load, build, batch_size=8)


def write_files(folder: Path) -> None:
    """Write a file for each party, of the diagnoses that come with scikit-learn."""
    from sklearn.datasets import load_breast_cancer  # type: ignore[import-untyped]

    features, labels = load_breast_cancer(return_X_y=True)
    rows = np.column_stack([features[:, :10], labels])[np.random.RandomState(0).permutation(len(labels))]
    start = 0
    for name, size in SIZES.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        np.savetxt(folder / name / FILE, rows[start : start + size], delimiter=",", fmt="%g")
        print(f"{folder / name / FILE}: {size} patients")
        start += size


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("name a folder for the files: python examples/hospital.py sites")
    write_files(Path(sys.argv[1]))
