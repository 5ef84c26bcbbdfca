"""The config file: read, checked, and what of it decides results."""

import pytest

from kiwi_fhir.config import Config, read_config
from kiwi_fhir.errors import ConfigError


def test_a_file_and_options(tmp_path):
    path = tmp_path / "kiwi.toml"
    path.write_text('sinks = ["ndjson", "brat"]\nshard_notes = 50\nmax_failure_rate = 0\n')
    config = read_config(path)
    assert config == Config(sinks=("ndjson", "brat"), shard_notes=50, max_failure_rate=0)
    assert config.with_options(shard_notes=7, sinks=(), model=None).shard_notes == 7
    assert config.with_options(sinks=(), threads=2).sinks == ("ndjson", "brat")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shard = 5", "unknown key 'shard'"),
        ("shard_notes = 'many'", "'shard_notes' must be int"),
        ("shard_notes = 0", "'shard_notes' must be a whole number from 1"),
        ("max_failure_rate = 2", "from 0 to 1"),
        ("threads = true", "'threads' must be int"),
        ("device = 'tpu'", "cpu, cuda, mps or openvino"),
        ("sinks = 'ndjson'", "'sinks' must be tuple"),
        ("sinks = []", "at least one sink"),
        ("sinks = [", "no TOML"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, text, message):
    path = tmp_path / "kiwi.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_config(path)
    assert "kiwi.toml" in str(caught.value)


def test_lists_of_a_file(tmp_path):
    (tmp_path / "kiwi.toml").write_text("queries = ['type=x', 'DiagnosticReport']\nallow_hosts = ['https://h']\n")
    found = read_config(tmp_path / "kiwi.toml")
    assert (found.queries, found.allow_hosts) == (("type=x", "DiagnosticReport"), ("https://h",))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        read_config(tmp_path / "kiwi.toml")


def test_the_fingerprint_is_of_what_decides_results():
    base = Config().fingerprint(model="m")
    assert Config(threads=3, device="cpu", max_failure_rate=1.0).fingerprint(model="m") == base
    assert Config(queries=("type=x",), export="system", allow_hosts=("https://h",)).fingerprint(model="m") == base
    assert Config(device="openvino").fingerprint(model="m") != base, "int8 changes labels"
    assert Config(shard_notes=7).fingerprint(model="m") != base
    assert Config(recorded="2025-01-01T00:00:00Z").fingerprint(model="m") != base
    assert Config().fingerprint(model="other") != base
