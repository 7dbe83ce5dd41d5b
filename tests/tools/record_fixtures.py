"""Records the conversations in testdata/ anew: `make fixtures`, or with names of topics only some of them.

    python tests/tools/record_fixtures.py [ZooKeeper version or topic ...]

Needs kazoo, and what tests/kit/harness fetches. A server or a client that cannot be had is named at the end, its
transcripts stay as they were, and the exit code is 1.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.kit.harness import packages  # noqa: E402
from tests.tools.recording.studio import Studio  # noqa: E402


def main(wanted: list[str]) -> int:
    """Record all versions and topics, or those wanted; 1 if anything is missing."""
    versions = [version for version in packages.RELEASES if version in wanted] or list(packages.RELEASES)
    topics = [word for word in wanted if word not in packages.RELEASES]
    missing: list[str] = []
    for version in versions:
        try:
            packages.java()
            packages.classpath(version)
        except packages.Unavailable as error:
            missing.append(f"ZooKeeper {version}: {error}")
            continue
        with Studio(version, topics) as studio:
            for name, session in studio.sessions():
                try:
                    print(f"{version} {name}: {session()} frames", flush=True)
                except Exception as error:  # the others are still worth recording
                    traceback.print_exc()
                    missing.append(f"{version} {name}: {type(error).__name__}: {error}")
    for what in missing:
        print(f"NOT RECORDED: {what}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
