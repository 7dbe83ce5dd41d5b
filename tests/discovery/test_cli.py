"""`python -m zkdisco` as its users meet it: a process, its output, its exit status, its signals."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from typing import Any, Iterator

import pytest

from tests.kit.harness import pki
from tests.kit.tls import Relay
from tests.kit.discovery.live import until
from zkdisco.tls import tls_context
from zkwire import ZooKeeper
from zkwire.embedded import EmbeddedServer
from zkwire.values import make_digest_acl

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@pytest.fixture
def where(unique: str) -> str:
    return f"/disco-{unique}"


@contextlib.contextmanager
def started(*arguments: str) -> Iterator[Any]:
    """The command, running."""
    with subprocess.Popen(
        [sys.executable, "-m", "zkdisco", *arguments], cwd=ROOT, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def done(*arguments: str) -> Any:
    """The command, run to its end."""
    return subprocess.run(
        [sys.executable, "-m", "zkdisco", *arguments], cwd=ROOT, text=True, capture_output=True, timeout=25
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_register_until_a_signal(server38: Any, where: str, number: int) -> None:
    with ZooKeeper(server38.hosts) as zk:
        with started("register", "--servers", server38.hosts, "--path", where, "--name", "api", "--data", "é:80") as it:
            line = it.stdout.readline()
            assert re.fullmatch(rf"registered {where}/api/_c_[0-9a-f]{{32}}-[0-9]{{10}}\n", line)
            assert zk.get(line.split()[1])[0] == "é:80".encode()
            it.send_signal(number)
            out, error = it.communicate(timeout=10)
            assert (it.returncode, out, error) == (0, "deregistered\n", "")
        assert zk.get_children(where + "/api") == []


def test_watch_prints_one_line_per_event(server38: Any, where: str) -> None:
    with ZooKeeper(server38.hosts) as zk:
        with started("watch", "--servers", server38.hosts, "--path", where, "--json") as it:
            assert json.loads(it.stdout.readline()) == {"instances": [], "error": None}
            zk.ensure_path(where)
            zk.create(where + "/a", b"10.0.0.1:80")
            assert json.loads(it.stdout.readline())["instances"] == ["10.0.0.1:80"]
            zk.create(where + "/b", b"\xff")
            event = json.loads(it.stdout.readline())
            assert event["instances"] == ["10.0.0.1:80"] and "UTF-8" in event["error"]
            it.send_signal(signal.SIGTERM)
            assert it.wait(10) == 0 and it.stderr.read() == ""


def test_watch_for_people_by_name_and_a_reader_that_leaves(server38: Any, where: str) -> None:
    with ZooKeeper(server38.hosts) as zk:
        zk.ensure_path(where + "/api")
        with started("--servers", server38.hosts, "watch", "--path", where + "/", "--name", "api") as it:
            assert it.stdout.readline() == "0 live: none\n"
            zk.create(where + "/api/a", b"x:1")
            assert it.stdout.readline() == "1 live: x:1\n"
            it.stdout.close()
            zk.create(where + "/api/b", b"x:2")
            assert it.wait(10) in (0, 1)
            assert "Traceback" not in it.stderr.read()


def test_list(server38: Any, where: str) -> None:
    with ZooKeeper(server38.hosts) as zk:
        arguments = ("list", "--servers", server38.hosts, "--path", where, "--name", "api")
        nothing = done(*arguments)
        assert (nothing.returncode, nothing.stdout, nothing.stderr) == (0, "", "")
        zk.create(where + "/api/b", b"2", makepath=True)
        zk.create(where + "/api/a", b"1")
        found = done(*arguments)
        assert (found.returncode, found.stdout, found.stderr) == (0, "1\n2\n", "")
        for order in (("--json", *arguments), (*arguments, "--json"), ("list", "--json", *arguments[1:])):
            found = done(*order)
            assert found.returncode == 0 and json.loads(found.stdout) == {"instances": ["1", "2"], "error": None}


@pytest.mark.slow
def test_help_shows_examples() -> None:
    for arguments in (["--help"], ["register", "--help"], ["watch", "-h"], ["list", "-h"], ["demo", "-h"]):
        shown = done(*arguments)
        assert shown.returncode == 0 and "examples:" in shown.stdout and "--servers" in shown.stdout


@pytest.mark.parametrize(
    "arguments",
    [[], ["fly"], ["register"], ["register", "--path", "/a", "--name", "b"], ["list", "--path", "a"],
     ["list", "--path", "/a//b"], ["register", "--path", "/a", "--name", "b/c", "--data", "d"], ["watch"],
     ["list", "--path", "/a", "--servers", "a:b"], ["list", "--path", "/a", "--session-timeout", "0.1"],
     ["list", "--path", "/a", "--session-timeout", "x"], ["list", "--path", "/a", "--credentials", "nocolon"],
     ["list", "--path", "/a", "--fly"], ["demo", "--servers", "a:b"], ["demo", "--session-timeout", "0.1"],
     ["demo", "--path", "/a"]],
    ids=" ".join,
)  # fmt: skip
def test_usage_errors_exit_with_2(arguments: Any) -> None:
    failed = done(*arguments)
    assert failed.returncode == 2 and failed.stdout == "" and "usage:" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_other_errors_are_one_line_and_exit_with_1(server38: Any, where: str) -> None:
    short = ("--session-timeout", "1", "--connect-timeout", "1")
    failed = done("list", "--servers", "127.0.0.1:1", "--path", "/a", *short)
    assert failed.returncode == 1 and failed.stdout == "" and failed.stderr.count("\n") == 1
    assert "127.0.0.1:1" in failed.stderr
    with ZooKeeper(server38.hosts) as zk:
        zk.add_auth("digest", "boss:secret")
        zk.create(where, b"", acl=[make_digest_acl("boss", "secret", all=True)])
        for verb in (["list"], ["watch"], ["register", "--name", "api", "--data", "d"]):
            failed = done(*verb, "--servers", server38.hosts, "--path", where)
            assert failed.returncode == 1 and "NoAuth" in failed.stderr and failed.stderr.count("\n") == 1
        allowed = done("list", "--servers", server38.hosts, "--path", where, "--credentials", "boss:secret")
        assert (allowed.returncode, allowed.stderr) == (0, "")


def test_a_killed_process_is_gone_after_its_session_time_out(server38: Any, where: str) -> None:
    with ZooKeeper(server38.hosts) as zk:
        with started("register", "--servers", server38.hosts, "--path", where, "--name", "api", "--data", "d",
                     "--session-timeout", "1", "--json") as it:  # fmt: skip
            node = json.loads(it.stdout.readline())["node"]
            assert zk.exists(node)
            it.kill()
        until(lambda: zk.exists(node) is None, 5)


@pytest.mark.slow
def test_sasl(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The password never is an argument, where every user of a machine could read it."""
    monkeypatch.delenv("ZKDISCO_SASL_PASSWORD", raising=False)
    (tmp_path / "right").write_text("hüsh\n", encoding="utf-8")
    (tmp_path / "wrong").write_text("hush-wrong", encoding="utf-8")
    (tmp_path / "bytes").write_bytes(b"hush\xff")
    with EmbeddedServer(sasl={"bob": "hüsh"}, sasl_required=True) as server:
        with ZooKeeper(server.hosts, sasl=("bob", "hüsh")) as zk:
            zk.create("/services/api/one", b"10.0.2.10:80", makepath=True)
        listing = ("list", "--servers", server.hosts, "--path", "/services/api", "--sasl-user", "bob")
        usage = done(*listing)
        assert usage.returncode == 2 and "ZKDISCO_SASL_PASSWORD" in usage.stderr
        assert done(*listing, "--sasl-password-file", str(tmp_path / "right")).stdout == "10.0.2.10:80\n"
        for name, status in (("wrong", 1), ("bytes", 2), ("none", 1)):
            bad = done(*listing, "--sasl-password-file", str(tmp_path / name))
            assert (bad.returncode, bad.stdout, "Traceback" in bad.stderr) == (status, "", False)
            assert "hush" not in bad.stderr
        monkeypatch.setenv("ZKDISCO_SASL_PASSWORD", "hüsh")
        assert done(*listing).stdout == "10.0.2.10:80\n"
        alone = done(*listing[:-2], "--sasl-password-file", str(tmp_path / "right"))
        assert alone.returncode == 2 and "without --sasl-user" in alone.stderr


@pytest.mark.slow
def test_tls() -> None:
    with EmbeddedServer() as server, Relay(server.port, pki.server_context(client_ca="ca")) as relay:
        with ZooKeeper(server.hosts) as zk:
            zk.create("/services/api/one", b"10.0.2.10:80", makepath=True)
        listing = ("list", "--servers", relay.hosts, "--path", "/services/api", "--connect-timeout", "5")
        ours = ("--ca-file", pki.pem("ca"), "--cert-file", pki.pem("client"))
        listed = done(*listing, *ours)
        assert (listed.stdout, listed.stderr) == ("10.0.2.10:80\n", "")
        for more, status, text in (
            (("--tls",), 1, "TLSError: " + relay.hosts), (("--key-file", pki.pem("client")), 2, "--cert-file is missing"),
        ):  # fmt: skip
            failed = done(*listing, *more)
            assert (failed.returncode, failed.stdout) == (status, "")
            assert text in failed.stderr and "Traceback" not in failed.stderr


def test_files_of_tls_that_are_of_no_use_are_named() -> None:
    with pytest.raises(OSError, match=r"/no/such\.pem: No such file"):
        tls_context("/no/such.pem")
    with pytest.raises(OSError, match=re.escape(pki.pem("ca"))):
        tls_context(cert_file=pki.pem("ca"))  # which has no key
    with pytest.raises(ValueError, match="the key is encrypted"):  # and no terminal is asked for the password
        tls_context(cert_file=pki.pem("client"), key_file=pki.pem("encrypted"))
    assert tls_context(pki.pem("ca"), pki.pem("client")).check_hostname
