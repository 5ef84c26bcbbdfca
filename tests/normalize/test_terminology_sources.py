"""The index: Athena's files, a CSV, the cache, and the faults that a user is told of."""

import os
import pickle
import threading
from multiprocessing import get_context

import pytest
from terminology_files import CONCEPT, CONCEPTS, write_athena

from kiwi_fhir.errors import InputError, UsageError
from kiwi_fhir.normalize.terminology import cache
from kiwi_fhir.normalize.terminology.names import key
from kiwi_fhir.normalize.terminology.rules import load_rules
from kiwi_fhir.normalize.terminology.sources import open_index
from kiwi_fhir.tables import Mappings

RULES = load_rules(Mappings.read())


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def athena(tmp_path):
    return open_index(str(write_athena(tmp_path / "athena")), RULES)[0]


def found(index, name, label="problem"):
    return [(c.system.rpartition("/")[2], c.code) for c in index.find(key(name), label)]


def test_a_standard_concept_is_found_by_name_and_synonym(athena):
    (concept,) = athena.find(key("Essential hypertension"), "problem")
    assert (concept.system, concept.code) == ("http://snomed.info/sct", "59621000")
    assert (concept.concept_id, concept.domain) == (320128, "Condition")
    assert athena.targets(concept) == ()
    assert found(athena, "idiopathic high tension of vessels") == [("sct", "59621000")]
    assert found(athena, "hipertension esencial") == []  # not English
    assert found(athena, "serum natrium", "test") == [("loinc.org", "2951-2")]


def test_a_source_concept_leads_to_the_standard_one(athena):
    (concept,) = athena.find(key("Essential primary hypertension"), "problem")
    assert concept.code == "I10"
    assert [target.code for target in athena.targets(concept)] == ["59621000"]
    assert [target.concept_id for target in athena.targets(concept)] == [320128]


def test_names_of_retired_concepts_count_where_they_lead_on(athena):
    (concept,) = athena.find(key("retired wing sign"), "problem")
    assert [target.code for target in athena.targets(concept)] == ["111"]
    assert found(athena, "lost wing sign") == []


def test_quotes_are_letters_and_other_domains_are_left_out(athena):
    assert found(athena, 'frosted "wing" sign') == [("sct", "111")]
    for label in ("problem", "drug", "test", "treatment"):
        assert found(athena, "lands of nowhere", label) == []


def test_two_codes_of_one_name_are_none_unless_they_lead_to_one(athena):
    assert found(athena, "twin marker") == []
    assert found(athena, "echo marker") == [("sct", "114")]


def test_the_label_decides_the_domain(athena):
    assert found(athena, "bristle count", "test") == [("loinc.org", "9999-1")]
    assert found(athena, "bristle count", "treatment") == [("sct", "222")]
    assert found(athena, "aspirin", "drug") == [("rxnorm", "1191")]  # the standard one, not SNOMED's
    assert found(athena, "aspirin", "problem") == []
    (concept,) = athena.find(key("quiet knee"), "problem")
    assert concept.system == "urn:kiwi-fhir:vocabulary:Site%20Codes"


def test_concept_alone_is_enough(tmp_path):
    folder = write_athena(tmp_path / "athena", only=True)
    index, _ = open_index(str(folder / "CONCEPT.csv"), RULES)
    (concept,) = index.find(key("Essential primary hypertension"), "problem")
    assert index.targets(concept) == ()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda text: text.replace("concept_code", "code", 1),
            r"CONCEPT\.csv, line 1: the column 'concept_code' is missing",
        ),
        (lambda text: text.replace("\t", ","), r"line 1: the column 'concept_id' is missing"),
        (
            lambda text: text.replace("4000001\t", "four\t", 1),
            r"line 4: the column 'concept_id' must be a whole number",
        ),
        (lambda text: text.replace("\tS\t111", "\tS\t111\t\t", 1), r"line 4: 12 columns where the header has 10"),
    ],
)
def test_faults_of_athenas_files(tmp_path, spoil, message):
    folder = write_athena(tmp_path / "athena")
    file = folder / "CONCEPT.csv"
    file.write_text(spoil(file.read_text()))
    with pytest.raises(InputError, match=message):
        open_index(str(folder), RULES)
    assert not list(cache.cache_folder().iterdir())  # nothing half-built stays


def test_not_utf_8(tmp_path):
    folder = write_athena(tmp_path / "athena")
    (folder / "CONCEPT.csv").write_bytes(CONCEPT.encode() + b"\n1\tM\xe9ni\xe8re\tCondition\tSNOMED\tx\tS\t1\t1\t2\t\n")
    with pytest.raises(InputError, match=r"line 2 is not UTF-8"):
        open_index(str(folder), RULES)


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_what_is_no_terminology(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"CONCEPT\.csv"):
        open_index(str(tmp_path / name), RULES)


def csv_index(tmp_path, text):
    path = tmp_path / "names.csv"
    path.write_text(text, encoding="utf-8")
    return open_index(str(path), RULES)[0]


def test_a_csv_of_names(tmp_path):
    index = csv_index(
        tmp_path,
        "type,Name,code,system,display\n"
        "problem,broken heart,HP-1,http://example.org/site,Heartbreak\n"
        'problem,"heart, broken",HP-1,http://example.org/site,Heartbreak\n'
        "problem,broken heart,I51.81,ICD10CM,\n"
        "Test,heart beat,8867-4,LOINC,\n"
        "problem,two ways,A,http://example.org/site,\n"
        "problem,two ways,B,http://example.org/site,\n",
    )
    first, second = index.find(key("Broken hearts"), "problem")
    assert (first.code, first.display) == ("HP-1", "Heartbreak")
    assert (second.system, second.code, second.display) == (RULES.systems["ICD10CM"], "I51.81", "broken heart")
    assert found(index, "heart, broken") == [("site", "HP-1")]
    assert found(index, "heart beat", "test") == [("loinc.org", "8867-4")]
    assert found(index, "two ways") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,code,type\na,1,problem\n", r"names\.csv, line 1: the column 'system' is missing"),
        ("", r"line 1: the column 'name' is missing"),
        ("name,code,system,type\na,1,LOINC,test\nb,2,LOINC,lab\n", r"line 3: the column 'type' must be problem, test"),
        ("name,code,system,type\na,1,Loink,test\n", r"line 2: the column 'system' must be a URI"),
        ("name,code,system,type\na,,LOINC,test\n", r"line 2: the column 'code' is empty"),
        ("name,code,system,type\na,1,LOINC\n", r"line 2: 3 columns where the header has 4"),
        ('name,code,system,type\n"a\n', r"line 2"),
    ],
)
def test_faults_of_a_csv(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        csv_index(tmp_path, text)


def test_an_index_is_built_once_for_the_same_content(tmp_path, monkeypatch):
    folder = write_athena(tmp_path / "athena")
    index, digest = open_index(str(folder), RULES)
    made = index.path.stat().st_mtime_ns
    again, same = open_index(str(folder), RULES)
    assert (again.path, same) == (index.path, digest)
    assert again.path.stat().st_mtime_ns == made
    write_athena(folder, CONCEPTS[:-1])
    other, changed = open_index(str(folder), RULES)
    assert changed != digest
    assert other.path != index.path


def test_without_a_cache_folder_a_temporary_one_is_used(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file is in the way")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    folder = cache.cache_folder()
    assert folder.is_relative_to(tmp_path / "tmp")
    assert folder.stat().st_mode & 0o077 == 0


def _ask(index, number):
    return index.find(key("essential hypertension"), "problem")[0].code + str(number % 1)


def test_threads_and_processes_share_one_file(athena):
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(found(athena, "twin marker"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [[]] * 4
    assert found(athena, "essential hypertension") == [("sct", "59621000")]
    copy = pickle.loads(pickle.dumps(athena))
    assert copy.path == athena.path
    with get_context("spawn").Pool(2) as pool:
        assert pool.starmap(_ask, [(athena, number) for number in range(4)]) == ["596210000"] * 4


def test_the_file_is_opened_for_reading_only(athena):
    with pytest.raises(Exception, match=r"readonly|read-only"):
        athena._connection().execute("DELETE FROM name")
    assert os.access(athena.path, os.R_OK)
