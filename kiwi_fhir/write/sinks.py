"""Sinks beside the files of a shard: servers and databases, named `KIND=URL`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from kiwi_fhir.config import Config
from kiwi_fhir.errors import UsageError
from kiwi_fhir.types import Failure, Result
from kiwi_fhir.write.shards import SINKS


class Sink(Protocol):
    """Takes results to a server or database. Each worker has its own; what it wrote may be written again."""

    def check(self) -> None:
        """Look at the other side before the first note. Raises UsageError for what no run could write to."""
        ...

    def write(self, results: Sequence[Result]) -> list[Failure]:
        """Write the results of some notes; what the other side refused becomes failures.

        Raises KiwiError where the other side is gone: the shard is run again by `--resume`.
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


def _fhir(url: str, config: Config) -> Sink:
    from kiwi_fhir.write.fhir.server import FhirServer

    return FhirServer(
        url, replace=config.fhir.replace, server_ids=config.fhir.server_ids, parallel=config.fhir.parallel
    )


def _omop(url: str, config: Config) -> Sink:
    try:
        from kiwi_fhir.write.omop.sink import OmopSink
    except ImportError as error:
        raise UsageError(f"The package '{error.name}' is missing: install kiwi_fhir[omop].") from error

    return OmopSink(
        url, create=config.omop.omop_create, notes=config.omop.omop_notes, clinical=config.omop.omop_clinical
    )


#: What may stand before the `=` of a sink.
REMOTE: dict[str, Callable[[str, Config], Sink]] = {"fhir": _fhir, "omop": _omop}


def remote_sinks(sinks: Sequence[str], config: Config) -> list[Sink]:
    """The sinks that are no files, ready to be checked. Raises UsageError for one that is unknown."""
    made = []
    for sink in sinks:
        if sink in SINKS:
            continue
        kind, separator, url = sink.partition("=")
        if not separator or kind not in REMOTE:
            known = ", ".join([*SINKS, *(f"{kind}=URL" for kind in REMOTE)])
            named = "of this URL" if "/" in kind else f"'{kind}'"  # without its kind it may hold a password
            raise UsageError(f"The sink {named} is unknown: use {known}.")
        made.append(REMOTE[kind](url, config))
    return made
