"""The settings of a run, in groups: declared once here, read from a TOML file, then from the command line.

A field's name is the key of the config file and, with `-` for `_`, the option of the command line. What else there is
to say of a setting (help, bounds, whether it counts for the fingerprint of a run) is declared at its field. The module
is a long one so that an option is one entry in one place.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from kiwi_fhir.errors import ConfigError
from kiwi_fhir.types import is_instant

#: User and password of a URL: they change no result, and no secret gets into a hash.
_CREDENTIALS = re.compile(r"//[^/]*@")

_KINDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", tuple: "a list of texts"}


@dataclass(frozen=True, slots=True)
class About:
    """What is declared of a setting beside its name, type and default.

    `shown` says what the default does, where that is not its value. `counts` says whether a run with another value is
    another run, or gives the part of a value that decides. `fits` is a rule for values, `wanted` says it in words.
    """

    help: str
    shown: str | None = None
    counts: bool | Callable[[Any], object] = True
    at_least: int | None = None
    at_most: int | None = None
    fits: Callable[[Any], object] | None = None
    wanted: str = ""


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting as it is declared: `kind` is the type of its values, None aside."""

    name: str
    kind: type
    default: Any
    about: About

    def check(self, value: Any) -> None:
        """Raise ConfigError for a value that no run can use."""
        about, wanted = self.about, self.about.wanted
        fits = about.fits is None or about.fits(value)
        if about.at_least is not None:
            above = about.at_most is None or value <= about.at_most
            fits, wanted = value >= about.at_least and above, f"{_KINDS[self.kind]} from {about.at_least}"
            wanted += "" if about.at_most is None else f" to {about.at_most}"
        if not fits:
            raise ConfigError(f"'{self.name}' must be {wanted}.")

    def read(self, value: object) -> Any:
        """A value of a TOML file. Raises ConfigError for one of another type."""
        kind = list if self.kind is tuple else self.kind
        fits = isinstance(value, (int, float) if kind is float else kind)
        if isinstance(value, list):
            fits = fits and all(isinstance(item, str) for item in value)
        if not fits or (isinstance(value, bool) and kind is not bool):
            raise ConfigError(f"'{self.name}' must be {_KINDS[self.kind]}.")
        return self.kind(value)


def _setting(default: Any, says: str, shown: str | None = None, **about: Any) -> Any:
    return field(default=default, metadata={"about": About(says, shown, **about)})


def _kind(hint: Any) -> type:
    """`str` of `str | None`, `tuple` of `tuple[str, ...]`."""
    kind: type = get_args(hint)[0] if get_origin(hint) is UnionType else hint
    return get_origin(kind) or kind


class Group:
    """A group of settings. Raises ConfigError for a value that no run can use."""

    __slots__ = ()

    def __post_init__(self) -> None:
        for one in self.declared():
            value = getattr(self, one.name)
            if value is not None:
                one.check(value)

    @classmethod
    @cache
    def declared(cls) -> tuple[Setting, ...]:
        """The settings of the group, in order."""
        kinds, own = get_type_hints(cls), fields(cls)  # type: ignore[arg-type]
        return tuple(Setting(one.name, _kind(kinds[one.name]), one.default, one.metadata["about"]) for one in own)


@dataclass(frozen=True, slots=True)
class ModelSettings(Group):
    """What reads the notes; see extract.ModelChoice."""

    model: str = _setting(
        "default",
        "default, smollm2-tagger, smollm2, a model folder, or the URL of a server with a LLaMA.",
        counts=False,  # the model's own name and digest count
    )
    templates: str | None = _setting(
        None, "LLaMA: a folder of prompts.", "the model's, else the program's", counts=False
    )
    four_bit: bool = _setting(False, "LLaMA: weights in four bits (CUDA, extra qlora).")
    unconstrained: bool = _setting(False, "LLaMA: let it write other things than the text and tags.", counts=False)
    threads: int | None = _setting(None, "Processor threads.", "all", counts=False, at_least=1)
    device: str | None = _setting(
        None,
        "cpu, cuda or mps; openvino: the processor in int8, by the extra of that name.",
        "the best of torch's",
        counts=lambda device: device == "openvino",  # int8 changes labels, torch's devices do no more than round
        fits=lambda device: device in ("cpu", "cuda", "mps", "openvino"),
        wanted="cpu, cuda, mps or openvino",
    )
    min_score: float = _setting(
        0.0, "Leave out what the model is less sure of (README).", "0: nothing", at_least=0, at_most=1
    )


@dataclass(frozen=True, slots=True)
class NotesSettings(Group):
    """Which notes of a FHIR server are read, and from where. They say what is read, not what it becomes."""

    query: tuple[str, ...] = _setting(
        (),
        "FHIR source: a search, such as 'type=18842-5&date=ge2024' or 'DiagnosticReport?status=final'; "
        "may be repeated.",
        "all DocumentReferences",
        counts=False,
    )
    export: str | None = _setting(
        None, "FHIR source: read by a Bulk Data export of 'system', 'Patient' or 'Group/ID'.", "none", counts=False
    )
    allow_host: tuple[str, ...] = _setting(
        (),
        "FHIR source: another server (https://HOST) that attachments may be on; gets no credentials; may be repeated.",
        "none",
        counts=False,
    )


@dataclass(frozen=True, slots=True)
class MappingSettings(Group):
    """What mentions become. Of mapping files and terminologies the content counts, not where it lies."""

    mappings: str | None = _setting(
        None,
        "A profile (us-core), a TOML file of overrides, or a folder of mapping files.",
        "the program's",
        counts=False,
    )
    terminology: str = _setting(
        "default",
        "Names and codes: a folder of Athena's files, a CSV (name, code, system, type), or 'none'.",
        "ICD-10-CM and DrugBank",
        counts=False,
    )
    fuzzy: bool = _setting(False, "Link names with a misspelled word too.")
    medcat: bool = _setting(False, "Have MedCAT link, on a CSV or its model pack.")
    trust_pack: bool = _setting(False, "Load a MedCAT pack: it can run code.", counts=False)


@dataclass(frozen=True, slots=True)
class FhirSettings(Group):
    """How bundles are written, and sent to a FHIR server. `recorded` "now" is made the instant that it stands for."""

    recorded: str | None = _setting(
        None,
        "The instant of every Provenance (ISO 8601, or 'now').",
        "the model's release",
        fits=is_instant,
        wanted="a FHIR instant such as 2026-01-31T12:00:00Z",
    )
    replace: bool = _setting(False, "FHIR server: remove what an earlier model wrote for the same notes.")
    server_ids: bool = _setting(False, "FHIR server: it gives the ids, ours become identifiers.")
    parallel: int = _setting(
        4, "FHIR server: notes that a worker sends or fetches at a time.", counts=False, at_least=1
    )

    def __post_init__(self) -> None:
        if self.recorded == "now":
            object.__setattr__(self, "recorded", datetime.now(UTC).isoformat(timespec="seconds"))
        Group.__post_init__(self)


@dataclass(frozen=True, slots=True)
class OmopSettings(Group):
    """How an OMOP database is filled."""

    omop_create: bool = _setting(False, "OMOP: make the tables that are missing.", counts=False)
    omop_notes: bool = _setting(False, "OMOP: write NOTE rows too.")
    omop_clinical: bool = _setting(False, "OMOP: write conditions, drugs, measurements and procedures too.")
    omop_ids: str | None = _setting(
        None,
        "OMOP: a CSV (note, note_id, person_id) for notes whose ids are no numbers.",
        "none",
        counts=False,  # its content counts
    )


@dataclass(frozen=True, slots=True)
class RunSettings(Group):
    """How a run goes, and where its results do."""

    sink: tuple[str, ...] = _setting(
        ("ndjson",),
        "ndjson, brat, html, fhir=URL or omop=URL; may be repeated.",
        "ndjson",
        counts=lambda sinks: [_CREDENTIALS.sub("//", sink) for sink in sinks],
        fits=bool,
        wanted="a list with at least one sink",
    )
    shard_notes: int = _setting(1000, "Notes in a file of the output.", at_least=1)
    max_failure_rate: float = _setting(0.1, "Share of notes that may fail.", counts=False, at_least=0, at_most=1)


@dataclass(frozen=True, slots=True)
class Config:
    """What a run may be told: the groups are the tables of the config file."""

    model: ModelSettings = ModelSettings()
    notes: NotesSettings = NotesSettings()
    mapping: MappingSettings = MappingSettings()
    fhir: FhirSettings = FhirSettings()
    omop: OmopSettings = OmopSettings()
    run: RunSettings = RunSettings()

    def with_options(self, **options: Any) -> Config:
        """The config with these settings, whatever their group; those that are None or () say nothing.

        Raises ConfigError for a value that no run can use, TypeError for a setting that there is not.
        """
        given = {name: value for name, value in options.items() if value not in (None, ())}
        groups = {}
        for of, group in GROUPS.items():
            own = {one.name: given.pop(one.name) for one in group.declared() if one.name in given}
            groups[of] = replace(getattr(self, of), **own)
        if given:
            raise TypeError(f"There is no setting {', '.join(given)}.")
        return Config(**groups)

    def fingerprint(self, **versions: str) -> str:
        """A hash of all that decides what a note becomes: the settings that count, and the versions given."""
        own: dict[str, object] = {}
        for of, group in GROUPS.items():
            for one in group.declared():
                counts, value = one.about.counts, getattr(getattr(self, of), one.name)
                if counts:
                    own[f"{of}.{one.name}"] = value if counts is True else counts(value)
        return hashlib.sha256(json.dumps([own, versions], sort_keys=True).encode()).hexdigest()


#: The groups by name, in order.
GROUPS: Mapping[str, type[Group]] = get_type_hints(Config)


def read_config(path: Path) -> Config:
    """The config of a TOML file. Raises ConfigError naming the file and the key."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise ConfigError(f"The config file '{path}' does not exist.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"The config file '{path}' is no TOML: {error}.") from error
    groups = {}
    for of, values in table.items():
        try:
            groups[of] = _read_group(of, values)
        except ConfigError as error:
            raise ConfigError(f"The config file '{path}': {error}") from error
    return Config(**groups)


def _read_group(of: str, values: object) -> Any:
    if of not in GROUPS:
        raise ConfigError(f"'{of}' is no group: {_where(of) or 'known are ' + ', '.join(GROUPS)}.")
    if not isinstance(values, dict):
        raise ConfigError(f"'{of}' is a group: write [{of}] and its keys on lines of their own.")
    declared = {one.name: one for one in GROUPS[of].declared()}
    for key in values:
        if key not in declared:
            raise ConfigError(f"[{of}] has no '{key}': {_where(key) or 'known are ' + ', '.join(declared)}.")
    try:
        return GROUPS[of](**{key: declared[key].read(value) for key, value in values.items()})
    except ConfigError as error:
        raise ConfigError(f"[{of}] {error}") from error


def _where(key: str) -> str:
    right = [of for of, group in GROUPS.items() if key in (one.name for one in group.declared())]
    return f"it belongs under [{right[0]}]" if right else ""
