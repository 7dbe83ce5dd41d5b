"""Deterministic simulation: session cores, discovery, the server core and a network, in one thread on a virtual clock.

    python -m tests.tools.simulation --seeds 1000 --steps 500     as many schedules, each from its seed
    python -m tests.tools.simulation --seed 42                    one of them; --shrink makes it short
    python -m tests.tools.simulation --mutants                    proof that it can see: known bugs, put back one at a time

`schedule` makes steps of a seed, `world` carries them out. `clock`, `network` and `server` are the surroundings; `client`
drives a session core as a front does; `users` and `parties` submit operations and hold the answers to the invariants of
`rules`; `tap` reads every byte on its way, in both directions.
"""
