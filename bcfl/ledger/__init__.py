"""The chain: clients, contracts, deployment, and the embedded node."""

import os

# py-evm, eth-account and eth-keys take the first keccak that they find, three times as slow as the one bcfl
# requires (docs/decisions/0015). They choose when they first hash; who has chosen for them keeps that.
os.environ.setdefault("ETH_HASH_BACKEND", "pysha3")
