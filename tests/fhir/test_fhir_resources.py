"""What each kind of fact becomes, beside the plain pairs."""

import pytest
from written_documents import write

LOINC = "http://loinc.org"


def code(concept):
    return concept["coding"][0]["code"] if concept is not None else None


@pytest.fixture
def one(resources_of):
    def build(*args, writer=None, **how):
        (resource,) = resources_of(write(*args, **how), **({"writer": writer} if writer else {}))
        return resource

    return build


def states(resource):
    return code(resource.get("clinicalStatus")), code(resource["verificationStatus"]), code(resource["category"][0])


@pytest.mark.parametrize(
    ("text", "modifiers", "section", "expected"),
    [
        ("Colitis.", {}, None, ("active", "confirmed", "encounter-diagnosis")),
        ("Colitis.", {}, "problem_list", ("active", "confirmed", "problem-list-item")),
        ("Colitis.", {}, "past_history", ("inactive", "confirmed", "problem-list-item")),
        ("Chronic Colitis.", {"course": "Chronic"}, "past_history", ("active", "confirmed", "problem-list-item")),
        ("Prior Colitis.", {"temporal": "Prior"}, None, ("inactive", "confirmed", "encounter-diagnosis")),
        ("No Colitis.", {"negation": "No"}, "problem_list", (None, "refuted", "encounter-diagnosis")),
        ("R/o Colitis.", {"uncertain": "R/o"}, None, ("active", "differential", "encounter-diagnosis")),
        ("Unlikely Colitis.", {"uncertain": "Unlikely"}, "problem_list", (None, "unconfirmed", "encounter-diagnosis")),
        (
            "No likely Colitis.",
            {"uncertain": "likely", "negation": "No"},
            None,
            (None, "unconfirmed", "encounter-diagnosis"),
        ),
        ("Recurrent Colitis.", {"course": "Recurrent"}, None, ("recurrence", "confirmed", "encounter-diagnosis")),
        ("Colitis in remission.", {"course": "in remission"}, None, ("remission", "confirmed", "encounter-diagnosis")),
        ("Worse Colitis.", {"course": "Worse"}, None, ("active", "confirmed", "encounter-diagnosis")),
    ],
)
def test_condition_states(one, text, modifiers, section, expected):
    resource = one(text, ("problem", "Colitis", modifiers), section=section)
    assert states(resource) == expected
    assert resource["code"] == {"text": "Colitis"}
    assert resource["recordedDate"] == "2011-03-05"


def times(resource):
    return {key: value for key, value in resource.items() if key.startswith(("onset", "abatement"))}


@pytest.mark.parametrize(
    ("text", "modifiers", "expected"),
    [
        ("Fever on 03/02/2011.", {"temporal": "03/02/2011"}, {"onsetDateTime": "2011-03-02"}),
        ("Fever two weeks ago.", {"temporal": "two weeks ago"}, {"onsetString": "two weeks ago"}),
        (
            "Fever 2006, 2008.",
            {"temporal": ["2006", "2008"]},
            {"onsetString": "2006; 2008"},
        ),
        ("Fever now.", {"temporal": "now"}, {}),
        ("Fever due 2012.", {"temporal": "2012"}, {}),
        ("No Fever since 2006.", {"negation": "No", "temporal": "2006"}, {}),
        (
            "Fever resolved on 03/02/2011.",
            {"course": "resolved", "temporal": "03/02/2011"},
            {"abatementDateTime": "2011-03-02"},
        ),
        ("Today Fever has resolved.", {"course": "has resolved", "temporal": "Today"}, {}),
    ],
)
def test_onset_and_abatement(one, text, modifiers, expected):
    assert times(one(text, ("problem", "Fever", modifiers))) == expected


def test_relative_times_may_be_resolved(one, writer_with):
    writer = writer_with('relative = "text"', 'relative = "resolve"')
    resource = one("Fever two weeks ago.", ("problem", "Fever", {"temporal": "two weeks ago"}), writer=writer)
    assert times(resource) == {"onsetDateTime": "2011-02"}
    resource = one("Fever recently.", ("problem", "Fever", {"temporal": "recently"}), writer=writer)
    assert times(resource) == {"onsetString": "recently"}


def test_several_severities_keep_their_words_and_no_code(one):
    resource = one("Mild to severe pain.", ("problem", "pain", {"severity": ["Mild", "severe"]}))
    assert resource["severity"] == {"text": "Mild; severe"}


def test_negated_problems_by_choice(one, resources_of, writer_with):
    document = ("No fever.", ("problem", "fever", {"negation": "No"}))
    assert resources_of(write(*document), writer=writer_with('negated = "condition"', 'negated = "drop"')) == []
    resource = one(*document, writer=writer_with('negated = "condition"', 'negated = "observation"'))
    assert (resource["resourceType"], resource["status"]) == ("Observation", "final")
    assert resource["valueCodeableConcept"] == {"text": "absent"}
    assert code(resource["interpretation"][0]) == "NEG"


def test_other_choices_for_problems(one, writer_with):
    resource = one("Fever.", ("problem", "Fever", {}), writer=writer_with('"confirmed" ', '"unconfirmed" '))
    assert states(resource)[:2] == ("active", "unconfirmed")
    conditional = writer_with('conditional = "none"', 'conditional = "provisional"')
    resource = one("If fever, call.", ("problem", "fever", {"condition": "If"}), writer=conditional)
    assert states(resource)[1] == "provisional"
    resource = one(
        "Colitis.", ("problem", "Colitis", {}), section="past_history", writer=writer_with('"inactive"', '"active"')
    )
    assert states(resource)[0] == "active"


def test_relatives_get_a_resource_each_and_never_a_condition(resources_of):
    found = resources_of(
        write(
            "Cancer in father and sister, 2006.",
            ("problem", "Cancer", {"subject": ["father", "sister"], "temporal": "2006"}),
        )
    )
    assert [resource["resourceType"] for resource in found] == ["FamilyMemberHistory"] * 2
    assert [code(resource["relationship"]) for resource in found] == ["FTH", "SIS"]
    assert {resource["status"] for resource in found} == {"partial"}
    assert {resource["condition"][0]["onsetString"] for resource in found} == {"2006"}
    assert len({resource["id"] for resource in found}) == 2


@pytest.mark.parametrize(
    ("text", "modifiers", "section", "reason"),
    [
        ("No cancer in family.", {"negation": "No", "subject": "family"}, None, "relative-negated"),
        ("Possible cancer in mother.", {"uncertain": "Possible", "subject": "mother"}, None, "relative-uncertain"),
        ("Her roommate has cancer.", {"subject": "roommate"}, None, "relative-unknown"),
        ("If cancer.", {"condition": "If"}, None, "hypothetical"),
        ("Hives cancer.", {}, "allergies", "allergy-other"),
        ("Her father has cancer.", {"subject": "father"}, None, None),
        ("He has cancer.", {}, None, None),
    ],
)
def test_what_is_ignored_says_why(normalizer, writer, text, modifiers, section, reason):
    document = write(text, ("problem", "cancer", modifiers), section=section)
    (fact,) = normalizer.facts(document)
    assert writer.ignored(fact) == reason
    assert bool(writer.bundle(document, [fact])[0].get("entry")) is (reason is None)


@pytest.mark.parametrize(
    ("text", "label", "words", "reason"),
    [
        ("She tolerates her medications.", "drug", "her medications", "unnamed"),
        ("After the procedure she slept.", "treatment", "the procedure", "unnamed"),
        ("She stopped her medications.", "drug", "her medications", None),
        ("Continue her medications.", "drug", "her medications", None),
        ("She underwent the procedure.", "treatment", "the procedure", None),
        ("After dialysis she slept.", "treatment", "dialysis", None),
    ],
)
def test_words_without_a_name_state_nothing_but_what_is_said_of_them(normalizer, writer, text, label, words, reason):
    (fact,) = normalizer.facts(write(text, (label, words, {})))
    assert writer.ignored(fact) == reason


def test_allergies_never_become_active_drugs(one):
    resource = one("Penicillin", ("drug", "Penicillin", {}), section="allergies")
    assert resource["resourceType"] == "AllergyIntolerance"


@pytest.mark.parametrize(
    ("text", "said", "expected"),
    [
        ("K 4.10.", "4.10", {"valueQuantity": {"value": 4.1}}),
        ("K <5 mmol/L.", "<5 mmol/L", {"valueQuantity": {"comparator": "<", "value": 5}}),
        ("K 4-6.", "4-6", {"valueRange": {"low": {"value": 4}, "high": {"value": 6}}}),
        ("K 1:40.", "1:40", {"valueRatio": {"numerator": {"value": 1}, "denominator": {"value": 40}}}),
        ("K negative.", "negative", {"valueCodeableConcept": {"text": "negative"}, "interpretation": "NEG"}),
        ("K 2+.", "2+", {"valueCodeableConcept": {"text": "2+"}, "interpretation": "POS"}),
        ("K normal.", "normal", {"valueString": "normal", "interpretation": "N"}),
        ("K elevated.", "elevated", {"valueString": "elevated", "interpretation": "H"}),
        ("K 3.1, low.", "3.1, low", {"valueQuantity": {"value": 3.1}, "interpretation": "L"}),
        ("K hemolyzed.", "hemolyzed", {"valueString": "hemolyzed"}),
    ],
)
def test_observation_values(one, text, said, expected):
    resource = one(text, ("test", "K", {"labvalue": said}))
    assert (resource["status"], code(resource["category"][0])) == ("final", "laboratory")
    assert "dataAbsentReason" not in resource
    assert code(resource.get("interpretation", [None])[0]) == expected.pop("interpretation", None)
    for key, value in expected.items():
        found = resource[key]
        if key == "valueQuantity":
            found = {name: float(item) if name == "value" else item for name, item in found.items() if name in value}
        assert found == value


def test_blood_pressure_has_components(one):
    resource = one("Blood pressure 120/80.", ("test", "Blood pressure", {"labvalue": "120/80"}))
    assert resource["code"]["coding"][0]["code"] == "85354-9"
    assert code(resource["category"][0]) == "vital-signs"
    parts = [
        (code(part["code"]), part["valueQuantity"]["value"], part["valueQuantity"]["code"])
        for part in resource["component"]
    ]
    assert parts == [("8480-6", 120, "mm[Hg]"), ("8462-4", 80, "mm[Hg]")]
    assert not {"valueString", "valueQuantity", "dataAbsentReason"} & resource.keys()


def test_several_results_are_several_observations_and_their_date_is_nobodys(resources_of):
    found = resources_of(
        write(
            "Troponin 0.03 then 0.18 on 03/01/2011",
            ("test", "Troponin", {"labvalue": ["0.03", "0.18"], "temporal": "03/01/2011"}),
        )
    )
    assert [str(resource["valueQuantity"]["value"]) for resource in found] == ["0.03", "0.18"]
    assert len({resource["id"] for resource in found}) == 2
    assert all("effectiveDateTime" not in resource for resource in found)


@pytest.mark.parametrize(
    ("text", "modifiers", "effective"),
    [
        ("MRI.", {}, "2011-03-05"),
        ("MRI today.", {"temporal": "today"}, "2011-03-05"),
        ("MRI currently.", {"temporal": "currently"}, "2011-03-05"),
        ("MRI 2006.", {"temporal": "2006"}, "2006"),
        ("MRI last week.", {"temporal": "last week"}, None),
        ("Previously MRI.", {"temporal": "Previously"}, None),
        ("No MRI.", {"negation": "No"}, None),
    ],
)
def test_when_an_observation_was(one, text, modifiers, effective):
    assert one(text, ("test", "MRI", modifiers)).get("effectiveDateTime") == effective


def test_words_right_behind_a_number_are_no_result_of_their_own(resources_of):
    text = "ANA 1:160, speckled. WBC 14.2, high. RPR 1:8, reactive. Cultures 3, negative."
    mentions = [
        ("test", "ANA", {"labvalue": ["1:160", "speckled"]}),
        ("test", "WBC", {"labvalue": ["14.2", "high"]}),
        ("test", "RPR", {"labvalue": ["1:8", "reactive"]}),
        ("test", "Cultures", {"labvalue": ["3", "negative"]}),
    ]
    ana, wbc, rpr, *cultures = resources_of(write(text, *mentions))
    assert ana["valueRatio"]["denominator"]["value"] == 160
    assert ana["note"] == [{"text": "speckled"}]
    assert (code(wbc["interpretation"][0]), "note" in wbc) == ("H", False)
    assert (rpr["valueRatio"]["denominator"]["value"], code(rpr["interpretation"][0])) == (8, "RR")
    assert len(cultures) == 2  # three of something, and a result


def test_a_test_without_a_value_says_so_and_a_negative_finding_is_final(one):
    resource = one("MRI was done.", ("test", "MRI", {}))
    assert (resource["status"], code(resource["dataAbsentReason"])) == ("final", "unknown")
    resource = one("No Kernig sign.", ("test", "Kernig sign", {"negation": "No"}))
    assert (resource["status"], resource["valueCodeableConcept"]) == ("final", {"text": "absent"})
    resource = one("Negative Kernig sign.", ("test", "Kernig sign", {"negation": "Negative"}))
    assert resource["valueCodeableConcept"] == {"text": "Negative"}
    assert code(resource["interpretation"][0]) == "NEG"


def test_a_bare_reference_range_takes_the_unit_of_the_result(one):
    resource = one("TSH 2.6 ng/mL (0.3-5.6)", ("test", "TSH", {"labvalue": "2.6 ng/mL", "reference_range": "0.3-5.6"}))
    assert resource["referenceRange"][0]["low"]["code"] == "ng/mL"
    resource = one("TSH 2.6 (age dependent)", ("test", "TSH", {"labvalue": "2.6", "reference_range": "age dependent"}))
    assert resource["referenceRange"] == [{"text": "age dependent"}]


@pytest.mark.parametrize(
    ("text", "modifiers", "section", "status"),
    [
        ("Aspirin.", {}, None, "unknown"),
        ("Aspirin.", {}, "current_medications", "active"),
        ("Aspirin.", {}, "discharge_medications", "active"),
        ("No Aspirin.", {"negation": "No"}, "current_medications", "not-taken"),
        ("Stopped Aspirin.", {}, "current_medications", "stopped"),
        ("No longer on Aspirin.", {"negation": "No longer on"}, None, "stopped"),
        ("Hold Aspirin.", {}, None, "on-hold"),
        ("Previously Aspirin.", {"temporal": "Previously"}, None, "completed"),
        ("Aspirin.", {}, "past_history", "unknown"),
    ],
)
def test_drug_status(one, text, modifiers, section, status):
    resource = one(text, ("drug", "Aspirin", modifiers), section=section)
    assert resource["status"] == status
    assert resource["medicationCodeableConcept"] == {"text": "Aspirin"}
    assert resource["dateAsserted"] == "2011-03-05"


def test_a_dose_beside_a_strength_leaves_the_strength_to_the_product(one):
    resource = one(
        "Levoxyl 100 mcg tablet, 1 tablet daily",
        ("drug", "Levoxyl", {"strength": "100 mcg", "form": "tablet", "dosage": "1", "frequency": "daily"}),
    )
    assert resource["dosage"][0]["doseAndRate"] == [{"doseQuantity": {"value": 1, "unit": "tablet"}}]
    (product,) = resource["contained"]
    strength = product["ingredient"][0]["strength"]
    assert (strength["numerator"]["value"], strength["numerator"]["code"]) == (100, "ug")
    assert strength["denominator"] == {"value": 1, "unit": "tablet"}
    assert resource["medicationReference"] == {"reference": "#medication", "display": "Levoxyl"}


@pytest.mark.parametrize(
    ("text", "modifiers", "dose"),
    [
        ("Drops 0.05%.", {"strength": "0.05%"}, None),
        ("Drops 5/500 mg.", {"strength": "5/500 mg"}, None),
        ("Drops 25-50 mg.", {"strength": "25-50 mg"}, "doseRange"),
        ("Drops low dose 40 mg.", {"strength": "40 mg", "dosage": "low dose"}, "doseQuantity"),
        ("Drops 6 mL an hour.", {"dosage": "6 mL an hour"}, "rateQuantity"),
        ("Drops 40.", {"dosage": "40"}, None),
    ],
)
def test_what_a_dose_is(one, text, modifiers, dose):
    (dosage,) = one(text, ("drug", "Drops", modifiers))["dosage"]
    assert list(dosage.get("doseAndRate", [{}])[0]) == ([dose] if dose else [])
    assert dosage["text"]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("p.r.n.", {"asNeededBoolean": True}),
        ("prn pain", {"asNeededCodeableConcept": {"text": "pain"}}),
        ("b.i.d.", {}),
    ],
)
def test_as_needed_is_one_or_the_other(one, said, expected):
    (dosage,) = one(f"Aspirin {said}", ("drug", "Aspirin", {"frequency": said}))["dosage"]
    assert {key: value for key, value in dosage.items() if key.startswith("asNeeded")} == expected


def test_a_taper_has_a_sequence_and_a_range_of_weeks_bounds(one):
    resource = one(
        "Prednisone 20 mg daily then 10 mg for 4 to 6 weeks",
        (
            "drug",
            "Prednisone",
            {"strength": ["20 mg", "10 mg"], "frequency": "daily", "duration": "for 4 to 6 weeks"},
        ),
    )
    assert [dosage["sequence"] for dosage in resource["dosage"]] == [1, 2]
    bounds = resource["dosage"][1]["timing"]["repeat"]["boundsRange"]
    assert (bounds["low"]["value"], bounds["high"]["value"], bounds["high"]["code"]) == (4, 6, "wk")


@pytest.mark.parametrize(
    ("text", "modifiers", "section", "expected"),
    [
        ("Angioplasty.", {}, None, ("unknown", {})),
        ("Angioplasty.", {}, "past_history", ("completed", {})),
        ("Prior Angioplasty.", {"temporal": "Prior"}, None, ("completed", {})),
        ("S/p Angioplasty.", {}, None, ("completed", {})),
        ("He underwent Angioplasty.", {}, None, ("completed", {})),
        ("Is receiving Angioplasty.", {}, None, ("in-progress", {})),
        ("Continue Angioplasty.", {}, "past_history", ("in-progress", {})),
        ("Angioplasty 2006.", {"temporal": "2006"}, None, ("completed", {"performedDateTime": "2006"})),
        ("Angioplasty 2012.", {"temporal": "2012"}, "past_history", ("unknown", {})),
        ("Angioplasty last week.", {"temporal": "last week"}, None, ("unknown", {"performedString": "last week"})),
        ("No Angioplasty 2006.", {"negation": "No", "temporal": "2006"}, None, ("not-done", {})),
        ("No longer needs Angioplasty.", {"negation": "No longer needs"}, None, ("stopped", {})),
    ],
)
def test_procedures(one, text, modifiers, section, expected):
    resource = one(text, ("treatment", "Angioplasty", modifiers), section=section)
    performed = {key: value for key, value in resource.items() if key.startswith("performed")}
    assert (resource["status"], performed) == expected
