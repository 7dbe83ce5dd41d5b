"""Balancers: which endpoint takes the next call. One file for each way to choose, all with one interface.

    endpoints = Endpoints(instancer, connect)                 # see zkdisco.endpoints; or FixedEndpoints(...), in a test
    balancer = RoundRobin(endpoints)
    endpoint = balancer.choose()                              # or choose(key); NoEndpointsError if there is none
    balancer.report(endpoint, error, seconds)                 # how the call went: failing ones are left out for a while

    with balancer.call() as endpoint:                         # both
        endpoint.value.get("/")

They make no call themselves: there are no retries, no proxies and no HTTP client here.
"""

from __future__ import annotations

from ..roster import Endpoint
from ..values import NoEndpointsError
from .balancer import Balancer, Source
from .consistent_hash import ConsistentHash
from .ejection import Ejection
from .fixed import FixedEndpoints
from .least_outstanding import LeastOutstanding
from .random_choice import RandomChoice
from .round_robin import RoundRobin
from .two_choices import TwoChoices
from .weighted import Weighted
from .zone_first import ZoneFirst

__all__ = [
    "Balancer", "ConsistentHash", "Ejection", "Endpoint", "FixedEndpoints", "LeastOutstanding", "NoEndpointsError",
    "RandomChoice", "RoundRobin", "Source", "TwoChoices", "Weighted", "ZoneFirst",
]  # fmt: skip
