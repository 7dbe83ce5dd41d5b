"""Formats of instances: what other frameworks keep in their nodes, read and written.

    Instancer(client, "/services/api", codec="curator")     # an Instancer[Instance]
    Registrar(client, Service("/services", "api", Instance("10.0.2.10", 80), codec="curator"))

`find(name)` gives one by its name, `NAMES` has them all. A format is loaded when it is asked for.
"""

from __future__ import annotations

import importlib
from typing import Any, Dict, Tuple, Union

from .codec import TEXT, Codec, Naming, Text
from .instance import Instance, parse_address

#: By its name, the file and the object of each format.
FORMATS: Dict[str, Tuple[str, str]] = {
    "text": ("codec", "TEXT"),
    "gokit": ("gokit", "GOKIT"),
    "curator": ("curator", "CURATOR"),
    "spring": ("spring", "SPRING"),
    "serverset": ("serverset", "SERVERSET"),
    "nerve": ("nerve", "NERVE"),
    "dubbo": ("dubbo", "DUBBO"),
    "dubbo-app": ("dubbo", "DUBBO_APPLICATION"),
    "kafka": ("kafka", "KAFKA"),
    "solr": ("solr", "SOLR"),
    "hbase": ("hbase", "HBASE"),
    "auto": ("auto", "AUTO"),
}
NAMES: Tuple[str, ...] = tuple(FORMATS)


def find(codec: Union[str, Codec[Any]]) -> Codec[Any]:
    """The codec of this name, or the one given. `ValueError` for another name, `TypeError` for what is neither."""
    if isinstance(codec, Codec):
        return codec
    if not isinstance(codec, str):
        raise TypeError(f"codec= is the name of a format or a zkdisco.codecs.Codec, not {codec!r}")
    if codec not in FORMATS:
        raise ValueError(f"no format {codec!r}; there are {', '.join(NAMES)}")
    file, name = FORMATS[codec]
    found: Codec[Any] = getattr(importlib.import_module(f"{__name__}.{file}"), name)
    return found


__all__ = ["FORMATS", "NAMES", "TEXT", "Codec", "Instance", "Naming", "Text", "find", "parse_address"]
