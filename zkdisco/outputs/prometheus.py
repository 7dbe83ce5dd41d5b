"""Prometheus' `file_sd_configs`: a list of groups, one for each instance, with labels.

All labels begin with `__meta_zkdisco_`, so that they are for relabelling, and no node makes a label of a metric.
"""

from __future__ import annotations

import json
import re
from typing import Any, Dict, List

from .entry import Entry
from .format import Format, endpoint

PREFIX = "__meta_zkdisco_"


class Prometheus(Format):
    """JSON, in ASCII. An instance needs a host and a port."""

    name = "prometheus"

    def one(self, entry: Entry) -> str:
        """A group as a line of JSON."""
        instance, target = endpoint(entry)
        labels: Dict[str, str] = {}
        for key, value in sorted(instance.metadata.items(), key=str):
            if isinstance(value, (str, int, float)):
                labels.setdefault(f"{PREFIX}metadata_{re.sub('[^A-Za-z0-9_]', '_', str(key))}", _utf8(str(value)))
        labels.update({PREFIX + "node": _utf8(entry.node), PREFIX + "path": _utf8(self.path)})
        labels[PREFIX + "weight"] = f"{instance.weight:g}"
        for what in ("name", "zone", "status"):
            value = getattr(instance, what)
            if value:
                labels[PREFIX + what] = _utf8(value)
        return json.dumps({"targets": [target], "labels": dict(sorted(labels.items()))})

    def whole(self, ones: List[Any]) -> str:
        """The list."""
        return "[" + ",".join(f"\n  {one}" for one in ones) + "\n]\n"


def _utf8(value: str) -> str:
    """`value` itself; `ValueError` (of the kind that encoding raises) if it is no text that UTF-8 can tell."""
    value.encode()
    return value


FORMAT = Prometheus
