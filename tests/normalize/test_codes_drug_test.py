"""The code tables of drugs (RxNorm) and tests (LOINC): what they hold, and what they must not."""

import re

import pytest
from written_documents import write

from kiwi_fhir.normalize import load_linker
from kiwi_fhir.normalize.terminology.codes import load_codes
from kiwi_fhir.normalize.terminology.names import key
from kiwi_fhir.normalize.terminology.rules import load_rules
from kiwi_fhir.tables import Mappings

RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
LOINC = "http://loinc.org"

DRUGS = {
    "1191": "aspirin, ASA, Ecotrin",
    "161": "acetaminophen, Tylenol, APAP, paracetamol",
    "5640": "ibuprofen, Motrin, Advil",
    "7258": "naproxen, Aleve, naproxen sodium",
    "7052": "morphine, morphine sulfate",
    "29046": "lisinopril, Zestril",
    "6918": "metoprolol, Lopressor, Toprol XL, metoprolol succinate, metoprolol tartrate po",
    "1202": "atenolol, Tenormin",
    "17767": "amlodipine, Norvasc",
    "5487": "hydrochlorothiazide, HCTZ",
    "4603": "furosemide, Lasix, IV Lasix",
    "83367": "atorvastatin, Lipitor",
    "36567": "simvastatin, Zocor",
    "11289": "warfarin, Coumadin",
    "5224": "heparin, heparin drip",
    "67108": "enoxaparin, Lovenox",
    "32968": "clopidogrel, Plavix",
    "1364430": "apixaban, Eliquis",
    "3407": "digoxin, Lanoxin",
    "703": "amiodarone",
    "4917": "nitroglycerin, NTG, sublingual nitroglycerin",
    "6809": "metformin, Glucophage",
    "5856": "insulin",
    "274783": "insulin glargine, Lantus",
    "253181": "NPH",
    "10582": "levothyroxine, Synthroid",
    "8640": "prednisone, prednisone taper",
    "6902": "methylprednisolone, Solu-Medrol",
    "3264": "dexamethasone, Decadron",
    "435": "albuterol, Proventil, albuterol inhaler, albuterol nebulizer treatment",
    "7646": "omeprazole, Prilosec",
    "40790": "pantoprazole, Protonix",
    "26225": "ondansetron, Zofran",
    "36437": "sertraline, Zoloft",
    "4493": "fluoxetine, Prozac",
    "6470": "lorazepam, Ativan",
    "25480": "gabapentin, Neurontin",
    "8183": "phenytoin, Dilantin",
    "11124": "vancomycin, Vanc",
    "2193": "ceftriaxone, Rocephin",
    "2551": "ciprofloxacin, Cipro",
    "18631": "azithromycin, Zithromax, Z-Pak",
    "723": "amoxicillin",
    "70618": "penicillin, PCN",
    "8591": "potassium chloride, KCl, K-Dur",
    "9863": "normal saline, NS, sodium chloride",
    "6581": "milk of magnesia, MOM",
    "4511": "folic acid, folate",
    "24947": "ferrous sulfate",
    "10831": "Bactrim, TMP-SMX, trimethoprim/sulfamethoxazole",
    "19711": "Augmentin, amoxicillin/clavulanate",
    "214182": "Vicodin, Norco, hydrocodone/acetaminophen",
    "284635": "Advair",
}

TESTS = {
    "85354-9": "blood pressure, BP",
    "8480-6": "systolic blood pressure",
    "8462-4": "diastolic blood pressure",
    "8867-4": "heart rate, pulse rate, HR",
    "9279-1": "respiratory rate, RR",
    "8310-5": "temperature, temp",
    "29463-7": "weight",
    "8302-2": "height",
    "39156-5": "BMI, body mass index",
    "6690-2": "WBC, white blood cell count, white count",
    "718-7": "hemoglobin, Hgb, admission hemoglobin",
    "4544-3": "hematocrit, Hct",
    "777-3": "platelets, platelet count",
    "2951-2": "sodium, Na, serum sodium",
    "2823-3": "potassium, K, potassium level",
    "2075-0": "chloride",
    "2160-0": "creatinine, Cr, the most recent creatinine",
    "3094-0": "BUN, blood urea nitrogen",
    "2345-7": "glucose, glucoses",
    "17861-6": "calcium",
    "1920-8": "AST, SGOT",
    "1742-6": "ALT, SGPT",
    "6768-6": "alkaline phosphatase",
    "1975-2": "total bilirubin",
    "1751-7": "albumin",
    "6301-6": "INR",
    "5902-2": "prothrombin time",
    "2093-3": "cholesterol, total cholesterol",
    "2085-9": "HDL",
    "2571-8": "triglycerides",
    "4548-4": "hemoglobin A1c, HbA1c, A1c",
    "3016-3": "TSH",
    "10839-9": "troponin I",
    "2857-1": "PSA",
    "24356-8": "urinalysis, UA",
    "600-7": "blood cultures",
    "630-4": "urine culture",
    "1988-5": "CRP, C-reactive protein",
    "4537-7": "ESR, sed rate",
    "58410-2": "CBC, complete blood count",
    "30745-4": "CXR, chest x-ray, x-ray of the chest",
    "11524-6": "EKG, ECG, electrocardiogram",
}


def _said(table):
    return [(words.strip(), code) for code, row in table.items() for words in row.split(", ")]


@pytest.fixture(scope="module")
def linker():
    return load_linker()[0]


@pytest.fixture(scope="module")
def tables():
    return load_codes(Mappings.read(), load_rules(Mappings.read()).sides)


def first(linker, label, words, section=None, text=None):
    (codings,) = linker.codings(write(text or words, (label, words, {}), section=section))
    return codings[0].code if codings else None


@pytest.mark.parametrize(("words", "code"), _said(DRUGS))
def test_drugs_are_ingredients_of_rxnorm(linker, words, code):
    assert first(linker, "drug", words) == code


@pytest.mark.parametrize(("words", "code"), _said(TESTS))
def test_tests_are_codes_of_loinc(linker, words, code):
    assert first(linker, "test", words) == code


@pytest.mark.parametrize(
    "words",
    [
        "antibiotics",
        "beta blocker",
        "steroids",
        "her home medications",
        "pain medication",
        "chemotherapy",
        "IV fluids",
        "multivitamin",
        "lisinopril (Zestoretic)",
        "amoxicillin / unheardof",
        "aspirin/clopidogrel",
        "ezetimibe-simvastatin",
        "Adderall",
        "TobraDex",
        "vaccines",
        "contrast",
        "insulin 70/30",
        "oxygenation",
    ],
)
def test_classes_and_mixtures_are_no_ingredient(linker, words):
    assert first(linker, "drug", words) is None


@pytest.mark.parametrize(
    "words",
    [
        "labs",
        "the exam",
        "physical examination",
        "vital signs",
        "CT",
        "MRI",
        "x-ray",
        "biopsy",
        "ultrasound",
        "rate",
        "rhythm",
        "culture",
        "protein",
        "cardiac enzymes",
        "troponin",
        "neutrophils",
        "pulses",
    ],
)
def test_generic_tests_have_no_code(linker, words):
    assert first(linker, "test", words) is None


def test_a_short_form_takes_its_meaning_from_the_section(linker):
    assert first(linker, "test", "pulse", "vitals") == "8867-4"
    assert first(linker, "test", "pulses", "physical_exam") is None
    assert first(linker, "test", "PT", "labs") == "5902-2"
    assert first(linker, "test", "PT", "plan") is None
    assert first(linker, "test", "T", "vitals") == "8310-5"
    assert first(linker, "test", "T", "assessment") is None


def test_a_short_form_takes_its_meaning_from_the_note(linker):
    assert first(linker, "drug", "MTX") is None
    assert first(linker, "drug", "MTX", text="MTX was held; methotrexate is hard on her liver.") == "6851"
    assert first(linker, "test", "troponin", text="The troponin was flat, as was troponin I in May.") == "10839-9"


def test_a_name_that_only_the_index_knows_leads_to_the_code_of_the_table(linker):
    (found,) = linker.codings(write("iodopovidone", ("drug", "iodopovidone", {})))
    assert [(item.system, item.code, item.method) for item in found] == [
        (RXNORM, "8611", "exact"),
        ("http://www.nlm.nih.gov/research/umls/drugbank", "DB06812", "exact"),
    ]


def test_a_plural_of_a_sugar_is_the_sugar(linker):
    assert first(linker, "test", "glucoses") == first(linker, "test", "glucose") == "2345-7"


@pytest.mark.parametrize(("name", "system"), [("codes_drug", RXNORM), ("codes_test", LOINC)])
def test_each_table_names_its_system_and_licence(name, system):
    table = Mappings.read().table(name)
    assert table["system"] == system
    assert ("Regenstrief" if system == LOINC else "National Library of Medicine") in table["notice"]
    assert "\n" not in table["notice"]


@pytest.mark.parametrize(("name", "least"), [("codes_drug", 1000), ("codes_test", 300)])
def test_a_phrase_stands_once(name, least):
    table = Mappings.read().table(name)
    assert len(table["codes"]) >= least
    places = [(key(words), "uncoded") for words in table["uncoded"]]
    places += [(key(words), "ambiguous") for words in table["ambiguous"]]
    for code, entry in table["codes"].items():
        places += {(key(words), code) for words in (*entry["words"], *entry.get("abbreviations", ()))}
    keys = [words for words, _ in places]
    assert sorted(words for words in set(keys) if keys.count(words) > 1) == []
    assert "" not in keys


def test_displays_name_one_code_each(tables):
    for label in ("drug", "test"):
        displays = [coding.display for coding in tables[label].codings.values()]
        assert len(set(displays)) == len(displays)


def test_codes_of_rxnorm_are_numbers(tables):
    assert [code for code in tables["drug"].codings if not re.fullmatch(r"[1-9]\d{0,6}", code)] == []


def _check_digit(number):
    """LOINC's mod 10 (Luhn): every second digit from the right is doubled, the digits are added up."""
    doubled = [int(digit) * (2 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(number))]
    return -sum(value // 10 + value % 10 for value in doubled) % 10


def test_codes_of_loinc_have_their_check_digit(tables):
    assert _check_digit("2345") == 7  # LOINC Users' Guide, Appendix: Calculating Mod 10 check digits
    wrong = []
    for code in tables["test"].codings:
        number, _, digit = code.partition("-")
        if not re.fullmatch(r"\d{1,5}-\d", code) or _check_digit(number) != int(digit):
            wrong.append(code)
    assert wrong == []


def test_the_lists_of_laboratory_tests_and_vital_signs_agree_with_the_codes(linker):
    """A word of tests.toml is never coded as the other kind."""
    kinds = Mappings.read().table("tests")
    vital = {"85354-9", "8480-6", "8462-4", "8867-4", "9279-1", "8310-5", "2708-6", "59408-5", "29463-7", "8302-2"}
    vital |= {"39156-5", "9843-4", "8287-5", "8478-0"}
    for words in kinds["vital-signs"]:
        assert first(linker, "test", words) in vital | {None}, words
    for words in kinds["laboratory"]:
        assert first(linker, "test", words) not in vital, words
