"""What `list PATH` prints of a catalog: the services and how many live instances each has, or a tree, or JSON.

Owns the words. Must not know how they come to the reader.
"""

from __future__ import annotations

import json
from time import time
from typing import Any, Dict, Iterator, Mapping, Optional

from .output import printable
from .reports import iso_time
from .values import Event


def lines(directory: str, state: Mapping[str, Event[Any]], tree: bool) -> Iterator[str]:
    """A line for each service, sorted: its name and its number of instances; with `tree`, the instances below it."""
    shown = {service: printable(service) for service in sorted(state)}
    width = max(map(len, shown.values()), default=0)
    if tree:
        yield f"{printable(directory)}  {count(len(state), 'service')}, {count(total(state), 'instance')}"
    for service, name in shown.items():
        instances = state[service].instances
        yield f"  {name}  {len(instances)}" if tree else f"{name:<{width}}  {len(instances)}"
        for instance in instances if tree else ():
            yield f"    {printable(str(instance))}"


def as_json(directory: str, state: Mapping[str, Event[Any]], error: Optional[Exception]) -> str:
    """All of it as one line of JSON."""
    services: Dict[str, Any] = {
        service: {"instances": [str(one) for one in event.instances], "error": _text(event.error)}
        for service, event in sorted(state.items())
    }
    return json.dumps({"time": iso_time(time()), "path": directory, "services": services, "error": _text(error)})


def total(state: Mapping[str, Event[Any]]) -> int:
    """How many instances all services have."""
    return sum(len(event.instances) for event in state.values())


def count(number: int, what: str) -> str:
    """As "1 service", "2 services"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _text(error: Optional[Exception]) -> Optional[str]:
    return None if error is None else str(error)
