"""The socket-level sweep: one conversation, cut at every byte, in each direction, by FIN, RST and black hole, on both fronts.

`python -m tests.tools.sweep` cuts everywhere, `--only threads:rst:s2c:1234` in one place; tests/fronts/test_sweep.py runs a sample.
"""
