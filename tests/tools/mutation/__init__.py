"""Mutants of the cores, made by cosmic-ray: which of them the tests of their core see (`make mutation`)."""
