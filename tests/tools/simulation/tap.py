"""Reads all bytes of a connection beside the client, and holds them to the rules of the wire.

Owns the model of what a client must say on a connection, given what it was told. Must not know how the client does it.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from zkwire.wire.jute import decode
from zkwire.wire.messages import CONNECT_REQUEST, CONNECT_RESPONSE

from .rules import require, wire_key

if TYPE_CHECKING:
    from .client import Client

_LENGTH = struct.Struct(">i")
_HEAD = struct.Struct(">ii")
_REPLY = struct.Struct(">iqi")
PING, AUTH, SET_WATCHES, SET_WATCHES2, ADD_WATCH, CLOSE = 11, 100, 101, 105, 106, -11


class Tap:
    """One connection of `client`; `beside`: one by which it looks for a better server than the one it has."""

    def __init__(self, client: Client, beside: bool = False) -> None:
        self._client, self._beside = client, beside
        self._response: Any = None
        self._up, self._down = bytearray(), bytearray()
        self._asked = self._welcome = self._users = self._lasting = self._closing = False
        self._identities: Any = ()
        self._next_xid = 1

    # ------------------------------------------------------------------ to the server

    def wrote(self, data: bytes) -> None:
        """The client has put bytes on the wire."""
        up = self._up
        up += data
        while len(up) >= 4:
            end = 4 + _LENGTH.unpack_from(up)[0]
            require(12 <= end <= 0xFFFFF + 4, "I11", "a frame of {} bytes", end)
            if len(up) < end:
                break
            frame = bytes(up[4:end])
            del up[:end]
            if self._asked:
                self._request(frame)
            else:
                self._handshake(frame)
        require(self._welcome or not up or not self._asked, "I11", "bytes before the answer to the handshake")

    def _handshake(self, frame: bytes) -> None:
        self._asked = True
        client, request = self._client, decode(CONNECT_REQUEST, frame)
        require(request.session_id == client.sid, "I11", "session {:#x} asked for", request.session_id)
        require(request.last_zxid_seen == client.zxid, "I5", "last zxid {}, not {}", request.last_zxid_seen, client.zxid)
        require(request.timeout_ms == client.timeout * 1000, "I11", "time-out of {} ms asked for", request.timeout_ms)
        require(request.passwd == client.password, "I11", "another password")
        allowed = client.read_only and not self._beside
        require(request.read_only == allowed, "I11", "read-only {}, not {}", request.read_only, allowed)

    def _request(self, frame: bytes) -> None:
        xid, opcode = _HEAD.unpack_from(frame)
        require(self._welcome, "I11", "operation {} before the answer to the handshake", opcode)
        require(not self._closing or opcode == PING, "I11", "operation {} after the close", opcode)
        if opcode == PING:
            require(xid == -2, "I11", "a ping with xid {}", xid)
        elif opcode == AUTH:
            require(xid == -4, "I11", "auth with xid {}", xid)
            if self._identities:
                require(self._identities[0] == frame[8:], "I11", "identities in another order")
                del self._identities[0]
        else:
            require(xid == self._next_xid, "I11", "xid {}, not {}", xid, self._next_xid)
            self._next_xid += 1
            require(not self._identities or opcode == CLOSE, "I11", "operation {} before the identities", opcode)
            if opcode in (SET_WATCHES, SET_WATCHES2):
                self._lasting |= opcode == SET_WATCHES2
                in_time = not self._users or self._lasting  # some are displaced, and set again
                require(in_time, "I11", "watches are set again behind operations of the user")
            elif opcode == CLOSE:
                self._closing = True
            else:
                self._users = True
                self._lasting |= opcode == ADD_WATCH
                self._client.ledger.wired(wire_key(opcode, frame[8:]))

    # ------------------------------------------------------------------ to the client

    def reads(self, data: bytes) -> None:
        """The client is about to get bytes."""
        client, down = self._client, self._down
        if self._welcome and not self._beside:  # before, it may be anybody who speaks
            self._sign_of_life()
        down += data
        while len(down) >= 4:
            end = 4 + _LENGTH.unpack_from(down)[0]
            if len(down) < end:
                return
            frame = bytes(down[4:end])
            del down[:end]
            if not self._welcome:
                self._welcomed(frame)
                continue
            xid, zxid, _ = _REPLY.unpack_from(frame)
            if xid != -1:
                client.replied_at = client.now()
            if xid > 0 and zxid > 0:
                require(zxid >= client.zxid, "I16", "an answer of zxid {:#x} behind one of {:#x}", zxid, client.zxid)
                client.zxid = zxid

    def _sign_of_life(self) -> None:
        """The session lives, says who knows: no read-only server, unless it has made the session up."""
        client = self._client
        if client.sid == 0 or not self._response.read_only:
            client.contact_at, client.majority_at = client.now(), client.world.clock.now

    def _welcomed(self, frame: bytes) -> None:
        self._response = decode(CONNECT_RESPONSE, frame)
        self._welcome = self._response.timeout_ms > 0
        if not self._beside:
            self.take_over()

    def take_over(self) -> None:
        """What this connection was told is the session's from now on."""
        client, response, self._beside = self._client, self._response, False
        if response.timeout_ms <= 0:
            client.refused |= not response.read_only  # a read-only server does not know
            return
        if not response.read_only:  # a read-only one makes sessions up
            client.sid, client.password = response.session_id, response.passwd
        client.granted, client.replied_at = response.timeout_ms / 1000, client.now()
        self._sign_of_life()
        self._identities = list(client.identities)
        client.welcomed()
