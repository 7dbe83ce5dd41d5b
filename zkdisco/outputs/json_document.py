"""A JSON document: all that is known of each instance, for programs.

    {"path": "/services/api", "instances": [{"node": "...", "address": "10.0.2.10:80", "host": "10.0.2.10", ...}]}

It is ASCII, one line for each instance; an instance of plain text without an address has `node` and `text` only.
"""

from __future__ import annotations

import json
from typing import Any, List

from .entry import Entry
from .format import Format


class JsonDocument(Format):
    """One object; keys and their order stay."""

    name = "json"

    def one(self, entry: Entry) -> str:
        """A line of JSON. `ValueError` for metadata that JSON cannot tell (NaN)."""
        told: dict[str, Any] = {"node": entry.node}
        instance = entry.instance
        if instance is not None:
            told.update(address=instance.address, host=instance.host, port=instance.port, id=instance.id)
            told.update(name=instance.name, weight=instance.weight, zone=instance.zone, status=instance.status)
            told.update(available=instance.available, metadata=dict(instance.metadata))
        if entry.text:
            told["text"] = entry.text
        try:
            return json.dumps(told, sort_keys=False, allow_nan=False)
        except TypeError as error:
            raise ValueError(f"metadata: {error}") from None

    def whole(self, ones: List[Any]) -> str:
        """The object."""
        lines = ",".join(f"\n  {one}" for one in ones)
        return f'{{"path": {json.dumps(self.path)}, "instances": [{lines}\n]}}\n'


FORMAT = JsonDocument
