"""Every option of a run: what it means, what it may be, and where its value came from."""

from bcfl.config.config import Config
from bcfl.config.options import RUN_OPTIONS

__all__ = ["RUN_OPTIONS", "Config"]
