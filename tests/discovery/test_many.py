"""`make many`: a small run of it, on a real server, so that its figures stay true (Y20)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.catalogue import fault
from tests.tools.many import INSTANCES, Requests, run


def test_requests_are_counted_without_handshakes_and_pings() -> None:
    def frame(*numbers: int) -> bytes:
        body = b"".join(number.to_bytes(4, "big", signed=True) for number in numbers)
        return len(body).to_bytes(4, "big") + body

    requests = Requests()
    sent = frame(0, 0, 0) + frame(-2, 11) + frame(1, 4, 7) + frame(2, 8)
    for byte in range(len(sent)):
        requests("up", 1, sent[byte : byte + 1])
    requests("up", 2, frame(0, 0, 0) + frame(1, 4))
    requests("down", 1, frame(1, 4))
    assert requests.count == 3


@pytest.mark.slow
@fault("Y20")
def test_twenty_services(server393: Any) -> None:
    found = run(server393.host, server393.port, 20, 5)
    assert found.services == 20 and found.threads <= 8
    assert found.megabytes > 1 and 0 <= found.kilobytes < 1000
    assert 0 < found.first < 5 and 20 <= found.first_requests <= 20 * (INSTANCES + 4)
    assert 0 < found.again < 5 and 20 <= found.again_requests <= 20 * (INSTANCES + 4)
    assert len(found.changes) == 5 and all(0 < took < 2 for took in found.changes)


@pytest.mark.slow
def test_twenty_services_in_one_catalog(server393: Any) -> None:
    found = run(server393.host, server393.port, 20, 5, catalog=True)
    assert found.services == 20 and found.threads <= 8 and 0 < found.first < 5 and 0 < found.again < 5
    # A watch and a list for all; the lists of services, their own nodes and those of instances are read together, as they
    # come in: 141 reads.
    assert 4 <= found.first_requests <= 50 and 4 <= found.again_requests <= 50
    assert len(found.changes) == 5 and all(0 < took < 2 for took in found.changes)
