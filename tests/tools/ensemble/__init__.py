"""Real ensembles under faults, and a verdict from what clients have seen and what the servers have logged.

    python -m tests.tools.ensemble --minutes 10 --seed 1 --version 3.8.0

A run is rounds of about two minutes, each with an ensemble and client processes of its own. `network` puts servers and
groups of clients into network namespaces, between which `router` passes packets, or loses and delays them; `behind_proxy`
is the network where namespaces cannot be had. `faults` is the table of what befalls them. A client process (`client`) does
`workloads` on a `hand`, and writes all that it has seen into a `history`. `txnlog` reads the servers' transaction logs,
`truth` is what they say has happened, and `checker` compares. `broken` are clients that are wrong on purpose: the checker
has to find each. `round` leads a round, `report` says what came of it.
"""
