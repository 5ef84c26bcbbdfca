"""Mentions to codes: the order of the steps, context, and what must not get a code."""

import pickle
from dataclasses import replace

import pytest
from terminology_files import write_athena, write_tables
from written_documents import write

from kiwi_fhir.errors import MappingError
from kiwi_fhir.normalize import Normalizer, load_linker
from kiwi_fhir.tables import Mappings

ICD = "http://hl7.org/fhir/sid/icd-10-cm"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
DRUGBANK = "http://www.nlm.nih.gov/research/umls/drugbank"


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return write_tables(tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="module")
def linker(tables):
    return load_linker(mappings=Mappings.read(tables))[0]


@pytest.fixture(scope="module")
def fuzzy(tables):
    return load_linker(fuzzy=True, mappings=Mappings.read(tables))[0]


def codes(linker, text, *mentions, **note):
    document = write(text, *((*mention, {})[:3] for mention in mentions), **note)
    return [[coding.code for coding in codings] for codings in linker.codings(document)]


def one(linker, label, words, modifiers=None, text=None, **note):
    (codings,) = linker.codings(write(text or words, (label, words, modifiers or {}), **note))
    return codings


def test_a_word_of_the_table_comes_first_then_an_official_name(linker):
    (coding,) = one(linker, "problem", "High blood pressures")
    assert (coding.system, coding.code, coding.method) == (ICD, "I10", "table")
    assert coding.display == "Essential (primary) hypertension"
    assert coding.score is None
    (coding,) = one(linker, "problem", "HTN")
    assert (coding.code, coding.method) == ("I10", "abbreviation")
    (coding,) = one(linker, "problem", "Crohn disease")
    assert (coding.code, coding.method) == ("K50.90", "exact")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("chest pain", "R07.9"),
        ("pneumonia", "J18.9"),
        ("urinary tract infection", "N39.0"),
        ("atrial fibrillation", "I48.91"),
        ("shortness of breath", "R06.02"),
        ("pleural effusions", "J90"),
        ("prostate cancer", "C61"),
        ("cancer of the colon", "C18.9"),
        ("bone metastases", "C79.51"),
        ("type 2 diabetes mellitus", "E11.9"),
        ("Alzheimer's disease", "G30.9"),
        ("left knee pain", "M25.562"),
        ("old myocardial infarction", "I25.2"),
        ("the migraine", "G43.909"),
    ],
)
def test_official_names_as_notes_say_them(linker, words, code):
    assert [coding.code for coding in one(linker, "problem", words)] == [code]


def test_a_label_has_names_of_its_own(linker):
    assert one(linker, "drug", "hypertension") == ()
    assert one(linker, "problem", "aspirin") == ()
    assert one(linker, "test", "chest pain") == ()


def test_a_drug_has_both_systems(linker):
    first, second = one(linker, "drug", "ASA")
    assert (first.system, first.code, first.method) == (RXNORM, "1191", "abbreviation")
    assert (second.system, second.code, second.method) == (DRUGBANK, "DB00945", "exact")
    (only,) = one(linker, "drug", "Keppra")
    assert (only.system, only.code) == (DRUGBANK, "DB01202")


@pytest.mark.parametrize(
    "words", ["ice", "rest", "patient", "the medication", "home", "diet", "stool", "pump", "S", ""]
)
def test_everyday_words_are_no_drugs(linker, words):
    text = f"x {words} x"
    assert one(linker, "drug", words or " ", text=text) == ()


@pytest.mark.parametrize("words", ["lower", "jaw", "acute", "tuberculous", "anus", "cerebral", "pain", "mass", "tumor"])
def test_fragments_of_official_lists_are_no_problems(linker, words):
    assert one(linker, "problem", words) == ()


def test_uncoded_phrases_have_no_code_at_any_step(linker, fuzzy, tables):
    assert one(linker, "problem", "pain") == ()
    assert one(linker, "problem", "the pains") == ()
    assert one(linker, "problem", "acute pain") == ()  # though R52 has that name: acute is a filler
    assert one(fuzzy, "problem", "the spots") == ()


def test_fillers_are_left_out_only_when_the_whole_is_unknown(linker):
    assert one(linker, "problem", "severe left hypertension")[0].code == "I10"
    assert one(linker, "problem", "severe sepsis")[0].code == "R65.20"
    assert one(linker, "problem", "pulmonary hypertension")[0].code != "I10"


def test_no_unspecified_side_where_the_side_is_said(linker):
    def of(words, modifiers=None):
        return [coding.code for coding in one(linker, "problem", words, modifiers)]

    assert of("knee pain") == ["M25.569"]
    assert of("acute left knee pain") == ["M25.562"]
    assert of("left gout") == ["M10.9"]  # the code has no sides
    assert of("left pain in knee") == ["M25.562"]  # its code in place of the unspecified one's
    assert of("bilateral knee pain") == []  # which has none for both
    on_the_left = one(linker, "problem", "knee pain", {"bodyloc": "left"}, text="knee pain on the left")
    assert [coding.code for coding in on_the_left] == ["M25.562"]


def test_modifiers_at_the_edges_are_no_part_of_the_name(linker):
    assert one(linker, "problem", "possible pneumonia", {"uncertain": "possible"})[0].code == "J18.9"
    assert one(linker, "problem", "marked anemia", {"severity": "marked"})[0].code == "D64.9"
    assert one(linker, "drug", "Keppra 500 mg", {"strength": "500 mg"})[0].code == "DB01202"
    several = {"strength": "500 mg", "form": "tablets", "route": "oral"}
    assert one(linker, "drug", "oral Keppra 500 mg tablets", several)[0].code == "DB01202"
    assert one(linker, "problem", "non-small pneumonia", {"negation": "non"}) == ()


def test_a_place_said_elsewhere_belongs_to_the_name(linker):
    def sited(text, words, site):
        return [c.code for c in one(linker, "problem", words, {"bodyloc": site}, text=text)]

    assert sited("abdominal aortic aneurysm", "aneurysm", "abdominal aortic") != ["I72.9"]
    assert sited("pulmonary hypertension", "hypertension", "pulmonary") == ["I27.20"]
    assert sited("hepatic hypertension", "hypertension", "hepatic") == []
    assert sited("hypertension, noted in the arm", "hypertension", "arm") == ["I10"]
    assert sited("edema of both legs", "edema", "legs") == []
    assert sited("pain in his throat", "pain", "throat") == ["R07.0"]


def test_an_abbreviation_with_several_meanings(linker):
    def of(text, **note):
        return codes(linker, text, ("problem", "MS"), **note)[0]

    assert of("MS since 1998.") == []
    assert of("MS since 1998.", section="past_history") == ["G35"]
    assert of("MS since 1998. His multiple sclerosis is stable.") == ["G35"]
    assert of("MS since 1998. Mitral stenosis was seen.", section="past_history") == ["I34.2"]
    assert of("MS. Multiple sclerosis. Mitral stenosis.", section="past_history") == []


def test_the_note_explains_its_own_abbreviations(linker):
    text = "Atrial fibrillation (AF) was found. AF is rate controlled."
    first, second = linker.codings(write(text, ("problem", "Atrial fibrillation", {}), ("problem", "AF", {})))
    assert [c.code for c in first] == [c.code for c in second] == ["I48.91"]

    text = "Mitral stenosis (MS) was found. MS is severe."
    found = codes(linker, text, ("problem", "Mitral stenosis"), ("problem", "MS"))
    assert found == [["I34.2"], ["I34.2"]]

    text = "Hasty twitching of nails (HTN) was found. HTN is mild."
    found = codes(linker, text, ("problem", "Hasty twitching of nails"), ("problem", "HTN"))
    assert found == [[], []]

    text = "chronic kidney disease (CKD) and CKD"
    found = codes(linker, text, ("problem", "chronic kidney disease (CKD)"), ("problem", "CKD"))
    assert found[0] == found[1] != []


def test_a_misspelled_word_is_linked_only_on_demand(linker, fuzzy):
    assert one(linker, "problem", "hypertention") == ()
    (coding,) = one(fuzzy, "problem", "hypertention")
    assert (coding.code, coding.method) == ("I10", "fuzzy")
    assert 0.9 < coding.score < 1
    assert one(fuzzy, "problem", "atrial fibrillaton")[0].code == "I48.91"
    assert one(fuzzy, "drug", "lisinoprill")[0].code == "DB00722"
    (coding,) = one(fuzzy, "problem", "hypertension")
    assert (coding.method, coding.score) == ("table", None)


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("problem", "hyportension"),  # hypo- or hyper-?
        ("problem", "hemostasis"),
        ("problem", "osteoarthrosis"),
        ("drug", "primaxin"),
        ("problem", "gowt"),  # too short
        ("problem", "type 12 diabetes mellitus"),
        ("drug", "prednisolona forte"),
        ("drug", "cefotaxidine"),
        ("problem", "atrail fibrillaton"),  # two slips
        ("problem", "patient"),
    ],
)
def test_what_fuzzy_must_not_guess(fuzzy, label, words):
    assert one(fuzzy, label, words) == ()


def test_facts_get_the_codings(tables, linker):
    document = write("HTN on ASA.", ("problem", "HTN", {}), ("drug", "ASA", {}))
    plain = Normalizer(Mappings.read(tables)).facts(document)
    linked = Normalizer(Mappings.read(tables), linker).facts(document)
    assert [fact.codings for fact in plain] == [(), ()]
    assert [fact.codings[0].code for fact in linked] == ["I10", "1191"]
    assert [replace(fact, codings=(), name=fact.text.lower()) for fact in linked] == plain
    assert [(fact.name, other.name) for fact, other in zip(plain, linked, strict=True)] == [
        ("htn", f"{ICD}|I10|"),
        ("asa", f"{RXNORM}|1191|"),
    ]
    assert load_linker("none", mappings=Mappings.read(tables)) == (None, "none")


def test_a_linker_travels_to_workers(linker):
    document = write("HTN and chest pain", ("problem", "HTN", {}), ("problem", "chest pain", {}))
    before = linker.codings(document)
    copy = pickle.loads(pickle.dumps(linker))
    assert copy.codings(document) == before
    assert len(pickle.dumps(linker)) < 20_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            '\n[codes."E1"]\ndisplay = "x"\nwords = ["HTNs", "y"]\n',
            r"codes_problem\.toml.*'HTNs' stands under 'codes\.I10'",
        ),
        ('\n[codes."E1"]\ndisplay = "x"\nwords = ["Pains"]\n', r"'Pains' stands under 'uncoded'"),
        ('\n[codes."E1"]\ndisplay = "x"\nwords = ["--"]\n', r"'--' holds no word"),
        ('\n[ambiguous.ra]\ncodes = ["M06.9"]\n', r"the code 'M06\.9' is not under \[codes\]"),
        ('\n[ambiguous.ra]\ncodes = ["G35"]\nsections = { nowhere = "G35" }\n', r"'nowhere' is no kind of section"),
        ('\n[codes."E1.2"]\ndisplay = "x"\n', r"line \d+.*words"),
    ],
)
def test_faults_of_a_code_table(tmp_path, change, message):
    from terminology_files import TABLES

    folder = write_tables(tmp_path / "tables", codes_problem=TABLES["codes_problem"] + change)
    with pytest.raises(MappingError, match=message):
        load_linker(mappings=Mappings.read(folder))


def test_athena_gives_codes_of_the_table_their_concepts(tmp_path, tables):
    linker, _ = load_linker(str(write_athena(tmp_path / "athena")), mappings=Mappings.read(tables))
    own, standard = one(linker, "problem", "HTN")
    assert (own.code, own.method, own.concept_id, own.domain) == ("I10", "abbreviation", 35207668, "Condition")
    assert (standard.system, standard.code, standard.concept_id) == ("http://snomed.info/sct", "59621000", 320128)
    (drug,) = one(linker, "drug", "bayer")
    assert (drug.code, drug.concept_id) == ("1191", 1112807)
    assert one(linker, "problem", "Crohn disease") == ()  # the user's names replace ours
