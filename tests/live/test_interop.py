"""What `make interop` compares with: that it sees a difference, and takes nothing broken for equal."""

from __future__ import annotations

import pytest

from tests.tools.interop import __main__ as program
from tests.tools.interop.place import Place, embedded
from tests.tools.interop.scenario import Outcome, Scenario, Trial, run_on, table
from zkwire import NoAuthError, NoNodeError
from zkwire.values import Stat


@pytest.fixture
def places():
    with embedded("3.8") as older, embedded("3.9") as newer:
        yield {"3.8": older, "3.9": newer}


def run(places: dict[str, Place], script) -> Outcome:
    return run_on(places, Scenario("ours", "script", script))


def test_what_differs_is_seen_and_shown(places):
    def one_refuses(trial: Trial) -> None:
        if trial.place.version == "3.9":
            trial.place.server.answer(-102, path=trial.root)
        trial.attempt("exists", lambda: trial.place.other.exists(trial.root), NoAuthError)

    outcome = run(places, one_refuses)
    assert outcome.verdict == "different"
    assert "+exists fails: 'NoAuthError'" in outcome.explain()


def test_zxids_count_from_the_root_and_times_do_not(places):
    places["3.9"].other.create("/more")

    def script(trial: Trial) -> None:
        trial.note("root", trial.place.other.exists(trial.root), trial.place.other.exists("/zookeeper"))

    outcome = run(places, script)
    assert outcome.verdict == "same"
    assert "zxids [0, 0, 0]" in outcome.notes["3.8"][0] and "before" in outcome.notes["3.8"][0]
    assert places["3.8"].other.exists("/ours-script") is None
    assert [line.split()[2:4] for line in table([outcome])] == [["1", "notes"]]


def test_what_raises_or_notes_nothing_is_broken(places):
    def fails(trial: Trial) -> None:
        trial.note("before")
        trial.place.other.get("/nowhere")

    outcome = run(places, fails)
    assert outcome.verdict == "broken on 3.8 and 3.9"
    assert NoNodeError.__name__ in outcome.explain() and "before" in outcome.explain()
    assert run(places, lambda trial: None).verdict.startswith("broken")


def test_stats_by_any_name(places):
    def script(trial: Trial) -> None:
        trial.note("stat", Stat(*range(11)), ("a", b"b", [1]))

    assert "counts [4, 5, 6, 8, 9]" in run(places, script).notes["3.8"][0]


def test_events_come_in_order_or_not_at_all(places):
    def script(trial: Trial) -> None:
        events = trial.events()
        trial.place.other.get(trial.root, watch=lambda event: events.put(event.type, event.path))
        trial.place.other.set(trial.root, b"")
        events.note("told")
        events.rest()
        trial.note("in the background", trial.in_background(lambda: 7).result())

    assert run(places, script).notes["3.8"] == [
        "told: [('CHANGED', '/ours-script')]", "nothing else is told: []", "in the background: 7",
    ]  # fmt: skip


def test_a_client_that_cannot_be_had_is_named_and_fails_in_ci(monkeypatch, capsys):
    same = Outcome(Scenario("ours", "script", lambda trial: None), {"one": ["a"], "other": ["a"]})
    monkeypatch.setattr(program, "CLIENTS", ("no_such_client",))
    monkeypatch.setattr(program, "run", lambda wanted, version: [same])
    monkeypatch.setattr("sys.argv", ["interop"])
    codes = []
    for value in ("", "true"):
        monkeypatch.setenv("CI", value)
        codes.append(program.main())
    assert codes == [0, 1]
    said = capsys.readouterr()
    assert said.err.count("NOT TRIED, CANNOT BE HAD: no_such_client") == 2
    assert said.out.startswith("1 clients, 1 scenarios, 0 differences")
