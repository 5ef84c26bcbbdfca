"""What tests of several stages share."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))
sys.path.insert(0, str(Path(__file__).parent / "servers"))

# A busy machine is no failure, and what CI tries is the same each time.
settings.register_profile("kiwi", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("kiwi")


def pytest_addoption(parser):
    parser.addoption(
        "--update-golden", action="store_true", help="write golden files anew; read them before you commit"
    )


@pytest.fixture
def update_golden(request):
    return request.config.getoption("--update-golden")


@pytest.fixture(scope="session")
def synthetic_note():
    """`synthetic_note(seed, characters)` is a note of the benchmarks' generator."""
    from synthetic import note_text

    return note_text
