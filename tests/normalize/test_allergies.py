"""Allergies that only codes tell from other words; time. The cases are in cases/allergies.toml."""

import re
import time

import pytest
from written_documents import write

from kiwi_fhir.normalize import Normalizer, load_linker


@pytest.fixture(scope="module")
def coded():
    """A normalizer with codes."""
    return Normalizer(linker=load_linker()[0])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("PCN-rash", [("pcn", ["rash"])]),
        ("amoxicillin-hives", [("amoxicillin", ["hives"])]),
        ("latex–itching", [("latex", ["itching"])]),
        ("latex-based gloves", [("latex-based gloves", [])]),
        ("beta-lactams", []),
    ],
)
def test_a_dash_without_spaces_parts_a_substance_from_a_problem_with_a_code(coded, words, said):
    document = write(f"ALLERGIES: {words}.", ("problem", words, {}), section="allergies")
    facts = [fact for fact in coded.facts(document) if fact.allergy == "substance"]
    assert [(fact.text.lower(), [item.text for item in fact.reactions]) for fact in facts] == said


def test_long_lists_take_linear_time():
    text = "ALLERGIES: " + ", ".join(["PCN-rash", "latex allergy was ruled out", "no allergies besides eggs"] * 1500)
    words = [(found[0], found.start()) for found in re.finditer("PCN-rash|latex allergy", text)]
    document = write(text, *[("problem", word, {}) for word, _ in words], section="allergies")
    started = time.process_time()
    Normalizer().facts(document)
    assert time.process_time() - started < 10
