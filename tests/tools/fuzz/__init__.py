"""Fuzzing: mutated and random bytes into every decoder, and into whole connections on both sides.

`python -m tests.tools.fuzz` does it at length, `--only reply-GetData:1234` repeats one input; tests/wire/test_fuzz.py runs a
fixed small budget. Everything comes from a seed.
"""
