"""Codings in resources: what was found, by which method, and that validators accept it."""

from written_documents import write

from kiwi_fhir.fhir import check_resource
from kiwi_fhir.fhir.rules import load_rules
from kiwi_fhir.normalize import Normalizer, load_linker
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import Coding

LINK = f"{load_rules(Mappings.read()).extensions}link"


class Fixed:
    """A linker that gives every mention the same codings."""

    def __init__(self, *codings):
        self._codings = codings

    def codings(self, document):
        return [self._codings for _ in document.mentions]

    def whole(self, text, mention):
        return mention.span


def resources(writer, document, linker):
    bundle, failures = writer.bundle(document, Normalizer(None, linker).facts(document))
    assert failures == []
    found = [entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] != "Provenance"]
    for resource in found:
        assert [finding for finding in check_resource(resource) if not finding.is_warning] == []
    return found


def test_a_coding_says_how_it_was_found(writer):
    coding = Coding("http://snomed.info/sct", "22298006", "Infarction", "fuzzy", 0.9231, 4329847, "Condition")
    (condition,) = resources(writer, write("infraction", ("problem", "infraction", {})), Fixed(coding))
    (written,) = condition["code"]["coding"]
    assert (written["system"], written["code"]) == ("http://snomed.info/sct", "22298006")
    (link,) = written["extension"]
    assert link["url"] == LINK
    assert link["extension"] == [
        {"url": "method", "valueCode": "fuzzy"},
        {"url": "score", "valueDecimal": 0.9231},
        {"url": "concept", "valueInteger": 4329847},
    ]
    assert condition["code"]["text"] == "infraction"


def test_a_coding_without_a_method_has_no_extension(writer):
    (condition,) = resources(
        writer, write("gout", ("problem", "gout", {})), Fixed(Coding("http://example.org", "1", "Gout"))
    )
    assert condition["code"]["coding"] == [{"system": "http://example.org", "code": "1", "display": "Gout"}]


def test_every_mention_gets_its_codes(writer):
    linker, _ = load_linker()
    document = write(
        "Chest pain. Aspirin 81 mg tablet. Father had gout.",
        ("problem", "Chest pain", {}),
        ("drug", "Aspirin", {"strength": "81 mg", "form": "tablet"}),
        ("problem", "gout", {"subject": "Father"}),
    )
    by_type = {resource["resourceType"]: resource for resource in resources(writer, document, linker)}
    assert by_type["Condition"]["code"]["coding"][0]["code"] == "R07.9"
    (medication,) = by_type["MedicationStatement"]["contained"]
    systems = [coding["system"] for coding in medication["code"]["coding"]]
    assert systems == ["http://www.nlm.nih.gov/research/umls/rxnorm", "http://www.nlm.nih.gov/research/umls/drugbank"]
    (condition,) = by_type["FamilyMemberHistory"]["condition"]
    assert condition["code"]["coding"][0]["code"] == "M10.9"
