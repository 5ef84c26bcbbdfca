"""What a note says and takes back: the better place is right where that is certain, else both stay and say so."""

from dataclasses import replace

import pytest
from written_documents import write

from kiwi_fhir.errors import MappingError
from kiwi_fhir.fhir import BundleWriter, check_bundle
from kiwi_fhir.fhir.rules import load_rules
from kiwi_fhir.normalize import Normalizer, load_linker
from kiwi_fhir.tables import Mappings

PROBLEM, DRUG = "problem", "drug"
CONTRADICTS = "urn:kiwi-fhir:extension:contradicts"


@pytest.fixture(scope="module")
def coded():
    """A normalizer with codes."""
    return Normalizer(None, load_linker()[0])


@pytest.fixture(scope="module")
def settled(coded, writer):
    """`settled((section, text, mention), ...)`: the writer's answer, and the resources without the Provenance.

    Each text is a line; its mention is in a section of that kind.
    """

    def build(*lines, writer=writer):
        text = "\n".join(line for _, line, _ in lines)
        document = write(text, *(mention for *_, mention in lines))
        mentions = [replace(item, section=line[0]) for item, line in zip(document.mentions, lines, strict=True)]
        document = replace(document, mentions=tuple(mentions))
        facts = [_with_section(fact, mentions) for fact in coded.facts(document)]
        written = writer.write(document, facts)
        assert written.failures == []
        assert check_bundle(written.bundle) == []
        return written, [entry["resource"] for entry in written.bundle["entry"][:-1]]

    return build


def _with_section(fact, mentions):
    """Sections that the text itself does not have."""
    section = next(item.section for item in mentions if item.span == fact.mention.span)
    return replace(fact, mention=replace(fact.mention, section=section))


def says(section, words, **modifiers):
    """A line that says a problem is there, or not (`negation="no"`), or was (`temporal="history of"`)."""
    return section, " ".join([*modifiers.values(), words]), (PROBLEM, words, modifiers)


def yes(section, words="gout"):
    return says(section, words)


def no(section, words="gout"):
    return says(section, words, negation="no")


def once(section, words="gout"):
    return says(section, words, temporal="history of")


def statuses(resources):
    found = []
    for resource in resources:
        holder = resource.get("clinicalStatus") or resource["verificationStatus"]
        found.append(holder["coding"][0]["code"])
    return found


@pytest.mark.parametrize(
    ("one", "other", "left"),
    [
        # what the patient has, in a better place than what denies it or calls it history
        (no("review_of_systems", "cough"), yes("assessment", "cough"), ["active"]),
        (no("present_illness", "cough"), yes("diagnosis", "cough"), ["active"]),
        (no("review_of_systems"), yes("present_illness"), ["active"]),
        (once("past_history", "pneumonia"), yes("hospital_course", "pneumonia"), ["active"]),
        (once("past_history", "pneumonia"), yes("assessment", "pneumonia"), ["active"]),
        # on record in a list, and there in a place that no list ranks
        (once("past_history", "pneumonia"), yes("plan", "pneumonia"), ["active"]),
        (once("past_history", "pneumonia"), yes("physical_exam", "pneumonia"), ["active"]),
        (once("past_history", "pneumonia"), yes(None, "pneumonia"), ["active"]),
        (once("past_history", "pneumonia"), yes("problem_list", "pneumonia"), ["active", "inactive"]),
        (once("physical_exam", "pneumonia"), yes("plan", "pneumonia"), ["active", "inactive"]),
        # what only a list says, against text
        (yes("problem_list", "pneumonia"), once("present_illness", "pneumonia"), ["inactive"]),
        (yes("chief_complaint", "pneumonia"), no("assessment", "pneumonia"), ["refuted"]),
        # symptoms come and go
        (yes("chief_complaint", "chest pain"), no("assessment", "chest pain"), ["active", "refuted"]),
        (yes("chief_complaint", "odd taste"), no("assessment", "odd taste"), ["active", "refuted"]),
        # told in the text, and over by the end of it
        (yes("hospital_course", "pneumonia"), no("assessment", "pneumonia"), ["active", "refuted"]),
        (yes("present_illness", "pneumonia"), once("assessment", "pneumonia"), ["active", "inactive"]),
        # places of one rank, or of none
        (yes("assessment"), no("diagnosis"), ["active", "refuted"]),
        (yes("assessment"), no("physical_exam"), ["active", "refuted"]),
        (yes(None), no("review_of_systems"), ["active", "refuted"]),
        # no contradictions
        (once("past_history", "pneumonia"), no("assessment", "pneumonia"), ["inactive", "refuted"]),
        (says("present_illness", "gout", uncertain="possible"), no("assessment"), ["active", "refuted"]),
        (yes("assessment"), no("review_of_systems", "asthma"), ["active", "refuted"]),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_the_better_place_is_right_where_that_is_certain(settled, one, other, left, turned):
    lines = [other, one] if turned else [one, other]
    written, resources = settled(*lines)
    assert sorted(statuses(resources)) == left
    decided = len(left) == 1
    assert written.conflicts["decided"] == decided
    assert written.contradicted == decided


def pointers(resource):
    return [item["valueReference"]["reference"] for item in resource["extension"] if item["url"] == CONTRADICTS]


def test_what_is_not_settled_points_at_each_other(settled):
    written, (yes_, no_) = settled(yes("physical_exam"), no("present_illness"))
    assert written.conflicts == {"open": 1}
    assert written.contradicted == 0
    assert pointers(yes_) == [f"Condition/{no_['id']}"]
    assert pointers(no_) == [f"Condition/{yes_['id']}"]


def test_other_episodes_places_and_degrees_contradict_nothing(settled):
    lines = [
        says("physical_exam", "pain", bodyloc="left hip"),
        says("physical_exam", "pain", negation="no", bodyloc="right hip"),
        says("physical_exam", "gout"),
        says("physical_exam", "gout", negation="no", severity="severe"),
        says("physical_exam", "pneumonia"),
        ("physical_exam", "history of pneumonia in 2004", (PROBLEM, "pneumonia", {"temporal": ["history of", "2004"]})),
    ]
    written, resources = settled(*lines)
    assert len(resources) == len(lines)
    assert written.conflicts == {}
    assert not any(pointers(resource) for resource in resources)


def test_a_drug_that_is_taken_and_stopped_stays_both_ways(settled):
    written, (taken, stopped) = settled(
        ("home_medications", "Lasix 20 mg", (DRUG, "Lasix", {"strength": "20 mg"})),
        ("hospital_course", "stopped furosemide", (DRUG, "furosemide", {"negation": "stopped"})),
    )
    assert written.conflicts == {"open": 1}
    assert pointers(taken) == [f"MedicationStatement/{stopped['id']}"]
    written, _ = settled(
        ("home_medications", "Lasix 20 mg", (DRUG, "Lasix", {"strength": "20 mg"})),
        ("hospital_course", "stopped Lasix 40 mg", (DRUG, "Lasix", {"negation": "stopped", "strength": "40 mg"})),
    )
    assert written.conflicts == {}  # another dose


def test_all_places_of_what_is_left_out_are_counted(settled):
    written, resources = settled(
        no("review_of_systems", "cough"), no("review_of_systems", "cough"), yes("assessment", "cough")
    )
    assert statuses(resources) == ["active"]
    assert written.conflicts == {"decided": 1}
    assert written.contradicted == 2


def test_every_mention_stays_without_merging(settled, writer_with):
    written, resources = settled(
        no("review_of_systems"), yes("assessment"), writer=writer_with("merge = true", "merge = false")
    )
    assert sorted(statuses(resources)) == ["active", "refuted"]
    assert written.conflicts == {}


def test_the_ranks_are_a_table(settled, writer_with, tmp_path):
    """A place that no list has decides nothing; a kind of section that is none is refused."""
    lists = 'lists = ["problem_list", "past_history", "review_of_systems", "chief_complaint"]'
    without = writer_with(lists, 'lists = ["problem_list"]')
    written, _ = settled(no("review_of_systems"), yes("assessment"), writer=without)
    assert written.conflicts == {"open": 1}
    own = tmp_path / "own.toml"
    own.write_text('[fhir.conflicts]\nlists = ["problem_list", "attic"]\n')
    with pytest.raises(MappingError, match="'attic' is no kind of section"):
        load_rules(Mappings.read(own))


def test_a_resource_that_can_not_be_written_is_not_pointed_at(coded, writer):
    """Else a server would refuse the note for a reference to nothing."""
    document = write("gout. no gout", (PROBLEM, "gout", {}), (PROBLEM, "gout", {"negation": "no"}))
    one, other = coded.facts(document)
    written = BundleWriter.write(writer, document, [one, replace(other, text=" \x01 ")])
    assert [failure.error for failure in written.failures] == ["invalid-resource"]
    assert written.conflicts == {}
    assert pointers(written.bundle["entry"][0]["resource"]) == []
