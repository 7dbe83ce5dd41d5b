"""What a format of a file is: how a set of instances becomes its text.

Owns what all formats share: order, what is left out and why, options, and the rules for words of others. Must not know
any format, files, threads or clocks.

Rules: what a node holds is hostile until a rule here has passed it. A format takes no text of a node but through one of
these functions. What does not pass costs its own entry only, and is named.
"""

from __future__ import annotations

import hashlib
import re
from ipaddress import ip_address
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Pattern, Sequence, Tuple

from ..codecs import Instance
from .entry import Entry

#: So many entries that are left out are named in one line.
NAMED = 5
#: What a name may be, so that no format sees anything else in it than a name.
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
#: The end of a name that was made from one that could not stay as it was; none may be taken for another's.
_MADE = re.compile(r".*-x[0-9a-f]{24}")
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
#: Weights are written as whole numbers, 1.0 as this one; the greatest one that HAProxy takes.
ORDINARY, GREATEST = 100, 256


class Rendered(NamedTuple):
    """What a set has become: `text`, how many instances are in it, and (node, why) of each that is left out."""

    text: str
    size: int
    left_out: Tuple[Tuple[str, str], ...]


class Choice(NamedTuple):
    """An option of a format: its default, what it may be, and what it is for."""

    default: str
    allowed: Pattern[str]
    what: str


class Format:
    """How a set is written: a base class. Whoever derives from it gives `one` and `whole`.

    `service` is the name of the service, `path` its directory, `settings` the options that were given, by name.
    `ValueError` for a setting that cannot be one.
    """

    name = "custom"
    #: The options that it takes, by name. One with the default "" may be left out; "$service" is the service's name.
    choices: Mapping[str, Choice] = {}

    def __init__(self, service: str = "", path: str = "", settings: Optional[Mapping[str, str]] = None) -> None:
        self.service, self.path = service, path
        self.settings = _settings(self, settings or {})

    def one(self, entry: Entry) -> Any:
        """What is written of one entry. `ValueError` if it cannot be told safely: it is left out."""
        raise NotImplementedError

    def whole(self, ones: List[Any]) -> str:
        """The text of the file, of all that `one` gave, in the order of the nodes' names."""
        raise NotImplementedError

    def place(self, text: str, existing: Optional[str]) -> str:
        """The content of a file that holds `existing` (None: there is none), with `text` in it: `text` alone.

        `ValueError` if there is no place for it.
        """
        return text

    def render(self, entries: Sequence[Entry]) -> Rendered:
        """The text for this set. The same set gives the same text, in whatever order it comes."""
        ones, left_out = [], []
        for entry in sorted(set(entries), key=lambda entry: (entry.node, entry.text)):
            try:
                ones.append(self.one(entry))
            except (ValueError, RecursionError) as error:
                left_out.append((entry.node, str(error)))
        return Rendered(self.whole(ones), len(ones), tuple(left_out))


def _settings(form: Format, given: Mapping[str, str]) -> Dict[str, str]:
    unknown = sorted(set(given) - set(form.choices))
    if unknown:
        there = ", ".join(form.choices) or "none"
        raise ValueError(f"the format {form.name!r} has no setting {unknown[0]!r}; there are: {there}")
    settings = {}
    for name, choice in form.choices.items():
        value = given.get(name, choice.default.replace("$service", form.service))
        if not choice.allowed.fullmatch(value):
            raise ValueError(f"{value!r} cannot be the setting {name!r} of the format {form.name!r}: {choice.what}")
        settings[name] = value
    return settings


def told(left_out: Sequence[Tuple[str, str]]) -> str:
    """A line that names what is left out, in ASCII; "" if nothing is."""
    named = "; ".join(f"{ascii(node[:100])}: {why[:200]}" for node, why in left_out[:NAMED])
    more = f"; and {len(left_out) - NAMED} more" if len(left_out) > NAMED else ""
    return f"{len(left_out)} left out: {named}{more}" if left_out else ""


# ----------------------------------------------------------------------------------- words of others


def endpoint(entry: Entry, names: bool = True) -> Tuple[Instance, str]:
    """The instance of an entry, and "address:port" of it, which a proxy can connect to; `ValueError` if it has none.

    Names are let through if `names` says so. An address that means any address, or many, is none.
    """
    instance = entry.instance
    if instance is None:
        raise ValueError(f"no host:port: {ascii(entry.text[:100])}")
    if not instance.port:
        raise ValueError("it has no port")
    host = address(instance.host)
    if host is None:
        if not names:
            raise ValueError(f"{instance.host!r} is no IP address")
        host = host_name(instance.host)
    return instance, f"[{host}]:{instance.port}" if ":" in host else f"{host}:{instance.port}"


def address(host: str) -> Optional[str]:
    """The IP address in its usual form, or None if it is a name; `ValueError` for one that nobody can be called at."""
    try:
        found = ip_address(host)
    except ValueError:
        return None
    if "%" in host:
        raise ValueError(f"{host!r} has a zone, which is of one machine only")
    if found.is_unspecified or found.is_multicast or found == ip_address("255.255.255.255"):
        raise ValueError(f"{host!r} is not the address of one machine")
    return str(found)


def host_name(host: str) -> str:
    """`host` itself, if it can be the name of a host; `ValueError` otherwise. What ends in a number is none."""
    labels = host[:-1].split(".") if host.endswith(".") else host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{ascii(host[:100])} is no name of a host")
    if re.fullmatch(r"[0-9]+|0[xX][0-9A-Fa-f]*", labels[-1]):
        raise ValueError(f"{ascii(host[:100])} is neither an address nor a name")
    return host


def server_name(node: str) -> str:
    """A name for a server that stays as long as its node: the node's, if it is plain, or else one made from it.

    At most 64 letters, digits, "_", "." and "-", the first no "." or "-". Two nodes have two names.
    """
    if _PLAIN.fullmatch(node) and not _MADE.fullmatch(node):
        return node
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", node[:36]).lstrip(".-")
    return f"{plain or '_'}-x{hashlib.sha256(node.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}"


def whole_weights(weights: Sequence[float]) -> List[int]:
    """Weights as whole numbers from 0 to 256 in the same proportions: 1.0 is 100, unless one would be above 256.

    Only 0 becomes 0. An empty list where all are 1.0: nothing needs to be said.
    """
    if all(weight == 1 for weight in weights):
        return []
    scale = min(float(ORDINARY), GREATEST / max(max(weights), 1e-300))
    return [max(1, round(weight * scale)) if weight else 0 for weight in weights]
