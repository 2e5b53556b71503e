"""Mutants of the contracts: small changes made by rule, each of which some test has to notice."""
