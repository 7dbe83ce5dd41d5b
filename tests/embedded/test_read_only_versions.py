"""Without a quorum, the embedded server says as 3.5, 3.6 and 3.7 what 3.5.9, 3.6.2 and 3.7.1 said.

Each table is `interview` (tests/tools/differential_read_only.py) of the survivor of an ensemble of three that was started
with readonlymode.enabled, recorded on 2026-11-27 with Java 17; what was sent stands before the colon, what came behind it.
Versions that the harness can fetch are asked again each time (tests/live/test_read_only_live.py).
"""

from __future__ import annotations

from typing import Dict

import pytest

from tests.kit.catalogue import fault
from tests.tools.differential_read_only import differences, embedded

pytestmark = pytest.mark.once  # of servers and schedules, not of the interpreter

#: With and without local sessions.
SAID_3_5_9 = """\
a new session, readOnly True: a new session, 20000 ms, read-only True
a new session, readOnly False: hangs up
a new session, readOnly None: hangs up
a new session of 0 ms: a new session, 200 ms, read-only True
a new session of 50 ms: a new session, 200 ms, read-only True
a new session of 7000 ms: a new session, 7000 ms, read-only True
a new session of 1073741824 ms: a new session, 60000 ms, read-only True
a session of before, readOnly True: the same, 20000 ms, read-only True
a session of before, readOnly False: hangs up
a session of before, readOnly None: hangs up
one of before, for 7000 ms: the same, 7000 ms, read-only True
one of before, with a later zxid: hangs up
one of before, with another password: 0 ms, read-only True
one of before, once more: the same, 20000 ms, read-only True
one that was closed before: 0 ms, read-only True
one nobody knows: 0 ms, read-only True
a new one, ping: 0
a new one, getData: 0
a new one, getData with a watch: 0
a new one, exists, no node: -101
a new one, getChildren: 0
a new one, create: -119
a new one, ephemeral: -119
a new one, setData: -119
a new one, delete: -119
a new one, setACL: -119
a new one, sync: -119
a new one, multi: -119
a new one, multiRead: -6
a new one, addWatch: -6
a new one, removeWatches: -121
a new one, setWatches: 0
a new one, auth: 0
a new one, auth, unknown scheme: -115
a new one, moved to another connection: the same, 20000 ms, read-only True; the old one hangs up
one of before, ping: 0
one of before, getData: 0
one of before, getData with a watch: 0
one of before, exists, no node: -101
one of before, getChildren: 0
one of before, create: -119
one of before, ephemeral: -119
one of before, setData: -119
one of before, delete: -119
one of before, setACL: -119
one of before, sync: -119
one of before, multi: -119
one of before, multiRead: -6
one of before, addWatch: -6
one of before, removeWatches: -121
one of before, setWatches: 0
one of before, auth: 0
one of before, auth, unknown scheme: -115
one of before, moved to another connection: the same, 20000 ms, read-only True; the old one hangs up
a new one, closed: 0, then hangs up
a new one, back after its close: 0 ms, read-only True
its node: 0
one of before, closed: 0, then hangs up
its node: event 2 /closer, -101
one of before, back after its close: 0 ms, read-only True
silent, a new one: hangs up
silent for its time, a new one: 0 ms, read-only True
silent for its time, one of before: 0 ms, read-only True
its node: -101
one more: a new session, 20000 ms, read-only True
the quorum is back, one made without it: 0 ms, read-only False
the quorum is back, closer: the same, 20000 ms, read-only False
the quorum is back, silent: the same, 20000 ms, read-only False
the quorum is back, mine: the same, 20000 ms, read-only False
the quorum is back, the node of closer: -101
the quorum is back, the node of silent: -101
the quorum is back, the node of mine: 0
"""
#: What 3.6.2 answered otherwise.
ONLY_3_6_2 = {'a new one, multiRead': '0', 'a new one, addWatch': '0', 'a new one, removeWatches': '0', 'one of before, multiRead': '0', 'one of before, addWatch': '0', 'one of before, removeWatches': '0'}
WITH_LOCAL_SESSIONS_3_7_1 = """\
a new session, readOnly True: a new session, 20000 ms, read-only True
a new session, readOnly False: hangs up
a new session, readOnly None: hangs up
a new session of 0 ms: a new session, 200 ms, read-only True
a new session of 50 ms: a new session, 200 ms, read-only True
a new session of 7000 ms: a new session, 7000 ms, read-only True
a new session of 1073741824 ms: a new session, 60000 ms, read-only True
a session of before, readOnly True: hangs up
a session of before, readOnly False: hangs up
a session of before, readOnly None: hangs up
one of before, for 7000 ms: hangs up
one of before, with a later zxid: hangs up
one of before, with another password: hangs up
one of before, once more: hangs up
one that was closed before: 0 ms, read-only True
one nobody knows: 0 ms, read-only True
a new one, ping: 0
a new one, getData: 0
a new one, getData with a watch: 0
a new one, exists, no node: -101
a new one, getChildren: 0
a new one, create: -119
a new one, ephemeral: -119
a new one, setData: -119
a new one, delete: -119
a new one, setACL: -119
a new one, sync: -119
a new one, multi: -119
a new one, multiRead: 0
a new one, addWatch: 0
a new one, removeWatches: 0
a new one, setWatches: 0
a new one, auth: 0
a new one, auth, unknown scheme: -115
a new one, moved to another connection: the same, 20000 ms, read-only True; the old one hangs up
a new one, closed: 0, then hangs up
a new one, back after its close: 0 ms, read-only True
one of before, back after its close: hangs up
silent, a new one: hangs up
silent for its time, a new one: 0 ms, read-only True
silent for its time, one of before: hangs up
its node: 0
one more: a new session, 20000 ms, read-only True
the quorum is back, one made without it: 0 ms, read-only False
the quorum is back, closer: the same, 20000 ms, read-only False
the quorum is back, silent: the same, 20000 ms, read-only False
the quorum is back, mine: the same, 20000 ms, read-only False
the quorum is back, the node of closer: 0
the quorum is back, the node of silent: 0
the quorum is back, the node of mine: 0
"""
WITHOUT_LOCAL_SESSIONS_3_7_1 = """\
a new session, readOnly True: a reply header with -119
a new session, readOnly False: hangs up
a new session, readOnly None: hangs up
a new session of 0 ms: a reply header with -119
a new session of 50 ms: a reply header with -119
a new session of 7000 ms: a reply header with -119
a new session of 1073741824 ms: a reply header with -119
a session of before, readOnly True: hangs up
a session of before, readOnly False: hangs up
a session of before, readOnly None: hangs up
one of before, for 7000 ms: hangs up
one of before, with a later zxid: hangs up
one of before, with another password: hangs up
one of before, once more: hangs up
one that was closed before: the same, 20000 ms, read-only True
one nobody knows: 0 ms, read-only True
silent for its time, one of before: hangs up
one more: a reply header with -119
the quorum is back, closer: the same, 20000 ms, read-only False
the quorum is back, silent: the same, 20000 ms, read-only False
the quorum is back, mine: the same, 20000 ms, read-only False
the quorum is back, the node of closer: 0
the quorum is back, the node of silent: 0
the quorum is back, the node of mine: 0
"""


def otherwise(said: str, answers: Dict[str, str]) -> str:
    """The table with other answers to some questions."""
    lines = [line.split(": ", 1) for line in said.splitlines()]
    assert set(answers) <= {question for question, _ in lines}
    return "\n".join(f"{question}: {answers.get(question, answer)}" for question, answer in lines)


@pytest.mark.slow
@fault("X26")
@pytest.mark.parametrize(
    "version, local, said",
    [
        ("3.5", True, SAID_3_5_9), ("3.5", False, SAID_3_5_9), ("3.6", True, otherwise(SAID_3_5_9, ONLY_3_6_2)),
        ("3.7", True, WITH_LOCAL_SESSIONS_3_7_1), ("3.7", False, WITHOUT_LOCAL_SESSIONS_3_7_1),
    ],
    ids=["3.5", "3.5-no-local-sessions", "3.6", "3.7", "3.7-no-local-sessions"],
)  # fmt: skip
def test_without_a_quorum_as_recorded(version: str, local: bool, said: str) -> None:
    assert differences(said.splitlines(), embedded(version, local)) == []
