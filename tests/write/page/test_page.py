"""The page of a run: nothing of a note lost or let loose, everything found drawn, resources beside it."""

import base64
import hashlib
import re
import string
from collections import defaultdict
from decimal import Decimal
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiwi_fhir.types import (
    ALLOWED_PAIRS,
    MENTION_LABELS,
    MODIFIER_LABELS,
    Coding,
    Document,
    Mention,
    ModelId,
    Modifier,
    Note,
    Span,
)
from kiwi_fhir.write.page import page
from kiwi_fhir.write.page.cards import DERIVATION, Card, card_html, cards, pretty
from kiwi_fhir.write.page.markup import LETTERS, TAGS, draw, markup

VOID = {"meta", "input", "br"}
ODD = (
    "<script>alert('x')</script> \"quoted\" & 'single' &amp; &#60; <!-- c --> ]]> </div></main>\r\n"
    "e\u0301 noe\u0308l \u202eright to left\u202c כאב ראש חמור 👩‍⚕️ 🏳️‍🌈 µg ≥ 5\ttab\x0b\x1f\x85\u2028end\rlone\n\n"
)


class Page(HTMLParser):
    """A page as a browser reads it: text of each note, pieces and cards with their attributes, all tags."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.texts, self.pieces, self.cards, self.tags, self.articles = [], [], [], [], []
        self.open = []
        # Line ends are normalised before parsing and NUL is dropped (WHATWG HTML, 13.2.3.5 and 13.2.5.1).
        assert "\0" not in html
        self.feed(html.replace("\r\n", "\n").replace("\r", "\n"))
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        if tag in VOID:
            return
        self.open.append((tag, attrs.get("class") or ""))
        classes = (attrs.get("class") or "").split()
        if "text" in classes:
            self.texts.append("")
        elif tag == "article":
            self.articles.append(attrs)
        elif "p" in classes:
            self.pieces.append({**attrs, "words": ""})
        elif "card" in classes:
            self.cards.append({**attrs, "words": ""})

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        within = [classes.split() for _, classes in self.open]
        if any("text" in classes for classes in within):
            self.texts[-1] += data
            if any("p" in classes for classes in within):
                self.pieces[-1]["words"] += data
        if any("card" in classes for classes in within):
            self.cards[-1]["words"] += data + " "


def span(text, words):
    start = text.index(words)
    return Span(start, start + len(words))


def evidence(found):
    parts = [{"url": "offset", "valueInteger": found.start}, {"url": "length", "valueInteger": found.end - found.start}]
    return {"url": DERIVATION, "extension": parts}


def bundle(*resources):
    return {"resourceType": "Bundle", "type": "transaction", "entry": [{"resource": one} for one in resources]}


def condition(found, words, **more):
    return {"resourceType": "Condition", "extension": [evidence(found)], "code": {"text": words}, **more}


def render(*results, title="A run"):
    return "".join(page(results, title))


TEXT = "No fever. Severe left flank pain since Monday.\n"
FEVER, PAIN = span(TEXT, "fever"), span(TEXT, "Severe left flank pain")
DOCUMENT = Document(
    Note("n1", TEXT, patient_id="p7", type=Coding(None, None, "Progress note"), time="2024-03-09T14:20:31-05:00"),
    (
        Mention("problem", FEVER, (Modifier("negation", span(TEXT, "No")),)),
        Mention(
            "problem",
            PAIN,
            (Modifier("severity", span(TEXT, "Severe")), Modifier("bodyloc", span(TEXT, "left flank"))),
        ),
    ),
    ModelId("kiwi", "1.0", "c0ffee"),
    (Modifier("temporal", span(TEXT, "since Monday")),),
)


def test_the_text_of_the_page_is_the_note():
    notes = [Document(Note(f"n{number}", text), ()) for number, text in enumerate([TEXT, ODD, ""])]
    assert Page(render(*((one, bundle()) for one in notes))).texts == [TEXT, ODD, ""]


def test_null_characters_are_shown_as_replaced():
    assert Page(render((Document(Note("n", "a\0b"), ()), bundle()))).texts == ["a\ufffdb"]


@st.composite
def documents(draw_):
    """Any text with mentions and modifiers that lie inside each other, cross and repeat."""
    alphabet = st.one_of(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"), st.sampled_from("<>&\"'\r\n ")
    )
    text = draw_(st.text(alphabet, min_size=1, max_size=30))
    ends = st.tuples(st.integers(0, len(text) - 1), st.integers(1, len(text)))
    spans = ends.map(lambda two: Span(two[0], max(two[0] + 1, two[1])))

    def mention(label):
        held = st.lists(st.builds(Modifier, st.sampled_from(sorted(ALLOWED_PAIRS[label])), spans), max_size=3)
        return st.builds(Mention, st.just(label), spans, held.map(tuple))

    mentions = st.sampled_from(MENTION_LABELS).flatmap(mention)
    free = st.builds(Modifier, st.sampled_from(MODIFIER_LABELS), spans)
    return Document(
        Note(draw_(st.text(alphabet, min_size=1, max_size=5)), text),
        tuple(draw_(st.lists(mentions, max_size=5))),
        None,
        tuple(draw_(st.lists(free, max_size=3))),
    )


@given(documents(), st.lists(st.builds(Span, st.integers(0, 40), st.integers(0, 40)), max_size=3))
def test_whatever_overlaps_every_item_is_drawn_over_exactly_its_words(document, more):
    text = document.note.text
    drawing = draw(document, more)
    parsed = Page(f'<div class="text">{"".join(markup(text, drawing.items))}</div>')
    assert parsed.texts == [text]
    drawn = defaultdict(str)
    for piece in parsed.pieces:
        for key in piece["data-k"].split():
            drawn[key] += piece["words"]
    assert drawn == {item.key: item.span.of(text) for item in drawing.items}
    spans = {item.span for item in drawing.items if item.kind == "mention"}
    assert spans == {mention.span for mention in document.mentions}
    pairs = {(mention.span, held.label, held.span) for mention in document.mentions for held in mention.modifiers}
    by_key = {item.key: item for item in drawing.items}
    linked = {(by_key[one].span, by_key[two].label, by_key[two].span) for one, two in drawing.links}
    assert linked == pairs


def test_letters_and_tags_stand_once_at_each_start_and_not_in_the_text():
    made = "".join(markup(TEXT, draw(DOCUMENT).items))
    assert re.findall(r'class="letter (\w+)" data-t="(\w+)"', made) == [("problem", "P"), ("problem", "P")]
    assert re.findall(r'<b class="(\w+)" data-t="(\w+)">', made) == [
        ("negation", "not"),
        ("severity", "sev"),
        ("bodyloc", "site"),
        ("temporal", "time"),
    ]
    assert set(LETTERS) == set(MENTION_LABELS)
    assert set(TAGS) == set(MODIFIER_LABELS)


def test_pieces_say_in_words_what_they_are():
    pieces = {piece["words"]: piece for piece in Page(render((DOCUMENT, bundle()))).pieces}
    assert pieces["fever"]["title"] == "problem: fever\n  negation: No"
    assert pieces["left flank"]["title"] == (
        "problem: Severe left flank pain\n  severity: Severe\n  bodyloc: left flank\n"
        "bodyloc: left flank\nof problem: Severe left flank pain"
    )
    assert pieces["No"]["title"] == "negation: No\nof problem: fever"
    assert pieces["since Monday"]["title"] == "temporal: since Monday"
    assert "neg" in pieces["fever"]["class"].split()
    assert "neg" not in pieces["left flank"]["class"].split()
    assert pieces["fever"]["tabindex"] == "-1"
    assert "tabindex" not in pieces[" pain"]


def test_crossing_mentions_keep_both_colours_where_they_meet():
    text = "left arm pain scan"
    crossing = Document(
        Note("n", text),
        (Mention("problem", Span(0, 13)), Mention("test", Span(9, 18)), Mention("drug", Span(9, 13))),
    )
    pieces = Page(render((crossing, bundle()))).pieces
    assert [(piece["words"], piece["data-k"]) for piece in pieces] == [
        ("left arm ", "m0"),
        ("pain", "m0 m1 m2"),
        (" scan", "m1"),
    ]
    assert "a-problem b-drug" in pieces[1]["class"]


def test_links_stand_with_the_note():
    (article,) = Page(render((DOCUMENT, bundle()))).articles
    assert article["data-links"] == "m0 d0;m1 d1;m1 d2"


def test_cards_find_their_span_by_offset_and_length():
    made = bundle(condition(PAIN, "Flank pain"), condition(FEVER, "Fever"))
    parsed = Page(render((DOCUMENT, made)))
    assert [(card["data-k"], "Flank" in card["words"]) for card in parsed.cards] == [("m0", False), ("m1", True)]
    pieces = {piece["words"]: piece["data-k"] for piece in parsed.pieces}
    assert pieces["fever"] == "m0"
    assert "m1" in pieces["left flank"].split()


def test_evidence_that_no_mention_has_is_drawn_and_evidence_outside_the_text_is_not():
    made = bundle(condition(span(TEXT, "flank"), "x"), condition(Span(40, 4000), "y"), condition(span(TEXT, "No"), "z"))
    parsed = Page(render((DOCUMENT, made)))
    keys = {card["words"].split()[1]: card["data-k"] for card in parsed.cards}
    assert keys == {"x": "e0", "y": "", "z": "d0"}
    assert [piece["words"] for piece in parsed.pieces if "e0" in piece["data-k"].split()] == ["flank"]
    assert parsed.texts == [TEXT]


def words(resource):
    (card,) = Page(card_html(Card(resource, ()), [])).cards
    return " ".join(card["words"].split()).partition(" JSON ")[0]


def concept(system, code, **more):
    return {"coding": [{"system": system, "code": code}], **more}


@pytest.mark.parametrize(
    ("resource", "shown"),
    [
        (
            {
                "resourceType": "Condition",
                "clinicalStatus": concept("c", "active"),
                "verificationStatus": concept("v", "provisional"),
                "code": concept("http://snomed.info/sct", "386661006", text="fever"),
                "severity": concept("http://snomed.info/sct", "255604002", text="mild"),
                "bodySite": [{"text": "left"}, {"text": "right"}],
                "onsetString": "since Monday",
            },
            "Condition active provisional fever SNOMED CT 386661006 severity mild site left; right onset since Monday",
        ),
        (
            {
                "resourceType": "Observation",
                "status": "final",
                "code": concept("http://loinc.org", "2823-3", text="potassium"),
                "valueQuantity": {"value": Decimal("4.10"), "unit": "mmol/L", "comparator": "<"},
                "interpretation": [concept("i", "N")],
                "referenceRange": [{"low": {"value": 3.5}, "high": {"value": 5.1}}],
            },
            "Observation final potassium LOINC 2823-3 value <4.10 mmol/L reads as N reference 3.5–5.1",
        ),
        (
            {
                "resourceType": "Observation",
                "status": "final",
                "code": {"text": "blood pressure"},
                "component": [
                    {"code": {"text": "Systolic"}, "valueQuantity": {"value": 120, "unit": "mmHg"}},
                    {"code": {"text": "Diastolic"}, "valueQuantity": {"value": 80, "unit": "mmHg"}},
                ],
            },
            "Observation final blood pressure Systolic 120 mmHg Diastolic 80 mmHg",
        ),
        (
            {
                "resourceType": "Observation",
                "status": "final",
                "code": {"text": "ANA"},
                "valueRatio": {"numerator": {"value": 1}, "denominator": {"value": 40}},
            },
            "Observation final ANA value 1:40",
        ),
        (
            {
                "resourceType": "MedicationStatement",
                "status": "active",
                "contained": [
                    {
                        "resourceType": "Medication",
                        "code": concept("http://www.nlm.nih.gov/research/umls/rxnorm", "4603"),
                        "form": {"text": "tablet"},
                        "ingredient": [
                            {
                                "itemCodeableConcept": {"text": "x"},
                                "strength": {
                                    "numerator": {"value": 40, "unit": "mg"},
                                    "denominator": {"value": 5, "unit": "mL"},
                                },
                            }
                        ],
                    }
                ],
                "medicationReference": {"reference": "#medication", "display": "furosemide"},
                "dosage": [{"text": "one tablet twice daily", "asNeededBoolean": True}],
            },
            "MedicationStatement active furosemide RxNorm 4603 dosage one tablet twice daily "
            "form tablet strength 40 mg/5 mL",
        ),
        (
            {
                "resourceType": "FamilyMemberHistory",
                "status": "partial",
                "relationship": concept("r", "MTH", text="mother"),
                "condition": [{"code": {"text": "stroke"}}],
            },
            "FamilyMemberHistory partial stroke relative mother",
        ),
        (
            {
                "resourceType": "Procedure",
                "status": "not-done",
                "code": {"text": "surgery"},
                "performedDateTime": "2024",
            },
            "Procedure not-done surgery when 2024",
        ),
        ({"resourceType": "Device", "deviceName": [{"name": "kiwi_fhir"}]}, "Device kiwi_fhir"),
    ],
)
def test_cards_show_what_a_resource_says(resource, shown):
    assert words(resource) == shown


def test_cards_come_in_text_order_and_what_has_no_text_behind_it_last():
    provenance = {"resourceType": "Provenance"}
    made = cards(bundle(provenance, condition(PAIN, "b"), condition(FEVER, "a")))
    assert [card.type for card in made] == ["Condition", "Condition", "Provenance"]
    assert [card.spans for card in made] == [(FEVER,), (PAIN,), ()]
    html = render((DOCUMENT, bundle(provenance)))
    assert "Nothing was found in this note." in html
    assert "About the run" in html


def test_json_is_shown_whole_and_decimals_keep_their_digits():
    value = {"a": [1, Decimal("1.20"), {"b": None, "c": True}], "d": {}, "e": [], "f": '"é<'}
    shown = pretty(value)
    assert shown == (
        '{\n  "a": [\n    1,\n    1.20,\n    {\n      "b": null,\n      "c": true\n    }\n  ],\n'
        '  "d": {},\n  "e": [],\n  "f": "\\"é<"\n}'
    )


HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(1)>' onclick=alert(1) x='&lt;"


def test_nothing_of_a_note_or_a_resource_becomes_markup():
    note = Note(HOSTILE, HOSTILE, patient_id=HOSTILE, type=Coding(None, None, HOSTILE), time=HOSTILE)
    document = Document(
        note,
        (Mention("problem", Span(0, 9), (Modifier("severity", Span(2, 30)),)),),
        ModelId(HOSTILE, HOSTILE, HOSTILE),
    )
    resource = {
        "resourceType": HOSTILE,
        "status": HOSTILE,
        "code": {"coding": [{"system": HOSTILE, "code": HOSTILE}], "text": HOSTILE},
        "valueString": HOSTILE,
        "component": [{"code": {"text": HOSTILE}, "valueString": HOSTILE}],
        "extension": [evidence(Span(0, 9))],
        HOSTILE: HOSTILE,
    }
    parsed = Page(render((document, bundle(resource)), title=HOSTILE))
    assert parsed.texts == [HOSTILE]
    assert [tag for tag, _ in parsed.tags].count("script") == 1
    assert not {tag for tag, _ in parsed.tags} & {"img", "iframe", "object", "a:link", "form", "link", "base"}
    names = {name for _, attrs in parsed.tags for name in attrs}
    assert not {name for name in names if name.startswith("on")}
    assert names <= {
        *(
            "charset",
            "checked",
            "class",
            "content",
            "data-k",
            "data-links",
            "data-t",
            "dir",
            "href",
            "http-equiv",
            "id",
        ),
        *("lang", "name", "role", "tabindex", "title", "type", "aria-label"),
    }


def test_the_page_is_offline_and_runs_no_script_but_its_own():
    html = render((DOCUMENT, bundle(condition(PAIN, "x"))))
    parsed = Page(html)
    assert {attrs["href"] for _, attrs in parsed.tags if "href" in attrs} == {"#notes", "#n1"}
    assert not re.search(r"url\(|@import|src=", html)
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [attrs["content"] for _, attrs in parsed.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def test_every_label_has_a_box_and_a_rule_that_hides_it():
    html = render((DOCUMENT, bundle()))
    for label in (*MENTION_LABELS, *MODIFIER_LABELS):
        assert f'id="f-{label}" checked' in html
        assert f"body:has(#f-{label}:not(:checked))" in html


def test_the_list_names_every_note_with_its_counts():
    html = render((DOCUMENT, bundle(condition(PAIN, "x"))), (Document(Note("n2", "x"), ()), bundle()))
    nav = html.partition("<nav")[2]
    assert re.findall(r'href="#(n\d)"><bdi>([^<]*)</bdi><small><bdi>(\w+)</bdi><span>(\d)', nav) == [
        ("n1", "Progress note", "n1", "2"),
        ("n2", "n2", "n2", "0"),
    ]
    assert re.findall(r"<b>(\d+)</b> (\w+)", nav) == [("2", "notes"), ("2", "mentions"), ("1", "resources")]
    assert "<bdi>2024-03-09 14:20</bdi>" in html
    assert "<bdi>Patient p7</bdi>" in html
    assert "<bdi>kiwi-1.0-c0ffee</bdi>" in html


def test_notes_are_streamed():
    taken = []

    def results():
        for number in range(3):
            taken.append(number)
            yield Document(Note(f"note-{number}", "x"), ()), bundle()

    pieces = page(results(), "t")
    while "note-0" not in next(pieces):
        pass
    assert taken == [0]


def colours(css):
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})\b", css))


def luminance(colour):
    """WCAG 2.2, relative luminance."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    assert set(digits) <= set(string.hexdigits)
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_have_contrast_in_both_schemes():
    html = render()
    light_css, _, dark_css = html.partition("prefers-color-scheme: dark")
    light, dark = colours(light_css), colours(dark_css)
    assert set(light) == set(dark)
    for scheme in (light, dark):
        pairs = [("ink", "page"), ("ink", "sheet"), ("soft", "page"), ("soft", "sheet"), ("modifier", "sheet")]
        pairs += [("on-focus", "focus"), ("on-focus", "firm"), ("on-colour", "soft")]
        for label in MENTION_LABELS:
            pairs += [("ink", f"{label}-tint"), (label, "sheet"), ("on-colour", label), ("modifier", f"{label}-tint")]
        for one, other in pairs:
            high, low = sorted((luminance(scheme[one]), luminance(scheme[other])), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 4.5, (one, other)
