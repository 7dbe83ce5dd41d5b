"""What each format makes of a set: its text, its order, names that stay, what is left out and why."""

from __future__ import annotations

import json
import random
import re
from typing import Any, Dict, List, Optional

import pytest

from tests.house.test_floors import FORBIDDEN, ROOT, imports
from zkdisco.codecs import Instance
from zkdisco.outputs import NAMES, Entry, Named, entry_of, find
from zkdisco.outputs.format import address, host_name, server_name, told, whole_weights
from zkdisco.outputs.hosts import Hosts
from zkdisco.outputs.template import Template

A = Entry("_c_a-0000000001", Instance("10.0.0.2", 80))
B = Entry("_c_b-0000000002", Instance("2001:db8::1", 8080, zone="eu-1", weight=0.5, metadata={"version": "1.2", "a b": 3}))
C = Entry("c", Instance("web.example", 80, status="OUT_OF_SERVICE"))
TEXT = Entry("t", None, "just text")
SOURCE = "# $count of $service\n#each\n$name $address $host $port $zone$meta_version\n#end\n$$\n"


def rendered(name: str, *entries: Entry, **settings: str) -> Any:
    if name == "template":
        return Template("api", "/services/api", settings, SOURCE).render(entries)
    return find(name)("api", "/services/api", settings).render(entries)


EXPECTED: Dict[str, str] = {
    "hosts": "# zkdisco begin /services/api\n10.0.0.2 api\n2001:db8::1 api\n# zkdisco end /services/api\n",
    "haproxy": (
        "backend api\n"
        "    server _c_a-0000000001 10.0.0.2:80 weight 100 check\n"
        "    server _c_b-0000000002 [2001:db8::1]:8080 weight 50 check\n"
        "    server c web.example:80 init-addr last,libc,none weight 100 check disabled\n"
    ),
    "nginx": (
        "upstream api {\n"
        "    server 10.0.0.2:80 weight=100;  # _c_a-0000000001\n"
        "    server [2001:db8::1]:8080 weight=50;  # _c_b-0000000002\n"
        "}\n"
    ),
    "template": (
        "# 3 of api\n"
        "_c_a-0000000001 10.0.0.2:80 10.0.0.2 80 \n"
        "_c_b-0000000002 [2001:db8::1]:8080 2001:db8::1 8080 eu-11.2\n"
        "c web.example:80 web.example 80 \n"
        "$\n"
    ),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_text(name: str) -> None:
    found = rendered(name, A, B, C, TEXT)
    assert found.text == EXPECTED[name]
    left_out = {"hosts": ["c", "t"], "nginx": ["c", "t"]}.get(name, ["t"])
    assert [node for node, _ in found.left_out] == left_out and found.size == 4 - len(left_out)


def test_json_has_all_that_is_known() -> None:
    found = rendered("json", B, TEXT)
    assert json.loads(found.text) == {"path": "/services/api", "instances": [
        {"node": B.node, "address": "[2001:db8::1]:8080", "host": "2001:db8::1", "port": 8080, "id": "", "name": "",
         "weight": 0.5, "zone": "eu-1", "status": "", "available": True, "metadata": {"version": "1.2", "a b": 3}},
        {"node": "t", "text": "just text"},
    ]}  # fmt: skip
    assert found.text.count("\n") == 4 and found.left_out == ()
    odd = [Entry("nan", Instance("h", 1, metadata={"a": float("nan")})), Entry("set", Instance("h", 1, metadata={"a": {1}}))]
    assert [node for node, _ in rendered("json", *odd).left_out] == ["nan", "set"]


def test_prometheus_has_labels_for_relabelling_only() -> None:
    found = json.loads(rendered("prometheus", A, B, TEXT).text)
    assert [one["targets"] for one in found] == [["10.0.0.2:80"], ["[2001:db8::1]:8080"]]
    prefix = "__meta_zkdisco_"
    assert found[1]["labels"] == {
        f"{prefix}{name}": value
        for name, value in {
            "metadata_a_b": "3", "metadata_version": "1.2", "node": B.node, "path": "/services/api", "weight": "0.5", "zone": "eu-1",
        }.items()
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_the_same_set_gives_the_same_text(name: str) -> None:
    entries = [Entry(f"n{number:02}", Instance(f"10.0.0.{number}", 80)) for number in range(20)]
    texts = set()
    for seed in range(10):
        random.Random(seed).shuffle(entries)
        texts.add(rendered(name, *entries).text)
    assert len(texts) == 1


@pytest.mark.parametrize("name", ["haproxy", "nginx", "template", "json", "prometheus"])
def test_a_line_stays_while_others_come_and_go(name: str) -> None:
    entries = [Entry(f"bad name {number}", Instance(f"10.0.0.{number}", 80)) for number in range(20)]
    line = next(line for line in rendered(name, *entries).text.splitlines() if "10.0.0.7" in line).rstrip(",")
    for seed in range(20):
        some = random.Random(seed).sample(entries, 10) + [entries[7]]
        assert line in [one.rstrip(",") for one in rendered(name, *some).text.splitlines()]


@pytest.mark.parametrize("name, empty", [
    ("json", {"path": "/services/api", "instances": []}), ("prometheus", []), ("haproxy", "backend api\n"),
    ("nginx", "upstream api {\n    server 127.0.0.1:1 down;\n}\n"),
    ("hosts", "# zkdisco begin /services/api\n# zkdisco end /services/api\n"), ("template", "# 0 of api\n$\n"),
])  # fmt: skip
def test_nobody(name: str, empty: Any) -> None:
    found = rendered(name)
    assert (json.loads(found.text) if name in ("json", "prometheus") else found.text) == empty and found.size == 0


def test_an_address_stands_once_in_an_upstream() -> None:
    twins = [Entry("b", A.instance), A, Entry("x", Instance("10.0.0.2", 80, status="DOWN"))]
    assert rendered("nginx", *twins).text == "upstream api {\n    server 10.0.0.2:80;  # _c_a-0000000001\n}\n"
    drained = Entry("d", Instance("10.0.0.3", 80, weight=0))
    assert "server 10.0.0.3:80 down;  # d" in rendered("nginx", A, drained).text
    assert "server d 10.0.0.3:80 weight 0 check\n" in rendered("haproxy", A, drained).text
    assert "server web.example:80 down;  # c" in rendered("nginx", C, names="yes").text


def test_a_name_without_letters_is_a_name() -> None:
    digits = Entry("d", Instance("1-2", 80))
    assert "    server d 1-2:80 init-addr last,libc,none check\n" in rendered("haproxy", digits).text
    assert [node for node, _ in rendered("haproxy", digits, A, names="no").left_out] == ["d"]


def test_server_names() -> None:
    nodes = ["a", "a b", "a_b", "a\tb", "", "-", ".", "..", "é", "\ud800", "x" * 64, "x" * 65, "x" * 66, "a;b", server_name("a b")]
    names = [server_name(node) for node in nodes]
    assert len(set(names)) == len(nodes), "two nodes have two names, even if one is called as another's has been made"
    for name in names:
        assert re.fullmatch("[a-z0-9_][a-z0-9_.-]{0,63}", name)
    assert names[0] == "a" and names[2] == "a_b" and names[10] == "x" * 64 and server_name("a b") == "a_b-xc8687a08aa5d6ed2044328fa"


@pytest.mark.parametrize("weights, whole", [
    ([1, 1.0], []), ([], []), ([1, 2], [100, 200]), ([0.001, 1], [1, 100]), ([0, 1], [0, 100]), ([1, 4], [64, 256]), ([0, 0], [0, 0]),
    ([1e300, 1], [256, 1]), ([1e-320], [1]),
])  # fmt: skip
def test_weights(weights: List[float], whole: List[int]) -> None:
    assert whole_weights(weights) == whole


@pytest.mark.parametrize("host, found", [
    ("10.0.0.1", "10.0.0.1"), ("2001:DB8:0::1", "2001:db8::1"), ("web", None), ("1.2.3", None),
])  # fmt: skip
def test_addresses(host: str, found: Optional[str]) -> None:
    assert address(host) == found


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "224.0.0.1", "255.255.255.255", "fe80::1%eth0", "ff02::1"])
def test_what_is_no_address_of_one_machine(host: str) -> None:
    with pytest.raises(ValueError, match="machine"):
        address(host)
    assert rendered("haproxy", Entry("n", Instance(host, 80))).left_out[0][0] == "n"


@pytest.mark.parametrize("host", ["1.2.3", "999.1.1.1", "0x7f", "0x7f.0x1", "a..b", "-a", "a-", ".", "x" * 64, ".".join(["x" * 60] * 5)])
def test_names_of_hosts(host: str) -> None:
    assert host_name("a.") == "a." and host_name("_tcp.example-1.com") == "_tcp.example-1.com"
    with pytest.raises(ValueError):
        host_name(host)


def test_a_block_has_its_place_among_the_lines_of_others() -> None:
    form = Hosts("api", "/services/api")
    block = form.render([A]).text
    other = block.replace("10.0.0.2", "10.9.9.9")
    for before, after in (("", ""), ("127.0.0.1 localhost\n", ""), ("a\n\n", "\n::1 b"), ("a\r\n", "c\n")):
        assert form.place(block, before + other + after) == before + block + after
    assert form.place(block, None) == block and form.place(block, "no end of line") == "no end of line\n" + block
    assert form.place(block, "x\n# zkdisco begin /services/b\n# zkdisco end /services/b\n").endswith(block)
    begin, _, end = block.splitlines()
    for broken in (begin, end, f"{end}\n{begin}", f"{begin}\n{end}\n{begin}\n{end}", f"{begin}\n{begin}\n{end}"):
        with pytest.raises(ValueError, match="not clear"):
            form.place(block, broken)
    with pytest.raises(ValueError, match="comment"):
        Hosts("api", "/services/\u2028")


@pytest.mark.parametrize("source, why", [
    ("#each\n$name\n", "without #end"), ("#end\n", "line 1"), ("#each\n#each\n#end\n", "line 2"), ("$name", "outside"),
    ("#each\n$nme\n#end\n", r"\$nme"), ("cost: $ 5", "is a dollar"), ("$meta_x", "outside"),
])  # fmt: skip
def test_templates_that_are_none(source: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Template("api", "/services/api", {}, source)


def test_a_template_leaves_out_what_is_no_plain_word_where_it_is_used() -> None:
    entry = Entry("n", Instance("h", 80, zone="a b", metadata={"k": "$(id)"}))
    for used, left in (("$host", False), ("$zone", True), ("$meta_k", True), ("$meta_none", False), ("$name$weight$id$status", False)):
        form = Template("api", "/services/api", {"v": "of the user; $(anything)"}, f"#each\n{used} ${{v}}\n#end\n")
        found = form.render([entry])
        assert bool(found.left_out) is left and ("of the user; $(anything)" in found.text) is not left
    assert Template(source="#each\n$text\n#end\n").render([Entry("t", None, "word")]).text == "word\n"


@pytest.mark.parametrize("name, settings", [
    ("haproxy", {"backend": "a b"}), ("haproxy", {"server": "check\nserver x"}), ("nginx", {"upstream": "a;"}), ("nginx", {"server": "a;"}),
    ("nginx", {"names": "maybe"}), ("hosts", {"host": "-a"}), ("hosts", {"host": "1.2"}), ("json", {"x": "y"}), ("haproxy", {"x": "y"}),
    ("template", {"x": "two\nlines"}),
])  # fmt: skip
def test_settings_that_cannot_be(name: str, settings: Dict[str, str]) -> None:
    with pytest.raises(ValueError):
        rendered(name, A, **settings)


def test_a_service_whose_name_cannot_stand_there_needs_another() -> None:
    with pytest.raises(ValueError, match="backend"):
        find("haproxy")("my api", "/services/my api")
    assert "backend my_api" in find("haproxy")("my api", "/services/my api", {"backend": "my_api"}).render([A]).text


def test_what_is_written_of_instances_of_any_codec() -> None:
    assert Named().decode("n", b"10.0.0.1:80") == Entry("n", Instance("10.0.0.1", 80), "10.0.0.1:80")
    assert Named().decode("n", b"nothing") == Entry("n", None, "nothing")
    assert Named("gokit").decode("n", b"http://10.0.0.1/x").instance == Instance("10.0.0.1", 80, "n", metadata={"scheme": "http", "path": "/x"})
    with pytest.raises(ValueError):
        Named("gokit").decode("n", b"nothing")
    with pytest.raises(ValueError, match="no format"):
        Named("none")
    assert entry_of("h:1").node == "h:1" and entry_of(Instance("h", 1)).node == "h:1" and entry_of(A) is A
    with pytest.raises(TypeError):
        entry_of(b"h:1")
    with pytest.raises(ValueError, match="json, prometheus"):
        find("yaml")


def test_what_is_left_out_is_named_in_ascii() -> None:
    assert told([]) == ""
    line = told([(f"n\x1b[2J{number}\u202e", "no port") for number in range(7)])
    assert line.startswith("7 left out: 'n\\x1b[2J0\\u202e': no port; ") and line.endswith("; and 2 more") and line.isascii()


def test_formats_know_no_files_threads_or_clocks() -> None:
    outside = {"writer", "command", "renderer", "__init__"}
    for path in (ROOT / "zkdisco" / "outputs").glob("*.py"):
        if path.stem not in outside:
            known = {found.outside.split(".")[0] for found in imports(path, "zkdisco")}
            assert not known & (FORBIDDEN | {"os", "subprocess", "tempfile"}), path.name
