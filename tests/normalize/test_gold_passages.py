"""The passages that the model is trained on: what their annotators marked stands, and little comes to it.

The model has seen these texts, the rules have not: they are asked here about marks that are known to be right.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

import kiwi_fhir.train
from kiwi_fhir.documents.brat import read_folder
from kiwi_fhir.documents.headings import load_headings
from kiwi_fhir.documents.structure import read_structure
from kiwi_fhir.normalize.context.arbiter import load_arbiter
from kiwi_fhir.normalize.text.words import lower
from kiwi_fhir.tables import Mappings

KINDS = ("negation", "uncertain", "condition", "subject")


@pytest.fixture(scope="module")
def counted():
    """How often (kind, marked, ruled) comes, and what of it was refused."""
    arbiter, headings = load_arbiter(Mappings.read()), load_headings(Mappings.read())
    counts, refused = Counter(), []
    for document in read_folder(Path(kiwi_fhir.train.__file__).parent / "passages"):
        text = document.note.text
        structure = read_structure(text, headings)
        placed = [replace(mention, section=structure.kind_at(mention.span.start)) for mention in document.mentions]
        for mention, ruling in zip(placed, arbiter.rule(text, lower(text), placed, structure), strict=True):
            for kind in KINDS:
                marked, ruled = (any(held.label == kind for held in one.modifiers) for one in (mention, ruling.mention))
                counts[kind, marked, ruled] += 1
                if marked and not ruled:
                    refused.append((document.note.id, kind, mention.span.of(text)))
    return counts, refused


def test_what_is_marked_stands(counted):
    counts, refused = counted
    assert refused == [("632", "negation", "pain")]  # "No pain except with stretching": there is some
    assert counts["negation", True, True] > 2700
    assert counts["uncertain", True, True] > 200


@pytest.mark.parametrize(("kind", "most"), [("negation", 40), ("uncertain", 25), ("condition", 35), ("subject", 3)])
def test_little_is_added(counted, kind, most):
    assert counted[0][kind, False, True] <= most
