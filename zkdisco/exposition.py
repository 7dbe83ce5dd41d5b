"""Metrics as Prometheus reads them: its text format, version 0.0.4.

Owns how names, labels and numbers are written. Must not know what is counted, nor who asks.
"""

from __future__ import annotations

from typing import Iterable, Mapping, NamedTuple, Tuple

#: The content type of the text.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Family(NamedTuple):
    """A metric: `kind` is "gauge" or "counter", each sample its labels and its number."""

    name: str
    kind: str
    help: str
    samples: Tuple[Tuple[Mapping[str, str], float], ...]


def gauge(name: str, text: str, value: float, **labels: str) -> Family:
    """A number that goes up and down."""
    return Family(name, "gauge", text, ((labels, value),))


def exposition(families: Iterable[Family]) -> str:
    """All of it as text, each line with its end."""
    lines = []
    for family in families:
        lines.append(f"# HELP {family.name} {_escaped(family.help)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        for labels, value in family.samples:
            lines.append(f"{family.name}{_labels(labels)} {_number(value)}")
    return "".join(f"{line}\n" for line in lines)


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_quoted(value)}"' for name, value in labels.items()) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(text: str) -> str:
    clean = text.encode("utf-8", "replace").decode("utf-8").replace("\r", " ")
    return _escaped(clean).replace('"', '\\"')


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))
