"""HAProxy: a backend with a line for each server.

A server is called as its node, so that it keeps its name, and its statistics, while others come and go. One that says
it takes no calls stays, disabled.
"""

from __future__ import annotations

import re
from typing import Any, List

from .entry import Entry
from .format import Choice, Format, address, endpoint, server_name, whole_weights

#: What a name may resolve to at start, or HAProxy does not start for want of one server's address.
LATER = " init-addr last,libc,none"


class HAProxy(Format):
    """A section that stands in a file of its own: HAProxy takes several (`-f haproxy.cfg -f api.cfg`)."""

    name = "haproxy"
    choices = {
        "backend": Choice("$service", re.compile(r"[A-Za-z0-9_.:-]+"), "the name of the backend"),
        "server": Choice("check", re.compile(r"[ -~]*"), "what ends each server's line, as 'check inter 1s'"),
        "names": Choice("yes", re.compile("yes|no"), "'no' if only addresses are to be taken, or 'yes'"),
    }

    def one(self, entry: Entry) -> Any:
        """Name, address, status and weight."""
        instance, target = endpoint(entry, self.settings["names"] == "yes")
        later = LATER if address(instance.host) is None else ""
        return server_name(entry.node), target + later, instance.available, instance.weight

    def whole(self, ones: List[Any]) -> str:
        """The section."""
        weights = whole_weights([weight for _, _, _, weight in ones])
        options = f" {self.settings['server']}" if self.settings["server"] else ""
        lines = [f"backend {self.settings['backend']}"]
        for number, (name, target, available, _) in enumerate(ones):
            weight = f" weight {weights[number]}" if weights else ""
            lines.append(f"    server {name} {target}{weight}{options}{'' if available else ' disabled'}")
        return "".join(line + "\n" for line in lines)


FORMAT = HAProxy
