"""zkCli, Java's command line: commands in, and what it prints, without times, session ids and zxids."""

from __future__ import annotations

import re
import subprocess
import threading
from typing import Any, Callable

from tests.kit.harness import foreign, packages

from .place import PATIENCE, SUPER
from .scenario import Book, Scenario, Trial

VERSION = "3.9.3"
packages.java()
COMMAND = foreign.cli_command(VERSION)
book = Book("zkCli")

#: What differs from run to run, and what to write in its place.
_DIFFERS = (
    (re.compile(r"^(ctime|mtime|cZxid|mZxid|pZxid) = .*"), r"\1 = SOME"),
    (re.compile(r"ephemeralOwner = 0x[1-9a-f][0-9a-f]*"), "ephemeralOwner = SOME"),
    (re.compile(r"zxid: [1-9]\d*"), "zxid: SOME"),
    (re.compile(r"127\.0\.0\.1:\d+"), "HOST"),
    (re.compile(r"sessionid:0x[0-9a-f]+"), "sessionid:SOME"),
)
#: What ends the answers to a command: the data of this node among them, and that another is not there.
MARK = "/mark"


class Cli:
    """The process. Answers, complaints and events are each in order, but not among each other."""

    def __init__(self, trial: Trial, timeout_ms: int = 10000) -> None:
        self.trial = trial
        trial.place.make(MARK, MARK.encode())
        command = [*COMMAND, "-timeout", str(timeout_ms), "-server", trial.place.hosts]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
        )
        self.lines: dict[str, list[str]] = {"out": [], "err": []}
        self._seen = {"out": 0, "err": 0}
        self._marks = self._events = 0
        self._changed = threading.Condition()
        pipes = (("out", self.process.stdout), ("err", self.process.stderr))
        self._threads = [threading.Thread(target=self._listen, args=pair, daemon=True) for pair in pipes]
        for thread in self._threads:
            thread.start()

    def _listen(self, name: str, pipe: Any) -> None:
        for line in pipe:
            with self._changed:
                self.lines[name].append(line.rstrip("\n"))
                self._changed.notify_all()

    def __enter__(self) -> Cli:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        for thread in self._threads:
            thread.join()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        self.process.wait()

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        with self._changed:
            if not self._changed.wait_for(condition, PATIENCE):
                raise TimeoutError(f"{what}: {self.lines}")

    def say(self, command: str) -> None:
        """Give a command and note down what it prints."""
        self._marks += 1
        mark = f"{MARK}-{self._marks}"
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command.replace('ROOT', self.trial.root)}\nget {MARK}\nget {mark}\n")
        self.process.stdin.flush()
        self.wait(lambda: any(line.endswith(mark) for line in self.lines["err"]), command)
        self.wait(lambda: self.lines["out"].count(MARK) == self._marks, command)
        for name in ("out", "err"):
            fresh = self._answers(name)
            if fresh:
                self.trial.note(f"{command} [{name}]", *fresh)

    def _answers(self, name: str) -> list[str]:
        lines = self.lines[name][self._seen[name] :]
        self._seen[name] += len(lines)
        lines = [line for line in lines if line and MARK not in line and "WATCHER::" not in line]
        return [plain(line) for line in lines if not line.startswith("WatchedEvent")]

    def events(self, what: str, count: int, ordered: bool = True) -> None:
        """Note down so many events of nodes; those of the session are passed over."""

        def heard() -> list[str]:
            events = [line for line in self.lines["out"] if line.startswith("WatchedEvent")]
            return [plain(line) for line in events if "type:None" not in line][self._events :]

        self.wait(lambda: len(heard()) >= count, what)
        told = heard()[:count]
        self._events += count
        self.trial.note(what, *(told if ordered else sorted(told)))

    def session_event(self, state: str, times: int = 1) -> None:
        wanted = f"state:{state} type:None"
        self.wait(lambda: sum(wanted in line for line in self.lines["out"]) >= times, state)

    def quit(self) -> None:
        """Close the session and end."""
        assert self.process.stdin is not None
        self.process.stdin.write("quit\n")
        self.process.stdin.close()
        self.trial.note("exit code", self.process.wait(PATIENCE))


def plain(line: str) -> str:
    for pattern, instead in _DIFFERS:
        line = pattern.sub(instead, line)
    return line


def script(name: str, commands: str, events: int = 0) -> None:
    """A scenario that is a list of commands; `events` must have come at its end, in any order of their own."""

    def run(trial: Trial) -> None:
        with Cli(trial) as cli:
            for command in commands.strip().splitlines():
                cli.say(command.strip())
            if events:
                cli.events("told", events)
            cli.quit()

    book.append(Scenario(book.client, name, run))


script(
    "nodes",
    """
    create ROOT/a data
    create ROOT/empty
    create -e ROOT/e x
    create -s ROOT/s- x
    create -s -e ROOT/es- x
    create ROOT/a again
    create ROOT/none/child x
    create ROOT/e/child x
    create ROOT/bad//path x
    get ROOT/a
    get -s ROOT/a
    get ROOT/none
    set ROOT/a new
    set -s ROOT/a newer
    set -v 9 ROOT/a x
    set -v 2 ROOT/a x
    stat ROOT/a
    stat ROOT/none
    ls ROOT
    ls -s ROOT
    ls -R ROOT
    ls ROOT/none
    sync ROOT
    sync ROOT/none
    delete -v 7 ROOT/a
    delete ROOT/a
    delete ROOT/a
    delete ROOT
    delete /zookeeper
    create -c ROOT/container x
    create -t 60000 ROOT/ttl x
    create -t 60000 -s ROOT/ttl- x
    create -c -e ROOT/both x
    getAllChildrenNumber ROOT
    getEphemerals
    getEphemerals ROOT/es
    deleteall ROOT
    ls ROOT
    """,
)
script(
    "rights",
    f"""
    whoami
    create ROOT/bobs x digest:bob:7e5oQdf4IqOAJ9OLk9OTl5I4cwM=:cdrwa
    getAcl ROOT/bobs
    addauth digest bob:secret
    whoami
    create ROOT/mine x auth::cdrwa
    getAcl ROOT/mine
    getAcl -s ROOT
    setAcl ROOT/mine world:anyone:r
    setAcl -s -v 1 ROOT/mine world:anyone:r
    setAcl ROOT/mine nobody:x:r
    setAcl -v 9 ROOT world:anyone:cdrwa
    create ROOT/ip x ip:10.0.0.0/8:cdrwa
    get ROOT/ip
    set ROOT/ip y
    delete ROOT/ip
    create ROOT/ip/c x
    setAcl -R ROOT/ip world:anyone:cdrwa
    addauth digest super:{SUPER}
    whoami
    get ROOT/ip
    set ROOT/mine super
    getAcl ROOT/bobs
    """,
)
script(
    "watches",
    """
    get -w ROOT
    stat -w ROOT/none
    ls -w ROOT
    set ROOT 1
    create ROOT/none x
    set ROOT 2
    removewatches ROOT
    ls -w ROOT
    removewatches ROOT -c
    create ROOT/other x
    """,
    events=3,
)
script(
    "persistent-watches",
    """
    addWatch -m PERSISTENT ROOT
    addWatch -m PERSISTENT_RECURSIVE ROOT/deep
    addWatch -m NONSENSE ROOT
    set ROOT 1
    set ROOT 2
    create ROOT/deep x
    create ROOT/deep/er x
    set ROOT/deep/er y
    create ROOT/deep/er/still x
    delete ROOT/deep/er/still
    removewatches ROOT/deep
    set ROOT/deep/er z
    removewatches ROOT/never
    deleteall ROOT/deep
    """,
    events=9,
)
script(
    "quotas",
    """
    create ROOT/q x
    setquota -n 2 ROOT/q
    setquota -b 10 ROOT/q
    listquota ROOT/q
    create ROOT/q/1 12345
    create ROOT/q/2 12345
    create ROOT/q/3 12345
    set ROOT/q/1 123456789012345678901234567890
    listquota ROOT/q
    setquota -N 3 ROOT/q
    setquota -B 50 ROOT/q
    create ROOT/q/4 12345
    set ROOT/q/1 1234567890123456789012345678901234567890
    listquota ROOT/q
    delete ROOT/q/3
    listquota ROOT/q
    create -e ROOT/q/4/e 12345
    setquota -n 5 ROOT/q/4
    setquota -n 5 ROOT
    ls -R /zookeeper/quota/ROOT
    delquota -n ROOT/q
    listquota ROOT/q
    delquota ROOT/q
    listquota ROOT/q
    """,
)
script(
    "configuration",
    f"""
    config
    config -s
    config -w
    reconfig -remove 9
    reconfig -add 7=127.0.0.1:1:2;3
    addauth digest super:{SUPER}
    reconfig -remove 9
    reconfig -members 7=127.0.0.1:1:2;3
    version
    """,
)


def scenario(run: Callable[[Trial], None]) -> None:
    book(run)


@scenario
def resume(trial: Trial) -> None:
    """Watches, an identity and an ephemeral node over a cut and a restart."""
    other, root = trial.place.other, trial.root
    with Cli(trial) as cli:
        for command in ("addauth digest bob:secret", "create -e ROOT/e x auth::cdrwa", "create ROOT/gone", "create ROOT/p"):
            cli.say(command)
        for command in ("get -w ROOT/e", "get -w ROOT/gone", "stat -w ROOT/new", "ls -w ROOT", "addWatch -m PERSISTENT ROOT/p"):
            cli.say(command)

        def meanwhile() -> None:
            other.delete(f"{root}/gone")
            other.create(f"{root}/new")
            other.set(f"{root}/p", b"unseen")

        trial.place.away(meanwhile)
        cli.session_event("SyncConnected", 2)
        cli.events("caught up", 3, ordered=False)
        cli.say("set ROOT/e y")
        cli.events("still watched", 1)
        other.set(f"{root}/p", b"seen")
        cli.events("for good", 1)
        trial.place.restart()
        cli.session_event("SyncConnected", 3)
        cli.say("get ROOT/e")
        cli.say("set ROOT/p z")
        cli.events("for good", 1)
        cli.quit()
        trial.note("its node", other.exists(f"{root}/e"))


@scenario
def expiry(trial: Trial) -> None:
    with Cli(trial, 1000) as cli:
        cli.say("create -e ROOT/e x")
        trial.place.silence(f"{trial.root}/e")
        cli.session_event("Expired")
        trial.note("its node", trial.place.other.exists(f"{trial.root}/e"))
