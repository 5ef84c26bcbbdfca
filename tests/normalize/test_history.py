"""Which diseases last: by code, by words; the table itself. The cases are in cases/history.toml."""

import re
import time

import pytest
from written_documents import write

from kiwi_fhir.normalize import Normalizer, load_linker
from kiwi_fhir.tables import Mappings

TABLE = Mappings.read().table("history")
NORMALIZER = Normalizer(linker=load_linker()[0])


@pytest.mark.parametrize(
    ("words", "past"),
    [
        ("HTN", False),
        ("CAD", False),
        ("diabetic retinopathy", False),
        ("spastic colon", False),
        ("old MI", True),
        ("CVA", True),
        ("gestational diabetes", True),
        ("COPD exacerbation", True),
        ("diabetic ketoacidosis", True),
        ("sickle cell crisis", True),
        ("colon cancer", True),
        ("anxiety", True),
        ("atrial fibrillation", True),
        ("permanent atrial fibrillation", False),
    ],
)
def test_a_disease_lasts_by_its_code(words, past):
    document = write(f"PMH: {words}.", ("problem", words, {}), section="past_history")
    assert NORMALIZER.facts(document)[0].past is past


def test_codes_begin_codes_that_exist():
    icd = pytest.importorskip("simple_icd_10_cm")
    lasting = TABLE["lasting"]
    assert [code for code in (*lasting["codes"], *lasting["but"]) if not icd.is_valid_item(code)] == []
    assert all(code.startswith(tuple(lasting["codes"])) for code in lasting["but"])


def test_phrases_stand_once_and_in_lower_case():
    lists = [TABLE[key] for key in ("recorded", "behind", "within", "single", "treated")]
    for words in (*lists, TABLE["lasting"]["words"], TABLE["lasting"]["ends"]):
        assert len(words) == len(set(words))
        assert all(word == word.lower() and not re.search(r"\s\s|^\s|\s$", word) for word in words)


def test_a_long_sentence_takes_linear_time():
    text = "S/p " + ", ".join(["fall and cough by history, fever and chills have resolved"] * 1500) + "."
    words = [(found[0], found.start()) for found in re.finditer("fall|cough|fever|chills", text)]
    document = write(text, *[("problem", word, {}) for word, _ in words])
    started = time.process_time()
    facts = Normalizer().facts(document)
    assert time.process_time() - started < 5
    assert len(facts) == len(words)
