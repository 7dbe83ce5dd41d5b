"""Conversations of others: kazoo, the C client and zkCli, each with all it can say."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Callable, List, Tuple

from tests.kit.harness import foreign
from tests.tools.recording.tape import Tape
from tests.kit.transcripts import CLIENT, SERVER, Line
from zkwire.ops import CloseSession, SetWatches, SetWatches2

Session = Callable[[Any], int]


def sessions(version: str, numbers: Tuple[int, ...]) -> Iterator[Tuple[str, Session]]:
    """Name and recorder of each session; a recorder takes the server and returns the number of frames."""
    yield "kazoo-verbs", functools.partial(kazoo_verbs, version, numbers)
    yield "kazoo-lock", functools.partial(kazoo_lock, version)
    yield "c-client", functools.partial(c_client, version)
    yield "zkcli", functools.partial(zkcli, version, numbers)


def closed(lines: List[Line]) -> bool:
    """Whether the session of the newest connection has been closed, and that was answered."""
    newest = max((line.connection for line in lines), default=0)
    mine = [line for line in lines if line.connection == newest]
    asked = any(line.direction == CLIENT and _opcode(line) == CloseSession.opcode for line in mine)
    return asked and mine[-1].direction == SERVER


def armed_again(lines: List[Line]) -> bool:
    """Whether a second connection has sent its watches, and got an answer."""
    later = [line for line in lines if line.connection > 1]
    sent = [i for i, line in enumerate(later) if line.direction == CLIENT and _arms(line)]
    return bool(sent) and any(line.direction == SERVER for line in later[sent[0] :])


def _opcode(line: Line) -> int:
    return int.from_bytes(line.data[8:12], "big", signed=True)


def _arms(line: Line) -> bool:
    return len(line.data) >= 12 and _opcode(line) in (SetWatches.opcode, SetWatches2.opcode)


# ------------------------------------------------------------------ kazoo


def _kazoo(tape: Tape) -> Any:
    import kazoo.client  # only the recorder's own environment has it

    client = kazoo.client.KazooClient(tape.hosts, timeout=10)
    client.start(10)
    return client


def kazoo_verbs(version: str, numbers: Tuple[int, ...], server: Any) -> int:
    """All verbs of kazoo, watches, a transaction, and a connection lost and found."""
    import kazoo
    import kazoo.exceptions
    from kazoo.security import make_digest_acl

    root = "/kazoo"
    with Tape(server.host, server.port) as tape:
        client = _kazoo(tape)
        client.create(root, b"r")
        client.create(f"{root}/e", b"", ephemeral=True)
        client.create(f"{root}/s-", b"x", sequence=True)
        client.create(f"{root}/s-", b"x", sequence=True, ephemeral=True)
        client.ensure_path(f"{root}/a/b/c")
        client.exists(f"{root}/none")
        client.exists(f"{root}/a", watch=lambda event: None)
        client.get(root, watch=lambda event: None)
        client.get_children(root, watch=lambda event: None)
        client.get_children(root, include_data=True)
        client.set(root, b"new", version=0)
        client.get_acls(root)
        client.set_acls(f"{root}/a/b", [make_digest_acl("bob", "secret", all=True)])
        client.sync(root)
        for call in (
            lambda: client.get(f"{root}/none"), lambda: client.create(root),
            lambda: client.set(root, b"", 99), lambda: client.get(f"{root}/a/b"),
            lambda: client.delete(f"{root}/a"),
        ):  # fmt: skip
            _fails(call, kazoo.exceptions.KazooException)
        client.add_auth("digest", "bob:secret")
        client.get(f"{root}/a/b")
        if numbers >= (3, 5):
            client.create(f"{root}/two", b"2", include_data=True)
            _fails(lambda: client.reconfig("", "9", "", -1), kazoo.exceptions.KazooException)
        _kazoo_transactions(client, root)
        tape.proxy.cut("rst")
        client.retry(client.exists, root)
        client.delete(f"{root}/a", recursive=True)
        client.stop()
        client.close()
        tape.wait(closed)
        return tape.save(version, f"kazoo {kazoo.__version__}", "kazoo-verbs", _topic(kazoo_verbs))


def _kazoo_transactions(client: Any, root: str) -> None:
    for missing in (False, True):
        transaction = client.transaction()
        transaction.create(f"{root}/t{missing}", b"1")
        transaction.set_data(f"{root}/t{missing}", b"2")
        transaction.check(f"{root}/t{missing}", 1)
        if missing:
            transaction.check(f"{root}/none", 1)
        transaction.delete(f"{root}/t{missing}")
        transaction.commit()


def _fails(call: Callable[[], Any], kind: Any) -> None:
    try:
        call()
    except kind:
        return
    raise AssertionError("the server let it pass")


def kazoo_lock(version: str, server: Any) -> int:
    """A lock of kazoo, handed on from one client to another."""
    import kazoo

    with Tape(server.host, server.port) as tape:
        one, two = _kazoo(tape), _kazoo(tape)
        first, second = one.Lock("/kazoo-lock", "one"), two.Lock("/kazoo-lock", "two")
        first.acquire()
        _fails(lambda: _must(second.acquire(blocking=False)), AssertionError)
        first.release()
        second.acquire(timeout=5)
        second.contenders()
        second.release()
        for client in (one, two):
            client.stop()
            client.close()
        tape.wait(closed)
        return tape.save(version, f"kazoo {kazoo.__version__}", "kazoo-lock", _topic(kazoo_lock))


def _must(value: object) -> None:
    assert value


# ------------------------------------------------------------------ the C client


def c_client(version: str, server: Any) -> int:
    """The C client: nodes, transactions, watches armed again after the connection was lost."""
    library, its_version = foreign.c_library()
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "c_peer.py")
    with Tape(server.host, server.port) as tape:
        with _running([sys.executable, script, library, tape.hosts, "/c-client", version]) as peer:
            if peer.stdout.readline() != b"cut\n":
                raise AssertionError(f"the C client ended early: {peer.wait()}")
            tape.proxy.cut("rst")
            tape.wait(armed_again)
            peer.communicate(b"\n", 20)
            if peer.returncode:
                raise AssertionError(f"the C client failed: {peer.returncode}")
        tape.wait(closed)
        return tape.save(version, f"C client {its_version} (libzookeeper_mt)", "c-client", _topic(c_client))


@contextlib.contextmanager
def _running(command: List[str]) -> Iterator[Any]:
    """A process with pipes, killed if it still runs at the end."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


# ------------------------------------------------------------------ zkCli

CLI_SCRIPT = """
create ROOT data
create -e ROOT/e
create -s ROOT/s- x
create -e -s ROOT/s- x
get ROOT
get -s -w ROOT
set ROOT new
get -w ROOT
stat ROOT
stat -w ROOT/e
ls ROOT
ls -s ROOT
ls -w ROOT
getAcl ROOT
setAcl ROOT/e world:anyone:cdrwa
sync ROOT
get ROOT/none
create ROOT
set -v 9 ROOT x
delete ROOT
addauth digest bob:secret
setquota -n 100 ROOT
listquota ROOT
"""
CLI_35 = """
create -c ROOT/c
create -t 60000 ROOT/t
ls -R ROOT
set -s ROOT y
config
reconfig -remove 9
"""
CLI_36 = """
addWatch -m PERSISTENT ROOT
addWatch ROOT/e
getEphemerals
getAllChildrenNumber ROOT
removewatches ROOT/e
"""
CLI_END = """
create ROOT/last
deleteall ROOT
quit
"""


def zkcli(version: str, numbers: Tuple[int, ...], server: Any) -> int:
    """Java's command line, with its connection lost in between."""
    its_version = version if version in foreign.CLI else "3.8.0"
    script = CLI_SCRIPT + (CLI_35 if numbers >= (3, 5) else "")
    script += CLI_36 if numbers >= (3, 6) else ""
    script += "whoami\n" if numbers >= (3, 7) else ""
    script += "ls ROOT/marker\n"
    with Tape(server.host, server.port) as tape:
        command = [*foreign.cli_command(its_version), "-timeout", "10000", "-server", tape.hosts]
        with _running(command) as peer:
            peer.stdin.write(script.replace("ROOT", "/zkcli").encode())
            peer.stdin.flush()
            # The last command's answer, so that nothing is under way when the connection goes.
            tape.wait(lambda lines: any(b"/zkcli/marker" in line.data for line in lines), 30)
            tape.wait(lambda lines: lines[-1].direction == SERVER)
            tape.proxy.cut("rst")
            tape.wait(armed_again)
            output, _ = peer.communicate(CLI_END.replace("ROOT", "/zkcli").encode(), 30)
        try:
            tape.wait(closed)
        except TimeoutError as error:
            raise AssertionError(output.decode(errors="replace")[-2000:]) from error
        return tape.save(version, f"zkCli {its_version} (Java)", "zkcli", _topic(zkcli))


def _topic(script: Callable[..., Any]) -> str:
    return (script.__doc__ or "").strip().splitlines()[0].rstrip(".")
