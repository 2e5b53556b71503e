"""Learn what a Flower app learns: its ClientApp is called in this process, without a server of Flower's.

Flower (`flwr`) is imported when an app is loaded, not before.
"""

from bcfl.learning.flower.nodes import Node, Nodes
from bcfl.learning.flower.task import FlowerTask, read_task

__all__ = ["FlowerTask", "Node", "Nodes", "read_task"]
