"""The benchmark: zkwire and zkdisco beside kazoo and a bare socket loop, in one interleaved run. And the check that needs
no quiet machine: system calls, Python calls, bytecodes and memory of an operation.

`meter` measures, one file for each client says how that client does it, `goals` what is to be reached, `__main__` runs
them, `report` and `picture` write what came out. `counts` and `check` count.
"""
