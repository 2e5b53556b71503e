"""Load data, share it out and train on it; `training`, which needs torch, is imported where it is used."""

from bcfl.learning.datasets import Dataset, Samples
from bcfl.learning.partitions import Split, split
from bcfl.learning.tasks import BUILT_IN, Task, resolve

__all__ = ["BUILT_IN", "Dataset", "Samples", "Split", "Task", "resolve", "split"]
