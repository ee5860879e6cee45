"""Mutants: small, plausible mistakes put into a copy of the house, each of which some test must notice."""
