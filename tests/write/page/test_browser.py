"""The page in a real browser: text, highlighting, lines, keys. Left out where there is no Chromium."""

import html
import json
import re
import shutil
import subprocess

import pytest
from test_page import DOCUMENT, FEVER, ODD, PAIN, TEXT, bundle, condition

from kiwi_fhir.types import Document, Mention, Modifier, Note, Span
from kiwi_fhir.write.page import page

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="no Chromium")]

PROBE = """
<script>
const text = (selector) => [...document.querySelectorAll(selector)].map((found) => found.textContent);
const piece = (words) => [...document.querySelectorAll(".p")].find((found) => found.textContent === words);
const key = (name) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true }));
const seen = {};
seen.texts = text(".text");
piece("fever").click();
seen.mention = { on: text(".p.on"), linked: text(".p.linked"), cards: text(".card.on h4"),
  lines: document.querySelectorAll(".joins path").length };
piece(" pain").click();
seen.inside = { on: text(".p.on"), lines: document.querySelectorAll(".joins path").length };
document.querySelector(".card.problem:nth-child(2)").click();
seen.card = text(".p.on").join("");
document.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape" }));
seen.cleared = document.querySelectorAll(".on, .linked, .joins").length;
document.querySelector('.text [tabindex="0"]').focus();
seen.first = document.activeElement.textContent;
key("ArrowRight");
seen.second = document.activeElement.textContent;
key("Enter");
seen.entered = text(".card.on h4");
document.querySelector("#f-problem").click();
const hidden = (card) => getComputedStyle(card).display === "none";
seen.hidden = [...document.querySelectorAll(".card")].filter(hidden).length;
document.body.dataset.seen = JSON.stringify(seen);
</script>"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    odd = Document(Note("odd", ODD), (Mention("drug", Span(3, 30), (Modifier("route", Span(20, 40)),)),))
    made = "".join(
        page([(DOCUMENT, bundle(condition(FEVER, "Fever"), condition(PAIN, "Flank pain"))), (odd, bundle())], "t")
    )
    made = re.sub(r"<meta http-equiv[^>]*>", "", made)  # the policy would stop the probe
    (folder / "page.html").write_text(made.replace("</body>", PROBE + "</body>"), encoding="utf-8", newline="")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
    command += [
        "--disable-background-networking",
        "--disable-component-update",
        f"--user-data-dir={folder / 'profile'}",
    ]
    command += ["--dump-dom", (folder / "page.html").as_uri()]
    dom = subprocess.run(command, capture_output=True, timeout=120, check=True).stdout.decode()
    found = re.search(r'data-seen="([^"]*)"', dom)
    assert found, "the page's script or the probe failed"
    return json.loads(html.unescape(found[1]))


def test_the_text_in_the_browser_is_the_note(seen):
    assert seen["texts"] == [TEXT, ODD]


def test_a_mention_shows_its_modifiers_its_card_and_a_line(seen):
    assert seen["mention"] == {"on": ["fever"], "linked": ["No"], "cards": ["Fever"], "lines": 1}


def test_modifiers_inside_their_mention_need_no_line(seen):
    assert "".join(seen["inside"]["on"]) == PAIN.of(TEXT)
    assert seen["inside"]["lines"] == 0


def test_a_card_shows_its_span_and_escape_ends_it(seen):
    assert seen["card"] == PAIN.of(TEXT)
    assert seen["cleared"] == 0


def test_keys_walk_through_the_text(seen):
    assert (seen["first"], seen["second"]) == ("No", "fever")
    assert seen["entered"] == ["Fever"]


def test_a_box_hides_the_cards_of_its_label(seen):
    assert seen["hidden"] == 2
