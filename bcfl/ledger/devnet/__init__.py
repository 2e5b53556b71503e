"""The embedded node: an EVM, its database and its JSON-RPC server."""
