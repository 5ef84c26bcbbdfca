"""The whole pipeline with the shipped model, on the local runner, on a portable one and on a worker pool."""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from synthetic import write

from kiwi_fhir.beam.files import files_for, store_for
from kiwi_fhir.beam.job import execute
from kiwi_fhir.beam.options import options_of
from kiwi_fhir.config import Config
from kiwi_fhir.errors import InputError, ModelError, TooManyFailures, UsageError
from kiwi_fhir.extract import ModelChoice
from kiwi_fhir.fhir.r4.validate import check_bundle
from kiwi_fhir.run.mapper import DocumentMapper
from kiwi_fhir.run.prepare import prepare
from kiwi_fhir.types import Document, Mention, Note, Span

ROWS = 24
SEED = 4  # its table has rows marked as errors
CONFIG = Config().with_options(device="cpu", shard_notes=7, sink=("ndjson", "brat"))


def run(kind, inputs, output, config=CONFIG, options=(), **how):
    paths = [str(path) for path in inputs]
    ready = prepare(kind, paths, config, files=files_for(paths), store=store_for(str(output)), **how)
    return execute(ready, options_of(options))


def files(output):
    """All files of an output but run.json (it holds times), by path, as hashes."""
    return {
        str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(Path(output).rglob("*"))
        if path.is_file() and path.name != "run.json"
    }


@pytest.mark.parametrize("device", ["cpu", "openvino"])
def test_a_bundle_says_when_it_was_made_in_int8(device):
    document = Document(Note("n1", "Fever."), (Mention("problem", Span(0, 5)),))
    result, failures = DocumentMapper(Config().with_options(device=device, terminology="none"))(document)
    assert not failures
    assert (b"OpenVINO int8" in result.bundle) is (device == "openvino")


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    path = tmp_path_factory.mktemp("mimic") / "NOTEEVENTS.csv.gz"
    return path, write("mimic-iii", path, rows=ROWS, seed=SEED, characters=500)


@pytest.fixture(scope="module")
def clean(events, tmp_path_factory):
    output = tmp_path_factory.mktemp("clean") / "out"
    return output, run("mimic-iii", [events[0]], output)


def test_every_row_is_accounted_for(events, clean):
    output, report = clean
    notes, true = report["notes"], events[1]
    assert notes["in"] == notes["out"] + notes["failed"] == true["rows"] - true["dropped"]
    assert notes["dropped"] == true["dropped"] > 0
    assert json.loads((output / "run.json").read_text()) == report
    assert report["status"] == "done"
    assert set(report["seconds"]) == {"read", "extract", "map", "write", "total"}
    assert report["versions"]["model"].startswith("kiwi-minilm-")


def test_one_valid_bundle_a_note_in_shards_of_consecutive_notes(clean):
    output, report = clean
    shards = sorted((output / "bundles").iterdir())
    sizes = [len(path.read_bytes().splitlines()) for path in shards]
    assert sum(sizes) == report["notes"]["out"]
    assert [path.name for path in shards] == [f"00000-NOTEEVENTS-{index:05d}.ndjson" for index in range(len(shards))]
    assert max(sizes) <= 7 < sum(sizes)
    resources = 0
    for path in shards:
        for line in path.read_bytes().splitlines():
            bundle = json.loads(line)
            assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "transaction")
            assert check_bundle(bundle) == []
            resources += len(bundle.get("entry", ()))
    assert resources == sum(report["resources"].values()) > ROWS
    assert sum(report["merged"].values()) > 0


def test_brat_holds_the_notes_and_what_was_found(clean):
    output, report = clean
    texts = sorted((output / "brat").rglob("*.txt"))
    assert len(texts) == report["notes"]["out"]
    mentions = sum(
        line.split("\t")[1].split(" ")[0] in report["mentions"]
        for path in texts
        for line in path.with_suffix(".ann").read_text(encoding="utf-8").splitlines()
        if line.startswith("T")
    )
    assert 0 < mentions <= sum(report["mentions"].values())


def test_two_runs_give_the_same_bytes(events, clean, tmp_path):
    run("mimic-iii", [events[0]], tmp_path / "again")
    assert files(tmp_path / "again") == files(clean[0])


def test_an_output_that_holds_a_run_is_not_overwritten(events, clean):
    with pytest.raises(UsageError, match="--resume"):
        run("mimic-iii", [events[0]], clean[0])


def test_resume_runs_only_what_is_missing_or_damaged(events, clean, tmp_path):
    output = tmp_path / "out"
    first = run("mimic-iii", [events[0]], output)
    bundles = sorted((output / "bundles").iterdir())
    bundles[0].write_bytes(b"damaged")
    bundles[1].unlink()
    (output / "bundles" / "x.ndjson.1.part").write_bytes(b"left by a killed run")
    report = run("mimic-iii", [events[0]], output, resume=True)
    assert report["shards"] == {"all": len(bundles), "written": 2, "kept": len(bundles) - 2}
    assert files(output) == files(clean[0])
    assert report["notes"] == first["notes"]


def test_resume_with_another_config_or_input_runs_again(events, tmp_path):
    output = tmp_path / "out"
    run("mimic-iii", [events[0]], output)
    other = CONFIG.with_options(recorded="2025-01-01T00:00:00Z")
    assert run("mimic-iii", [events[0]], output, other, resume=True)["shards"]["kept"] == 0
    shorter = tmp_path / "NOTEEVENTS.csv.gz"
    write("mimic-iii", shorter, rows=8, characters=500)
    report = run("mimic-iii", [shorter], output, other, resume=True)
    run("mimic-iii", [shorter], tmp_path / "fresh", other)
    assert files(output) == files(tmp_path / "fresh")
    assert report["status"] == "done"


def command(*arguments):
    return [sys.executable, "-m", "kiwi_fhir", "run", "--device", "cpu", "--shard-notes", "2", *arguments]


def test_a_killed_run_goes_on_as_if_it_had_never_been_killed(events, tmp_path):
    options = ["--source", "mimic-iii", "--input", str(events[0])]
    output = tmp_path / "killed"
    process = subprocess.Popen(command(*options, "--output", str(output)), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(list(output.glob("manifest/*.json"))) < 2:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = len(list(output.glob("manifest/*.json")))
    assert finished >= 2
    assert not (output / "run.json").exists()
    subprocess.run(command(*options, "--output", str(output), "--resume"), check=True, capture_output=True)
    subprocess.run(command(*options, "--output", str(tmp_path / "whole")), check=True, capture_output=True)
    assert files(output) == files(tmp_path / "whole")
    assert json.loads((output / "run.json").read_text())["shards"]["kept"] >= 2


def test_ctrl_c_leaves_a_report(events, tmp_path):
    output = tmp_path / "out"
    process = subprocess.Popen(
        command("--source", "mimic-iii", "--input", str(events[0]), "--output", str(output)),
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(output.glob("manifest/*.json")):
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    report = json.loads((output / "run.json").read_text())
    assert process.returncode == 1
    assert "--resume" in said
    assert "Traceback" not in said
    assert report["status"] == "interrupted"
    assert report["notes"]["in"] == report["notes"]["out"] + report["notes"]["failed"] > 0


def test_a_truncated_file_keeps_what_came_before_and_fails_the_run(events, tmp_path):
    whole = events[0].read_bytes()
    broken = tmp_path / "NOTEEVENTS.csv.gz"
    broken.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(InputError, match=r"NOTEEVENTS\.csv\.gz"):
        run("mimic-iii", [broken], tmp_path / "out")
    report = json.loads((tmp_path / "out" / "run.json").read_text())
    assert report["status"] == "failed"
    assert 0 < report["notes"]["out"] < ROWS
    broken.write_bytes(whole)
    assert run("mimic-iii", [broken], tmp_path / "out", resume=True)["shards"]["kept"] >= 1
    run("mimic-iii", [broken], tmp_path / "fresh")
    assert files(tmp_path / "out") == files(tmp_path / "fresh")


def test_too_many_failures_fail_the_run_after_all_is_written(tmp_path):
    path = tmp_path / "DocumentReference.ndjson"
    good = {"resourceType": "DocumentReference", "status": "current", "id": "good"}
    good["content"] = [{"attachment": {"contentType": "text/plain", "data": "Tm8gZmV2ZXIu"}}]
    bad = {**good, "id": "bad", "content": [{"attachment": {"contentType": "text/plain", "data": "%%%"}}]}
    path.write_text("".join(json.dumps(resource) + "\n" for resource in (good, bad)))
    with pytest.raises(TooManyFailures, match="1 of 2"):
        run("document-reference", [path], tmp_path / "out")
    report = json.loads((tmp_path / "out" / "run.json").read_text())
    assert report["notes"] | {"in": 2, "out": 1, "failed": 1, "without_patient": 1} == report["notes"]
    (failure,) = [json.loads(line) for line in (tmp_path / "out" / "failures.ndjson").read_text().splitlines()]
    assert (failure["note_id"], failure["stage"], failure["error"]) == ("bad", "read", "invalid-base64")
    lenient = CONFIG.with_options(max_failure_rate=0.5)
    assert run("document-reference", [path], tmp_path / "out", lenient, resume=True)["shards"]["kept"] == 1


def test_text_files_are_read_a_shard_at_a_time(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    for index in range(9):
        (folder / f"n{index}.txt").write_text("Severe headache. No fever.\r\n", newline="")
    report = run("text", [folder], tmp_path / "out")
    assert report["notes"]["out"] == 9
    assert sorted(path.name for path in (tmp_path / "out" / "bundles").iterdir()) == [
        "00000-text-00000.ndjson",
        "00001-text-00000.ndjson",
    ]


@pytest.fixture
def worker_pool(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    module = "apache_beam.runners.worker.worker_pool_main"
    with (tmp_path / "pool.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", module, f"--service_port={port}"], env=environment, stdout=log, stderr=log
        )
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield port
        process.terminate()
        process.wait()


def test_the_portable_runner_with_loopback_workers_writes_the_same(events, clean, tmp_path):
    options = ["--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=LOOPBACK"]
    report = run("mimic-iii", [events[0]], tmp_path / "out", options=options)
    assert files(tmp_path / "out") == files(clean[0])
    assert report["notes"] == clean[1]["notes"]


def test_a_worker_pool_writes_the_same(events, clean, tmp_path, worker_pool):
    options = ["--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=EXTERNAL"]
    options.append(f"--environment_config=localhost:{worker_pool}")
    report = run("mimic-iii", [events[0]], tmp_path / "out", options=options)
    assert files(tmp_path / "out") == files(clean[0])
    assert report["notes"] == clean[1]["notes"]


def test_an_error_on_a_worker_pool_keeps_its_sentence_and_exit_code(tmp_path, worker_pool):
    model = tmp_path / "broken"
    shutil.copytree(ModelChoice().folder, model)
    with (model / "heads.safetensors").open("r+b") as stream:
        stream.truncate(1000)  # `prepare` reads no weights
    (tmp_path / "n.txt").write_text("No fever.")
    options = ["--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=EXTERNAL"]
    options.append(f"--environment_config=localhost:{worker_pool}")
    with pytest.raises(ModelError, match="The model folder 'broken' is damaged"):
        run("text", [tmp_path / "n.txt"], tmp_path / "out", CONFIG.with_options(model=str(model)), options)
