"""Start a small Ray cluster, print its address, and end it when stdin ends: `python -m tests.ray_head`."""

from __future__ import annotations

import sys

from bcfl.federation.ray_cluster import LOCAL, joined_cluster

MEMORY_BYTES = 100_000_000


def main() -> None:
    with joined_cluster(LOCAL, 2, object_store_memory=MEMORY_BYTES) as ray:
        print(ray.get_runtime_context().gcs_address, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
