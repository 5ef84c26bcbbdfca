"""Every script of examples/ runs as it stands, and says what it promises."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

#: What each script has to say.
SAYS = {
    "text_to_bundle.py": [r"problem +chest pain +absent", r"drug +Metformin +present"],
    "own_mapping.py": [r"packaged: confirmed\nours: unconfirmed"],
    "evaluate_corpus.py": [r"problem +exact 0\.[89]\d\d +relaxed 0\.9"],
    "beam_batch.py": [r"demo-01-cardiology: \d{4,} bytes", r"demo-12-intensive-care: \d{4,} bytes"],
    "beam_stream.py": [r"(?m)^20\d\d-\d\d-\d\dT\S+Z: \d notes, \d+ conditions$"],
    "run_inference.py": [r"demo-01-cardiology: \d+ drug, \d+ problem"],
}


@pytest.mark.parametrize("name", SAYS)
def test_an_example_runs(name, tmp_path):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    ran = subprocess.run(
        [sys.executable, EXAMPLES / name], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
    )
    assert ran.returncode == 0, ran.stderr
    for pattern in SAYS[name]:
        assert re.search(pattern, ran.stdout), ran.stdout
    assert list(tmp_path.iterdir()) == []


def test_every_example_is_tried():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SAYS)


def run_readme(title, folder):
    """What the Python of a section of the README prints."""
    readme = (EXAMPLES.parent / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(rf"## {title}\n\n```python\n(.*?)```", readme, re.DOTALL)
    (folder / "code.py").write_text(code, encoding="utf-8")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, "code.py"], check=True, cwd=folder, env=environment, capture_output=True, text=True
    ).stdout


def test_the_python_of_the_readme_runs(tmp_path):
    assert run_readme("From Python", tmp_path).splitlines() == [
        "['Condition', 'MedicationStatement', 'Provenance']",
        "['absent', 'present']",
    ]


def test_the_pipeline_of_the_readme_runs(tmp_path):
    run_readme("In a Beam pipeline of your own", tmp_path)
    (written,) = tmp_path.glob("bundles*.ndjson")
    assert [json.loads(line)["type"] for line in written.read_text().splitlines()] == ["transaction"] * 12
