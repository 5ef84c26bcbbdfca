"""Whatever words the modifiers are, and whichever come together, the bundle is right."""

from hypothesis import given, settings
from hypothesis import strategies as st

from kiwi_fhir.fhir import check_bundle, to_json
from kiwi_fhir.types import ALLOWED_PAIRS, Document, Mention, Modifier, Note, Span

WORDS = (
    *("no", "negative", "not done", "stopped", "held", "possible", "unlikely", "rule out", "if", "mother"),
    *("his brother and sister", "roommate", "mild", "severe", "resolved", "recurrent", "chronic"),
    *("remission", "left knee", "2006", "03/14/2006", "03/2012", "two weeks ago", "yesterday", "history of"),
    *("currently", "at bedtime", "Monday", "4.10", "4.10 mmol/L", "<5", "> 100 %", "4-6", "6-4", "1:40"),
    *("120/80", "2+", "normal", "high", "clear", "3.5-5.1", "20 mg", "5/500 mg", "0.05%", "44 mcg/0.5 mL"),
    *("25-50 mg", "1", "one to two", "1/2 tablet", "6 mL an hour", "tablet", "patch", "IV", "p.o.", "daily"),
    *("b.i.d.", "q4-6h", "prn pain", "p.r.n.", "every Monday", "once", "with meals", "for 10 days"),
    *("x 2 weeks", "4 to 6 weeks", "mg", "0", "-1", "1,000", "½", "99999999999999999999", "0.0000", "a\x07b"),
    *(
        "é",
        "0 times a day",
        "0 days",
        "q0h",
        "0 tablets",
        "9999999999999999999999999999999999999999 times a day",
        "9999999999999999999999999999999999 days ago",
        "half a year ago",
    ),
)
SECTIONS = (None, "past_history", "family_history", "problem_list", "discharge_medications", "labs")
TIMES = (None, "2011", "2011-03-05", "2011-03-05T08:30:00Z", "2011-03-05T08:30:00", "0001-01-01")


@st.composite
def documents(draw):
    label = draw(st.sampled_from(sorted(ALLOWED_PAIRS)))
    text = "BP "
    modifiers = []
    for kind in draw(st.lists(st.sampled_from(sorted(ALLOWED_PAIRS[label])), max_size=6)):
        words = draw(st.sampled_from(WORDS))
        modifiers.append(Modifier(kind, Span(len(text), len(text) + len(words)), 0.9, 0.8))
        text += words + draw(st.sampled_from((" ", ", ", "\n", " on ")))
    section, time = draw(st.sampled_from(SECTIONS)), draw(st.sampled_from(TIMES))
    return Document(Note("n", text, time=time), (Mention(label, Span(0, 2), tuple(modifiers), 0.7, section),))


@settings(max_examples=400, deadline=None)
@given(documents())
def test_no_words_make_a_wrong_resource(normalizer, writer, document):
    facts = normalizer.facts(document)
    bundle, failures = writer.bundle(document, facts)
    assert failures == []
    assert check_bundle(bundle) == []
    assert to_json(bundle)
    assert ("entry" in bundle) == (writer.ignored(facts[0]) is None)
