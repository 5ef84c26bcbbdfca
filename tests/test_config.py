"""The settings of a run: declared once, read from a file, and what of them decides results."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from kiwi_fhir.config import GROUPS, Config, read_config
from kiwi_fhir.errors import ConfigError


@pytest.fixture
def read(tmp_path):
    """`read(text)` is the config of a file with that text."""

    def of(text):
        path = tmp_path / "kiwi.toml"
        path.write_text(text, encoding="utf-8")
        return read_config(path)

    return of


def with_(**options):
    return Config().with_options(**options)


def test_a_file_and_options(read):
    config = read(
        '[run]\nsink = ["ndjson", "brat"]\nshard_notes = 50\nmax_failure_rate = 0\n[notes]\nquery = ["a=b"]\n'
    )
    assert config == with_(sink=("ndjson", "brat"), shard_notes=50, max_failure_rate=0, query=("a=b",))
    assert config.with_options(shard_notes=7, sink=(), model=None).run.shard_notes == 7
    assert config.with_options(sink=(), threads=2).run.sink == ("ndjson", "brat")
    assert config.with_options(min_score=0.0, fuzzy=False) == config
    with pytest.raises(TypeError, match="no setting shards"):
        config.with_options(shards=3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[run]\nshard = 5", r"\[run\] has no 'shard': known are sink, shard_notes, max_failure_rate\."),
        ("[run]\nthreads = 5", r"\[run\] has no 'threads': it belongs under \[model\]\."),
        ("threads = 5", r"'threads' is no group: it belongs under \[model\]\."),
        ("[sinks]", r"'sinks' is no group: known are model, notes, mapping, fhir, omop, run\."),
        ("model = 'default'", r"'model' is a group: write \[model\] and its keys on lines of their own"),
        ("[run]\nshard_notes = 'many'", r"\[run\] 'shard_notes' must be a whole number\."),
        ("[run]\nshard_notes = 0", r"\[run\] 'shard_notes' must be a whole number from 1\."),
        ("[run]\nmax_failure_rate = 2", "'max_failure_rate' must be a number from 0 to 1"),
        ("[run]\nmax_failure_rate = nan", "'max_failure_rate' must be a number from 0 to 1"),
        ("[model]\nmin_score = 1.5", "'min_score' must be a number from 0 to 1"),
        ("[model]\nmin_score = true", "'min_score' must be a number"),
        ("[model]\nthreads = true", "'threads' must be a whole number"),
        ("[model]\nthreads = 1.0", "'threads' must be a whole number"),
        ("[model]\ndevice = 'tpu'", "'device' must be cpu, cuda, mps or openvino"),
        ("[mapping]\nfuzzy = 'yes'", "'fuzzy' must be true or false"),
        ("[mapping]\nterminology = 3", "'terminology' must be text"),
        ("[fhir]\nrecorded = 'yesterday'", "'recorded' must be a FHIR instant such as"),
        ("[fhir]\nrecorded = 2026-01-31T12:00:00Z", "'recorded' must be text"),
        ("[run]\nsink = 'ndjson'", "'sink' must be a list of texts"),
        ("[run]\nsink = ['ndjson', 3]", "'sink' must be a list of texts"),
        ("[run]\nsink = []", "'sink' must be a list with at least one sink"),
        ("[run]\nsink = [", "is no TOML"),
    ],
)
def test_a_wrong_file_is_named(read, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read(text)
    assert "kiwi.toml" in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        read_config(tmp_path / "kiwi.toml")


def test_now_is_one_instant():
    config = with_(recorded="now")
    assert config.fhir.recorded.endswith("+00:00")
    assert config.with_options(threads=2).fhir.recorded == config.fhir.recorded


def test_a_name_stands_in_one_group_and_every_setting_is_explained():
    assert [one.name for one in fields(Config)] == list(GROUPS)
    declared = [one for group in GROUPS.values() for one in group.declared()]
    names = [one.name for one in declared]
    assert len(set(names)) == len(names)
    for one in declared:
        assert one.about.help.endswith("."), one.name
        assert one.default is not None or one.about.shown, f"{one.name}: what does its default do?"


#: A value beside the default for every setting, and whether it makes another run.
OTHER = {
    "model": ("smollm2", False),
    "templates": ("mine", False),
    "four_bit": (True, True),
    "unconstrained": (True, False),
    "threads": (3, False),
    "device": ("cpu", False),
    "min_score": (0.7, True),
    "query": (("type=x",), False),
    "export": ("system", False),
    "allow_host": (("https://h",), False),
    "mappings": ("us-core", False),
    "terminology": ("none", False),
    "fuzzy": (True, True),
    "medcat": (True, True),
    "trust_pack": (True, False),
    "recorded": ("2025-01-01T00:00:00Z", True),
    "replace": (True, True),
    "server_ids": (True, True),
    "parallel": (1, False),
    "omop_create": (True, False),
    "omop_notes": (True, True),
    "omop_clinical": (True, True),
    "omop_ids": ("ids.csv", False),
    "sink": (("brat",), True),
    "shard_notes": (7, True),
    "max_failure_rate": (1.0, False),
}


def test_the_fingerprint_is_of_what_decides_results():
    assert set(OTHER) == {one.name for group in GROUPS.values() for one in group.declared()}
    base = Config().fingerprint(model="m")
    for name, (value, counts) in OTHER.items():
        assert (with_(**{name: value}).fingerprint(model="m") != base) == counts, name
    assert with_(device="openvino").fingerprint(model="m") != base, "int8 changes labels"
    assert Config().fingerprint(model="other") != base
    secret = [with_(sink=(f"fhir=https://u:{word}@h/fhir",)).fingerprint() for word in ("one", "two")]
    assert secret[0] == secret[1]


def test_the_example_of_the_readme_is_right(read):
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```toml\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    config = read(example)
    assert (config.model.min_score, config.mapping.mappings) == (0.5, "us-core")
    assert config.run.sink[0] == "ndjson"
