"""From a FHIR server through the shipped model to a FHIR server, and what a user sees when it does not go well."""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path

import pytest
from fhir_servers import Fault, running_server
from safetensors.torch import load_file, save_file
from synthetic import documents

from kiwi_fhir.cli import main

TOKEN = "t0ken-of-the-source"
SHORT = 350  # characters of a plain note
MODEL = Path(str(files("kiwi_fhir.extract"))) / "default"
LEAN = ["--device", "cpu", "--terminology", "none"]


@pytest.fixture
def servers(tmp_path, monkeypatch):
    """A server to read from, which wants a token, and one to write to."""
    for name, value in (("SOURCE_TOKEN", TOKEN), ("SOURCE_TIMEOUT", "20"), ("SINK_TIMEOUT", "20")):
        monkeypatch.setenv(f"KIWI_FHIR_{name}", value)
    with ExitStack() as stack:
        found = []
        for name in ("source", "sink"):
            (tmp_path / name).mkdir()
            settings = {"server_auth": {"types": ["bearer"], "tokens": [TOKEN]}} if name == "source" else None
            found.append(stack.enter_context(running_server(tmp_path / name, settings)))
        found[0][2].token = TOKEN
        yield found


@pytest.fixture
def source(tmp_path, monkeypatch):
    for name, value in (("TOKEN", TOKEN), ("TIMEOUT", "5"), ("PATIENCE", "3")):
        monkeypatch.setenv(f"KIWI_FHIR_SOURCE_{name}", value)
    (tmp_path / "source").mkdir()
    settings = {"server_auth": {"types": ["bearer"], "tokens": [TOKEN]}}
    with running_server(tmp_path / "source", settings) as running:
        running[2].token = TOKEN
        yield running


@pytest.fixture
def call(monkeypatch, capsys):
    """Call the command: the exit code and what was said."""

    def called(*arguments):
        monkeypatch.setattr(sys, "argv", ["kiwi-fhir", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        said = capsys.readouterr().err
        assert TOKEN not in said
        assert "Traceback" not in said
        return stopped.value.code or 0, " ".join(said.split())

    return called


def notes(count):
    """DocumentReferences, and whether a reader leaves each out; the plain ones cut, as models take their time."""
    for item, left_out in documents(count, 4, SHORT):
        attachment = item["content"][0]["attachment"]
        if attachment["contentType"].startswith("text/plain"):
            text = base64.b64decode(attachment["data"]).decode()[:SHORT]
            attachment["data"] = base64.b64encode(text.encode()).decode()
        yield item, left_out


def bundles(folder):
    """The lines of a run's bundles, in the order of its shards."""
    return [line for path in sorted((folder / "bundles").iterdir()) for line in path.read_bytes().splitlines()]


def resources_of(lines):
    """The resources of bundles by type and id."""
    found = [entry["resource"] for line in lines for entry in json.loads(line).get("entry", ())]
    return {(item["resourceType"], item["id"]): item for item in found}


def plain(resource):
    """A resource without what a server adds, and without the tag that names the note."""
    meta = dict(resource.get("meta", {}))
    for name in ("versionId", "lastUpdated", "source"):
        meta.pop(name, None)
    meta["tag"] = [tag for tag in meta.get("tag", ()) if tag.get("system") != "urn:kiwi-fhir:note"]
    return {**resource, "meta": meta}


def another_model(folder):
    """The shipped model as another version of it, which finds other things: its heads are shaken."""
    import torch

    shutil.copytree(MODEL, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "version": "9.9.9"}))
    torch.manual_seed(4)
    heads = load_file(folder / "heads.safetensors")
    for value in heads.values():
        if value.dim() > 1:
            value += 0.2 * value.std() * torch.randn_like(value)
    save_file(heads, folder / "heads.safetensors")
    return folder


def round_trip(servers, call, tmp_path, count, shard):
    """Read `count` notes, write what was found, read it back; again; with another model. Gives figures."""
    (proxy, sekmet, reader), (to, _, written) = servers
    reader.write(item for item, _ in notes(count))
    dropped = sum(left_out for _, left_out in notes(count))
    before = written.versions()
    seconds = {}

    def run(name, *more):
        started = time.monotonic()
        options = ["--source", "fhir", "--input", proxy.base, "--output", tmp_path / name, "--shard-notes", shard]
        options += ["--sink", "ndjson", "--sink", f"fhir={to.base}", *LEAN, *more]
        code, said = call("run", *options)
        assert code == 0, said
        seconds[name] = round(time.monotonic() - started, 1)
        report = json.loads((tmp_path / name / "run.json").read_text())
        assert TOKEN not in json.dumps(report)
        assert report["notes"]["in"] == report["notes"]["out"] == count - dropped
        assert (report["notes"]["failed"], report["notes"]["dropped"]) == (0, dropped)
        return report

    def held(kinds):
        return {(kind, name): item for kind in kinds for name, item in written.all(kind).items()}

    def again():
        sekmet.kill()
        threading.Thread(target=sekmet.start).start()

    # Everything that can pass happens on the way, to both servers.
    proxy.plan(Fault("call", edit=again), on="/DocumentReference", after=1)
    proxy.plan(Fault(status=503), on="/DocumentReference")
    to.plan(Fault(status=429, headers={"Retry-After": "1"}))
    to.plan(Fault("lost"))
    report = run("first")
    sekmet.wait()
    assert proxy.clear() == to.clear() == 0
    first = resources_of(bundles(tmp_path / "first"))
    assert Counter(kind for kind, _ in first) == report["resources"]
    there = held(report["resources"])
    assert there.keys() == first.keys()
    assert {key: plain(item) for key, item in there.items()} == {key: plain(item) for key, item in first.items()}
    versions = written.versions()
    assert versions - before == len(first)

    run("again")
    assert bundles(tmp_path / "again") == bundles(tmp_path / "first")
    assert written.versions() == versions

    other = run("other", "--model", another_model(tmp_path / "model"), "--replace")
    newer = resources_of(bundles(tmp_path / "other"))
    kinds = {*report["resources"], *other["resources"]}
    assert first.keys() - newer.keys()  # there is something to be removed
    assert held(kinds).keys() == newer.keys()
    tags = {tag["code"] for item in held(kinds).values() for tag in item["meta"]["tag"]}
    assert not any("@0.1" in tag for tag in tags)
    return {"notes": count - dropped, "resources": len(first), "removed": len(first.keys() - newer.keys()), **seconds}


def test_server_to_server(servers, call, tmp_path):
    assert round_trip(servers, call, tmp_path, count=20, shard=7)["resources"] > 50


@pytest.mark.slow
def test_server_to_server_500(servers, call, tmp_path):
    figures = round_trip(servers, call, tmp_path, count=500, shard=100)
    print(figures)
    assert figures["notes"] > 480


def test_killed_and_gone_on_with(source, call, tmp_path):
    proxy, _, reader = source
    reader.write(item for item, _ in notes(12))

    def command(output):
        options = ["run", "--source", "fhir", "--input", proxy.base, "--query", "status=current&_count=3"]
        return [*options, "--output", str(tmp_path / output), "--shard-notes", "3", *LEAN]

    killed = subprocess.Popen([sys.executable, "-m", "kiwi_fhir", *command("killed")], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("killed/manifest/*.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "killed" / "run.json").exists()
    assert call(*command("killed"), "--resume")[0] == 0
    report = json.loads((tmp_path / "killed" / "run.json").read_text())
    assert report["shards"]["kept"] >= 1
    assert call(*command("clean"))[0] == 0
    assert bundles(tmp_path / "killed") == bundles(tmp_path / "clean")
    files_of = [path for path in tmp_path.glob("[kc]*/**/*") if path.is_file()]
    assert not [path for path in files_of if TOKEN.encode() in path.read_bytes()]


def test_an_export_is_kept_until_the_run_is_done(source, call, tmp_path):
    proxy, _, reader = source
    reader.write(item for item, _ in notes(2))
    out = tmp_path / "out"
    options = ["--source", "fhir", "--input", proxy.base, "--export", "system", "--output", out, *LEAN]
    proxy.plan(Fault(status=503), times=99, on="/bulk-files/")
    code, said = call("run", *options)
    assert code == 1
    assert "503: run again when the server is well" in said
    proxy.clear()
    assert call("run", *options, "--resume")[0] == 0
    assert json.loads((out / "run.json").read_text())["notes"]["out"] == 2
    assert not any("$export" in path for path in proxy.paths)
    assert proxy.paths[-1].startswith("DELETE /fhir/bulk-status/")
    assert not (out / "manifest" / "held").exists()


def test_what_a_user_sees(source, call, tmp_path, monkeypatch):
    proxy, _, reader = source
    reader.write(item for item, _ in notes(4))
    out = tmp_path / "out"
    fhir = ["--source", "fhir", "--input", proxy.base]

    code, said = call("run", *fhir, "--output", out, *LEAN, "--dry-run")
    assert code == 0
    assert "notes 4, 0 can't be read" in said
    code, said = call("notes", *fhir, "--query", "status=current&_count=2", "-o", tmp_path / "d.ndjson")
    assert code == 0
    written = [json.loads(line) for line in (tmp_path / "d.ndjson").read_text().splitlines()]
    assert [item["id"] for item in written] == sorted(reader.all("DocumentReference"))

    proxy.plan(Fault("edit", edit=lambda page: {**page, "entry": page["entry"][1:]}), on="_count=100")
    code, said = call("run", *fhir, "--output", out, *LEAN)
    assert code == 1
    assert said.endswith(
        "says that it has 4 of DocumentReference, and gave 3: run again (`run` goes on with --resume)."
    )
    report = json.loads((out / "run.json").read_text())
    assert (report["status"], report["notes"]["out"]) == ("failed", 3)
    assert call("run", *fhir, "--output", out, *LEAN, "--resume")[0] == 0
    assert json.loads((out / "run.json").read_text())["notes"]["out"] == 4

    other = ["--output", tmp_path / "none", *LEAN]
    assert call("run", "--source", "text", "--input", tmp_path, "--query", "x=y", *other)[0] == 2
    code, said = call("run", "--source", "fhir", "--input", "http://127.0.0.1:9/fhir", *other)
    assert (code, said) == (
        2,
        "kiwi-fhir: http://127.0.0.1:9/fhir can't be reached: check the URL, and that the server runs.",
    )
    monkeypatch.setenv("KIWI_FHIR_SOURCE_TOKEN", "wr0ng")
    code, said = call("run", *fhir, *other)
    assert code in (1, 2)
    assert "refuses our credentials (401)" in said
    assert "wr0ng" not in said
    assert not (tmp_path / "none").exists()
