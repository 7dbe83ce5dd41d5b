"""Nodes that somebody has made to do harm: names and data that would be configuration, words of a shell, or terminal codes.

Owns the generator. Must not know what is made of them.
"""

from __future__ import annotations

import random
from typing import List, Tuple

#: What has a meaning somewhere: ends of lines and words, quotes, comments, blocks, expansions, codes, keywords.
PIECES = (
    "\n", "\r", "\r\n", "\0", "\t", " ", "\v", "\f", "\x85", "\u2028", "\u2029", "\x1b[2J", "\x1b]0;owned\x07", "\x9b31m", "\x7f", "\b",
    "\u202e", "\u2066", "\u200b", "\ufeff", "\ud7ff", "\U000e0001", "'", '"', "`", "`id`", "$(touch owned)", "${IFS}", "$PATH", "%s", "%n",
    "%00", "%0a", ";", "}", "{", "#", "\\", "\\n", "|", "&", ">", "<", "*", "?", "[", "]", "(", ")", "~", "!", "=", "@", ",", "/", "../",
    "\n    server evil 6.6.6.6:666", "\nbackend evil\n", "\nfrontend evil\n    bind :666\n", "\nglobal\n    chroot /\n", "weight 256", " backup",
    " disabled", " check", "unix@/tmp/evil", "abns@evil", "fd@3", "ipv4@", "; server 6.6.6.6:666", "; } server { listen 666; } upstream x {",
    "unix:/tmp/evil", " resolve", "include /etc/passwd;", "\n6.6.6.6 bank.example", "# zkdisco end /services/api\n", "#end", "#each", "-rf",
    "--help", '"]}, {"targets": ["6.6.6.6:666', '","labels":{"__address__":"6.6.6.6:666"}', "</script>", "localhost", "127.0.0.1", "0.0.0.0",
    "::", "[::1]", ":80", ":99999", ":-1", ":0x50", ":８０", "１２７.0.0.1", "0x7f.1", "1", "%eth0", "A" * 300,
)  # fmt: skip
#: Around what may pass: the hostile part stands within, or before, or behind.
SHAPES = ("{}", "10.0.0.1{}:80", "{}10.0.0.1:80", "10.0.0.1:80{}", "10.0.0.1:{}80", "web{}.example:80", "[::1{}]:80", "http://10.0.0.1:80/{}",
          "http://{}@10.0.0.1:80", "ht{}tp://10.0.0.1:80", "http://10.0.0.1{}:80/x?{}")  # fmt: skip


def text(rng: random.Random) -> str:
    """A text with one to four pieces in it, or a very long one."""
    pieces = [rng.choice(PIECES) for _ in range(rng.choice((1, 1, 2, 4)))]
    joined = rng.choice(("", "a", " ")).join(pieces)
    return joined * rng.randint(200, 2000) if rng.random() < 0.005 else joined


def records(rng: random.Random, count: int) -> List[Tuple[str, bytes]]:
    """Names and data of nodes: mostly one of the two is hostile, sometimes both, sometimes bytes that are no text."""
    found = []
    for number in range(count):
        name = f"n{number}" if rng.random() < 0.4 else f"{text(rng)}{number}"
        shape, hostile = rng.choice(SHAPES), text(rng)
        data = shape.replace("{}", hostile).encode("utf-8", "surrogatepass")
        if rng.random() < 0.3:
            data = f"10.0.{number % 200}.1:80".encode()
        elif rng.random() < 0.1:
            data = bytes(rng.randrange(256) for _ in range(rng.randint(1, 30)))
        found.append((name.replace("/", "|"), data))
    return found


def can_be_a_node(name: str) -> bool:
    """Whether ZooKeeper takes a node of this name."""
    bad = any(one in "\0/" or one <= "\x1f" or "\x7f" <= one <= "\x9f" or "\ud800" <= one <= "\uf8ff" or one >= "\ufff0" for one in name)
    return not bad and name not in ("", ".", "..") and len(name) < 4000
