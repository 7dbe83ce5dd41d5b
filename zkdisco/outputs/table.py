"""The formats of files, by name; each is loaded when it is asked for."""

from __future__ import annotations

import importlib
from typing import Dict, Tuple, Type

from .format import Format

#: By its name, the file of each format.
FORMATS: Dict[str, str] = {
    "json": "json_document", "prometheus": "prometheus", "hosts": "hosts", "haproxy": "haproxy", "nginx": "nginx",
    "template": "template",
}  # fmt: skip
NAMES: Tuple[str, ...] = tuple(FORMATS)


def find(name: str) -> Type[Format]:
    """The class of the format of this name; `ValueError` for another name."""
    if name not in FORMATS:
        raise ValueError(f"no format {name!r}; there are {', '.join(NAMES)}")
    found: Type[Format] = importlib.import_module(f"{__package__}.{FORMATS[name]}").FORMAT
    return found
