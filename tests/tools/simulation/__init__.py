"""Deterministic simulation: session cores, discovery, the server core and a network, in one thread on a virtual clock.

    python -m tests.tools.simulation --seeds 1000 --steps 500     as many schedules, each from its seed
    python -m tests.tools.simulation --seed 42                    one of them; --shrink makes it short
    python -m tests.tools.simulation --servers ensemble           on ensembles only; else they are the servers of one seed in three
    python -m tests.tools.simulation --mutants                    proof that it can see: known bugs, put back one at a time

`schedule` makes steps of a seed, `world` carries them out. `clock`, `network`, `server` or `ensemble` are the surroundings;
what is true, whatever a server that is behind may say, is in `truth`, the log of all transactions. `client`
drives a session core as a front does; `users` submit operations; `tap` reads every byte on its way, in both directions.
`discoveries` and `parties` call zkdisco through its own fronts, blocking and asyncio: `below` is the ZooKeeper that they
have, `executors` are their threads and event loops, `surroundings` their clock. What calls return, and what is told, is held
to the invariants of `rules`.
"""
