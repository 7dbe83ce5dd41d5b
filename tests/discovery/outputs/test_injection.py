"""Hostile nodes through every codec and format: a reader of each format's own grammar finds nothing that was not meant.

And the reader can see: with a rule switched off, it finds something.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest

from tests.kit.discovery.hostile_records import PIECES, records, text
from zkdisco.codecs import Instance, codec, gokit, instance
from zkdisco.output import printable
from zkdisco.outputs import NAMES, Entry, Named, find
from zkdisco.outputs import format as rules
from zkdisco.outputs import haproxy, json_document, nginx, template
from zkdisco.outputs.format import told
from zkdisco.outputs.template import Template

COUNT, SEED = 2000, 20
TARGET = re.compile(r"(?:[A-Za-z0-9_.-]{1,254}|\[[0-9a-f:.]+\]):[0-9]{1,5}")
#: A shell runs what this becomes, and says what it does not like.
SCRIPT = """\
is() { [ $$# -eq 3 ] || echo "$$# words"; case "$$1$$2$$3" in *[!]A-Za-z0-9_.:[-]*|-*) echo odd;; esac; }
#each
is $name '$address' "$zone"z
#end
"""


class Escaped(Exception):
    """Something of a node has become more than a value."""


def check(condition: Any, what: object) -> None:
    if not condition:
        raise Escaped(repr(what)[:300])


def read_haproxy(content: str) -> int:
    """Words, as HAProxy takes them: white space ends one; quotes, backslashes, comments and dollars have a meaning."""
    first, *lines = content.split("\n")[:-1]
    check(first == "backend api", first)
    names = set()
    for line in lines:
        check(not re.search(r"[^ -~]|[\"'\\#$]", line), line)
        keyword, name, target, *rest = line.split()
        known = re.fullmatch(r"(init-addr last,libc,none )?(weight [0-9]{1,3} )?check( disabled)?", " ".join(rest))
        check(keyword == "server" and TARGET.fullmatch(target) and known and len(line) < 2000, line)
        check(name not in names and re.fullmatch(r"[A-Za-z0-9_.:-]+", name), line)
        names.add(name)
    return len(lines)


def read_nginx(content: str) -> int:
    """Comments end with the line; words with white space, ";" or braces; quotes, backslashes and dollars have a meaning."""
    bare = "".join(re.sub(r"#[^\n]*", "", line) + "\n" for line in content.split("\n"))
    check(not re.search(r"[^ -~\n]|[\"'\\$]", content), content)
    found = re.fullmatch(r"\s*upstream api \{([^{}]*)\}\s*", bare)
    check(found, content)
    servers = found[1].split(";")  # type: ignore[index]
    check(not servers.pop().strip(), content)
    for server in servers:
        keyword, target, *rest = server.split()
        known = re.fullmatch(r"(weight=[0-9]{1,3})? ?(down)?", " ".join(rest))
        check(keyword == "server" and TARGET.fullmatch(target) and known, server)
    return len(servers)


def read_hosts(content: str) -> int:
    """An address and names; "#" begins a comment."""
    begin, *lines, end = content.split("\n")[:-1]
    check((begin, end) == ("# zkdisco begin /services/api", "# zkdisco end /services/api"), content)
    for line in lines:
        words = line.split()
        check(len(words) == 2 and words[1] == "api" and re.fullmatch(r"[0-9a-f.:]+", words[0]), line)
        check(str(ip_address(words[0])) == words[0], line)
    return len(lines)


def read_json(content: str) -> int:
    check(content.isascii() and content.replace("\n", "").isprintable(), content)
    found = json.loads(content)
    check(list(found) == ["path", "instances"] and len(found["instances"]) == content.count("\n") - 2, content)
    return len(found["instances"])


def read_prometheus(content: str) -> int:
    check(content.isascii() and content.replace("\n", "").isprintable(), content)
    groups = json.loads(content)
    for group in groups:
        check(list(group) == ["targets", "labels"] and len(group["targets"]) == 1, group)
        check(TARGET.fullmatch(group["targets"][0]), group)
        for label, value in group["labels"].items():
            check(re.fullmatch(r"__meta_zkdisco_[A-Za-z0-9_]+", label) and isinstance(value, str), label)
            value.encode()
    return len(groups)


def read_script(content: str, folder: Path) -> int:
    """A real shell, in an empty folder."""
    done = subprocess.run(["/bin/sh", "-f"], input=content.encode("utf-8", "replace"), capture_output=True, cwd=folder, timeout=20)
    check(done.returncode == 0 and not done.stdout and not done.stderr, done)
    check(not list(folder.iterdir()), "a file")
    return content.count("\nis ")


def entries(codec_name: str) -> List[Entry]:
    """What a codec reads of the hostile records; for "values", instances with hostile words, as other formats have them."""
    rng = random.Random(SEED)
    found = []
    for name, data in records(rng, COUNT):
        try:
            if codec_name == "values":
                metadata = {text(rng): text(rng), "k": text(rng), text(rng): 1}
                words = [text(rng) if rng.random() < 0.5 else "UP" for _ in range(4)]
                one = Entry(name, Instance("10.0.0.1", 80, words[0], words[1], 1.0, words[2], words[3], metadata))
            else:
                one = Named(codec_name).decode(name, data)
        except ValueError:
            continue
        found.append(one)
    return found


def attack(form: str, codec_name: str, folder: Path) -> int:
    """How many instances are in the file."""
    known = entries(codec_name)
    assert len(known) >= COUNT // 4
    made = Template("api", "/services/api", {}, SCRIPT) if form == "template" else find(form)("api", "/services/api")
    found = made.render(known)
    line = told(found.left_out)
    check(not line or (line.isascii() and printable(line) == line and len(line) < 4000), line)
    readers: Dict[str, Callable[[str], int]] = {
        "haproxy": read_haproxy, "nginx": read_nginx, "hosts": read_hosts, "json": read_json, "prometheus": read_prometheus,
        "template": lambda content: read_script(content, folder),
    }  # fmt: skip
    number = readers[form](made.place(found.text, None))
    merged = form in ("nginx", "hosts")  # an address stands there once
    check(number <= found.size if merged else number == found.size, number)
    return number


@pytest.mark.parametrize("codec_name", ["text", "gokit", "values"])
@pytest.mark.parametrize("form", NAMES)
def test_nothing_escapes(form: str, codec_name: str, tmp_path: Path) -> None:
    few = {("hosts", "values"), ("nginx", "values"), ("hosts", "text"), ("hosts", "gokit")}
    assert attack(form, codec_name, tmp_path) >= (1 if (form, codec_name) in few else 100), "it is not shown by leaving all out"


ANY = re.compile(r"(?s).*")
#: Two rules stand behind each other where there is none: for addresses in hosts, and for names in templates.
MUTANTS: Dict[str, Any] = {
    "names of servers as they are": (haproxy, "server_name", lambda node: node, "haproxy", "text"),
    "names in comments as they are": (nginx, "server_name", lambda node: node, "nginx", "text"),
    "two names that are one": (haproxy, "server_name", lambda node: re.sub(r"[^a-z0-9]", "_", node)[:9], "haproxy", "text"),
    "any host for HAProxy": (rules, "host_name", lambda host: host, "haproxy", "text"),
    "any host for Prometheus": (rules, "host_name", lambda host: host, "prometheus", "text"),
    "any word": (template, "WORD", ANY, "template", "values"),
    "JSON with all characters": (json_document, "json", type("J", (), {
        "dumps": staticmethod(lambda value, **_: json.dumps(value, ensure_ascii=False))}), "json", "text"),
    "nodes told as they are": (rules, "ascii", str, "haproxy", "text"),
}  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_rule_that_is_off_is_seen(mutant: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    where, name, value, form, codec_name = MUTANTS[mutant]
    monkeypatch.setattr(where, name, value, raising=name != "ascii")
    if name == "host_name":
        monkeypatch.setattr(instance, "_HOST", ANY)  # or else the instance's own rule stands before it
    with pytest.raises(Escaped):
        attack(form, codec_name, tmp_path)


def test_every_piece_is_tried() -> None:
    made = b"\0".join(data + name.encode() for name, data in records(random.Random(SEED), COUNT)).decode("utf-8", "replace")
    assert [piece for piece in PIECES if piece.replace("/", "|") not in made and piece not in made] == []
    assert {codec.TEXT.name, gokit.GOKIT.name} == {"text", "gokit"}
