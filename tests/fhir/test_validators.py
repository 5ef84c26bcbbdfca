"""Other people's validators find no error in what we write, and do find errors in what is wrong.

fhirkit and medplum read every resource; fhir.resources and pyrofile, which take 3 and 20 ms for one, a resource of each
shape. Definitions come from npm: where it can't be reached that part is skipped, and the run says so.
"""

import json
import re
from collections import Counter
from pathlib import Path

import foreign_validators as foreign
import pytest
from conftest import MODEL, RECORDED

import kiwi_fhir
from kiwi_fhir.extract import load
from kiwi_fhir.fhir import BundleWriter, check_bundle, to_json
from kiwi_fhir.fhir.r4 import spec
from kiwi_fhir.fhir.r4.walk import _lines
from kiwi_fhir.normalize import Normalizer
from kiwi_fhir.normalize.terminology import load_linker
from kiwi_fhir.notes import LOCAL, SOURCES
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import Note

GOLDEN = Path(__file__).parents[1] / "golden"
DEMO = Path(kiwi_fhir.__file__).parent / "demo" / "DocumentReference.ndjson"
WRONG = json.loads((Path(__file__).parent / "validity" / "wrong.json").read_text())
RIGHT = json.loads((Path(__file__).parent / "validity" / "right.json").read_text())
#: Definitions of our own extensions.
OURS = json.loads((Path(kiwi_fhir.__file__).parent / "fhir" / "structure_definitions.json").read_text())
#: Errors of a validator that are none: its name, a part of the message, and why.
FALSE_ALARMS = json.loads((foreign.HERE / "false_alarms.json").read_text())

US_CORE = Path("us-core")
NOTES = 500
LENGTHS = (300, 300, 300, 300, 1500)  # characters at least, in turn: what is found differs, its kinds do not


@pytest.fixture(scope="module")
def definitions(request):
    """The folder of the npm packages."""
    folder = request.config.cache.mkdir("fhir-validators") / "npm"
    try:
        foreign.fetch(folder)
    except OSError as error:
        pytest.skip(f"no definitions of FHIR: {error}")
    return folder


@pytest.fixture(scope="module")
def pyrofile(definitions):
    return foreign.Pyrofile(definitions, OURS)


@pytest.fixture(scope="module")
def documents(synthetic_note):
    """What the model finds in 500 synthetic notes and in the demo's."""
    notes = [
        Note(
            f"n{number}",
            synthetic_note(number, LENGTHS[number % 5]),
            f"p{number}",
            f"e{number}",
            time="2011-03-05T08:30:00Z",
        )
        for number in range(NOTES)
    ]
    notes += SOURCES["document-reference"](LOCAL).read(str(DEMO))
    return load("default", device="cpu", threads=1).predict(notes)  # more would fight with other tests for the cores


def resources_of(documents, mappings=None):
    """All resources that are written, each bundle having passed our own check."""
    linker, _ = load_linker(mappings=Mappings.read(mappings))
    normalizer = Normalizer(Mappings.read(mappings), linker)
    writer = BundleWriter(MODEL, recorded=RECORDED, mappings=Mappings.read(mappings))
    found = []
    for document in documents:
        bundle, failures = writer.bundle(document, normalizer.facts(document))
        assert failures == []
        assert check_bundle(bundle) == []
        found += [entry["resource"] for entry in json.loads(to_json(bundle)).get("entry", ())]
    return found


def is_alarm(alarm, error):
    return all((error.validator == alarm["validator"], alarm["path"] in error.path, error.message == alarm["message"]))


def true_errors(errors):
    """Errors that are not named as false alarms."""
    return [error for error in errors if not any(is_alarm(alarm, error) for alarm in FALSE_ALARMS)]


def everyone(resources, definitions, pyrofile):
    """The errors of all validators, and how often medplum checked each profile."""
    few = foreign.one_of_each(resources)
    errors, checked = foreign.medplum(resources, definitions, OURS)
    return true_errors([*errors, *foreign.fhirkit(resources), *foreign.r4b(few), *pyrofile(few)]), checked


def test_the_golden_bundles_whole_and_by_resource(definitions, pyrofile):
    bundles = [json.loads(path.read_text()) for path in sorted(GOLDEN.glob("*.bundle.json"))]
    assert bundles
    whole, checked = foreign.medplum(bundles, definitions, OURS)
    assert checked["null"] == len(bundles)
    least = min(bundles, key=lambda bundle: len(bundle["entry"]))  # pyrofile's time grows by the square of the entries
    assert true_errors([*whole, *foreign.fhirkit(bundles), *foreign.r4b(bundles), *pyrofile([least])]) == []
    errors, _ = everyone([entry["resource"] for bundle in bundles for entry in bundle["entry"]], definitions, pyrofile)
    assert errors == []


def test_500_synthetic_notes_and_the_demo(documents, definitions, pyrofile):
    resources = resources_of(documents)
    kinds = Counter(resource["resourceType"] for resource in resources)
    assert kinds["Provenance"] >= NOTES
    assert min(kinds[kind] for kind in ("Condition", "Observation", "MedicationStatement", "Procedure")) > 100
    errors, _ = everyone(resources, definitions, pyrofile)
    assert errors == []


def test_the_same_notes_by_us_core(documents, definitions, pyrofile):
    """Claimed profiles are checked where their definitions can be had: US Core's own, or R4's of a vital sign."""
    resources = resources_of(documents, US_CORE)
    kinds = Counter(resource["resourceType"] for resource in resources)
    assert kinds["MedicationRequest"] > 100
    claimed = Counter(url.rpartition("/")[2] for item in resources for url in item["meta"].get("profile", ()))
    assert claimed["us-core-medicationrequest"] == kinds["MedicationRequest"]
    assert claimed["us-core-condition-encounter-diagnosis"] > 100
    errors, checked = everyone(foreign.one_of_each(resources), definitions, pyrofile)
    assert errors == []
    assert checked["http://hl7.org/fhir/us/core/StructureDefinition/us-core-medicationrequest"] > 20
    assert checked["http://hl7.org/fhir/us/core/StructureDefinition/us-core-blood-pressure"] > 0


def test_our_right_cases_are_right_for_all(definitions, pyrofile):
    resources = [case["resource"] for case in RIGHT]
    errors, _ = everyone(resources, definitions, pyrofile)
    assert errors == []


def test_our_tables_are_those_of_r4(definitions):
    """What each Reference may refer to, and the codes of each required binding."""
    types, sets = foreign.tables_of(definitions)
    ours = {name: [] for name in types}
    for name, line in _lines().items():
        for element, targets in re.findall(r"([\w\[\]]+)[!*]* (?:[\w.|]*\|)?Reference=([\w, ]+)", line):
            if name.partition(".")[0] in ours:
                ours[name.partition(".")[0]].append((element, sorted(re.split(r",\s*", targets))))
    assert {name: sorted(found) for name, found in ours.items()} == types
    for name, codes in spec.VALUE_SETS.items():
        assert set(codes.split()) == sets[name], name


def test_they_do_find_errors(definitions, pyrofile):
    """What the others see of our wrong cases: no bound is ours, but one at 0 would be a validator that does nothing."""
    resources = [case["resource"] for case in WRONG]
    errors, _ = foreign.medplum(resources, definitions, OURS)
    errors += [*foreign.fhirkit(resources), *foreign.r4b(resources), *pyrofile(resources)]
    seen = Counter(validator for validator, _ in {(error.validator, error.index) for error in errors})
    assert all(seen[name] >= least for name, least in {"fhirkit": 20, "r4b": 20, "medplum": 45, "pyrofile": 50}.items())
    assert len({error.index for error in errors}) < len(WRONG)  # which is why we have our own


def test_false_alarms_are_still_raised(documents, definitions, pyrofile):
    """One that is raised no more has to go from the list."""
    some = documents[:50]
    resources = foreign.one_of_each([*resources_of(some), *resources_of(some, US_CORE)])
    resources += [case["resource"] for case in RIGHT]
    raised = [*pyrofile(resources), *foreign.medplum(resources, definitions, OURS)[0]]
    for alarm in FALSE_ALARMS:
        assert any(is_alarm(alarm, error) for error in raised), alarm
