"""Notes that are not in English state nothing, and say so once."""

import json
import time

import pytest

from kiwi_fhir.config import Config
from kiwi_fhir.demo import notes
from kiwi_fhir.errors import MappingError
from kiwi_fhir.normalize.text.language import load_languages
from kiwi_fhir.run.mapper import DocumentMapper
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import Document, Mention, Note, Span

LANGUAGES = load_languages(Mappings.read())

OTHERS = {
    "spanish": "Paciente de 54 años con dolor torácico. Niega fiebre. No refiere disnea.",
    "french": "Patiente de 61 ans, douleur dans la jambe gauche. Pas de fièvre, sans toux.",
    "german": "Die Patientin klagt über Husten, kein Fieber. Diabetes ist seit 2010 bekannt.",
    "portuguese": "Nega febre. Apresenta dor no peito há três dias, sem tosse, com náuseas.",
    "italian": "Il paziente nega febbre; dolore alla gamba sinistra da due giorni.",
    "dutch": "Patiënt heeft geen koorts, wel hoesten sinds twee dagen en pijn bij het plassen.",
    "swedish": "Patienten har inte feber och är utan smärta.",
    "danish": "Patienten har ikke feber og er uden smerter.",
    "polish": "Pacjent nie zgłasza gorączki, bez bólu w klatce, oraz bez duszności.",
    "turkish": "Hastanın ateşi yok, göğüs ağrısı ile geldi ve bir haftadır öksürük var.",
}
SCRIPTS = [
    "Пациент жалуется на боль в груди.",
    "患者否认发热，有咳嗽和头痛症状两天。",
    "ينفي المريض وجود حمى أو سعال.",
    "환자는 발열을 부인하고 기침이 있다.",
]
ENGLISH = [
    "",
    "120/80",
    "Na 140 K 4.2 Cl 100 CO2 24 BUN 12 Cr 0.9 α1 β2 µg",
    "Pt w/ CP. No SOB. ASA 81 mg po qd. LA enlarged, no PE. s/p CABG x3 in '04.",
    "de Quervain tenosynovitis. AML, de novo.",
    "He says: 'me duele la cabeza, no tengo fiebre'. The history was taken with an interpreter. She denies a cough.",
    "DX: DM II, HTN, COPD, ESRD, MS, MI, CVA, TIA",
    "Seen by Dr. van der Berg and Dr. de la Cruz. Cul-de-sac is free.",
]


@pytest.mark.parametrize(("language", "text"), OTHERS.items())
def test_another_language(language, text):
    assert LANGUAGES.foreign(text) == language
    assert LANGUAGES.foreign(text.upper()) == language or language == "turkish"  # "I" of Turkish is no "i"


@pytest.mark.parametrize("text", SCRIPTS)
def test_another_script(text):
    assert LANGUAGES.foreign(text) == "another script"


@pytest.mark.parametrize("text", ENGLISH)
def test_english(text):
    assert LANGUAGES.foreign(text) is None


def test_the_demo_notes_are_english():
    assert [LANGUAGES.foreign(note.text) for note in notes()] == [None] * len(list(notes()))


def found(text, **settings):
    note = Note("n1", text, patient_id="p1")
    document = Document(note, (Mention("problem", Span(0, 5)),))
    return DocumentMapper(Config().with_options(**settings))(document)


def test_it_states_nothing_and_says_so_once(tmp_path):
    result, failures = found(OTHERS["spanish"])
    assert [entry["resource"]["resourceType"] for entry in json.loads(result.bundle).get("entry", [])] == []
    assert result.not_mapped["not-english"] == 1
    assert [(item.note_id, item.error, item.kept) for item in failures] == [("n1", "not-english", True)]
    assert "fiebre" not in failures[0].message
    (tmp_path / "own.toml").write_text("[language]\nenabled = false\n", encoding="utf-8")
    result, failures = found(OTHERS["spanish"], mappings=str(tmp_path / "own.toml"))
    assert (result.resources["Condition"], failures) == (1, [])


def test_a_long_note_costs_no_more_than_its_start():
    started = time.process_time()
    assert LANGUAGES.foreign("kein Fieber und keine Schmerzen " * 100_000) == "german"
    assert time.process_time() - started < 0.1


def test_english_has_to_be_there(tmp_path):
    (tmp_path / "language.toml").write_text("enabled = true\nleast = 3\ntimes = 2\n[words]\ngerman = ['und']\n")
    with pytest.raises(MappingError, match="english"):
        load_languages(Mappings.read(tmp_path))
