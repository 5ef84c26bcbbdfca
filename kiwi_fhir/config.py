"""One validated config for a run: from a TOML file, then from the command line."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from kiwi_fhir.errors import ConfigError, KiwiError

#: FHIR R4's instant: to the second at least, always with an offset (hl7.org/fhir/R4/datatypes.html#instant).
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")

#: User and password of a URL: they change no result, and no secret gets into a hash.
_CREDENTIALS = re.compile(r"//[^/]*@")


@dataclass(frozen=True, slots=True)
class Config:
    """What a run may be told; every field is a key of the config file.

    `model` is a model that ships with the program, a folder, or the URL of a server with a LLaMA; `templates`,
    `four_bit` and `unconstrained` are a LLaMA's, see extract.ModelChoice.
    `threads` None is all processors of the process, `device` None the best there is, `openvino` the processor with
    OpenVINO, in int8. `mappings` is a profile (`us-core`), a file of overrides, or a folder of mapping files.
    `shard_notes` notes of one input file make one shard of the output. `max_failure_rate` is the share of notes (0 to
    1) that may fail before the run does.
    `terminology` is `default` (the names that the program ships), `none`, or the path of an Athena folder or of a CSV
    of names; `fuzzy` also links names with a misspelled word; with `medcat` MedCAT links, on a CSV, or on its own
    model pack, which takes `trust_pack` as a pack can run code.
    Mentions and modifiers whose score is under `min_score` (0 to 1) are left out; see min_score.py.
    `recorded` is the instant of every Provenance; None is the model's release, so that a rerun of the same model writes
    the same bytes.
    On a FHIR server `replace_versions` removes what an earlier model or mapping wrote for the same notes, `server_ids`
    lets the server give the ids; each worker sends, or fetches, `parallel` notes at a time.
    Of a FHIR server `queries` are the searches whose notes are read (`[TYPE?]PARAMETERS`); with `export` (`system`,
    `Patient` or `Group/ID`) they are read by a Bulk Data export. `allow_hosts` are other servers (`https://HOST`) that
    attachments and the files of an export may be fetched from.
    In an OMOP database `omop_create` makes the tables that are missing, `omop_notes` also writes NOTE rows, and
    `omop_clinical` rows of the clinical tables; `omop_ids` is a CSV file (note, note_id, person_id) for notes whose
    ids are no numbers.
    """

    model: str = "default"
    templates: str | None = None
    four_bit: bool = False
    unconstrained: bool = False
    threads: int | None = None
    device: str | None = None
    mappings: str | None = None
    terminology: str = "default"
    fuzzy: bool = False
    medcat: bool = False
    trust_pack: bool = False
    sinks: tuple[str, ...] = ("ndjson",)
    shard_notes: int = 1000
    max_failure_rate: float = 0.1
    min_score: float = 0.0
    recorded: str | None = None
    replace_versions: bool = False
    server_ids: bool = False
    parallel: int = 4
    queries: tuple[str, ...] = ()
    export: str | None = None
    allow_hosts: tuple[str, ...] = ()
    omop_create: bool = False
    omop_notes: bool = False
    omop_clinical: bool = False
    omop_ids: str | None = None

    def __post_init__(self) -> None:
        """Raise ConfigError for a value that no run can use."""
        _check(self.threads is None or self.threads > 0, "threads", "a whole number from 1")
        _check(self.device in (None, "cpu", "cuda", "mps", "openvino"), "device", "cpu, cuda, mps or openvino")
        _check(self.shard_notes > 0, "shard_notes", "a whole number from 1")
        _check(self.parallel > 0, "parallel", "a whole number from 1")
        _check(0 <= self.max_failure_rate <= 1, "max_failure_rate", "a number from 0 to 1")
        _check(0 <= self.min_score <= 1, "min_score", "a number from 0 to 1")
        _check(bool(self.sinks), "sinks", "a list with at least one sink")
        right = self.recorded is None or _INSTANT.fullmatch(self.recorded) is not None
        _check(right, "recorded", "a FHIR instant such as 2026-01-31T12:00:00Z")

    def with_options(self, **options: Any) -> Config:
        """The config with the options that are not None (and not empty)."""
        return replace(self, **{key: value for key, value in options.items() if value not in (None, (), [])})

    def fingerprint(self, **versions: str) -> str:
        """A hash of all that decides what a note becomes: this config, and the versions given.

        Threads, the failure rate and torch's device change no result, but for rounding, and do not count; nor does
        what says which notes are read. OpenVINO's int8 changes labels.
        """
        own = asdict(self) | ({"engine": "openvino"} if self.device == "openvino" else {})
        for key in (
            "threads",
            "device",
            "max_failure_rate",
            "parallel",
            "mappings",
            "model",
            "templates",
            "unconstrained",
            "terminology",
            "trust_pack",
            "omop_create",
            "omop_ids",
            "queries",
            "export",
            "allow_hosts",
        ):
            del own[key]
        own["sinks"] = [_CREDENTIALS.sub("//", sink) for sink in self.sinks]
        return hashlib.sha256(json.dumps([own, versions], sort_keys=True).encode()).hexdigest()


def read_config(path: Path) -> Config:
    """The config of a TOML file. Raises ConfigError naming the file and the key."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"The config file '{path}' does not exist.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"The config file '{path}' is no TOML: {error}.") from error
    known = {field.name: str(field.type) for field in fields(Config)}
    for key, value in table.items():
        if key not in known:
            raise ConfigError(f"The config file '{path}' has the unknown key '{key}'; known are {', '.join(known)}.")
        if not _fits(value, known[key]):
            raise ConfigError(f"The config file '{path}': '{key}' must be {known[key]}.")
    table = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    try:
        return Config(**table)
    except KiwiError as error:
        raise ConfigError(f"The config file '{path}': {error}") from error


def _fits(value: object, kind: str) -> bool:
    if kind.startswith("tuple"):
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if isinstance(value, bool) or kind == "bool":
        return isinstance(value, bool) and kind == "bool"
    kinds: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float)}
    return isinstance(value, kinds[kind.split(" ")[0]])


def _check(right: bool, key: str, wanted: str) -> None:
    if not right:
        raise ConfigError(f"'{key}' must be {wanted}.")
