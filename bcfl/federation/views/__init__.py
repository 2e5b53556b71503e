"""Views of a federation: what the queries answer, one noun of the protocol a module."""
