"""The command line of zkwire: an in-memory server for development.

Owns arguments and output. The server is imported only here and only when asked for.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import Optional, Sequence

from .io.queues import Empty, SimpleQueue

#: How long a wait may take in one piece, in seconds: on Windows a signal is heard only after it. None: any time.
HEARD = 0.25 if os.name == "nt" else None

EXAMPLES = """\
examples:
  python -m zkwire serve                 a port is chosen, and printed
  python -m zkwire serve --port 2181     ZooKeeper's usual port
  python -m zkwire serve --version 3.4   behaves as that version, errors included
  kazoo, zkCli, ...: connect to the printed address; SIGINT (Ctrl-C) or SIGTERM ends it

To make it fail on demand, start it in your tests: python -m pydoc zkwire.embedded.EmbeddedServer

It listens on 127.0.0.1 only, keeps everything in memory, and is no replacement for a ZooKeeper ensemble.
"""


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m zkwire", description="Tools of zkwire.", epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    verbs = parser.add_subparsers(dest="verb", metavar="{serve}", required=True)
    text = "run an in-memory ZooKeeper for development, until it gets a signal"
    serve = verbs.add_parser("serve", help=text, description=text, epilog=EXAMPLES,
                             formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    serve.add_argument("--port", type=int, default=0, help="(default: a free one)")
    serve.add_argument("--version", default="3.9", metavar="X.Y", help="ZooKeeper version (default: 3.9)")
    options = parser.parse_args(argv)
    if not 0 <= options.port < 65536:
        parser.error(f"--port {options.port}: must be between 0 and 65535")
    return _serve(parser, options.port, options.version)


def _serve(parser: argparse.ArgumentParser, port: int, version: str) -> int:
    from .embedded import EmbeddedServer

    stop: SimpleQueue[None] = SimpleQueue()  # SimpleQueue.put is safe in a signal handler
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.put(None))
    try:
        server = EmbeddedServer(port, version=version)
    except ValueError as error:
        parser.error(str(error))
    try:
        with server:
            print(f"serving on {server.hosts}", flush=True)
            while True:
                try:
                    stop.get(True, HEARD)
                    break
                except Empty:
                    pass
    except OSError as error:
        print(f"zkwire: port {port}: {error}", file=sys.stderr)
        return 1
    return 0
