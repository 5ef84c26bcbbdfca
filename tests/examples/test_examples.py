"""Every script of examples/ runs as it stands, and says what it promises."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

#: What each script has to say.
SAYS = {
    "text_to_bundle.py": [r"problem +chest pain +absent", r"drug +Metformin +present", r'"code": "E11'],
    "own_mapping.py": [r"packaged: confirmed\nours: unconfirmed"],
    "evaluate_corpus.py": [r"problem +exact 0\.[89]\d\d +relaxed 0\.9"],
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
