"""A file of the user's own: `string.Template`, and a block that is repeated for each instance.

    # $count instances of $service
    #each
    server $name $address
    #end

Known everywhere: `$service`, `$path`, `$count`, and what was set. Between `#each` and `#end`: `$name` (stays as long as
the node), `$node`, `$address` (host:port), `$host`, `$port`, `$weight`, `$zone`, `$status`, `$id`, `$text`, and
`$meta_key` for the metadata `key` ("" if there is none). `$$` is a dollar.

It is not known what a line of the file means, so a value of a node must be a plain word: letters, digits, "_", ".", ":"
and "-", none of the last three at its beginning. An instance with another value in a place of the template is left out.
"""

from __future__ import annotations

import re
from string import Template as Pattern
from typing import Any, Dict, List, Mapping, Optional, Set, Tuple

from .entry import Entry
from .format import Choice, Format, endpoint, server_name

WORD = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.:-]{0,254})?")
#: These have been through the rules for addresses.
ADDRESSES = ("address", "host", "port")
OF_ALL = {"service", "path", "count"}
OF_ONE = {"name", "node", "address", "host", "port", "weight", "zone", "status", "id", "text"}
_SETTING = Choice("", re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]*"), "one line of text")


class Template(Format):
    """The template `source`. `ValueError` if it is none: a loop without an end, a name that is not known."""

    name = "template"

    def __init__(
        self, service: str = "", path: str = "", settings: Optional[Mapping[str, str]] = None, source: str = ""
    ) -> None:
        self.choices = dict.fromkeys(settings or {}, _SETTING)
        super().__init__(service, path, settings)
        self._parts = _parts(source)
        self._used: Set[str] = set()
        for each, pattern in self._parts:
            known = OF_ALL | set(self.settings) | (OF_ONE if each else set())
            names = _names(pattern)
            unknown = {name for name in names - known if not (each and name.startswith("meta_"))}
            if unknown:
                where = "between #each and #end" if each else "outside of #each and #end"
                raise ValueError(f"the template has ${min(unknown)}, which is not known {where}")
            self._used |= (names - OF_ALL - set(self.settings)) if each else set()

    def one(self, entry: Entry) -> Dict[str, str]:
        """The values the template uses; `ValueError` if one of them is no plain word."""
        values = {}
        for name in sorted(self._used):
            value = _value(entry, name)
            if name not in ADDRESSES and not WORD.fullmatch(value):
                raise ValueError(f"${name} would be {ascii(value[:100])}, which is no plain word")
            values[name] = value
        return values

    def whole(self, ones: List[Any]) -> str:
        """The template, filled."""
        common = {**self.settings, "service": self.service, "path": self.path, "count": str(len(ones))}
        parts = []
        for each, pattern in self._parts:
            parts += [pattern.substitute({**common, **one}) for one in (ones if each else [{}])]
        return "".join(parts)


def _value(entry: Entry, name: str) -> str:
    if name in ("node", "text"):
        return str(getattr(entry, name))
    if name == "name":
        return server_name(entry.node)
    instance = entry.instance
    if instance is None:
        raise ValueError(f"no address: {ascii(entry.text[:100])}")
    if name in ADDRESSES:
        target = endpoint(entry)[1]
        host, _, port = target.rpartition(":")
        return {"address": target, "host": host.strip("[]"), "port": port}[name]
    if name.startswith("meta_"):
        return str(instance.metadata.get(name[len("meta_") :], ""))
    return f"{instance.weight:g}" if name == "weight" else str(getattr(instance, name))


def _parts(source: str) -> List[Tuple[bool, Pattern]]:
    """The template in pieces, and whether each is repeated."""
    parts: List[Tuple[bool, List[str]]] = [(False, [])]
    for number, line in enumerate(source.splitlines(keepends=True), 1):
        word = line.strip()
        if word not in ("#each", "#end"):
            parts[-1][1].append(line)
        elif parts[-1][0] == (word == "#each"):
            raise ValueError(f"line {number} of the template: {word} is in the wrong place")
        else:
            parts.append((word == "#each", []))
    if parts[-1][0]:
        raise ValueError("the template has #each without #end")
    return [(each, Pattern("".join(lines))) for each, lines in parts]


def _names(pattern: Pattern) -> Set[str]:
    names = set()
    for found in pattern.pattern.finditer(pattern.template):
        if found["invalid"] is not None:
            raise ValueError(f"the template has a $ before {pattern.template[found.end() :][:20]!r}; $$ is a dollar")
        name = found["named"] or found["braced"]
        names |= {name} if name else set()
    return names


FORMAT = Template
