"""What a note says several times is one resource with all its places; what differs in anything is not."""

import json
import time

import pytest
from written_documents import write

from kiwi_fhir.fhir import to_json
from kiwi_fhir.fhir.elements import DERIVATION
from kiwi_fhir.normalize import Normalizer, load_linker
from kiwi_fhir.types import Document, Mention, Modifier, Note, Span

PROBLEM, TEST, DRUG, TREATMENT = "problem", "test", "drug", "treatment"


@pytest.fixture(scope="module")
def coded():
    """A normalizer with codes."""
    return Normalizer(None, load_linker()[0])


@pytest.fixture(scope="module")
def stated(coded, writer):
    """`stated(text, mentions...)`: what the resources are of and the words at each of their places."""

    def build(text, *mentions, writer=writer, **how):
        document = write(text, *mentions, **how)
        found = []
        for resource in resources(writer, document, coded):
            spans = [_parts(item) for item in resource["extension"] if item["url"] == DERIVATION]
            words = [text[at["offset"] : at["offset"] + at["length"]] for at in spans]
            found.append((resource["resourceType"], words))
        return found

    return build


def resources(writer, document, normalizer):
    written = writer.write(document, normalizer.facts(document))
    assert written.failures == []
    bundle = json.loads(to_json(written.bundle))
    return [entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] != "Provenance"]


def _parts(extension):
    return {
        part["url"]: next(value for name, value in part.items() if name != "url") for part in extension["extension"]
    }


ONE = [
    # the same code by other words, an article, another number
    ("HTN. Hypertension is stable.", (PROBLEM, "HTN", {}), (PROBLEM, "Hypertension", {})),
    ("Her headaches. A headache.", (PROBLEM, "Her headaches", {}), (PROBLEM, "A headache", {})),
    # no code: the words
    ("Odd taste. odd  taste", (PROBLEM, "Odd taste", {}), (PROBLEM, "odd  taste", {})),
    ("No fever. Denies fevers.", (PROBLEM, "fever", {"negation": "No"}), (PROBLEM, "fevers", {"negation": "Denies"})),
    (
        "Lasix daily. Furosemide daily.",
        (DRUG, "Lasix", {"frequency": "daily"}),
        (DRUG, "Furosemide", {"frequency": "daily"}),
    ),
    ("BP 120/80. BP 120/80.", (TEST, "BP", {"labvalue": "120/80"}), (TEST, "BP", {"labvalue": ["120/80"]})),
    ("Hgb 9.1. Hemoglobin 9.1", (TEST, "Hgb", {"labvalue": "9.1"}), (TEST, "Hemoglobin", {"labvalue": "9.1"})),
    ("A biopsy. The biopsy", (TREATMENT, "A biopsy", {}), (TREATMENT, "The biopsy", {})),
    (
        "pain in left knee, pain of left knee",
        (PROBLEM, "pain", {"bodyloc": "left knee"}),
        (PROBLEM, "pain", {"bodyloc": "left knee"}),
    ),
    # one leaves out what the other says
    ("Gout. Gout since 2001", (PROBLEM, "Gout", {}), (PROBLEM, "Gout", {"temporal": "2001"})),
    ("Metformin. Metformin 500 mg", (DRUG, "Metformin", {}), (DRUG, "Metformin", {"strength": "500 mg"})),
    ("Metformin 500 mg. Metformin", (DRUG, "Metformin", {"strength": "500 mg"}), (DRUG, "Metformin", {})),
    # one is nothing but the name
    ("Lasix. Continue Lasix", (DRUG, "Lasix", {}), (DRUG, "Lasix", {})),
    ("Continue Lasix 20 mg. Lasix", (DRUG, "Lasix", {"strength": "20 mg"}), (DRUG, "Lasix", {})),
    ("Underwent a biopsy. The biopsy", (TREATMENT, "a biopsy", {}), (TREATMENT, "The biopsy", {})),
]


@pytest.mark.parametrize(("text", "one", "other"), ONE, ids=lambda item: item if isinstance(item, str) else "")
def test_the_same_is_one_with_both_places(stated, text, one, other):
    ((_, words),) = stated(text, one, other)
    assert words == [one[1], other[1]]


TWO = [
    ("No gout. Gout.", (PROBLEM, "gout", {"negation": "No"}), (PROBLEM, "Gout", {})),
    ("Possible gout. Gout.", (PROBLEM, "gout", {"uncertain": "Possible"}), (PROBLEM, "Gout", {})),
    ("pneumonia, right lower lobe pneumonia", (PROBLEM, "pneumonia", {}), (PROBLEM, "right lower lobe pneumonia", {})),
    ("pneumonia, bilateral pneumonia", (PROBLEM, "pneumonia", {}), (PROBLEM, "bilateral pneumonia", {})),
    ("otitis media, acute otitis media", (PROBLEM, "otitis media", {}), (PROBLEM, "acute otitis media", {})),
    ("pain; pain in hip", (PROBLEM, "pain", {}), (PROBLEM, "pain", {"bodyloc": "hip"})),
    (
        "pain in left hip; pain in right hip",
        (PROBLEM, "pain", {"bodyloc": "left hip"}),
        (PROBLEM, "pain", {"bodyloc": "right hip"}),
    ),
    ("mild pain; severe pain", (PROBLEM, "pain", {"severity": "mild"}), (PROBLEM, "pain", {"severity": "severe"})),
    ("Gout 2001. Gout 2005", (PROBLEM, "Gout", {"temporal": "2001"}), (PROBLEM, "Gout", {"temporal": "2005"})),
    # one code of several things
    ("elevated creatinine, elevated LFTs", (PROBLEM, "elevated creatinine", {}), (PROBLEM, "elevated LFTs", {})),
    ("Hgb 9.1. Hgb 9.10", (TEST, "Hgb", {"labvalue": "9.1"}), (TEST, "Hgb", {"labvalue": "9.10"})),
    ("Hgb. Hgb 9.1", (TEST, "Hgb", {}), (TEST, "Hgb", {"labvalue": "9.1"})),
    (
        "Hgb 9.1 2011-01-02. Hgb 9.1",
        (TEST, "Hgb", {"labvalue": "9.1", "temporal": "2011-01-02"}),
        (TEST, "Hgb", {"labvalue": "9.1"}),
    ),
    ("Lasix 20 mg. Lasix 40 mg", (DRUG, "Lasix", {"strength": "20 mg"}), (DRUG, "Lasix", {"strength": "40 mg"})),
    ("Lasix. stopped Lasix", (DRUG, "Lasix", {}), (DRUG, "Lasix", {"negation": "stopped"})),
    (
        "metoprolol tartrate, metoprolol succinate",
        (DRUG, "metoprolol tartrate", {}),
        (DRUG, "metoprolol succinate", {}),
    ),
    ("Lasix 20 mg. continue Lasix", (DRUG, "Lasix", {"strength": "20 mg"}), (DRUG, "Lasix", {})),
    ("biopsy last week. underwent biopsy", (TREATMENT, "biopsy", {"temporal": "last week"}), (TREATMENT, "biopsy", {})),
    ("biopsy in 2004, biopsy", (TREATMENT, "biopsy", {"temporal": "2004"}), (TREATMENT, "biopsy", {})),
]


@pytest.mark.parametrize(("text", "one", "other"), TWO, ids=lambda item: item if isinstance(item, str) else "")
def test_what_differs_stays_apart(stated, text, one, other):
    assert [words for _, words in stated(text, one, other)] == [[one[1]], [other[1]]]


def test_what_leaves_something_out_stays_alone_where_two_say_different_things(stated):
    found = stated(
        "Lasix. Lasix 20 mg. Lasix 40 mg. Lasix.",
        (DRUG, "Lasix", {}),
        (DRUG, "Lasix", {"strength": "20 mg"}),
        (DRUG, "Lasix", {"strength": "40 mg"}),
        (DRUG, "Lasix", {}),
    )
    assert [len(words) for _, words in found] == [2, 1, 1]


def test_a_name_alone_takes_the_status_of_the_one_place_that_has_one(coded, writer):
    document = write("Lasix is new. Continue Lasix.", (DRUG, "Lasix", {}), (DRUG, "Lasix", {}))
    (one,) = resources(writer, document, coded)
    assert one["status"] == "active"
    both = write("Lasix. Continue Lasix. He received Lasix.", *[(DRUG, "Lasix", {})] * 3)
    assert [found["status"] for found in resources(writer, both, coded)] == ["unknown", "active", "completed"]


def test_the_first_place_keeps_its_id_and_the_fullest_its_words(coded, writer, writer_with):
    document = write("Gout. Gout since 2001", (PROBLEM, "Gout", {}), (PROBLEM, "Gout", {"temporal": "2001"}))
    every = resources(writer_with("merge = true", "merge = false"), document, coded)
    (one,) = resources(writer, document, coded)
    assert every[0]["id"] == one["id"]
    assert one["onsetDateTime"] == "2001"
    assert len(every) == 2


def test_evidence_is_all_places_then_the_surest_then_the_modifiers(coded, writer):
    document = write(
        "no rash. Denies rash", (PROBLEM, "rash", {"negation": "no"}), (PROBLEM, "rash", {"negation": "Denies"})
    )
    first, second = document.mentions
    document = _with(document, _score(first, 0.5), _score(second, 0.75))
    (one,) = resources(writer, document, coded)
    kinds = [item["url"].rpartition(":")[2] for item in one["extension"]]
    assert kinds == ["//hl7.org/fhir/StructureDefinition/derivation-reference"] * 2 + [
        "confidence",
        "modifier",
        "modifier",
    ]
    assert one["extension"][2]["valueDecimal"] == 0.75
    assert [_parts(item)["text"] for item in one["extension"][3:]] == ["no", "Denies"]
    ruled = _with(document, _score(first, 0.5), _by_rule(second))
    assert [
        item["valueDecimal"] for item in resources(writer, ruled, coded)[0]["extension"] if "valueDecimal" in item
    ] == [0.5]
    ruled = _with(document, _by_rule(first), _by_rule(second))
    assert [item["valueCode"] for item in resources(writer, ruled, coded)[0]["extension"] if "valueCode" in item] == [
        "rule"
    ]


def _with(document, *mentions):
    return Document(document.note, mentions, document.model)


def _score(mention, score):
    return type(mention)(mention.label, mention.span, mention.modifiers, score)


def _by_rule(mention):
    modifiers = tuple(Modifier(item.label, item.span) for item in mention.modifiers)
    return type(mention)(mention.label, mention.span, modifiers, rule=True)


def test_both_categories_of_a_problem_are_kept(coded, writer):
    document = write("Gout. Gout.", (PROBLEM, "Gout", {}), (PROBLEM, "Gout", {}))
    first, second = document.mentions
    (one,) = resources(
        writer, _with(document, type(first)("problem", first.span, section="problem_list"), second), coded
    )
    assert [item["coding"][0]["code"] for item in one["category"]] == ["problem-list-item", "encounter-diagnosis"]


def test_a_family_member_has_a_condition_once_and_nobody_in_particular_too(coded, writer):
    text = "Mother had asthma. Her mother's asthma, gout. Family: asthma and asthma."
    document = write(
        text,
        (PROBLEM, "asthma", {"subject": "Mother"}),
        (PROBLEM, "asthma", {"subject": "mother"}),
        (PROBLEM, "gout", {"subject": "mother"}),
        (PROBLEM, "asthma", {"subject": "Family"}),
        (PROBLEM, "asthma", {"subject": "Family"}),
    )
    mother, family = resources(writer, document, coded)
    assert [item["code"]["text"] for item in mother["condition"]] == ["asthma", "gout"]
    assert [len(mother["extension"]), len(family["extension"])] == [3, 2]
    for condition, places in ((mother["condition"][0], 2), (mother["condition"][1], 1), (family["condition"][0], 2)):
        assert sum(item["url"] == DERIVATION for item in condition["extension"]) == places


def test_counts_add_up_and_provenance_names_each_once(coded, writer, writer_with):
    document = write(
        "HTN. Hypertension. Lasix. Lasix. Fever.",
        *((PROBLEM, words, {}) for words in ("HTN", "Hypertension")),
        *((DRUG, "Lasix", {}) for _ in range(2)),
        (PROBLEM, "Fever", {}),
    )
    written = writer.write(document, coded.facts(document))
    assert written.merged == {"Condition": 1, "MedicationStatement": 1}
    assert written.conflicts == {}
    *clinical, provenance = [entry["resource"] for entry in written.bundle["entry"]]
    targets = [target["reference"] for target in provenance["target"]]
    assert targets == [f"{item['resourceType']}/{item['id']}" for item in clinical]
    every = writer_with("merge = true", "merge = false").write(document, coded.facts(document))
    assert len(every.bundle["entry"]) == len(written.bundle["entry"]) + written.merged.total()
    assert every.merged == {}


def test_facts_without_names_are_compared_by_their_words(normalizer, writer):
    """A fact made elsewhere may have no `name`."""
    document = write("Gout. gout. Asthma", (PROBLEM, "Gout", {}), (PROBLEM, "gout", {}), (PROBLEM, "Asthma", {}))
    facts = [type(fact)(fact.mention, fact.text) for fact in normalizer.facts(document)]
    assert len(writer.bundle(document, facts)[0]["entry"]) == 3


def test_ten_thousand_repeats_take_no_time(coded, writer):
    text = "gout, no gout; Lasix 1 mg. Mother: gout. " * 2000
    mentions, at = [], 0
    for _ in range(2000):
        for words, label, modifiers in (
            ("gout", PROBLEM, ()),
            ("gout", PROBLEM, (("negation", "no"),)),
            ("Lasix", DRUG, (("strength", "1 mg"),)),
            ("gout", PROBLEM, (("subject", "Mother"),)),
        ):
            linked = []
            for kind, said in modifiers:
                start = text.index(said, max(0, at - 20) if kind == "strength" else at)
                linked.append(Modifier(kind, Span(start, start + len(said))))
                at = start if kind != "strength" else at
            at = text.index(words, at)
            mentions.append(Mention(label, Span(at, at + len(words)), tuple(linked)))
            at += 1
    document = Document(Note("n", text, "p"), tuple(mentions))
    facts = coded.facts(document)
    begun = time.process_time()
    written = writer.write(document, facts)
    assert time.process_time() - begun < 5
    assert written.merged == {"Condition": 3998, "MedicationStatement": 1999}
    assert written.conflicts == {"open": 1}
