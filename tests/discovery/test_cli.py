"""`python -m zkdisco` as its users meet it: a process, its output, its exit status, its signals."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from datetime import datetime
from typing import Any, Iterator

import pytest

from tests.kit.catalogue import fault
from tests.kit.harness import pki
from tests.kit.tls import Relay
from tests.kit.discovery.live import until
from tests.kit.stage import signals_pending
from zkdisco.signals import TOGETHER
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
        [sys.executable, "-m", "zkdisco", *arguments], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
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


@pytest.mark.parametrize("identity", ["0123456789ABCDEF0123456789abcdef", "host-1"])
@pytest.mark.parametrize("version", ["server34", "server393"])
@fault("G03")
def test_killed_and_back_with_an_identity(request: Any, where: str, version: str, identity: str) -> None:
    """SIGKILL, and a new process long before the session of the first one is over."""
    server = request.getfixturevalue(version)
    options = ("register", "--servers", server.hosts, "--path", where, "--name", "api", "--data", "h:80",
               "--identity", identity, "--session-timeout", "20")  # fmt: skip
    with ZooKeeper(server.hosts) as zk:
        owners = []
        for _ in range(3):
            with started(*options) as it:
                node = it.stdout.readline().split()[1]
                assert node.startswith(f"{where}/api/{'host-1' if identity == 'host-1' else f'_c_{identity.lower()}-'}")
                assert zk.get_children(where + "/api") == [node.rpartition("/")[2]]
                owners.append(zk.exists(node).ephemeralOwner)
        assert len(set(owners)) == 3
        if identity == "host-1":
            taken = done(*options[:8], "h:81", *options[9:])
            assert taken.returncode == 1 and f"session 0x{owners[-1]:x}" in taken.stderr and taken.stderr.count("\n") == 1
            assert zk.get(node)[0] == b"h:80"


def test_an_identity_that_can_be_none(where: str) -> None:
    it = done("register", "--path", where, "--name", "api", "--data", "h:80", "--identity", "a/b")
    assert it.returncode == 2 and "a/b" in it.stderr


def test_watch_prints_one_line_per_event(server38: Any, where: str) -> None:
    with ZooKeeper(server38.hosts) as zk:
        with started("watch", "--servers", server38.hosts, "--path", where, "--json") as it:
            first = json.loads(it.stdout.readline())
            assert (first["instances"], first["error"], first["age"]) == ([], None, 0.0)
            assert datetime.fromisoformat(first["time"]).tzinfo is not None
            zk.ensure_path(where)
            zk.create(where + "/a", b"10.0.0.1:80")
            assert json.loads(it.stdout.readline())["instances"] == ["10.0.0.1:80"]
            zk.create(where + "/b", b"\xff")
            event = json.loads(it.stdout.readline())
            assert event["instances"] == ["10.0.0.1:80"] and "UTF-8" in event["error"]
            it.send_signal(signal.SIGTERM)
            assert it.wait(10) == 0 and it.stderr.read() == f"zkdisco: there is no {where} yet; / is there\n"


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
        assert (nothing.returncode, nothing.stdout) == (3, "") and f"there is no {where}/api" in nothing.stderr
        zk.create(where + "/api/b", b"2", makepath=True)
        zk.create(where + "/api/a", b"1")
        found = done(*arguments)
        assert (found.returncode, found.stdout, found.stderr) == (0, "1\n2\n", "")
        for order in (("--json", *arguments), (*arguments, "--json"), ("list", "--json", *arguments[1:])):
            found = done(*order)
            assert found.returncode == 0 and json.loads(found.stdout)["instances"] == ["1", "2"]


@pytest.mark.slow
def test_help_shows_examples() -> None:
    for arguments in (["--help"], ["register", "--help"], ["watch", "-h"], ["list", "-h"], ["demo", "-h"]):
        shown = done(*arguments)
        assert shown.returncode == 0 and "examples:" in shown.stdout and "--servers" in shown.stdout


@pytest.mark.long
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


# ------------------------------------------------------------------- signals, pipes, places


def ends_within(process: Any, seconds: float, status: int) -> None:
    """The command ends in time, as documented."""
    began = time.monotonic()
    assert process.wait(10) == status, process.stderr.read()
    assert time.monotonic() - began < seconds


@fault("Y13")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
@pytest.mark.parametrize("verb", ["register", "watch", "list"])
def test_a_signal_is_heard_while_it_connects(verb: str, number: int) -> None:
    data = ("--name", "a", "--data", "x") if verb == "register" else ()
    with started(verb, "--servers", "127.0.0.1:1", "--session-timeout", "30", "--path", "/s", *data) as it:
        wait_for_handlers(it.pid)
        it.send_signal(number)
        ends_within(it, 3.0, 0)


def wait_for_handlers(pid: int) -> None:
    """Until the process handles the last of its signals, which its status says; Python itself handles SIGINT before."""

    def handled() -> bool:
        with open(f"/proc/{pid}/status") as file:
            mask = next(line for line in file if line.startswith("SigCgt:"))
        return bool(int(mask.split()[1], 16) & 1 << signal.SIGQUIT - 1)

    until(handled)


@pytest.mark.long
@fault("Y13")
def test_a_signal_is_heard_in_an_outage_and_what_is_left_is_said() -> None:
    with EmbeddedServer() as server:
        with started("register", "--servers", server.hosts, "--path", "/s", "--name", "a", "--data", "x",
                     "--session-timeout", "20") as it:  # fmt: skip
            assert it.stdout.readline().startswith("registered ")
            server.stop()
            assert "ConnectionLoss" in it.stderr.readline()
            it.send_signal(signal.SIGTERM)
            ends_within(it, 3.5, 1)
            assert "not taken back in time; the node ends with the session, in 20 s at most" in it.stderr.read()
        server.start()


@pytest.mark.long
@fault("Y13")
def test_a_server_that_stands_still_holds_up_nobody_and_a_second_signal_ends_at_once() -> None:
    with EmbeddedServer() as server:
        for second in (False, True):
            with started("register", "--servers", server.hosts, "--path", "/s", "--name", "a", "--data", "x") as it:
                assert it.stdout.readline().startswith("registered ")
                server.black_hole()
                it.send_signal(signal.SIGTERM)
                if second:
                    until(lambda process=it: not signals_pending(process.pid))
                    ended_by(it, signal.SIGINT, 1.5)
                else:
                    ends_within(it, 3.5, 1)
            server.heal()


def ended_by(process: Any, number: int, seconds: float) -> None:
    """Sent again and again, as by somebody impatient: what comes with the first signal is not a second one."""
    began = time.monotonic()
    while process.poll() is None and time.monotonic() - began < seconds:
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
    assert process.returncode == 128 + number
    assert time.monotonic() - began > TOGETHER / 2


@pytest.mark.long
@fault("Y13", "Y04")
def test_a_credential_that_is_refused_for_good_ends_register_and_watch() -> None:
    with EmbeddedServer(sasl={"ann": "old"}, sasl_required=True) as server:
        environment = dict(os.environ, ZKDISCO_SASL_PASSWORD="old", ZKDISCO_SASL_USER="ann", ZKDISCO_SERVERS=server.hosts)  # noqa: S106
        verbs = (["register", "--data", "x"], ["watch"])
        processes = [
            subprocess.Popen([sys.executable, "-m", "zkdisco", *verb, "--path", "/s", "--name", "a"], cwd=ROOT, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
            for verb in verbs
        ]  # fmt: skip
        try:
            for process in processes:
                assert process.stdout is not None and process.stdout.readline()
            server.stop()
            with EmbeddedServer(server.port, sasl={"ann": "new"}, sasl_required=True):
                for process in processes:
                    _, said = process.communicate(timeout=20)
                    assert process.returncode == 1 and "SASL" in said.upper() and "Traceback" not in said
        finally:
            for process in processes:
                process.kill()
                process.communicate()


@pytest.mark.long
@fault("Y15")
def test_register_and_watch_boot_without_zookeeper() -> None:
    with EmbeddedServer() as server:
        server.stop()
        where = ("--servers", f"127.0.0.1:{server.port}", "--path", "/s", "--name", "a", "--wait", "0")
        with started("register", *where, "--data", "x") as it, started("watch", *where, "--json") as other:
            assert "no connection" in json.loads(other.stdout.readline())["error"]
            assert "ConnectionLoss" in it.stderr.readline()
            server.start()
            assert it.stdout.readline().startswith("registered /s/a/_c_")
            while json.loads(other.stdout.readline())["instances"] != ["x"]:
                pass
            it.send_signal(signal.SIGTERM)
            assert it.wait(10) == 0
            other.send_signal(signal.SIGTERM)
            assert other.wait(10) == 0


@fault("Y16")
def test_one_line_for_each_instance_whatever_its_data() -> None:
    odd = ["plain:80", "two\nlines", "\x1b[31mred", "a, b", "caf\xe9", "", '"quoted"', " padded ", "\u2028"]
    with EmbeddedServer() as server, ZooKeeper(server.hosts) as zk:
        zk.ensure_path("/s/a")
        for number, text in enumerate(odd):
            zk.create(f"/s/a/n{number}", text.encode())
        for encoding, plain in (("utf-8", {"plain:80", "a, b", "caf\xe9"}), ("ascii", {"plain:80", "a, b"})):
            command = [sys.executable, "-m", "zkdisco", "list", "--servers", server.hosts, "--path", "/s/a"]
            environment = dict(os.environ, PYTHONIOENCODING=encoding)
            listed = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=25, env=environment)
            lines = listed.stdout.decode(encoding).split("\n")[:-1]
            assert listed.returncode == 0 and len(lines) == len(odd)
            assert sorted(line if line in plain else json.loads(line) for line in lines) == sorted(odd)
            assert b"\x1b" not in listed.stdout
        with started("watch", "--servers", server.hosts, "--path", "/s/a") as it:
            line = it.stdout.readline()
            assert line.startswith(f"{len(odd)} live: ") and "\x1b" not in line and '"a, b"' in line
            it.send_signal(signal.SIGTERM)
            assert it.wait(10) == 0


@pytest.mark.long
@fault("Y16")
def test_a_watch_whose_reader_has_left_ends_without_another_event() -> None:
    with EmbeddedServer() as server:
        with started("watch", "--servers", server.hosts, "--path", "/s") as it:
            assert it.stdout.readline() == "0 live: none\n"
            it.stdout.close()
            ends_within(it, 5.0, 0)
            assert "Traceback" not in it.stderr.read()
        shell = f"{sys.executable} -m zkdisco watch --servers {server.hosts} --path /s --json | head -1"
        shown = subprocess.run(["sh", "-c", shell], cwd=ROOT, capture_output=True, text=True, timeout=20)
        assert json.loads(shown.stdout)["instances"] == [] and "Traceback" not in shown.stderr


@pytest.mark.long
@fault("Y16")
def test_output_that_is_closed_or_full(tmp_path: Any) -> None:
    """A registration is not there for its output; a watch is; no credential, no traceback."""
    with EmbeddedServer() as server:
        base = f"{sys.executable} -m zkdisco {{}} --servers {server.hosts} --path /s --name a"
        with ZooKeeper(server.hosts) as zk:
            zk.ensure_path("/s/a")
            with subprocess.Popen(["sh", "-c", f"exec {base.format('register')} --data x >&-"], cwd=ROOT) as process:
                until(lambda: zk.get_children("/s/a"))
                process.send_signal(signal.SIGTERM)
                assert process.wait(10) == 0
        closed = subprocess.run(["sh", "-c", f"exec {base.format('watch')} >&- 2>&-"], cwd=ROOT, timeout=20)
        assert closed.returncode == 0
        full = subprocess.run(
            ["sh", "-c", f"exec {base.format('watch')} >/dev/full"], cwd=ROOT, capture_output=True, text=True, timeout=20
        )
        assert full.returncode == 1 and "No space left" in full.stderr and "Traceback" not in full.stderr


@pytest.mark.long
@fault("Y17")
def test_a_place_that_is_not_there_or_not_the_one_that_was_meant() -> None:
    with EmbeddedServer() as server, ZooKeeper(server.hosts) as zk:
        zk.create("/services/api/one", b"10.0.0.1:80", makepath=True)
        zk.create("/services/empty", b"")
        node = zk.create("/services/api/_c_1", b"2", ephemeral=True)

        def listed(path: str, hosts: str = server.hosts) -> Any:
            return done("list", "--servers", hosts, "--path", path)

        mistyped = listed("/servcies/api")
        assert (mistyped.returncode, mistyped.stdout) == (3, "")
        assert mistyped.stderr == "zkdisco: there is no /servcies/api; / is there\n"
        assert (listed("/services/empty").returncode, listed("/services/empty").stderr) == (0, "")
        high, low = listed("/services"), listed(node)
        assert high.returncode == 0 and "one level too high" in high.stderr
        assert low.returncode == 0 and "one level too low" in low.stderr
        chroot = listed("/services/api", server.hosts + "/no/such")
        assert chroot.returncode == 3 and "the chroot does not exist" in chroot.stderr


@pytest.mark.long
def test_credentials_come_from_the_environment_or_a_file(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("boss:secret\n", encoding="utf-8")
    with EmbeddedServer() as server, ZooKeeper(server.hosts) as zk:
        zk.add_auth("digest", "boss:secret")
        zk.create("/s", b"", acl=[make_digest_acl("boss", "secret", all=True)])
        monkeypatch.setenv("ZKDISCO_SERVERS", server.hosts)
        assert done("list", "--path", "/s").returncode == 1
        assert done("list", "--path", "/s", "--credentials-file", str(tmp_path / "secret")).returncode == 0
        monkeypatch.setenv("ZKDISCO_CREDENTIALS", "boss:secret")
        assert done("list", "--path", "/s").returncode == 0
        monkeypatch.setenv("ZKDISCO_CREDENTIALS", "nocolon")
        bad = done("list", "--path", "/s")
        assert bad.returncode == 2 and "nocolon" not in bad.stderr
