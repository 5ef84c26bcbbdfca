"""`pipelines/notes_to_fhir.py` is `kiwi-fhir run`; options that nobody knows are refused by name."""

import json
import runpy
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api.org.apache.beam.model.job_management.v1 import beam_job_api_pb2, beam_job_api_pb2_grpc

from kiwi_fhir.beam.options import options_of
from kiwi_fhir.cli import main
from kiwi_fhir.errors import UsageError

LAUNCH_FILE = Path(__file__).parents[2] / "pipelines" / "notes_to_fhir.py"


def launched(*arguments):
    """The exit code of the launch file."""
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(LAUNCH_FILE))["launch"]([str(argument) for argument in arguments])
    return stopped.value.code or 0


def commanded(monkeypatch, *arguments):
    """The exit code of `kiwi-fhir run`."""
    monkeypatch.setattr(sys, "argv", ["kiwi-fhir", "run", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code or 0


@pytest.fixture
def call(tmp_path):
    (tmp_path / "note.txt").write_text("He denies chest pain. No fever.")
    return ["--source", "text", "--input", tmp_path / "note.txt", "--output", tmp_path / "out", "--threads", "1"]


def test_the_launch_file_is_the_command(call, tmp_path, monkeypatch, capsys):
    config = tmp_path / "kiwi.toml"
    config.write_text("[run]\nshard_notes = 7\n")
    options = ["--device", "cpu", "--min-score", "0.3", "--mappings", "us-core", "--config", config]
    assert launched(*call, *options, "--runner", "FnApiRunner", "--job_name", "notes") == 0
    launched_bundle = next((tmp_path / "out" / "bundles").iterdir()).read_bytes()
    assert launched(*call) == 2
    assert "--resume" in capsys.readouterr().err
    call[call.index("--output") + 1] = tmp_path / "other"
    assert commanded(monkeypatch, *call, *options, "--", "--runner=FnApiRunner") == 0
    assert next((tmp_path / "other" / "bundles").iterdir()).read_bytes() == launched_bundle
    reports = [json.loads((tmp_path / name / "run.json").read_text()) for name in ("out", "other")]
    assert reports[0]["fingerprint"] == reports[1]["fingerprint"]


def test_an_option_of_the_command_is_checked_by_the_launch_file(call, capsys):
    assert launched(*call, "--max-failure-rate", "7") == 2
    assert launched(*call, "--mappings", "nowhere") == 2
    assert "us-core" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--nonsense", "1"], "--nonsense"),
        (["--runner", "FnApiRunner", "--min-scor=0.5"], "--min-scor"),
        (["--num_workers", "many"], "--num_workers"),
        (["--runner", "NoSuchRunner"], "NoSuchRunner"),
        (["stray"], "stray"),
    ],
)
def test_what_nobody_knows_ends_with_2_and_its_name(call, tmp_path, monkeypatch, capsys, options, named):
    for run in (
        lambda: launched(*call, *options),
        lambda: launched(*call, "--", *options),
        lambda: commanded(monkeypatch, *call, "--", *options),
        lambda: commanded(monkeypatch, *call, "--dry-run", "--", *options),
    ):
        assert run() == 2
        said = capsys.readouterr().err
        assert said.startswith("kiwi-fhir: ")
        assert said.count("\n") == 1
        assert named in said
    assert not (tmp_path / "out").exists()


def test_the_value_of_an_unknown_option_is_not_shown():
    with pytest.raises(UsageError) as refused:
        options_of(["--nonsense", "secret", "--other=secret"])
    assert "--nonsense, --other" in str(refused.value)
    assert "secret" not in str(refused.value)


def test_options_of_other_classes_pass():
    class OfAPlugin(PipelineOptions):
        @classmethod
        def _add_argparse_args(cls, parser):
            parser.add_argument("--plugin_address")

    options = options_of(["--plugin_address", "here", "--flink_master=there", "--region", "r"])
    assert options.view_as(OfAPlugin).plugin_address == "here"


class _JobServer(beam_job_api_pb2_grpc.JobServiceServicer):
    def DescribePipelineOptions(self, request, context, timeout=None):  # noqa: N802
        known = beam_job_api_pb2.PipelineOptionDescriptor(name="checkpointing_interval")
        return beam_job_api_pb2.DescribePipelineOptionsResponse(options=[known])


def test_options_that_only_a_job_server_knows_pass():
    server = grpc.server(ThreadPoolExecutor(1))
    beam_job_api_pb2_grpc.add_JobServiceServicer_to_server(_JobServer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    endpoint = ["--runner", "PortableRunner", "--job_endpoint", f"127.0.0.1:{port}"]
    try:
        options_of([*endpoint, "--checkpointing_interval", "9"])
        with pytest.raises(UsageError, match="--nonsense"):
            options_of([*endpoint, "--nonsense", "9"])
    finally:
        server.stop(None)


def test_a_job_server_that_is_away_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UsageError, match=endpoint):
            options_of(["--runner", "PortableRunner", "--job_endpoint", endpoint, "--nonsense", "1"])
