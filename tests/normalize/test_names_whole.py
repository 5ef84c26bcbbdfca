"""What belongs to a name and what does not: courses, numbers, sides, two names, combinations, parts behind a comma."""

import time

import pytest
from written_documents import write

from kiwi_fhir.normalize import Normalizer, load_linker
from kiwi_fhir.normalize.wholes import named, whole

CODES = {
    "problem": """
        persistent abdominal pain          | R10.9
        her intermittent chest pain        | R07.9
        recurrent severe left knee pain    | M25.562
        transient right ear pain           | H92.01
        persistent cough                   | R05.3
        persistent asthma                  | -
        mild persistent asthma             | J45.30
        persistent afib                    | -
        recurrent unheardof                | -
        persistent pain                    | -
        3. hypertension                    | I10
        #2 hypertension                    | I10
        (1) hypertension                   | I10
        1.Gout                             | M10.9
        2+ edema                           | R60.9
        1 to 2+ edema                      | R60.9
        2 vessel disease                   | -
        bilateral carpal tunnel syndrome   | G56.03
        bilat carpal tunnel syndrome       | G56.03
        b/l carpal tunnel syndrome         | G56.03
        carpal tunnel syndrome             | G56.00
        bilateral ulnar neuropathy         | G56.23
        left DVT                           | I82.402
        R knee pain                        | M25.561
        L knee pain                        | M25.562
        bilat knee pain                    | -
        L spine pain                       | -
        anemia, iron deficiency            | D50.9
        pain, chest                        | R07.9
        hypertension, essential            | I10
        fever, cough                       | -
        MI (myocardial infarction)         | I21.9
    """,
    "drug": """
        atorvastatin (Lipitor)             | 83367
        Lipitor (atorvastatin)             | 83367
        warfarin [Coumadin]                | 11289
        aspirin (ASA)                      | 1191
        insulin glargine (Lantus)          | 274783
        lisinopril (Zestoretic)            | -
        aspirin (Plavix)                   | -
        aspirin (unheardof)                | -
        sacubitril / valsartan             | 1656339
        valsartan/sacubitril               | 1656339
        Entresto                           | 1656339
        losartan-HCTZ                      | 214619
        HCTZ/Cozaar                        | 214619
        Tylenol/oxycodone                  | 214183
        metformin + sitagliptin            | 729717
        carbidopa-levodopa                 | 103990
        ipratropium - albuterol            | 214199
        aspirin/clopidogrel                | -
        amoxicillin/unheardof              | -
        losartan/valsartan                 | -
        losartan/HCTZ/valsartan            | -
        Tylenol No. 3                      | 817579
        Tylenol                            | 161
        L-thyroxine                        | 10582
    """,
    "test": """
        Bilirubin, Total                   | 1975-2
        Bilirubin, Direct                  | 1968-7
        Protein, Total                     | 2885-2
        Calcium, ionized                   | 1994-3
        Phosphatase, alkaline              | 6768-6
        INR(PT)                            | 6301-6
        INR (PT)                           | 6301-6
        INR/PT                             | 34528-0
        AST (SGOT)                         | 1920-8
        WBC, CSF                           | -
    """,
}
ROWS = [(label, *map(str.strip, row.split("|"))) for label, rows in CODES.items() for row in rows.strip().splitlines()]


@pytest.fixture(scope="module")
def linker():
    return load_linker()[0]


@pytest.mark.parametrize(("label", "words", "code"), ROWS)
def test_a_name_has_its_code_or_none(linker, label, words, code):
    (codings,) = linker.codings(write(words, (label, words, {})))
    assert [item.code for item in codings[:1]] == ([] if code == "-" else [code])


def test_a_short_form_of_a_test_is_decided_by_a_number(linker):
    document = write("PT 13.2. PT for gait.", ("test", "PT", {"labvalue": "13.2"}), ("test", "PT", {}))
    assert [[item.code for item in codings] for codings in linker.codings(document)] == [["5902-2"], []]
    document = write(
        "BS 210. BS present.", ("test", "BS", {"labvalue": "210"}), ("test", "BS", {"labvalue": "present"})
    )
    assert [[item.code for item in codings] for codings in linker.codings(document)] == [["2339-0"], []]


def spans(linker, text, *mentions):
    """The words of the mentions once they are whole, with those of their modifiers."""
    found = whole(write(text, *mentions), linker)
    return [(mention.span.of(text), *(item.span.of(text) for item in mention.modifiers)) for mention in found.mentions]


@pytest.mark.parametrize(
    ("label", "text", "words", "name"),
    [
        ("drug", "Tylenol No. 3 for pain", "Tylenol", "Tylenol No. 3"),
        ("drug", "Tylenol no.3 for pain", "Tylenol", "Tylenol no.3"),
        ("drug", "Tylenol #3 for pain", "Tylenol", "Tylenol #3"),
        ("drug", "Tylenol with codeine for pain", "Tylenol", "Tylenol with codeine"),
        ("drug", "Tylenol 3 times a day", "Tylenol", "Tylenol"),
        ("drug", "Tylenol with breakfast", "Tylenol", "Tylenol"),
        ("drug", "Tylenol\nwith codeine", "Tylenol", "Tylenol"),
        ("drug", "lisinopril/HCTZ 20/25", "lisinopril", "lisinopril/HCTZ"),
        ("drug", "Diovan HCT 80/12.5 mg", "Diovan", "Diovan HCT"),
        ("drug", "Humalog 75/25 20 units", "Humalog", "Humalog 75/25"),
        ("drug", "aspirin and Plavix", "aspirin", "aspirin"),
        ("test", "Bilirubin, Direct 0.3", "Bilirubin", "Bilirubin, Direct"),
        ("test", "Bilirubin, Total-0.4", "Bilirubin", "Bilirubin, Total"),
        ("test", "Glucose, urine negative", "Glucose", "Glucose, urine"),
        ("test", "Bilirubin, direct was high", "Bilirubin", "Bilirubin, direct"),
        ("test", "Calcium, total protein and albumin", "Calcium", "Calcium"),
        ("test", "CA 125 was 40", "CA", "CA 125"),
        ("test", "CA 19-9 of 40", "CA", "CA 19-9"),
        ("test", "Ca 9.1", "Ca", "Ca"),
        ("test", "hemoglobin A1c 7.1", "hemoglobin", "hemoglobin A1c"),
        ("test", "hemoglobin 12", "hemoglobin", "hemoglobin"),
        ("test", "blood pressure", "blood", "blood"),
        ("problem", "R>L leg edema", "L leg edema", "R>L leg edema"),
        ("problem", "of R L leg", "L leg", "L leg"),
        ("test", "Bilirubin, Total\nProtein, Total", "Bilirubin", "Bilirubin, Total"),
        ("test", "Calcium, total\nprotein", "Calcium", "Calcium"),
        ("test", "Calcium, free T4", "Calcium", "Calcium"),
        ("problem", "Anemia, iron deficiency.", "Anemia", "Anemia, iron deficiency"),
        ("problem", "Hypertension, essential tremor", "Hypertension", "Hypertension"),
        ("problem", "denies f/c/s.", "s", "f/c/s"),
        ("problem", "No n/v, no rash", "n", "n/v"),
        ("problem", "s/p fall", "p", "p"),
        ("problem", "c/o fever", "o", "o"),
        ("problem", "and/or fever", "or", "or"),
    ],
)
def test_a_mention_is_the_whole_name(linker, label, text, words, name):
    at = text.rindex(words) if name.endswith(words) else text.index(words)
    document = write(text[at:], (label, words, {}))
    (mention,) = document.mentions
    moved = type(mention.span)(at, at + len(words))
    document = type(document)(type(document.note)("n", text), (type(mention)(label, moved),), document.model)
    (found,) = whole(document, linker).mentions
    assert found.span.of(text) == name


def test_what_the_name_covers_is_left_out_and_gives_its_modifiers(linker):
    text = "Bilirubin, Direct 0.3 and Tylenol with codeine 1 tablet"
    found = spans(
        linker,
        text,
        ("test", "Bilirubin", {}),
        ("test", "Direct", {"labvalue": "0.3"}),
        ("drug", "Tylenol", {}),
        ("drug", "codeine", {"dosage": "1 tablet"}),
    )
    assert found == [("Bilirubin, Direct", "0.3"), ("Tylenol with codeine", "1 tablet")]


def test_the_number_of_a_name_is_no_dose_but_other_words_are_no_name(linker):
    found = spans(linker, "Tylenol No. 3 daily", ("drug", "Tylenol", {"dosage": "3", "frequency": "daily"}))
    assert found == [("Tylenol No. 3", "daily")]
    found = spans(linker, "CA 125 was 40", ("test", "CA", {"labvalue": ["125", "40"]}))
    assert found == [("CA 125", "40")]
    found = spans(linker, "insulin sliding scale", ("drug", "insulin", {"frequency": "sliding scale"}))
    assert found == [("insulin", "sliding scale")]


def test_without_a_linker_only_letters_are_joined():
    assert spans(None, "Tylenol #3. No f/c", ("drug", "Tylenol", {}), ("problem", "c", {})) == [("Tylenol",), ("f/c",)]


def test_the_side_in_a_problem_s_own_words_is_its_site():
    text = "bilat knee pain, R arm weakness, knee pain, L spine pain, left ventricular failure, left leg pain"
    words = ("bilat knee pain", "R arm weakness", "knee pain", "L spine pain", "left ventricular failure")
    document = write(text, *(("problem", item, {}) for item in words), ("problem", "leg pain", {"bodyloc": "left leg"}))
    facts = Normalizer().facts(document)
    sites = [[(site.text, site.laterality and site.laterality.display) for site in fact.body_sites] for fact in facts]
    assert sites == [
        [("bilat knee", "Bilateral")],
        [("R arm", "Unilateral right")],
        [],
        [],
        [],
        [("left leg", "Unilateral left")],
    ]


@pytest.mark.parametrize("piece", ["a/", "Tylenol with ", "Bilirubin, ", "left knee ", "(", "/"])
def test_long_mentions_take_no_time(linker, piece):
    text = piece * (100_000 // len(piece))
    for label in ("problem", "drug", "test"):
        begun = time.process_time()
        (codings,) = linker.codings(write(text, (label, text, {})))
        assert codings == ()
        spans(linker, text, (label, text[:20], {}))
        assert time.process_time() - begun < 2


@pytest.mark.parametrize(
    ("label", "words", "held", "expected"),
    [
        ("drug", "hydronephrosis", {}, "problem"),
        ("drug", "hydronephrosis", {"strength": "5 mg"}, "drug"),
        ("drug", "metformin", {}, "drug"),
        ("drug", "a new tablet", {}, "drug"),
        ("test", "Factor V Leiden", {}, "test"),
    ],
)
def test_what_has_no_code_as_a_drug_and_one_as_something_else(linker, label, words, held, expected):
    text = f"He has {words} 5 mg."
    (mention,) = named(write(text, (label, words, held)), linker).mentions
    assert mention.label == expected
