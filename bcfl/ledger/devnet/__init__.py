"""The embedded node: an EVM, its database and its JSON-RPC server."""

from bcfl.ledger.devnet.precompiles import defer

defer()  # before any module of this folder imports py-evm
