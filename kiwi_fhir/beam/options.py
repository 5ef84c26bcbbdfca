"""The options of a run that are Beam's. What neither Beam nor the runner knows is refused, not dropped."""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Sequence

import grpc
from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions, StandardOptions
from apache_beam.portability.api.org.apache.beam.model.job_management.v1 import beam_job_api_pb2, beam_job_api_pb2_grpc
from apache_beam.runners import create_runner

from kiwi_fhir.errors import UsageError

#: In-memory runner of Beam, by name: `DirectRunner` tries to download another one first.
LOCAL_RUNNER = "FnApiRunner"
_ANSWER_SECONDS = 30.0


def options_of(arguments: Sequence[str]) -> PipelineOptions:
    """Beam's options.

    Raises UsageError for a runner that can't be used, and for an option that Beam can't read or does not know.
    """
    options = PipelineOptions(list(arguments), save_main_session=False)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            _import(options.view_as(StandardOptions).runner or LOCAL_RUNNER)
            unknown = _unknown(options, arguments)
    except SystemExit:
        # The last line says which and why: `PROGRAM: error: argument --num_workers: invalid int value: 'many'`.
        reason = said.getvalue().strip().rpartition("error: ")[2]
        raise UsageError(f"Beam can't read the options after `--`: {reason}.") from None
    endpoint = options.view_as(PortableOptions).job_endpoint
    if unknown and endpoint and endpoint != "embed":
        known = _known_by(endpoint)
        unknown = [name for name in unknown if name not in known]
    if unknown:
        names = ", ".join(unknown)
        raise UsageError(f"Neither this command nor Beam knows {names}: see --help and Beam's PipelineOptions.")
    return options


def _import(runner: str) -> None:
    """Import the runner: its module may add options, as that of the DaskRunner does."""
    try:
        create_runner(runner)
    except (ImportError, AttributeError, ValueError) as error:
        missing = getattr(error, "name", None)
        why = f"the package '{missing}' is missing" if missing else "see --runner of Beam's PipelineOptions"
        raise UsageError(f"Beam has no runner '{runner}' here: {why}.") from error


def _unknown(options: PipelineOptions, arguments: Sequence[str]) -> list[str]:
    """The names of the options that Beam does not know, without their values; of stray words the words."""
    parsers: list[argparse.ArgumentParser] = []
    options.get_all_options(add_extra_args_fn=parsers.append)
    found = parsers[0].parse_known_args(list(arguments))[1]
    names = [word.partition("=")[0] for word in found if word.startswith("-")]
    return names or found


def _known_by(endpoint: str) -> set[str]:
    """The options that a job server (Flink's, Spark's) knows beside Beam's. Raises UsageError."""
    request = beam_job_api_pb2.DescribePipelineOptionsRequest()
    try:
        with grpc.insecure_channel(endpoint) as channel:
            stub = beam_job_api_pb2_grpc.JobServiceStub(channel)
            answer = stub.DescribePipelineOptions(request, timeout=_ANSWER_SECONDS)
    except grpc.RpcError as error:
        raise UsageError(f"No job server answers at {endpoint}: start it, or name another --job_endpoint.") from error
    return {f"--{option.name}" for option in answer.options}
