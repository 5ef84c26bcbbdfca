"""docs/api.md is what the docstrings say."""

import runpy
from pathlib import Path

import kiwi_fhir

DOCS = Path(__file__).parents[1] / "docs"


def test_the_page_is_of_these_docstrings():
    render = runpy.run_path(str(DOCS / "make_api.py"))["render"]
    page = (DOCS / "api.md").read_text(encoding="utf-8")
    assert page == render(), "run `python docs/make_api.py` and read what changed"
    assert all(f"\n### {name}\n" in page for name in kiwi_fhir.__all__)
