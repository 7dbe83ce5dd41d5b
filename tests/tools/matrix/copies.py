"""A program: three vendored copies of both packages do the main job at the same time, in one process.

    python copies.py FOLDER PACKAGE...

Each PACKAGE, as "app._vendor", holds zkwire and zkdisco. None of them sees another, nor an installed one.
"""

from __future__ import annotations

import sys
import threading
import traceback
from typing import List

from probe import STEPS, Failed, Probe, expect, nothing_is_left, quiet  # type: ignore[import-not-found]

#: What changes stdout, or sets signal handlers, is of the main thread and of one copy at a time.
ALONE = {"the_command_line_lists", "the_demonstration", "nothing_is_left", "tls"}


def at_once(probes: List[Probe]) -> None:
    """All steps that may be taken at the same time, on a thread for each copy."""
    wrong: List[str] = []

    def work(probe: Probe) -> None:
        try:
            probe.run([step for step in STEPS if step.__name__ not in ALONE])
        except BaseException:
            wrong.append(traceback.format_exc())

    threads = [threading.Thread(target=work, args=(probe,)) for probe in probes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong:
        raise Failed("\n".join(wrong))


def strangers(one: Probe, two: Probe) -> None:
    """A client of one copy is refused by another one, in words, instead of half working."""
    with two.module("zkwire.embedded").EmbeddedServer() as server, two.zkwire.ZooKeeper(server.hosts) as zk:
        try:
            one.zkdisco.Client(zk=zk)
        except TypeError as error:
            expect(one.zkwire.ZooKeeper.__module__ in str(error) and type(zk).__module__ in str(error), error)
        else:
            raise Failed("a ZooKeeper of another copy was taken")


def main(folder: str, *packages: str) -> int:
    """Run them; the exit status."""
    quiet()
    sys.path.insert(0, folder)
    probes = [Probe(package + ".", None, False) for package in packages]
    expect(len({id(probe.zkwire.errors.NoNodeError) for probe in probes}) == len(packages), "copies of their own")
    at_once(probes)
    strangers(probes[0], probes[1])
    for probe in probes:
        probe.run([nothing_is_left])
    outside = sorted(name for name in sys.modules if name.partition(".")[0] in ("zkwire", "zkdisco"))
    expect(not outside, f"not vendored: {outside}")
    print("passed", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
