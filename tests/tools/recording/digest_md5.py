"""The client's half of SASL DIGEST-MD5 (RFC 2831), as ZooKeeper uses it."""

from __future__ import annotations

import hashlib
import re

URI = "zookeeper/zk-sasl-md5"


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data).digest()  # the mechanism's choice


def _proof(user: str, realm: str, password: str, nonce: str, cnonce: str, method: str) -> str:
    secret = _md5(f"{user}:{realm}:{password}".encode()) + f":{nonce}:{cnonce}".encode()
    task = _md5(f"{method}:{URI}".encode()).hex()
    return _md5(f"{_md5(secret).hex()}:{nonce}:00000001:{cnonce}:auth:{task}".encode()).hex()


def response(challenge: bytes, user: str, password: str, cnonce: str) -> bytes:
    """The answer to a server's challenge."""
    told = dict(re.findall(r'(\w+)="?([^",]*)"?', challenge.decode()))
    realm, nonce = told["realm"], told["nonce"]
    proof = _proof(user, realm, password, nonce, cnonce, "AUTHENTICATE")
    return (
        f'charset=utf-8,username="{user}",realm="{realm}",nonce="{nonce}",nc=00000001,cnonce="{cnonce}",'
        f'digest-uri="{URI}",maxbuf=65536,response={proof},qop=auth'
    ).encode()


def rspauth(challenge: bytes, user: str, password: str, cnonce: str) -> bytes:
    """What a server must answer to prove that it knows the password too."""
    told = dict(re.findall(r'(\w+)="?([^",]*)"?', challenge.decode()))
    return b"rspauth=" + _proof(user, told["realm"], password, told["nonce"], cnonce, "").encode()
