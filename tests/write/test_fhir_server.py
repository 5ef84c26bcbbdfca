"""The FHIR server sink against a real server, and against all that goes wrong on the way."""

import json
import threading
import time
from collections import Counter

import pytest
from fhir_notes import SECRET, document, result, results
from fhir_servers import Fault, running_server

from kiwi_fhir.clients import backoff
from kiwi_fhir.clients.fhir_auth import Access
from kiwi_fhir.errors import KiwiError, UsageError
from kiwi_fhir.write.fhir.delivery import Parcel
from kiwi_fhir.write.fhir.server import FhirServer
from kiwi_fhir.write.fhir.transaction import NOTE_SYSTEM

QUICK = Access(timeout=1.0, patience=10.0)
KINDS = ("Condition", "Observation", "MedicationStatement", "Procedure", "Provenance")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_server(tmp_path_factory.mktemp("sekmet")) as running:
        yield running


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(backoff, "_FIRST_PAUSE", 0.05)


@pytest.fixture
def proxy(server):
    server[0].clear()
    yield server[0]
    assert server[0].clear() == 0, "a planned fault did not happen"


@pytest.fixture
def reader(server):
    return server[2]


@pytest.fixture
def sink(proxy):
    made = []

    def make(**options):
        made.append(FhirServer(proxy.base, **{"access": QUICK, **options}))
        return made[-1]

    yield make
    for item in made:
        item.close()


def wanted(written):
    """The resources of some results, by type and id."""
    entries = [entry for item in written for entry in json.loads(item.bundle).get("entry", ())]
    return {(entry["resource"]["resourceType"], entry["resource"]["id"]): entry["resource"] for entry in entries}


def held(reader, prefix):
    """What the server holds of the notes with this prefix, by type and id, without what it sets itself."""
    found = {}
    for kind in KINDS:
        for name, resource in reader.all(kind).items():
            if f"DocumentReference/{prefix}-" in json.dumps(resource):
                for key in ("versionId", "lastUpdated"):
                    resource["meta"].pop(key)
                resource["meta"]["tag"] = [tag for tag in resource["meta"]["tag"] if tag["system"] != NOTE_SYSTEM]
                found[kind, name] = resource
    return found


def versions(reader, prefix):
    return {
        key: resource["meta"]["versionId"]
        for kind in KINDS
        for key, resource in reader.all(kind).items()
        if f"DocumentReference/{prefix}-" in json.dumps(resource)
    }


def test_every_resource_is_there_as_it_was_written(sink, reader):
    notes = results("all", 12)
    target = sink()
    target.check()
    assert target.write(notes) == []
    assert held(reader, "all") == wanted(notes)
    assert Counter(kind for kind, _ in wanted(notes))["Condition"] == 24
    assert set(versions(reader, "all").values()) == {"1"}


def test_a_rerun_writes_nothing(sink, proxy, reader):
    notes = results("again", 6)
    sink().write(notes)
    before = reader.versions()
    proxy.clear()
    assert sink().write(notes) == []
    assert reader.versions() == before
    assert "transaction" not in proxy.kinds()


def test_only_what_differs_is_written(sink, reader):
    (note,) = results("differs", 1)
    sink().write([note])
    bundle = json.loads(note.bundle)
    changed = bundle["entry"][0]["resource"]
    changed["code"]["text"] = "another"
    altered = type(note)(note.document, json.dumps(bundle).encode(), {})
    (sent,) = sink().send([_parcel(altered)])
    assert (sent.state, dict(sent.resources)) == ("written", {changed["resourceType"]: 1})
    found = versions(reader, "differs")
    assert {key for key, version in found.items() if version == "2"} == {changed["id"]}


def _parcel(item):
    return Parcel(item.document.note.id, item.bundle)


def test_a_note_without_resources_is_not_posted(sink, proxy):
    (note,) = results("empty", 1, labels=())
    (sent,) = sink().send([_parcel(note)])
    assert sent.state == "empty"
    assert proxy.requests == []


def test_the_same_note_twice_at_once(sink, reader):
    (note,) = results("twice", 1)
    states = [sent.state for sent in sink().send([_parcel(note)] * 4)]
    assert states == ["written", "unchanged", "unchanged", "unchanged"]
    assert set(versions(reader, "twice").values()) == {"1"}


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=429, headers={"Retry-After": "1"}),
        Fault(status=503),
        Fault(status=500),
        Fault(status=502),
        Fault("reset"),
        Fault("hang", seconds=2.0),
        Fault("lost"),
    ],
    ids=["429", "503", "500", "502", "reset", "hang", "answer lost"],
)
def test_what_passes_costs_nothing(sink, proxy, reader, fault, request):
    prefix = f"fault-{request.node.callspec.id.replace(' ', '-')}"
    notes = results(prefix, 5)
    proxy.plan(fault, times=2)
    assert sink().write(notes) == []
    assert held(reader, prefix) == wanted(notes)
    assert set(versions(reader, prefix).values()) == {"1"}


def test_retry_after_is_honoured_by_all(sink, proxy):
    notes = results("wait", 12)
    proxy.plan(Fault(status=429, headers={"Retry-After": "2"}))
    assert sink(parallel=2).write(notes) == []
    times = [moment for moment, kind in proxy.requests if kind == "transaction"]
    refused = times[0]
    assert len([moment for moment in times if refused < moment < refused + 1.9]) <= 1  # one was on its way


def test_a_wait_longer_than_our_patience_is_not_begun(sink, proxy):
    proxy.plan(Fault(status=503, headers={"Retry-After": "3600"}), times=1)
    proxy.plan(Fault(status=503), on="metadata")
    started = time.monotonic()
    with pytest.raises(KiwiError, match=r"answers 503.*--resume"):
        sink().write(results("long", 1))
    assert time.monotonic() - started < 5


def test_a_fault_that_stays_with_one_note_is_its_failure(sink, proxy, reader):
    notes = results("stays", 3)
    target = sink(parallel=1, access=Access(timeout=1.0, patience=6.0))
    proxy.plan(Fault(status=500), times=4)
    (failure,) = target.write(notes)
    assert (failure.note_id, failure.stage, failure.error, failure.kept) == ("stays-0", "write", "http-500", False)
    assert held(reader, "stays") == wanted(notes[1:])


def test_a_4xx_is_asked_once(sink, proxy, reader):
    notes = results("bad", 2)
    outcome = {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "error", "code": "processing", "diagnostics": SECRET, "details": {"text": SECRET}}],
    }
    proxy.plan(Fault(status=422, body=json.dumps(outcome).encode()))
    (failure,) = sink(parallel=1).write(notes)
    assert (failure.note_id, failure.error) == ("bad-0", "http-422")
    assert failure.message == "The server answers 422 (error processing)."
    assert proxy.kinds().count("transaction") == 2
    assert held(reader, "bad") == wanted(notes[1:])


def test_one_rejected_entry_is_named_and_the_rest_is_there(sink, proxy, reader):
    notes = results("entry", 2)
    proxy.plan(Fault("reject", status=422))
    target = sink(parallel=1)
    (failure,) = target.write(notes)
    assert (failure.note_id, failure.error, failure.kept) == ("entry-0", "entry-422", True)
    assert failure.message == "The server answers 422 to a Condition (error invalid at Condition.code)."
    assert len(held(reader, "entry")) == len(wanted(notes)) - 1
    assert target.write(notes) == []  # the missing one is written, nothing else
    assert held(reader, "entry") == wanted(notes)
    assert set(versions(reader, "entry").values()) == {"1"}


def test_a_server_that_refuses_a_resource_keeps_nothing_of_the_note(sink, reader):
    first, second = results("refused", 2)
    bundle = json.loads(first.bundle)
    bundle["entry"][0]["resource"]["code"] = SECRET  # the real server finds this invalid
    broken = type(first)(first.document, json.dumps(bundle).encode(), {})
    (failure,) = sink().write([broken, second])
    assert (failure.note_id, failure.error, failure.kept) == ("refused-0", "http-400", False)
    assert SECRET not in failure.message
    assert held(reader, "refused") == wanted([second])


@pytest.mark.parametrize(
    ("edit", "error"),
    [
        (lambda bundle: {**bundle, "entry": bundle["entry"][1:]}, "answer-incomplete"),
        (lambda _: {"resourceType": "Parameters"}, "no-bundle"),
        (lambda bundle: {**bundle, "entry": [{}] * len(bundle["entry"])}, "entry-unknown"),
    ],
)
def test_an_answer_that_is_not_one_is_a_failure(sink, proxy, edit, error):
    proxy.plan(Fault("edit", edit=edit))
    failures = sink().write(results(f"odd-{error}", 1))
    assert {failure.error for failure in failures} == {error}


def test_a_server_that_is_gone_ends_the_run_and_a_rerun_completes_it(sink, server, proxy, reader):
    notes = results("gone", 20)
    target = sink(access=Access(timeout=2.0, patience=1.0))
    proxy.plan(Fault("call", edit=server[1].kill), after=8)
    with pytest.raises(KiwiError, match=r"--resume"):
        target.write(notes)
    server[1].start()
    assert 5 <= len({name for kind, name in held(reader, "gone") if kind == "Provenance"}) < 20
    assert sink().write(notes) == []
    assert held(reader, "gone") == wanted(notes)
    assert set(versions(reader, "gone").values()) == {"1"}


def test_a_restart_in_the_middle_costs_nothing(sink, server, proxy, reader):
    notes = results("restart", 20)

    def restart():
        server[1].kill()
        threading.Timer(0.5, server[1].start).start()

    proxy.plan(Fault("call", edit=restart), after=8)
    assert sink(access=Access(timeout=5.0, patience=60.0)).write(notes) == []
    assert held(reader, "restart") == wanted(notes)
    assert set(versions(reader, "restart").values()) == {"1"}


SOURCES = {"literal": None, "mimic": "mimic-iii"}


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("server_ids", [False, True], ids=["our ids", "server ids"])
def test_replace_removes_what_an_earlier_model_wrote(sink, reader, kind, server_ids):
    prefix = f"v{kind}{server_ids}"
    names = [f"{prefix}-{index}" for index in range(3)]
    source = SOURCES[kind]
    first = [result(document(name, source=source), "1") for name in names]
    fewer = [result(document(name, ("problem",), source=source), "2") for name in names]
    target = sink(server_ids=server_ids)
    assert target.write(first) == []
    total = {item: len(reader.all(item)) for item in KINDS}
    replacing = sink(server_ids=server_ids, replace=True)
    replacing.check()
    states = replacing.send(map(_parcel, fewer))
    gone = {"Observation": 3, "MedicationStatement": 3, "Procedure": 3, "Provenance": 0, "Condition": 0}
    assert [sent.failures for sent in states] == [()] * 3
    assert [sent.removed for sent in states] == [4] * 3
    assert {item: total[item] - len(reader.all(item)) for item in KINDS} == gone
    before = reader.versions()
    assert replacing.write(fewer) == []
    assert reader.versions() == before
    # A model that finds nothing leaves nothing; other notes stay.
    nothing = [result(document(names[0], (), source=source), "3")]
    (sent,) = replacing.send(map(_parcel, nothing))
    assert (sent.state, sent.removed) == ("written", 3)
    assert total["Provenance"] - len(reader.all("Provenance")) == 1


def test_a_server_that_can_not_search_by_tag_is_not_read_whole(sink, proxy, reader):
    notes = results("tag", 2)
    sink().write(notes)
    proxy.plan(Fault(status=404), on="read")  # the note's own Provenance
    (page,) = [reader.get("Provenance?_count=5")]
    proxy.plan(Fault(status=200, body=json.dumps(page).encode()), on="read")
    before = reader.versions()
    with pytest.raises(KiwiError, match="by _tag"):
        sink(replace=True, parallel=1).write(notes[:1])
    assert reader.versions() == before


def test_what_a_person_took_over_is_not_removed(sink, proxy, reader):
    (first,) = results("person", 1)
    sink().write([first])
    drug = next(
        entry["resource"]
        for entry in json.loads(first.bundle)["entry"]
        if "medicationCodeableConcept" in entry["resource"]
    )
    del drug["meta"]["security"]
    _put(proxy, drug)
    (fewer,) = results("person", 1, "2", labels=("problem",))
    assert sink(replace=True).write([fewer]) == []
    assert ("MedicationStatement", drug["id"]) in held(reader, "person")
    assert not any(kind == "Procedure" for kind, _ in held(reader, "person"))


def _put(proxy, resource):
    import urllib.request

    request = urllib.request.Request(
        f"{proxy.base}/{resource['resourceType']}/{resource['id']}",
        json.dumps(resource).encode(),
        {"Content-Type": "application/fhir+json"},
        method="PUT",
    )
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request).close()


def test_a_server_that_gives_the_ids(sink, proxy, reader):
    notes = results("theirs", 4)
    target = sink(server_ids=True)
    proxy.plan(Fault("lost"))
    assert target.write(notes) == []
    found = held(reader, "theirs")
    assert Counter(kind for kind, _ in found) == Counter(kind for kind, _ in wanted(notes))
    assert {kind for kind, _ in found} == set(KINDS)
    names = {item["value"] for (kind, _), one in found.items() if kind != "Provenance" for item in one["identifier"]}
    assert names == {f"urn:uuid:{name}" for kind, name in wanted(notes) if kind != "Provenance"}
    targets = {item["reference"] for (kind, _), one in found.items() if kind == "Provenance" for item in one["target"]}
    assert targets == {f"{kind}/{name}" for kind, name in found if kind != "Provenance"}
    before = reader.versions()
    assert sink(server_ids=True).write(notes) == []
    assert reader.versions() == before


def test_a_type_whose_identifiers_the_server_can_not_search(sink, reader):
    (note,) = results("history", 1)
    bundle = json.loads(note.bundle)
    name = "5f0c7a52-0000-5000-8000-000000000001"
    history = {
        "resourceType": "FamilyMemberHistory",
        "id": name,
        "meta": bundle["entry"][0]["resource"]["meta"],
        "status": "partial",
        "patient": {"reference": "Patient/p"},
        "relationship": {"text": "mother"},
    }
    request = {"method": "PUT", "url": f"FamilyMemberHistory/{name}"}
    bundle["entry"].insert(0, {"fullUrl": f"urn:uuid:{name}", "resource": history, "request": request})
    bundle["entry"][-1]["resource"]["target"].append({"reference": f"FamilyMemberHistory/{name}"})
    item = type(note)(note.document, json.dumps(bundle).encode(), {})
    assert [sent.state for sent in sink(server_ids=True).send([_parcel(item)] * 2)] == ["written", "unchanged"]
    (found,) = reader.all("FamilyMemberHistory").values()
    assert f"urn:uuid:{name}" in [tag["code"] for tag in found["meta"]["tag"]]


@pytest.mark.parametrize(
    ("edit", "options", "words"),
    [
        (lambda one: {"resourceType": "Patient"}, {}, "no FHIR server"),
        (lambda one: {**one, "fhirVersion": "5.0.0"}, {}, "FHIR 5.0.0, not R4"),
        (lambda one: _rest(one, interaction=[]), {}, "no transactions"),
        (lambda one: _rest(one, resource=[{"type": "Condition"}]), {}, "does not take Observation and Procedure"),
        (lambda one: _types(one, updateCreate=False), {}, "--server-ids"),
        (lambda one: _types(one, conditionalUpdate=False), {"server_ids": True}, "no conditional updates"),
    ],
)
def test_check_says_what_is_wrong(sink, proxy, edit, options, words):
    proxy.plan(Fault("edit", edit=edit), on="metadata")
    with pytest.raises(UsageError, match=words) as raised:
        sink(**options).check()
    assert raised.value.exit_code == 2


def _rest(statement, **changed):
    return {**statement, "rest": [{**statement["rest"][0], **changed}]}


def _types(statement, **changed):
    return _rest(statement, resource=[{**item, **changed} for item in statement["rest"][0]["resource"]])


def test_a_server_that_is_not_there():
    with pytest.raises(UsageError, match=r"can't be reached: check the URL"):
        FhirServer("http://127.0.0.1:9/fhir", access=QUICK).check()


def test_a_write_without_the_right_to(sink, proxy):
    proxy.plan(Fault(status=403))
    with pytest.raises(KiwiError, match="does not let us write"):
        sink().write(results("forbidden", 1))
