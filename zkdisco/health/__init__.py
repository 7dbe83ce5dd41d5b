"""Health: a gate that opens and shuts with the results of a check, the checks, and a thread that runs one.

    from zkdisco import Client, Registrar, Service
    from zkdisco.health import Gate, Prober, parse_check

    gate = Gate(rise=2, fall=3)
    prober = Prober(parse_check("http://:80/health"), gate, interval=1.0, timeout=1.0)
    prober.start()
    registrar = Registrar(client, Service("/services", "api", b"10.0.2.10:80"), gate=gate)
    registrar.start()
"""

from __future__ import annotations

from .checks import CheckFailed, parse_check
from .gate import Gate
from .prober import Prober

__all__ = ["CheckFailed", "Gate", "Prober", "parse_check"]
