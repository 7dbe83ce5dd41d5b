"""Formats of others: what they write is read as it is meant, and written again byte by byte; hostile records cost themselves."""

from __future__ import annotations

import json
from typing import Any, List

import pytest

from tests.discovery.codecs.nodes import EVERY, FORMATS, Found, hostile, nodes
from zkdisco import Service
from zkdisco.codecs import NAMES, Instance, find
from zkdisco.codecs.curator import Curator, uri_spec, url
from zkdisco.codecs.records import LARGEST

IDS = [f"{one.format}: {one.row['about']}" for one in EVERY]
WRITTEN = [one for one in EVERY if one.row.get("written") != "no"]
#: As many hostile records are tried on each codec.
RECORDS = 2000


def test_every_format_has_nodes() -> None:
    assert set(FORMATS) == set(NAMES) - {"text", "auto"} and all(nodes(format) for format in FORMATS)


@pytest.mark.parametrize("one", EVERY, ids=IDS)
def test_a_node_is_read(one: Found) -> None:
    codec = find(one.format)
    found = codec.decode(one.name, one.data)
    assert found == one.instance and found.format == one.format and codec.naming.accepts(one.name)
    if "url" in one.row:
        assert url(found) == one.row["url"]


@pytest.mark.parametrize("one", WRITTEN, ids=[f"{one.format}: {one.row['about']}" for one in WRITTEN])
def test_it_is_written_again_as_it_was(one: Found) -> None:
    codec = find(one.format)
    found = codec.decode(one.name, one.data)
    written = codec.encode(found)
    if one.row.get("order") == "another":
        assert json.loads(written) == json.loads(one.data)
    else:
        assert written == one.data, "byte by byte"
    assert codec.decode(one.name, written) == found
    named = codec.naming.node_name(found)
    assert named in (None, one.name), "and the node keeps its name"
    moved = found.but(host="10.9.9.9", port=99)
    if one.format in ("dubbo",):
        assert codec.decode(codec.naming.node_name(moved), b"").address == "10.9.9.9:99"
    else:
        assert codec.decode(one.name, codec.encode(moved)).but(id="") == moved.but(id="")


@pytest.mark.parametrize("one", [one for one in EVERY if one not in WRITTEN], ids=lambda one: f"{one.format} {one.name}")
def test_what_is_not_written_says_why(one: Found) -> None:
    codec = find(one.format)
    with pytest.raises(ValueError, match="can be read, but not written|is DYNAMIC"):
        codec.encode(codec.decode(one.name, one.data))


@pytest.mark.parametrize("format", sorted({one.format for one in WRITTEN}))
def test_one_of_ours_is_read_as_it_was_meant(format: str) -> None:
    service = Service("/s", "api", Instance("10.0.2.10", 80, metadata={}), codec=format)
    codec, name = find(format), service.node_name or "_c_0123456789abcdef0123456789abcdef-0000000000"
    found = codec.decode(name, service.content)
    assert (found.address, found.status in ("", "ALIVE")) == ("10.0.2.10:80", True)
    assert codec.encode(found) == service.content and codec.naming.accepts(name)
    if format not in ("gokit", "nerve", "serverset"):
        assert found.name == "api"
    again = Service("/s", "api", Instance("10.0.2.10", 80), codec=format)
    assert (again.node_name == service.node_name) is (format in ("gokit", "nerve", "dubbo", "dubbo-app")), "a random id, or none"


@pytest.mark.parametrize("format", FORMATS)
def test_hostile_records_cost_nothing_but_themselves(format: str) -> None:
    """`ValueError` or an instance; what can be read and written is the same afterwards."""
    codec, auto, counts = find(format), find("auto"), {"read": 0, "refused": 0, "same": 0, "as detected": 0}
    for name, data in hostile(format, RECORDS):
        for reader in (codec, auto):
            try:
                found = reader.decode(name, data)
            except ValueError as error:
                assert len(str(error)) < 1000, "a message for people"
                counts["refused"] += reader is codec
                continue
            counts["read"] += reader is codec
            counts["as detected"] += reader is auto
            assert isinstance(found, Instance) and found.format in FORMATS
            assert len(data) <= LARGEST or found.format in ("dubbo", "solr", "hbase"), "whose data is not looked at"
            assert found.host.isprintable() and " " not in found.host and 0 <= found.port <= 65535
            try:
                written = reader.encode(found)
            except ValueError as error:
                text = str(error)
                assert "can be read, but not written" in text or "is DYNAMIC" in text or "needs an id" in text, text
                continue
            named = name if format != "dubbo" else reader.naming.node_name(found)
            assert reader.decode(named, written).but(id="") == found.but(id="")
            counts["same"] += reader is codec
    print(format, counts)
    assert counts["read"] + counts["refused"] == RECORDS and counts["refused"] > 20
    assert counts["read"] > 20 and counts["as detected"] > 0


@pytest.mark.parametrize("format", sorted({one.format for one in WRITTEN}))
def test_whatever_can_be_said_to_a_codec_is_written_or_refused(format: str) -> None:
    codec = find(format)
    for changes in (
        {"weight": 2.5}, {"weight": 3.0}, {"zone": "z"}, {"status": "ODD ONE"}, {"metadata": {"x": float("nan")}}, {"metadata": {"x": "\ud800"}},
        {"metadata": {"@class": "x"}}, {"metadata": {"x": {"y": [1]}}}, {"metadata": {"x": object()}}, {"id": "a\nb"}, {"metadata": {"payload": []}},
        {"status": "UP"}, {"metadata": {"instance_status": "UP"}}, {"metadata": {"shard": "1"}}, {"metadata": {"labels": {"a": 1}}}, {"port": 0},
        {"metadata": {"additionalEndpoints": {"a": {"host": "a b"}}}}, {"metadata": {"parameters": {"a&b": "c"}}}, {"metadata": {"protocol": "empty"}},
    ):  # fmt: skip
        given = codec.complete(Instance("10.0.0.1", 80, name="api")).but(**changes)
        try:
            found = codec.decode(codec.naming.node_name(given) or "n", codec.encode(given))
        except ValueError:
            continue
        if format == "dubbo":  # a URL says more than the little it was made of
            assert (found.weight, found.zone, found.status) == (given.weight, given.zone, given.status), changes
        elif format != "gokit":  # whose text has room for nothing else
            assert found.but(id="") == given.but(id="", name=found.name), changes
        assert found.address == given.address


@pytest.mark.parametrize("format", sorted({one.format for one in WRITTEN}))
def test_what_is_no_instance_is_a_type_error(format: str) -> None:
    with pytest.raises(TypeError, match="is an Instance, not str"):
        Service("/a", "b", "10.0.0.1:80", codec=find(format))


# ------------------------------------------------------------------------------------ Curator


def test_curators_payload_gets_a_class_where_asked_for() -> None:
    codec = Curator("com.example.Details")
    service = Service("/services", "api", Instance("10.0.0.1", 80, "me", metadata={"zone": "a"}), codec=codec)
    record = json.loads(service.content)
    assert list(record) == ["name", "id", "address", "port", "sslPort", "payload", "registrationTimeUTC", "serviceType", "uriSpec"]
    assert list(record["payload"].items()) == [("@class", "com.example.Details"), ("zone", "a")]
    assert record["registrationTimeUTC"] > 1_700_000_000_000 and service.node_name == "me"
    found = codec.decode("me", service.content)
    assert found.metadata == {"zone": "a"} and codec.encode(found) == service.content
    assert b'"@class":"com.example.Details","zone":"b"' in find("curator").encode(found.but(metadata={"zone": "b"})), "and keeps it"
    for bad in ("", "a.", "a b.C", "a..B", 'a."', "x" * 1000):
        with pytest.raises(ValueError, match="no name of a Java class"):
            Curator(bad)


@pytest.mark.parametrize("value", ["text", "", 5, 5.5, True, ["x"], []])
def test_curators_payload_may_be_anything(value: Any) -> None:
    codec = find("curator")
    given = codec.complete(Instance("10.0.0.1", 80, "me", "api", metadata={"payload": value}))
    found = codec.decode("me", codec.encode(given))
    assert found == given
    payload = json.loads(codec.encode(given))["payload"]
    assert payload == (["java.util.ArrayList", value] if isinstance(value, list) else value)


def test_a_template_of_a_url() -> None:
    spec = uri_spec("{scheme}://{address}:{ssl-port}/{ name }?t={zone}")
    record = {"name": "api", "id": "i", "address": "10.0.0.1", "port": 80, "sslPort": 443, "uriSpec": spec}
    found = find("curator").decode("i", json.dumps(record).encode())
    assert url(found, {"zone": "a"}) == "https://10.0.0.1:443/api?t=a"
    with pytest.raises(ValueError, match="nothing is known for {zone}"):
        url(found)
    with pytest.raises(ValueError, match="no URL"):
        url(found, {"zone": "a\nb"})
    for bad in ("{", "{}", "a}b", "{{a}}", "{a"):
        with pytest.raises(ValueError, match="no template"):
            uri_spec(bad)
    assert url(Instance("a", 80)) == ""


# ---------------------------------------------------------------------------------- detection


@pytest.mark.parametrize("one", EVERY, ids=IDS)
def test_detection_says_what_a_node_was_taken_for(one: Found) -> None:
    found = find("auto").decode(one.name, one.data)
    assert (found.format, found) == (one.format, one.instance)


AMBIGUOUS: List[Any] = [
    ("n", b'{"host":"a","port":1,"name":"n","id":"i","address":"b","serviceType":"DYNAMIC"}', "curator and nerve"),
    ("member_1", b'{"host":"a","port":1,"serviceEndpoint":{"host":"a","port":1}}', "serverset and nerve"),
    ("10.0.0.1:80_x", b"10.0.0.2:80", "solr and gokit"), ("10.0.0.1:80_x", b'{"host":"a","port":1}', "solr and nerve"),
    ("n", b"", "no format"), ("n", b"hello", "no format"), ("n", b'{"a":1}', "no format"), ("n", b"\xff\xd8", "no format"),
    ("n", b'{"serviceEndpoint":{"host":"a","port":1}}', "no format"), ("n", b'{"version":5,"endpoints":["P://a:1"]}', "no format"),
    ("n", b'"10.0.0.1:80"', "no format"), ("n", b'{"host":"a","host":"b","port":1}', "no format"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "why"), AMBIGUOUS)
def test_nothing_is_guessed(name: str, data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        find("auto").decode(name, data)


def test_detection_is_for_reading() -> None:
    with pytest.raises(ValueError, match="say in which format"):
        Service("/a", "b", Instance("10.0.0.1", 80), codec="auto")
    with pytest.raises(TypeError):
        find("auto").encode("10.0.0.1:80")
