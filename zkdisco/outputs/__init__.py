"""Files for those who do not speak ZooKeeper, kept equal to the live instances.

    from zkdisco.outputs import Named, Renderer

    instancer = Instancer(client, "/services/api", codec=Named("text"))
    renderer = Renderer("/etc/haproxy/api.cfg", "haproxy", service="api", command="systemctl reload haproxy")
    instancer.register(renderer)

`NAMES` has the names of all formats; `find(name)` gives the class of one. A format is loaded when it is asked for.
"""

from __future__ import annotations

from .entry import Entry, Named, entry_of
from .format import Choice, Format, Rendered
from .renderer import Renderer, Told
from .table import FORMATS, NAMES, find

__all__ = ["FORMATS", "NAMES", "Choice", "Entry", "Format", "Named", "Rendered", "Renderer", "Told", "entry_of", "find"]
