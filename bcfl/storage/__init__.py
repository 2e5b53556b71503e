"""Where the weights are kept."""

from bcfl.storage.directory import DirectoryStore

__all__ = ["DirectoryStore"]
