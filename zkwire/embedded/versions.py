"""The differences between ZooKeeper versions, as data: what each version lacks and does differently.

Owns every difference between versions; other files use a `Profile`, never a version number. Must not know how a request
is carried out. The differential tests compare 3.4, 3.8 and 3.9 with real servers (3.4.13, 3.8.0, 3.9.3), and where they
are told to, 3.5, 3.6, 3.7 and 3.9.5 with 3.5.9, 3.6.2, 3.7.1 and 3.9.5.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Dict, FrozenSet, Tuple


@dataclass(frozen=True)
class Profile:
    """The behaviour of one version of ZooKeeper; each field says what is true of it."""

    name: str
    full: str
    #: Opcodes that are answered as unknown.
    lacks: FrozenSet[int]
    #: /zookeeper/config exists.
    config_node: bool = True
    #: A check outside a transaction is unknown; before, a successful one got no reply.
    refuses_lone_check: bool = False
    #: `exists` needs READ on a node that is there (ZOOKEEPER-2590).
    exists_needs_read: bool = False
    #: Notifications contain the zxid of their transaction (ZOOKEEPER-4655).
    events_carry_zxid: bool = False
    #: Sessions that may not read the node get no notifications (CVE-2024-23944: fixed in 3.8.4 and 3.9.2, and in
    #: Debian's 3.8.0).
    events_need_read: bool = False
    #: One connection may have standard, persistent and recursive watches on one path (ZOOKEEPER-4466).
    watch_modes_add_up: bool = False
    #: The flags, TTL and null ACLs of a transaction are checked while it is decoded.
    strict_multi: bool = False
    #: A write that does not decode consumes no zxid.
    decodes_first: bool = False
    #: A delete checks that the node exists before it checks the permission on its parent.
    finds_before_rights: bool = False
    #: A create has the flags 0 to 3 only, checked after the permissions; a null scheme in an ACL is malformed.
    old_create: bool = False
    #: A null in place of an ACL is malformed; since 3.6 it is an ACL that is not valid.
    needs_acl: bool = False
    #: After failed SASL the connection is closed without a reply.
    silent_about_sasl: bool = False
    #: An ip in an ACL may be a network.
    networks_in_acl: bool = True
    #: An ip in an ACL may be of IPv6. (No client of this server has such an address.)
    ipv6_in_acl: bool = False
    #: The last character of each forbidden range is allowed in paths.
    open_path_ranges: bool = False
    #: A connection's identities are in the order of Java's hash table, in ACLs of scheme auth and for whoAmI.
    hashes_identities: bool = True
    #: With `enforce_quota`, a change beyond a hard limit of a quota is refused (ZOOKEEPER-451).
    hard_quotas: bool = True
    #: Four-letter words answer less: no connections in dump, no sizes in conf.
    short_words: bool = False
    #: Averages have no decimals, mntr no figures of sessions, conf no backlog of the port.
    old_figures: bool = False
    #: checkWatches accepts the watch of any connection on the path (WatchManager before 3.9).
    counts_others_watches: bool = False
    #: A server without a quorum resumes the sessions it knows, expires them by itself, and creates new ones without
    #: local sessions. (Since 3.7 it closes connections of the ensemble's sessions: ZOOKEEPER-2355, ZOOKEEPER-3218.)
    resumes_without_quorum: bool = False


_SINCE_3_7 = frozenset({107})
_SINCE_3_6 = _SINCE_3_7 | {22, 103, 104, 105, 106}
_SINCE_3_5 = _SINCE_3_6 | {15, 16, 17, 18, 19, 20, 21}

_3_9 = Profile(
    "3.9", "3.9.3", frozenset(), refuses_lone_check=True, exists_needs_read=True, events_carry_zxid=True,
    events_need_read=True, watch_modes_add_up=True, strict_multi=True,
    decodes_first=True,
)  # fmt: skip
PROFILES: Dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile("3.4", "3.4.13", _SINCE_3_5, config_node=False, finds_before_rights=True,
                old_create=True, needs_acl=True, networks_in_acl=False, open_path_ranges=True, silent_about_sasl=True,
                hashes_identities=False, hard_quotas=False, short_words=True, old_figures=True,
                resumes_without_quorum=True),
        Profile("3.5", "3.5.9", _SINCE_3_6, finds_before_rights=True, needs_acl=True, hard_quotas=False,
                old_figures=True, resumes_without_quorum=True),
        Profile("3.6", "3.6.3", _SINCE_3_7, counts_others_watches=True, hard_quotas=False, resumes_without_quorum=True),
        Profile("3.7", "3.7.1", frozenset(), counts_others_watches=True),
        Profile("3.8", "3.8.0", frozenset(), counts_others_watches=True, events_need_read=True),
        _3_9,
    )
}  # fmt: skip
#: Releases that differ from the profile of their version; their later ones are the same.
RELEASES: Tuple[Profile, ...] = (replace(_3_9, full="3.9.5", ipv6_in_acl=True),)


def profile_of(version: str) -> Profile:
    """The profile of "3.9", "3.9.5" and the like; `ValueError` for an unsupported version."""
    short = ".".join(version.split(".")[:2])
    if short not in PROFILES:
        raise ValueError(f"version {version!r}: expected one of {', '.join(PROFILES)}")
    numbers = _numbers(version)
    found = [one for one in RELEASES if one.name == short and numbers >= _numbers(one.full)]
    return found[-1] if found else PROFILES[short]


def _numbers(version: str) -> Tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))
