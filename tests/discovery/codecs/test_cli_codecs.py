"""`--codec` on the command line: registered as others do, read as others write, warned where others would break."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, List

import pytest

from tests.discovery.codecs.nodes import nodes
from zkwire import ZooKeeper

ROOT = Path(__file__).parents[3]


def command(server: Any, *words: str) -> List[str]:
    return [sys.executable, "-m", "zkdisco", words[0], "--servers", server.hosts, *words[1:]]


def run(server: Any, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(server, *words), cwd=ROOT, capture_output=True, text=True, timeout=25, check=False)


def test_a_registration_as_curator_does_it(server: Any, unique: str) -> None:
    data = '{"host": "10.0.2.10", "port": 80, "id": "me", "metadata": {"zone": "a"}}'
    words = command(server, "register", "--path", f"/{unique}", "--name", "api", "--codec", "curator", "--data", data)
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == f"registered /{unique}/api/me\n"
        with ZooKeeper(server.hosts) as zk:
            record = json.loads(zk.get(f"/{unique}/api/me")[0])
        assert (record["name"], record["id"], record["address"], record["payload"]) == ("api", "me", "10.0.2.10", {"zone": "a"})
        listed = run(server, "list", "--path", f"/{unique}/api", "--codec", "curator", "--json")
        (found,) = json.loads(listed.stdout)["instances"]
        assert (found["host"], found["id"], found["format"], found["metadata"]) == ("10.0.2.10", "me", "curator", {"zone": "a"})
        process.terminate()
        said = process.communicate(timeout=25)
    assert (process.returncode, said) == (0, ("deregistered\n", ""))


def test_a_directory_of_all_formats_is_listed(server: Any, unique: str) -> None:
    with ZooKeeper(server.hosts) as zk:
        for format in ("curator", "spring", "nerve", "solr"):
            one = nodes(format)[-1]
            zk.create(f"/{unique}/{format if format != 'solr' else one.name}", one.data, makepath=True)
        zk.create(f"/{unique}/strange", b"?")
    listed = run(server, "list", "--path", f"/{unique}", "--codec", "auto")
    assert listed.stdout.splitlines() == [
        "10.0.0.1:8983 (solr)", "10.0.0.1:80 (curator)", "web1:80 (nerve)", "10.0.0.1:8005 OUT_OF_SERVICE weight 3 in z1 (spring)",
    ]  # fmt: skip
    assert "strange" in listed.stderr and "in no format that is known" in listed.stderr


@pytest.mark.parametrize("words", [["--data", "10.0.2.10:80"], ["--codec", "nerve", "--data", "10.0.2.10:80"]], ids=["plain", "nerve"])
def test_a_warning_where_curator_reads(server: Any, unique: str, words: List[str]) -> None:
    with ZooKeeper(server.hosts) as zk:
        zk.create(f"/{unique}/api/theirs", nodes("curator")[0].data, makepath=True)
    arguments = command(server, "register", "--path", f"/{unique}", "--name", "api", *words)
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline().startswith(f"registered /{unique}/api/_c_")
        process.terminate()
        _, said = process.communicate(timeout=25)
    assert said.startswith("zkdisco: a warning, registered all the same: 'theirs': in the format 'curator'; Curator")
    assert said.count("\n") == 1 and process.returncode == 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--codec", "none", "--data", "x"], "invalid choice"), (["--codec", "curator", "--data", "x"], "no host:port"),
        (["--codec", "curator", "--data", '{"host": 3}'], "a host is a str"), (["--codec", "curator", "--data", '{"home": "a"}'], "home"),
        (["--codec", "curator", "--data", "{"], "JSON|Expecting"), (["--codec", "kafka", "--data", "a:1"], "read, but not written"),
        (["--codec", "auto", "--data", "a:1"], "for reading"), (["--codec", "curator", "--data", "a:1", "--identity", "x"], "no --identity"),
        (["--codec", "serverset", "--data", '{"host":"a","port":1,"raw":{},"format":"serverset","zone":"z"}'], "no room for zone"),
    ],
)  # fmt: skip
def test_what_cannot_be_right(server: Any, words: List[str], why: str) -> None:
    done = run(server, "register", "--path", "/s", "--name", "a", *words)
    assert done.returncode == 2 and done.stdout == ""
    assert any(part in done.stderr for part in why.split("|")), done.stderr
