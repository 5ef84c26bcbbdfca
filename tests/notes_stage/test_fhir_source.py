"""A FHIR server as a source, against a real server and all that goes wrong on the way."""

import base64
import contextlib
import errno
import io
import json
import os
import pickle
import tempfile
import threading
import time
import tracemalloc
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from fhir_servers import Fault, running_server
from synthetic import documents

from kiwi_fhir.clients import backoff
from kiwi_fhir.clients.fhir import READ_SCOPE, FhirClient
from kiwi_fhir.clients.fhir_auth import Access
from kiwi_fhir.errors import InputError, KiwiError, NoteError, Unavailable, UsageError
from kiwi_fhir.notes.fhir import attachments as fhir_attachments
from kiwi_fhir.notes.fhir import export as fhir_export
from kiwi_fhir.notes.fhir import search as fhir_search
from kiwi_fhir.notes.fhir.search import search_of
from kiwi_fhir.notes.fhir.server import FhirServerSource
from kiwi_fhir.types import Coding, Failure, Note

from .helpers import b64, binary, document, linked, ndjson, read

TOKEN = "t0ken-of-the-environment"
DOCUMENTS, PAGE = 43, 10


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    settings = {"server_auth": {"types": ["bearer"], "tokens": [TOKEN]}}
    with running_server(tmp_path_factory.mktemp("sekmet"), settings) as running:
        running[2].token = TOKEN
        running[2].write(item for item, _ in documents(DOCUMENTS, 4, 300))
        yield running


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setenv("KIWI_FHIR_TOKEN", TOKEN)
    monkeypatch.setenv("KIWI_FHIR_TIMEOUT", "2")
    monkeypatch.setenv("KIWI_FHIR_PATIENCE", "60")
    monkeypatch.setattr(backoff, "_FIRST_PAUSE", 0.05)
    monkeypatch.setattr(fhir_search, "PAGE", PAGE)
    monkeypatch.setattr(fhir_export, "_FIRST_PAUSE", 0.05)


@pytest.fixture
def proxy(server):
    server[0].clear()
    yield server[0]
    assert server[0].clear() == 0, "a planned fault did not happen"


def every(base, *queries, **how):
    """Notes, failures and the source."""
    source = FhirServerSource(queries, **how)
    found = [item for path in source.files([base]) for item in source.read(path)]
    source.release()
    notes = [item for item in found if isinstance(item, Note)]
    return notes, [item for item in found if isinstance(item, Failure)], source


@pytest.fixture(scope="module")
def wanted(tmp_path_factory):
    """What a file of the same resources gives, in the order of ids."""
    path = ndjson(tmp_path_factory.mktemp("export") / "d.ndjson", *(item for item, _ in documents(DOCUMENTS, 4, 300)))
    notes, failures, dropped = read("document-reference", path)
    assert not failures
    return sorted(notes, key=lambda note: note.id), dropped


def test_a_search_gives_what_a_file_gives(proxy, wanted):
    notes, failures, source = every(proxy.base)
    assert (notes, failures, source.dropped) == (wanted[0], [], wanted[1])
    assert source.kind == "fhir"
    pages = [path for path in proxy.paths if "_offset" in path]
    assert len(pages) == DOCUMENTS // PAGE


def test_an_export_gives_the_same_and_is_deleted(proxy, wanted):
    notes, failures, source = every(proxy.base, "status=current", "DiagnosticReport", export="system")
    assert (notes, failures, source.dropped) == (wanted[0], [], 0)
    assert proxy.paths[0].startswith("GET /fhir/$export?_type=DocumentReference,DiagnosticReport&")
    assert "_typeFilter=DocumentReference%3Fstatus%3Dcurrent" in proxy.paths[0]
    assert proxy.paths[-1].startswith("DELETE /fhir/bulk-status/")
    assert source.held is None
    with pytest.raises(UsageError, match=r"start an export \(404 \(error not-found\)\)"):
        every(proxy.base, export="Group/none")


def test_a_query_chooses(proxy, wanted):
    day = next(note.time for note in wanted[0])
    later = [note for note in wanted[0] if note.time >= day]
    notes, _, source = every(
        proxy.base, f"status=current&date=ge{day[:10]}T00:00:00+00:00&_count=3", "status=superseded"
    )
    assert notes == later
    assert source.dropped == wanted[1]
    assert every(proxy.base, "patient=Patient/none")[0] == []


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("Patient?name=x", "query is for Patient"),
        ("_summary=true", "has _summary"),
        ("type=x&_elements=id", "has _elements"),
        ("colour=green", r"does not take the query \(error not-supported\)"),
    ],
)
def test_queries_that_are_refused(server, query, words):
    with pytest.raises(UsageError, match=words):
        every(server[0].base, query)


def test_searches():
    assert search_of("").path == "DocumentReference?_count=10&_sort=_id&_total=accurate"
    assert search_of("DiagnosticReport").type == "DiagnosticReport"
    found = search_of("DiagnosticReport?code=http://loinc.org|18842-5&_sort=date&_count=7")
    assert found.path == "DiagnosticReport?code=http://loinc.org|18842-5&_sort=date&_count=7&_total=accurate"


def test_a_server_that_leaves_a_parameter_out(proxy):
    def forget(page):
        return {**page, "link": [{"relation": "self", "url": f"{proxy.base}/DocumentReference?_count=1"}]}

    proxy.plan(Fault("edit", edit=forget), on="/DocumentReference")
    with pytest.raises(UsageError, match="leaves 'patient' of the query out"):
        every(proxy.base, "patient=p1")


def test_a_server_that_can_not_sort(proxy, wanted):
    proxy.plan(Fault(status=400), on="/DocumentReference")
    assert sorted(every(proxy.base)[0], key=lambda note: note.id) == wanted[0]
    assert not any("_sort" in path for path in proxy.paths[1:])
    assert all("_total=accurate" in path for path in proxy.paths)


def test_whole_references_to_the_server_itself(proxy, wanted):
    def whole(page):
        for entry in page["entry"]:
            subject = entry["resource"]["subject"]
            subject["reference"] = f"{proxy.base}/{subject['reference']}"
        return page

    proxy.plan(Fault("edit", edit=whole), times=6, on="/DocumentReference")
    assert every(proxy.base)[0] == wanted[0]


REPORT = {
    "resourceType": "DiagnosticReport",
    "id": "r1",
    "status": "final",
    "code": {"coding": [{"system": "http://loinc.org", "code": "18748-4", "display": "Radiology"}]},
    "subject": {"reference": "Patient/p1"},
    "encounter": {"reference": "Encounter/e1"},
    "effectivePeriod": {"start": "2024-02-03T10:00:00Z"},
    "issued": "2024-02-04T10:00:00Z",
    "presentedForm": [
        {"contentType": "application/pdf", "data": b64("%PDF")},
        {"contentType": "text/plain", "data": b64("No infiltrate.")},
    ],
}


def test_reports(server, proxy):
    more = [
        {**REPORT, "id": "r2", "status": "entered-in-error"},
        {key: value for key, value in REPORT.items() if key != "presentedForm"} | {"id": "r3"},
        {**REPORT, "id": "r4", "presentedForm": [{"contentType": "application/pdf", "data": b64("%PDF")}]},
    ]
    server[2].write([REPORT, *more])
    code = Coding("http://loinc.org", "18748-4", "Radiology")
    one = Note("r1", "No infiltrate.", "p1", "e1", code, "2024-02-03T10:00:00Z", "DiagnosticReport/r1")
    for how in ({}, {"export": "system"}):
        notes, failures, source = every(proxy.base, "DiagnosticReport", **how)
        assert (notes, source.dropped) == ([one], 2)
        assert [(item.note_id, item.stage, item.error) for item in failures] == [
            ("r4", "read", "unsupported-content-type")
        ]


@pytest.mark.parametrize(
    ("fault", "times"),
    [
        (Fault(status=503, headers={"Retry-After": "1"}), 1),
        (Fault(status=429), 2),
        (Fault(status=500), 2),
        (Fault("reset"), 2),
        (Fault("lost"), 1),
        (Fault("hang"), 1),
    ],
    ids=["503", "429", "500", "reset", "lost", "hang"],
)
def test_what_passes_loses_and_doubles_nothing(proxy, wanted, fault, times):
    proxy.plan(fault, times=times, on="/DocumentReference", after=2)
    notes, failures, _ = every(proxy.base)
    assert (notes, failures) == (wanted[0], [])


def test_a_server_that_is_killed_and_started_again(server, proxy, wanted):
    def again():
        server[1].kill()
        threading.Thread(target=server[1].start).start()

    proxy.plan(Fault("call", edit=again), on="/DocumentReference", after=3)
    notes, failures, _ = every(proxy.base)
    server[1].wait()
    assert (notes, failures) == (wanted[0], [])


def test_a_server_that_stays_away(proxy, monkeypatch):
    monkeypatch.setenv("KIWI_FHIR_PATIENCE", "0.3")
    source = FhirServerSource()
    (path,) = source.files([proxy.base])
    proxy.plan(Fault(status=503), times=2, on="/DocumentReference", after=1)
    monkeypatch.setattr(backoff, "_FIRST_PAUSE", 9.0)
    found = source.read(path)
    with pytest.raises(Unavailable, match=r"answers 503: run again when .* --resume"):
        list(found)
    proxy.clear()


def test_a_page_that_is_no_more_there(proxy, wanted):
    """Links of pages end on many servers: the search begins anew, and what was read is not read twice."""
    proxy.plan(Fault(status=410), on="/DocumentReference", after=3)
    assert every(proxy.base)[0] == wanted[0]
    proxy.plan(Fault(status=200, body=b"{"), times=3, on="/DocumentReference", after=1)
    with pytest.raises(InputError, match="breaks off after 0 resources"):
        every(proxy.base)


def test_documents_that_come_twice(proxy, wanted):
    def doubled(page):
        return {**page, "entry": [*page["entry"], *page["entry"], {"search": {"mode": "outcome"}}]}

    proxy.plan(Fault("edit", edit=doubled), on="/DocumentReference", after=2)
    assert every(proxy.base)[0] == wanted[0]


def test_a_number_that_is_not_the_server_s(proxy, wanted):
    def less(page):
        return {**page, "entry": page["entry"][1:]}

    proxy.plan(Fault("edit", edit=less), on="/DocumentReference", after=2)
    source = FhirServerSource()
    (path,) = source.files([proxy.base])
    found = []
    with pytest.raises(
        InputError, match=f"says that it has {DOCUMENTS} of DocumentReference, and gave {DOCUMENTS - 1}"
    ):
        found.extend(source.read(path))
    assert len(found) + source.dropped == DOCUMENTS - 1
    # What is there counts: another one came while the search was read.
    proxy.plan(Fault("edit", edit=lambda page: {**page, "total": 999}), on="/DocumentReference", after=1)
    assert every(proxy.base)[0] == wanted[0]


def test_a_circle_ends(proxy):
    def again(page):
        first = f"{proxy.base}/DocumentReference?_count=10&_sort=_id&_total=accurate"
        return {**page, "link": [{"relation": "next", "url": first}]}

    proxy.plan(Fault("edit", edit=again), times=2, on="/DocumentReference", after=1)
    with pytest.raises(InputError, match="circle"):
        every(proxy.base)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(status=403), r"does not let us read DocumentReference \(403\)"),
        (Fault(status=404), "base URL of a FHIR server"),
        (Fault(status=200, body=b"<html>"), "is no FHIR server"),
        (Fault(status=503), "answers 503: check the URL, and that the server runs"),
        (Fault(status=302, headers={"Location": "https://elsewhere.example/x"}), "redirects to another host"),
    ],
    ids=["403", "404", "html", "503", "redirect"],
)
def test_a_server_that_can_not_be_read(proxy, fault, words):
    proxy.plan(fault, on="/DocumentReference")
    with pytest.raises(KiwiError, match=words):
        every(proxy.base)


def test_wrong_calls(proxy, monkeypatch):
    source = FhirServerSource()
    with pytest.raises(UsageError, match="base URL of one FHIR server"):
        source.files([proxy.base, proxy.base])
    with pytest.raises(UsageError, match="Group/ID"):
        FhirServerSource(export="Encounter")
    with pytest.raises(UsageError, match="can't be reached: check the URL"):
        every("http://127.0.0.1:9/fhir")
    monkeypatch.setenv("KIWI_FHIR_TOKEN", "wrong")
    with pytest.raises(KiwiError, match=r"refuses our credentials \(401\)"):
        every(proxy.base)


def test_what_travels_to_workers_holds_no_secret(proxy, wanted):
    source = FhirServerSource()
    (path,) = source.files([proxy.base])
    copy = pickle.dumps(source)
    assert TOKEN.encode() not in copy
    assert list(pickle.loads(copy).read(path)) == wanted[0]


@contextlib.contextmanager
def web(answer):
    """A server that answers by `answer(path, headers) -> (status, headers, body)`; and its origin."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_):
            pass

        def do_GET(self):
            status, headers, body = answer(self.path, self.headers)
            self.send_response(status)
            for key, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(body)
            self.close_connection = "Content-Length" in headers  # a body that is cut off

        do_DELETE = do_GET  # noqa: N815

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.daemon_threads = True
    threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{made.server_port}"
    finally:
        made.shutdown()
        made.server_close()


def test_attachments_on_the_server(server, proxy):
    urls = {
        "a1": "Binary/b1",
        "a2": f"{proxy.base}/Binary/b1",
        "a3": "/fhir/Binary/b1",
        "a4": "Binary/none",
        "a5": "Binary/empty",
        "a6": "ftp://host/x",
        "a7": "http://host:port/x",
    }
    server[2].write([binary("b1", "Köln".encode("latin-1"), "text/plain; charset=latin-1")])
    server[2].write([{"resourceType": "Binary", "id": "empty", "contentType": "text/plain"}])
    server[2].write(
        linked(url, id=name, type={"coding": [{"code": "attached"}]}) | {"subject": {"reference": "Patient/p9"}}
        for name, url in urls.items()
    )
    notes, failures, _ = every(proxy.base, "patient=p9")
    assert [(note.id, note.text) for note in notes] == [("a1", "Köln"), ("a2", "Köln"), ("a3", "Köln")]
    assert {(item.note_id, item.error) for item in failures} == {
        ("a4", "missing-binary"),
        ("a5", "missing-binary"),
        ("a6", "bad-url"),
        ("a7", "bad-url"),
    }


def fetcher(base, *allowed, **access):
    client = FhirClient(base, role="", scope=READ_SCOPE, access=Access(token=TOKEN, timeout=2, patience=0.5, **access))
    return fhir_attachments.Attachments(client, allowed)


def test_attachments_elsewhere():
    seen = []

    def answer(path, headers):
        seen.append((path, headers.get("Authorization")))
        if path == "/away":
            return 307, {"Location": f"{other}/file"}, b""
        return 200, {"Content-Type": "text/plain; charset=utf-16"}, "far".encode("utf-16")

    with web(answer) as other, web(answer) as own:
        for url in (f"{other}/file", "/away"):
            with pytest.raises(NoteError, match="allow it by --allow-host") as raised:
                fetcher(f"{own}/fhir")(url)
            assert raised.value.reason == "other-host"
        assert seen == [("/away", f"Bearer {TOKEN}")]
        seen.clear()
        fetch = fetcher(f"{own}/fhir", other)
        assert fetch(f"{other}/file") == fetch("/away") == ("text/plain; charset=utf-16", "far".encode("utf-16"))
        assert seen == [("/file", None), ("/away", f"Bearer {TOKEN}"), ("/file", None)]


def test_attachments_that_can_not_be_had(monkeypatch):
    monkeypatch.setattr(fhir_attachments, "LARGEST", 1000)
    states = {"/fhir/a": 403, "/fhir/b": 500, "/fhir/c": 410, "/fhir/metadata": 200, "/fhir/big": 200}

    def answer(path, headers):
        return states[path], {"Content-Type": "text/plain"}, b"x" * (2000 if path == "/fhir/big" else 2)

    with web(answer) as own:
        for url, reason in (("a", "http-403"), ("b", "http-500"), ("c", "missing-binary"), ("big", "too-large")):
            with pytest.raises(NoteError) as raised:
                fetcher(f"{own}/fhir")(url)
            assert raised.value.reason == reason
        fetch = fetcher(f"{own}/fhir")
        for _ in range(4):
            with pytest.raises(NoteError):
                fetch("b")
        with pytest.raises(Unavailable, match="answers 500"):  # it is not the notes
            fetch("b")
    with pytest.raises(Unavailable, match="can't be reached"):
        fetcher(f"{own}/fhir")("a")


class Exports:
    """A server of exports that says and gives what it is told."""

    def __init__(self, lines=(), **how):
        self.body = b"".join(json.dumps(item).encode() + b"\n" for item in lines)
        self.count, self.files = how.get("count", len(lines)), how.get("files")
        self.asked, self.polls, self.cut = [], how.get("polls", 0), how.get("cut", 0)
        self.errors, self.status = how.get("errors", ()), how.get("status", 200)
        self.job = 0

    def __call__(self, path, headers):
        self.asked.append(path)
        if "$export" in path:
            self.job += 1
            return 202, {"Content-Location": f"{self.base}/fhir/job/{self.job}"}, b""
        if "/job/" in path:
            if self.status != 200 or not path.endswith(f"/{self.job}"):
                return (self.status if self.status != 200 else 404), {}, b"{}"
            if self.polls:
                self.polls -= 1
                return 202, {"Retry-After": "0"}, b""
            file = {"type": "DocumentReference", "url": f"{self.files or self.base}/fhir/file", "count": self.count}
            more = {"error": [{"type": "OperationOutcome", "url": f"{self.base}/fhir/error"}]} if self.errors else {}
            return 200, {}, json.dumps({"output": [file], **more}).encode()
        if path == "/fhir/error":
            return 200, {}, b"\n".join(json.dumps(item).encode() for item in self.errors)
        if self.cut:
            self.cut -= 1
            return 200, {"Content-Length": str(len(self.body))}, self.body[: len(self.body) // 2]
        return 200, {"Content-Type": "application/fhir+ndjson"}, self.body

    @contextlib.contextmanager
    def running(self):
        with web(self) as self.base:
            yield f"{self.base}/fhir"


NOTES = [document("Pt well.", id=f"d{number}") for number in range(5)]


def test_an_export_that_takes_its_time_and_breaks_off_once():
    exports = Exports(NOTES, polls=3, cut=2)
    with exports.running() as base:
        notes, failures, _ = every(base, export="Patient")
    assert ([note.id for note in notes], failures) == ([item["id"] for item in NOTES], [])
    assert exports.asked[0].startswith("/fhir/Patient/$export?")
    assert exports.asked.count("/fhir/job/1") == 5  # the last one deletes it


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        ({"count": 6}, InputError, "says that its export has 6 of DocumentReference, and gave 5"),
        ({"status": 500}, Unavailable, None),
        ({"status": 400}, KiwiError, r"could not finish the export \(400\)"),
        ({"files": "https://files.example"}, UsageError, r"another host \(files.example\).*--allow-host"),
    ],
)
def test_exports_that_fail(how, error, words, monkeypatch):
    monkeypatch.setenv("KIWI_FHIR_PATIENCE", "1")
    exports = Exports(NOTES, **how)
    with exports.running() as base, pytest.raises(UsageError if error is Unavailable else error, match=words):
        every(base, export="system")


def test_what_could_not_be_exported_is_said():
    issue = {"severity": "error", "code": "exception", "diagnostics": "Zebediah"}
    warning = {"severity": "warning", "code": "informational"}
    exports = Exports(NOTES, errors=[{"issue": [warning]}, {"issue": [issue]}])
    with exports.running() as base:
        source = FhirServerSource(export="system")
        notes, errors = source.files([base])
        assert len(list(source.read(notes))) == 5
        with pytest.raises(InputError, match=r"could not export all \(error exception\)") as raised:
            list(source.read(errors))
        assert "Zebediah" not in str(raised.value)
    exports = Exports(NOTES, errors=[{"issue": [warning]}])
    with exports.running() as base:
        assert len(every(base, export="system")[0]) == 5


def test_an_export_is_gone_on_with():
    exports = Exports(NOTES)
    with exports.running() as base:
        first = FhirServerSource(export="system")
        first.files([base])
        second, third = FhirServerSource(export="system"), FhirServerSource(["status=current"], export="system")
        second.held = third.held = first.held
        second.files([base])
        assert exports.job == 1
        third.files([base])  # another question
        assert exports.job == 2
        second.files([base])  # the server has forgotten the first
        assert exports.job == 3


def test_a_full_disk(monkeypatch):
    class Full(io.BytesIO):
        def write(self, _):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "TemporaryFile", Full)
    with Exports(NOTES).running() as base, pytest.raises(InputError, match=r"can't be kept in .*No space.*TMPDIR"):
        every(base, export="system")


def test_memory_is_flat():
    """Ten times the notes of a search take no more memory."""
    text = base64.b64encode(b"The patient denies chest pain. " * 60).decode()
    total = 0

    def answer(path, headers):
        asked = parse_qs(urlsplit(path).query)
        start, size = int(asked.get("_offset", ["0"])[0]), int(asked["_count"][0])
        names = range(start, min(start + size, total))
        entries = [{"resource": document(id=f"d{n}") | {"content": [{"attachment": {"data": text}}]}} for n in names]
        link = [{"relation": "next", "url": f"{base}/fhir/DocumentReference?_count={size}&_offset={start + size}"}]
        page = {"resourceType": "Bundle", "total": total, "entry": entries, "link": link if names else []}
        return 200, {"Content-Type": "application/fhir+json"}, json.dumps(page).encode()

    peaks = []
    with web(answer) as base:
        for total in (200, 400, 4000):
            source = FhirServerSource(["_count=50"])
            (path,) = source.files([f"{base}/fhir"])
            tracemalloc.start()
            assert sum(1 for _ in source.read(path)) == total
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[2] < 1.3 * peaks[1]


def test_who_stops_reading_waits_for_nobody():
    """A reader that goes away while an attachment hangs."""

    def answer(path, headers):
        if "Binary" in path:
            time.sleep(5)
        entries = [{"resource": linked(f"Binary/b{number}", id=f"d{number}")} for number in range(3)]
        entries[0] = {"resource": document(id="d0")}
        return 200, {}, json.dumps({"resourceType": "Bundle", "entry": entries}).encode()

    with web(answer) as base:
        source = FhirServerSource()
        (path,) = source.files([f"{base}/fhir"])
        found = source.read(path)
        assert next(found).id == "d0"
        started = time.monotonic()
        found.close()
        assert time.monotonic() - started < 1
