"""What the tests stand on: real ZooKeeper servers, a proxy that breaks connections, a watchdog.

`servers` starts real servers, `packages` and `debian` get them onto the machine, `proxy` damages
the traffic to one, `watchdog` ends a test that hangs. Nothing here imports zkwire: the harness must
not be wrong in the same way as the client it tests.
"""
