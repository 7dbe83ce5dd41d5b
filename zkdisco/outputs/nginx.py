"""nginx: an upstream with a line for each server.

Names are left out unless asked for: nginx refuses its whole configuration for one name that does not resolve. An
upstream without a server is an error; where an empty one is wanted, a server stands there that is down.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, Tuple

from .entry import Entry
from .format import Choice, Format, endpoint, server_name, whole_weights

#: What stands for nobody: calls are answered with 502 at once.
NOBODY = "    server 127.0.0.1:1 down;"


class Nginx(Format):
    """An `upstream` block, for `http` or `stream`. An address stands there once, whatever the number of its nodes."""

    name = "nginx"
    choices = {
        "upstream": Choice("$service", re.compile(r"[A-Za-z0-9_.-]+"), "the name of the upstream"),
        "server": Choice("", re.compile(r"[A-Za-z0-9_=. -]*"), "what ends each server's line, as 'max_fails=1'"),
        "names": Choice("no", re.compile("yes|no"), "'yes' to take names, too, which must resolve, or 'no'"),
    }

    def one(self, entry: Entry) -> Any:
        """Address, name, whether it takes calls, and weight."""
        instance, target = endpoint(entry, self.settings["names"] == "yes")
        return target, server_name(entry.node), instance.available and instance.weight > 0, instance.weight

    def whole(self, ones: List[Any]) -> str:
        """The block."""
        servers: Dict[str, Tuple[str, bool, float]] = {}
        for target, name, up, weight in ones:
            known = servers.get(target)
            if known is None or (up, weight) > known[1:]:
                servers[target] = (known[0] if known else name, up, weight)
        weights = whole_weights([weight for _, _, weight in servers.values()])
        options = f" {self.settings['server']}" if self.settings["server"] else ""
        lines = [f"upstream {self.settings['upstream']} {{"]
        for number, (target, (name, up, _)) in enumerate(servers.items()):
            weight = f" weight={weights[number]}" if weights and weights[number] else ""
            lines.append(f"    server {target}{weight}{options}{'' if up else ' down'};  # {name}")
        return "".join(line + "\n" for line in [*lines, *([] if servers else [NOBODY]), "}"])


FORMAT = Nginx
