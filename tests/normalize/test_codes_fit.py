"""A code of a test fits its result, or another code or none stands in its place ([properties] of codes_test.toml)."""

import re
from collections import Counter

import pytest
from terminology_files import CONCEPTS, TABLES, write_athena, write_tables
from test_codes_drug_test import _check_digit
from written_documents import write

from kiwi_fhir.errors import MappingError
from kiwi_fhir.normalize import Normalizer, load_linker
from kiwi_fhir.normalize.terminology.properties import load_properties
from kiwi_fhir.tables import Mappings

RESULTS = """
creatinine       | 1.1 mg/dL       | 2160-0
creatinine       | 88 umol/L       | 14682-9
creatinine       | 88 µmol/L       | 14682-9
creatinine       | 80-90 umol/L    | 14682-9
creatinine       | < 40 umol/L     | 14682-9
creatinine       | 1.1             | 2160-0
creatinine       | elevated        | 2160-0
creatinine       | stable          | 2160-0
creatinine       | positive        | -
creatinine       | 12 U/L          | -
glucose          | 5.5 mmol/L      | 14749-6
glucose          | negative        | -
glucose          | 2+              | -
fingerstick      | 180 mg/dL       | 41653-7
fingerstick      | 9.8 mmol/L      | 14743-9
urine glucose    | negative        | 25428-4
urine glucose    | 500 mg/dL       | 5792-7
urine protein    | 1+              | 20454-5
urine protein    | 30 mg/dL        | 5804-0
urine ketones    | trace           | 2514-8
ANA              | positive        | 8061-4
ANA              | 1:160           | 29953-7
ANA              | 12 U/mL         | -
RPR              | nonreactive     | 20507-0
RPR              | 1:4             | 31147-2
rheumatoid factor | 18 IU/mL       | 11572-5
rheumatoid factor | negative       | 33910-1
D-dimer          | 450 ng/mL       | 48065-7
D-dimer          | negative        | 15179-5
troponin I       | 0.04 ng/mL      | 10839-9
troponin I       | negative        | -
hemoglobin       | 13.1 g/dL       | 718-7
hemoglobin       | 131 g/L         | 718-7
hemoglobin       | 8.1 mmol/L      | 59260-0
hemoglobin A1c   | 7.1%            | 4548-4
hemoglobin A1c   | 53 mmol/mol     | 59261-8
WBC              | 10.2 K/uL       | 6690-2
WBC              | 10.2            | 6690-2
WBC              | 10%             | -
platelets        | 250K            | 777-3
bands            | 5%              | 26508-2
bands            | 0.4 K/uL        | 26507-4
heart rate       | 88 bpm          | 8867-4
heart rate       | 88              | 8867-4
heart rate       | in the 80s      | 8867-4
heart rate       | normal          | 8867-4
heart rate       | regular         | -
heart rate       | 88 mmHg         | -
SpO2             | 98%             | 59408-5
SpO2             | 4 hours         | -
temperature      | 98.6 F          | 8310-5
temperature      | 37.0 C          | 8310-5
weight           | 80 kg           | 29463-7
weight           | 180 cm          | -
blood pressure   | 120/80          | 85354-9
INR              | 2.3             | 6301-6
INR              | therapeutic     | 6301-6
INR              | 2.3 mg/dL       | -
prothrombin time | 12.5 sec        | 5902-2
FEV1             | 2.1 L           | 20150-9
FEV1             | 65%             | 20152-5
EF               | 55-60%          | 10230-1
TSH              | 2.5 mIU/L       | 3016-3
sodium           | 138 mEq/L       | 2951-2
magnesium        | 1.8 mEq/L       | 2601-3
urine culture    | negative        | 630-4
CBC              | unremarkable    | 58410-2
pulse            | 72              | 8867-4
pulse            | regular         | -
pulses           | 2+              | -
pulses           | intact          | -
"""


@pytest.fixture(scope="module")
def normalizer():
    return Normalizer(None, load_linker()[0])


def codes(normalizer, test, said, **more):
    (fact,) = normalizer.facts(write(f"{test} {said}.", ("test", test, {"labvalue": said}), **more))
    return [coding.code for coding in fact.codings]


@pytest.mark.parametrize("row", RESULTS.strip().splitlines(), ids=lambda row: re.sub(r"\s+", " ", row))
def test_a_result_has_a_code_that_it_fits(normalizer, row):
    test, said, code = (part.strip() for part in row.split("|"))
    assert codes(normalizer, test, said) == ([] if code == "-" else [code])


def test_all_results_of_a_test_have_to_fit(normalizer):
    def of(*said):
        text = f"Creatinine {' and '.join(said)}."
        (fact,) = normalizer.facts(write(text, ("test", "Creatinine", {"labvalue": said})))
        return [coding.code for coding in fact.codings]

    assert of("1.1", "1.3 mg/dL") == ["2160-0"]
    assert of("97", "115 umol/L") == ["14682-9"]
    assert of("1.1 mg/dL", "97 umol/L") == []


def test_a_test_without_a_result_keeps_its_code(normalizer):
    (fact,) = normalizer.facts(write("Creatinine was sent.", ("test", "Creatinine", {})))
    assert [(coding.code, coding.method) for coding in fact.codings] == [("2160-0", "table")]
    (fact,) = normalizer.facts(write("No sign of glucose", ("test", "glucose", {"negation": "No sign of"})))
    assert fact.negative_finding
    assert fact.codings == ()


def test_how_a_code_was_found_is_kept(normalizer):
    (fact,) = normalizer.facts(write("Cr 88 umol/L", ("test", "Cr", {"labvalue": "88 umol/L"})))
    assert [(coding.code, coding.method) for coding in fact.codings] == [("14682-9", "abbreviation")]


def test_a_pulse_under_examination_is_a_rate_where_a_number_says_so(normalizer):
    assert codes(normalizer, "pulse", "72", section="physical_exam") == ["8867-4"]
    assert codes(normalizer, "pulses", "2+", section="physical_exam") == []
    assert codes(normalizer, "pulses", "normal", section="physical_exam") == []
    (fact,) = normalizer.facts(write("Pulses 2+", ("test", "Pulses", {"labvalue": "2"})))
    assert fact.codings == ()


TABLE = """
system = "http://loinc.org"

[properties]
"Mass/volume" = ["mg/dL"]
"Moles/volume" = ["umol/L"]

[codes."2160-0"]
display = "Creatinine [Mass/volume] in Serum or Plasma"
words = ["creatinine"]
"""


def test_a_vocabulary_of_the_users_is_held_to_its_names_too(tmp_path):
    """Codes that no table of ours has say their property in their own name, and other codes have OMOP's concepts."""
    change = 'instead = { "14682-9" = "Creatinine [Moles/volume] in Serum or Plasma" }\n'
    tables = write_tables(tmp_path / "tables", codes_test=TABLE + change)
    tests = [
        (3020564, "Creatinine [Moles/volume] in Serum or Plasma", "Measurement", "LOINC", "S", "14682-9", ""),
        (3016723, "Creatinine [Mass/volume] in Serum or Plasma", "Measurement", "LOINC", "S", "2160-0", ""),
        (3024561, "Albumin [Mass/volume] in Serum or Plasma", "Measurement", "LOINC", "S", "1751-7", ""),
    ]
    linker, _ = load_linker(str(write_athena(tmp_path / "athena", (*CONCEPTS, *tests))), mappings=Mappings.read(tables))
    normalizer = Normalizer(Mappings.read(tables), linker)
    (fact,) = normalizer.facts(write("Creatinine 88 umol/L", ("test", "Creatinine", {"labvalue": "88 umol/L"})))
    assert [(coding.code, coding.concept_id) for coding in fact.codings] == [("14682-9", 3020564)]
    name = "Albumin [Mass/volume] in Serum or Plasma"
    for said, found in (("4 mg/dL", ["1751-7"]), ("4 umol/L", [])):
        assert codes(normalizer, name, said) == found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('property = "Colour"\n', r"codes_test\.toml, line \d+: key 'codes\.2160-0\.property': 'Colour' is not under"),
        ('instead = { "1-8" = "Creatinine, urine" }\n', r"'codes\.2160-0\.instead\.1-8': names no property"),
        ("instead = [1]\n", r"'codes\.2160-0\.instead': is a list; it must be a table"),
    ],
)
def test_faults_of_the_table_are_named(tmp_path, change, message):
    with pytest.raises(MappingError, match=message):
        load_properties(Mappings.read(write_tables(tmp_path / "tables", codes_test=TABLE + change)))


def test_a_table_without_properties_refuses_no_result(tmp_path):
    tables = write_tables(tmp_path / "tables", **TABLES)
    assert load_properties(Mappings.read(tables)).units == {}


def test_the_units_are_those_of_the_table_of_units():
    measures = Mappings.read().table("units")["measures"].keys() | Mappings.read().table("units")["times"].keys()
    for name, units in Mappings.read().table("codes_test")["properties"].items():
        assert set(units) - measures <= {"1", "{titer}"}, name
        assert len(set(units)) == len(units), name


def test_what_has_no_property_is_no_single_quantity():
    """Panels, studies, images and cultures take any result; all else says what it is."""
    table = Mappings.read().table("codes_test")
    many = r"panel|stud(?:y|ies)\b|Study report|report$|identified in|Views|^(?:CT|MRA?|XR|US|US\.doppler|MG|NM|RF) "
    for code, entry in table["codes"].items():
        brackets = re.search(r"\[([^\]]+)\]", entry["display"])
        known = "property" in entry or (brackets is not None and brackets[1] in table["properties"])
        assert known or re.search(many, entry["display"]), code


def test_other_codes_are_codes_of_loinc_with_one_name_each():
    table = Mappings.read().table("codes_test")
    names = [(code, entry["display"]) for code, entry in table["codes"].items()]
    others = [pair for entry in table["codes"].values() for pair in entry.get("instead", {}).items()]
    assert len(others) >= 50
    wrong = [code for code, _ in others if _check_digit(code.partition("-")[0]) != int(code.partition("-")[2])]
    assert wrong == []
    assert max(Counter(code for code, _ in {*names, *others}).values()) == 1
    assert max(Counter(name for _, name in {*names, *others}).values()) == 1


@pytest.mark.parametrize(
    ("test", "result", "section", "category"),
    [
        ("urine glucose", "trace", None, "laboratory"),
        ("Sat", "95%", None, "vital-signs"),
        ("homocysteine", "9 umol/L", "vitals", "laboratory"),  # the code says more than the section
        ("homocysteine", "positive", None, "laboratory"),  # also of a result that the code does not take
        ("chest x-ray", "normal", None, None),
        ("pain score", "5", "vitals", "vital-signs"),
    ],
)
def test_the_category_follows_the_code(normalizer, test, result, section, category):
    (fact,) = normalizer.facts(write(f"{test} {result}", ("test", test, {"labvalue": result}), section=section))
    assert fact.category == category


def test_a_study_is_no_laboratory_test():
    entries = Mappings.read().table("codes_test")["codes"].values()
    studies = re.compile(r"\bstudy\b|^(?:XR|CT|MR|MRA|US|US\.doppler|NM|MG|RF|DXA) ")
    assert {entry.get("category") for entry in entries if studies.search(entry["display"])} == {None}
    brackets = [entry for entry in entries if re.search(r"in (?:Serum|Blood|Urine|Plasma)", entry["display"])]
    assert {entry.get("category") for entry in brackets} == {"laboratory"}
