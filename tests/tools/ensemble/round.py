"""One round: an ensemble and its clients, faults one after the other, rest, and the verdict.

Owns the order of things, and that nothing is left: no process, namespace or folder, also after Ctrl-C. What was seen is kept
in a folder if anything was wrong.
"""

from __future__ import annotations

import functools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from tests.kit.harness.servers import Ensemble
from tests.tools import venvs
from zkwire import ZooKeeper
from zkwire.errors import ZookeeperError

from . import behind_proxy, checker, history, network, recovery, truth, txnlog
from .broken import BROKEN, HONEST
from .client import PASSWORD, USER
from .faults import ALL_CLIENTS, BY_NAME, SESSION, TABLE, Fault
from .workloads import ROOTS
from .world import PATIENCE, ClientProcess, World

#: For all servers. Followers that come back are sent transactions, not snapshots, so that their logs are whole.
OPTIONS: Dict[str, Any] = {
    "tick": 500,
    "cfg": {"syncLimit": 4, "initLimit": 20, "snapCount": 1000000},
    "props": {"zookeeper.snapshotSizeFactor": 100000, "zookeeper.commitLogCount": 100000},
}
#: Workloads of one client each, over and over.
ROLES = (
    "registers owners", "changes pairs", "oneshot protected", "recursive unique", "registering owners reads",
    "following oneshot reads", "registering registers", "following recursive reads", "registers unique", "oneshot changes",
)  # fmt: skip
#: Clients that share a home.
CLIENTS_EACH_HOME = 3


class Profile(NamedTuple):
    """Kind of an ensemble and of its clients."""

    name: str
    options: Dict[str, Any] = {}
    observers: int = 0
    tls: bool = False
    sasl: bool = False
    read_only: bool = False
    reconfigures: bool = False


PROFILES = (
    Profile("plain"),
    Profile("TLS and SASL", {"tls": "none", "sasl": {USER: PASSWORD}}, tls=True, sasl=True),
    Profile("an observer", observers=1),
    Profile("read-only", {"readonly": True}, read_only=True),
    Profile("reconfiguration", {
        "cfg": {**OPTIONS["cfg"], "reconfigEnabled": "true", "standaloneEnabled": "false"},
        "props": {**OPTIONS["props"], "zookeeper.skipACL": "yes"},
    }, reconfigures=True),
)  # fmt: skip


class Plan(NamedTuple):
    """What a round is to be."""

    version: str
    seed: int
    seconds: float
    clients: int
    profile: Profile
    wild: bool = False
    broken: bool = False
    namespaces: bool = True
    pace: float = 0.15
    sample: Optional[Callable[[World], None]] = None
    verbose: bool = False


class Happened(NamedTuple):
    """A fault that was, and its times."""

    name: str
    begun: float
    ended: float
    well: float
    server: bool


class Result(NamedTuple):
    """What came of a round."""

    plan: Plan
    network: str
    faults: List[Happened]
    operations: int
    outcomes: Dict[str, int]
    transactions: int
    violations: List[checker.Violation]
    servers: List[str]
    recoveries: Dict[str, List[float]]
    caught: Dict[str, List[checker.Violation]]
    packets: Dict[str, int]
    kept: str


@functools.cache
def pythons() -> Dict[str, str]:
    """Version to path of each Python there is, from 3.9 to 3.13; this one, if there is no other."""
    found = {}
    for version in ("3.9", "3.10", "3.11", "3.12", "3.13"):
        # pyenv's own first: its shims on PATH take seconds, and fail where the version is not selected.
        for path in [*venvs.pyenv(version), shutil.which(f"python{version}")]:
            if path and _runs(path):
                found[version] = path
                break
    return found or {"{}.{}".format(*sys.version_info[:2]): sys.executable}


def _runs(python: str) -> bool:
    return subprocess.run([python, "-c", "import ssl, asyncio"], capture_output=True, check=False).returncode == 0


def play(plan: Plan, say: Callable[[str], None]) -> Result:
    """Play one round."""
    folder = tempfile.mkdtemp(prefix="zkwire-ensemble-")
    servers = [f"s{n}" for n in range(1, 4 + plan.profile.observers)]
    places = [f"p{n}" for n in range(1, 1 + max(2, -(-plan.clients // CLIENTS_EACH_HOME)))]
    ground: Any = network.Network if plan.namespaces else behind_proxy.ProxyNetwork
    net = ground([*servers, *places], plan.seed)
    ensemble, world = None, None
    kept = folder
    try:
        homes = [net.home(name) for name in servers]
        ensemble = Ensemble(3, plan.version, observers=plan.profile.observers, homes=homes, **{**OPTIONS, **plan.profile.options})
        ensemble.start()
        world = World(ensemble, net, servers, places, plan.seed)
        result = _Round(plan, world, folder, say).play()
        if not result.violations and not result.servers:
            kept = ""
        return result._replace(kept=kept)
    except Exception:
        say(f"the round has failed; what there is, is kept in {folder}")
        raise
    except BaseException:  # Ctrl-C
        kept = ""
        raise
    finally:
        for client in world.clients if world else ():
            client.close()
        if ensemble is not None:
            if kept:
                for name, server in zip(servers, ensemble):
                    shutil.copytree(server.folder, os.path.join(folder, name))
            ensemble.close()
        net.close()
        if not kept:
            shutil.rmtree(folder)


class _Round:
    """A round while it is played."""

    def __init__(self, plan: Plan, world: World, folder: str, say: Callable[[str], None]) -> None:
        self._plan, self._world, self._folder, self._say = plan, world, folder, say
        self._random = random.Random(f"round {plan.seed}")
        self._tails = {name: txnlog.LogTail(os.path.join(s.folder, "data")) for name, s in zip(world.server_names, world.servers)}
        self._seen: Dict[str, Dict[int, txnlog.Txn]] = {name: {} for name in world.server_names}
        self._faults: List[Happened] = []
        self._begun = time.time()

    def play(self) -> Result:
        """From the first client to the verdict."""
        plan, world = self._plan, self._world
        with ZooKeeper(world.ensemble.hosts, timeout=30.0) as zk:
            for path in ROOTS:
                zk.ensure_path(path)
            for number in range(plan.clients):
                world.add(self._starter(number))
            world.wait_well()
            self._tell("all clients are there")
            end = time.monotonic() + plan.seconds
            self._pause(1.0)
            while time.monotonic() < end:
                self._trouble(end)
            self._tell("rest")
            self._rest(zk)
            self._tell("all have ended")
        return self._verdict()

    def _tell(self, what: str) -> None:
        if self._plan.verbose:
            self._say(f"  {time.time() - self._begun:6.1f} s {what}")

    # -- clients

    def _starter(self, number: int) -> Callable[[], ClientProcess]:
        generation = iter("abcdefghijklmnopqrstuvwxyz")

        def make() -> ClientProcess:
            return self._client(number, f"c{number + 1:02}{next(generation)}")

        return make

    def _client(self, number: int, name: str) -> ClientProcess:
        plan, world = self._plan, self._world
        place = world.places[number % len(world.places)]
        broken = list(BROKEN)[number % len(BROKEN)] if plan.broken and number < len(BROKEN) else ""
        tls = plan.profile.tls and number % 3 == 0
        ways = [world.network.way(place, name_, s.secure_port if tls else s.port)
                for name_, s in zip(world.server_names, world.servers)]  # fmt: skip
        roles = ROLES[number % len(ROLES)].split()
        turn = number + number // len(ROLES)
        read_only = plan.profile.read_only and number % 3 == 1
        config = {
            "name": name, "hosts": ",".join(ways), "front": ("threads", "asyncio")[turn % 2], "timeout": SESSION,
            "workloads": BROKEN[broken].workloads.split() if broken else ["reads"] if read_only else roles,
            "pace": plan.pace / 3 if broken else plan.pace,
            "history": os.path.join(self._folder, f"{name}.history"), "seed": f"{plan.seed} {name}", "tls": tls,
            "sasl": plan.profile.sasl and number % 3 == 1, "read_only": read_only, "broken": broken,
        }  # fmt: skip
        python = list(pythons().values())[number % len(pythons())]
        return ClientProcess(python, config, place, world.network.home(place), self._folder)

    # -- faults

    def _trouble(self, end: float) -> None:
        """One fault, until all is well again; in a wild run, a second one before that."""
        plan, world = self._plan, self._world
        fault = self._choose()
        begun = time.time()
        state = fault.begin(world)
        hold = self._random.uniform(fault.least, min(fault.most, max(fault.least, end - time.monotonic())))
        self._pause(hold)
        self._read_logs()
        fault.end(world, state)
        ended = time.time()
        if plan.wild and fault.server:
            for server in world.shuffled(world.voters())[:2]:
                if server.running and not server.suspended:
                    server.kill()
                    server.start(wait=False)
        world.wait_well()
        self._faults.append(Happened(fault.name, begun, ended, time.time(), fault.server))
        self._tell(f"{fault.name}: {ended - begun:.1f} s, and {time.time() - ended:.1f} s until all was well")
        self._read_logs()
        if plan.sample is not None:
            plan.sample(world)
        self._pause(self._random.uniform(0.5, 2.0))

    def _choose(self) -> Fault:
        world = self._world
        possible = [fault for fault in TABLE if (world.network.between_servers or not fault.between)
                    and (self._plan.profile.reconfigures or not fault.reconfigures)]  # fmt: skip
        if self._plan.profile.reconfigures and len(self._faults) % 3 == 0:
            return next(fault for fault in TABLE if fault.reconfigures)
        if self._plan.broken and len(self._faults) % 3 == 1:
            return BY_NAME[ALL_CLIENTS]
        done = {happened.name for happened in self._faults}
        fresh = [fault for fault in possible if fault.name not in done]
        return self._random.choice(fresh or possible)

    def _pause(self, seconds: float) -> None:
        """Let the clients work."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(min(0.2, max(0.0, end - time.monotonic())))

    def _read_logs(self) -> None:
        for name, tail in self._tails.items():
            for txn in tail.more():
                self._seen[name][txn.zxid] = txn

    # -- the end

    def _rest(self, zk: ZooKeeper) -> None:
        """Nobody writes any more, and each client sees what is there."""
        until = time.monotonic() + PATIENCE
        for order, answer in (("rest", "resting"), ("look", "looked")):
            for client in self._world.alive():
                client.order(order)
            for client in self._world.alive():
                client.hear(answer, until)
            zk.sync("/")
        self._read_logs()
        self._trees = {name: self._tree(server.hosts) for name, server in zip(self._world.server_names, self._world.servers)}
        self._leader = self._world.name_of(self._world.leader())
        self._read_logs()
        facts = {"leader": self._leader, "killed": [c.name for c in self._world.clients if c.killed],
                 "stopped": {c.name: c.stopped for c in self._world.clients}, "rest": time.time()}  # fmt: skip
        with open(os.path.join(self._folder, "facts.json"), "w", encoding="utf-8") as file:
            json.dump(facts, file)
        # What clients see of each other's ends is not judged: the truth ends here.
        self._histories = {client.name: history.read(client.config["history"]) for client in self._world.clients}
        self._merged = truth.merged(dict(zip(self._world.server_names, map(self._log, self._world.servers))), self._leader)
        for client in self._world.alive():
            client.order("end")
        for client in self._world.alive():
            client.end(until)

    def _log(self, server: Any) -> truth.Log:
        data = os.path.join(server.folder, "data")
        seen = self._seen[self._world.name_of(server)]
        return truth.Log(txnlog.read(data), txnlog.snapshots(data), list(seen.values()), server.observer)

    def _tree(self, hosts: str) -> Dict[str, str]:
        """What one server has, after a sync: its part of the truth."""
        found: Dict[str, str] = {}
        with ZooKeeper(hosts, timeout=30.0) as zk:
            zk.sync("/", timeout=30)
            below = ["/" + name for name in zk.get_children("/") if name != "zookeeper"]
            while below:
                here = [entry for entry in zip(below, zk.get_many(below)) if not isinstance(entry[1], ZookeeperError)]
                found.update({path: data.decode() for path, (data, _) in here})
                parents = [path for path, (_, stat) in here if stat.numChildren]
                below = [f"{path}/{name}" for path in parents for name in zk.get_children(path)]
        return found

    def _verdict(self) -> Result:
        world, merged_logs = self._world, self._merged
        told = truth.Truth(merged_logs.committed, merged_logs.doubtful, merged_logs.lost)
        broken = {c.name: c.config["broken"] for c in world.clients if c.config["broken"]}
        killed = [c.name for c in world.clients if c.killed]
        case = checker.Case(self._histories, told, killed, {c.name: c.stopped for c in world.clients}, list(broken))
        found = checker.violations(case)
        outcomes: Dict[str, int] = {}
        for client in case.clients:
            for call in client.calls:
                outcomes[call.outcome or "none"] = outcomes.get(call.outcome or "none", 0) + 1
        servers = _of_servers(told, merged_logs, self._trees)
        caught = {kind: [v for v in found if v.client == name and v.rule in BROKEN[kind].rules] for name, kind in broken.items()}
        return Result(
            self._plan, world.network.kind, self._faults, sum(outcomes.values()), outcomes, len(merged_logs.committed),
            [v for v in found if v.client not in broken], servers,
            recovery.recoveries(case, self._faults), caught, world.network.packets, "",
        )  # fmt: skip


def _of_servers(told: truth.Truth, merged_logs: truth.Merged, trees: Mapping[str, Mapping[str, str]]) -> List[str]:
    """What the servers themselves have done wrong, from their logs and trees."""
    found = [f"0x{txn.zxid:x} was in the logs of a majority, and is in none any more: {txn.changes}" for txn in merged_logs.lost]
    found += [f"0x{zxid:x} is two different transactions" for zxid in merged_logs.different]
    real = {path: moment.value for path, moment in told.live().items()}
    for name, tree in trees.items():
        odd = [path for path in {*tree, *real} if tree.get(path) != real.get(path) and _is_kept(told, path)]
        found += [f"{name} has {tree.get(path)!r} at {path}, and the logs {real.get(path)!r}" for path in sorted(odd)]
    return found


def _is_kept(told: truth.Truth, path: str) -> bool:
    """Not the node of a session, which may end between two looks, and not the servers' own nodes."""
    moments: Sequence[Any] = told.nodes.get(path, ())
    return not path.startswith("/zookeeper/") and not any(moment.owner for moment in moments)


__all__ = ["HONEST", "PROFILES", "Happened", "Plan", "Profile", "Result", "Tuple", "play"]
