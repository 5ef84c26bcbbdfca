"""The code tables of problems (ICD-10-CM) and treatments (ICD-10-PCS): what they hold, and what they must not."""

import pytest
from written_documents import write

from kiwi_fhir.normalize import load_linker
from kiwi_fhir.normalize.terminology.codes import load_codes
from kiwi_fhir.normalize.terminology.names import key
from kiwi_fhir.tables import Mappings

ICD = "http://hl7.org/fhir/sid/icd-10-cm"

#: What a careful coder gives to the bare phrase.
CODES = {
    "I10": "hypertension, HTN, essential hypertension, the patient's hypertension, poorly controlled hypertension",
    "E11.9": "diabetes, DM2, type II diabetes mellitus, NIDDM",
    "E10.9": "type 1 diabetes",
    "E11.40": "diabetic neuropathy",
    "E78.5": "hyperlipidemia, HLD",
    "E78.00": "high cholesterol",
    "E03.9": "hypothyroidism",
    "E66.9": "obese",
    "E87.6": "hypokalemia",
    "E86.0": "mild dehydration",
    "I25.10": "CAD, coronary artery disease, coronary artery disease (CAD)",
    "I21.9": "MI, myocardial infarction",
    "I25.2": "old MI, history of myocardial infarction",
    "I21.4": "NSTEMI",
    "I50.9": "CHF, congestive heart failure",
    "I50.22": "chronic systolic heart failure",
    "I48.91": "atrial fibrillation, AFib, new-onset atrial fibrillation",
    "I48.0": "paroxysmal atrial fibrillation",
    "I63.9": "stroke, CVA, cerebrovascular accident",
    "Z86.73": "history of stroke, prior CVA, s/p CVA",
    "G45.9": "TIA",
    "I26.99": "PE, pulmonary emboli",
    "I82.409": "DVT, deep vein thrombosis",
    "I82.401": "right lower extremity DVT",
    "I71.40": "AAA, abdominal aortic aneurysm",
    "I73.9": "PVD",
    "I35.0": "severe aortic stenosis",
    "I34.0": "mitral regurgitation",
    "I95.9": "hypotension",
    "R01.1": "murmur",
    "R00.0": "tachycardic",
    "R94.31": "T-wave inversions",
    "J44.9": "COPD",
    "J44.1": "COPD exacerbation",
    "J45.909": "asthma, h/o asthma",
    "J18.9": "pneumonia, community-acquired pneumonia",
    "J69.0": "aspiration pneumonia",
    "J90": "pleural effusion, small left pleural effusion, bilateral pleural effusions",
    "J06.9": "URI",
    "J96.00": "acute respiratory failure",
    "J98.11": "atelectasis",
    "J02.9": "sore throat",
    "J32.9": "sinusitis",
    "R06.02": "SOB, shortness of breath",
    "R06.09": "DOE",
    "R07.9": "chest pain, chest pain ,, left-sided chest pain",
    "R05.9": "cough",
    "R06.2": "wheezes",
    "K21.9": "GERD, acid reflux",
    "K57.32": "sigmoid diverticulitis",
    "K80.20": "gallstones",
    "K92.2": "upper GI bleed",
    "K56.609": "small-bowel obstruction, SBO",
    "K74.60": "cirrhosis of the liver",
    "K59.00": "constipation",
    "K40.90": "right inguinal hernia",
    "K35.80": "acute appendicitis",
    "R11.2": "N/V, nausea and vomiting",
    "R11.0": "some nausea",
    "R10.11": "RUQ pain, right upper quadrant abdominal pain",
    "R10.9": "abdominal pain",
    "R19.7": "watery diarrhea",
    "N17.9": "acute renal failure, AKI",
    "N18.9": "CKD",
    "N18.30": "stage III chronic kidney disease, CKD 3",
    "N18.6": "ESRD",
    "N39.0": "UTI, recurrent urinary tract infections",
    "N40.0": "BPH",
    "N20.0": "left renal stone",
    "R33.9": "urinary retention",
    "R39.859": "CVA tenderness",
    "M19.90": "DJD",
    "M17.12": "osteoarthritis of the left knee",
    "M25.562": "left knee pain, pain in the left knee",
    "M25.511": "right shoulder pain",
    "M54.50": "chronic low back pain",
    "M10.9": "gout",
    "M81.0": "osteoporosis",
    "S72.001A": "right hip fracture",
    "S92.302A": "left metatarsal fracture, fracture of the left metatarsal",
    "S01.01XA": "scalp laceration",
    "S09.90XA": "closed head injury",
    "V89.2XXA": "MVA",
    "G47.33": "OSA",
    "G40.909": "seizure disorder",
    "R56.9": "seizures",
    "G43.909": "migraine headaches",
    "R51.9": "headache",
    "R55": "syncopal episode",
    "G20.A1": "Parkinson's disease",
    "F32.A": "depression",
    "F41.9": "anxiety",
    "F31.9": "bipolar disorder",
    "F03.90": "dementia",
    "F03.C0": "severe dementia",
    "R45.851": "suicidal ideation",
    "F90.9": "ADHD",
    "F84.0": "autism",
    "P07.30": "prematurity",
    "O14.90": "preeclampsia",
    "O00.90": "ectopic pregnancy",
    "D25.9": "uterine fibroids",
    "N92.0": "menorrhagia",
    "C50.912": "left breast cancer",
    "C50.919": "breast cancer, carcinoma of the breast",
    "C34.90": "non-small cell lung cancer",
    "C61": "prostate cancer",
    "C79.51": "metastases to the bones",
    "D64.9": "anemia",
    "D69.6": "thrombocytopenia",
    "L03.116": "cellulitis of the left leg",
    "R21": "rash",
    "H26.9": "cataracts",
    "H66.92": "left otitis media, left ear infection",
    "H61.23": "bilateral cerumen impaction",
    "R50.9": "fever, low-grade fever",
    "R63.4": "weight loss",
    "R53.1": "generalized weakness",
    "R60.0": "pedal edema",
    "T78.2XXA": "anaphylaxis",
}

#: What a coder could not code, or not without the rest of the note.
UNCODED = (
    "pain, severe pain, mass, the lesions, infection, cancer, tumor, injury, fracture, swelling, tenderness, "
    "bleeding, distress, no acute distress, problems, symptoms, allergies, fall, thrombosis, stenosis, pressure, "
    "cold, discharge, loss of consciousness, right-sided weakness, rib fractures, lung nodule, PCP, pannus, TTP, "
    "subdural hematoma, MS, AS, MR, PT, ARF, failure to thrive, drainage, worse, severe depression"
)


@pytest.fixture(scope="module")
def linker():
    return load_linker()[0]


@pytest.fixture(scope="module")
def official():
    return pytest.importorskip("simple_icd_10_cm")


def code(linker, words, label="problem", **more):
    (codings,) = linker.codings(write(f"x {words} x", (label, words, {}), **more))
    assert len(codings) <= 1
    return codings[0].code if codings else None


@pytest.mark.parametrize(("wanted", "words"), [(item, one) for item, said in CODES.items() for one in said.split(", ")])
def test_a_phrase_has_the_code_of_a_careful_coder(linker, wanted, words):
    assert code(linker, words) == wanted


@pytest.mark.parametrize("words", UNCODED.split(", "))
def test_what_needs_the_rest_of_the_note_stays_text(linker, words):
    assert code(linker, words) is None


def test_every_code_is_billable_and_has_its_official_name(official):
    entries = Mappings.read().table("codes_problem")["codes"]
    wrong = {
        code: entry["display"]
        for code, entry in entries.items()
        if not official.is_valid_item(code)
        or not official.is_leaf(code)
        or official.get_description(code) != entry["display"]
    }
    assert wrong == {}
    assert len(entries) > 2000


@pytest.mark.parametrize("name", ["codes_problem", "codes_treatment"])
def test_a_phrase_stands_in_one_place_and_once(name):
    table = Mappings.read().table(name)
    places = {}
    for place, phrases in [
        ("uncoded", table.get("uncoded", [])),
        ("ambiguous", table.get("ambiguous", {})),
        *((code, [*entry["words"], *entry.get("abbreviations", [])]) for code, entry in table["codes"].items()),
    ]:
        for phrase in phrases:
            places.setdefault(key(phrase), []).append((place, phrase))
    assert {item: said for item, said in places.items() if len(said) > 1} == {}
    assert all(word == word.lower().strip() for said in places.values() for _, word in said)


def test_no_filler_is_a_word_that_changes_codes():
    fillers = {key(word) for word in Mappings.read().table("codes_problem")["fillers"]}
    changing = "acute chronic recurrent persistent primary secondary congenital malignant benign old no not without"
    assert fillers.isdisjoint(changing.split())


def test_the_package_reads_its_own_tables():
    tables = load_codes(Mappings.read())
    assert tables["problem"].uncoded
    assert tables["treatment"].codings


def test_an_abbreviation_with_several_meanings_needs_the_note_or_the_section(linker):
    assert code(linker, "MS", section="past_history") == "G35.D"
    assert code(linker, "CP", section="chief_complaint") == "R07.9"
    assert code(linker, "CP") is None
    text = "Aortic stenosis was found. Her AS is severe."
    (codings,) = linker.codings(write(text, ("problem", "AS", {})))
    assert [(coding.code, coding.method) for coding in codings] == [("I35.0", "abbreviation")]


def test_a_problem_has_the_system_and_name_of_its_code(linker):
    (codings,) = linker.codings(write("left ear pain", ("problem", "left ear pain", {})))
    (coding,) = codings
    assert (coding.system, coding.code, coding.display) == (ICD, "H92.02", "Otalgia, left ear")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("laparoscopic cholecystectomy", "0FT44ZZ"),
        ("EGD", "0DJ08ZZ"),
        ("elective tonsillectomy", "0CTPXZZ"),
        ("cardioversion", "5A2204Z"),
        ("CRRT", "5A1D90Z"),
        ("Foley catheter placement", "0T9B70Z"),
        ("right heart catheterization", "4A023N6"),
        ("spontaneous vaginal delivery", "10E0XZZ"),
        ("left chest tube placement", "0W9B30Z"),
        ("chest tube placement", None),
        ("hemodialysis", None),
        ("cesarean section", None),
        ("CABG", None),
        ("left mastectomy", None),
        ("cholecystectomy", None),
        ("appendectomy", None),
        ("knee replacement", None),
        ("surgery", None),
        ("dialysis", None),
    ],
)
def test_a_treatment_has_a_code_only_when_every_axis_is_said(linker, words, wanted):
    assert code(linker, words, "treatment") == wanted


def test_treatment_codes_are_well_formed():
    entries = Mappings.read().table("codes_treatment")["codes"]
    alphabet = set("0123456789ABCDEFGHJKLMNPQRSTUVWXYZ")  # no I and no O
    assert all(len(code) == 7 and set(code) <= alphabet for code in entries)
