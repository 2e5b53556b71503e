"""The auditor: replays a whole training from chain and store, and trusts neither."""
