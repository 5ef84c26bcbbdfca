"""`config show` prints what a run would have, as a file that gives the same config; options are what config.py has."""

import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiwi_fhir.cli import main
from kiwi_fhir.cli.config import to_toml
from kiwi_fhir.config import GROUPS, Config, read_config


@pytest.fixture
def call(monkeypatch, capsys):
    """`call("config", "show")` is the exit code and what was written to stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["kiwi-fhir", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        said = capsys.readouterr()
        return stopped.value.code or 0, said.out, said.err

    return run


def test_what_is_shown_is_read_back(call, tmp_path):
    path = tmp_path / "kiwi.toml"
    path.write_text('[model]\nthreads = 3\nfour_bit = true\n[run]\nsink = ["brat"]\nshard_notes = 50\n')
    options = ["--shard-notes", 7, "--query", "a=b", "--query", "date=ge2024&x=ü", "--replace", "--min-score", 0.25]
    code, shown, _ = call("config", "show", "--config", path, *options)
    assert code == 0
    path.write_text(shown, encoding="utf-8")
    assert read_config(path) == Config().with_options(
        threads=3,
        four_bit=True,
        sink=("brat",),
        shard_notes=7,
        query=("a=b", "date=ge2024&x=ü"),
        replace=True,
        min_score=0.25,
    )
    assert call("config", "show", "--config", path)[1] == shown
    assert call("config", "show")[1] == to_toml(Config())


@given(st.text().filter(lambda text: "/" not in text and "=" not in text), st.floats(0, 1))
def test_any_text_and_number_is_read_back(tmp_path_factory, text, rate):
    config = Config().with_options(sink=(f"x{text}",), mappings=text, max_failure_rate=rate)
    path = tmp_path_factory.mktemp("config") / "kiwi.toml"
    path.write_bytes(to_toml(config).encode())
    assert read_config(path) == config


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("omop=postgresql://u:hidden@h/d?schema=x", "omop=postgresql://***@h/d?schema=x"),
        ("omop=postgresql://u:hid/hidden@h/d", "omop=postgresql://***@h/d"),
        ("omop=postgresql://u:hid@hidden@h/d", "omop=postgresql://***@h/d"),
        ("omop=postgresql://h/d?sslpassword=hidden&schema=x", "omop=postgresql://h/d?sslpassword=***&schema=x"),
        ("fhir=https://hidden@h/fhir", "fhir=https://***@h/fhir"),
        ("omop=postgresql://me:${PASSWORD}@h/d", None),
        ("fhir=https://h:8443/fhir/a@b", None),
        ("omop=sqlite:////home/a@b/c:d@e.db", None),
        ("http://[::1]:8000/v1?model=a@b&parallel=2", None),
    ],
)
def test_no_password_is_shown(call, url, shown):
    for option in ("--sink", "--model"):
        found = call("config", "show", option, url)[1]
        assert "hidden" not in found
        assert f'"{shown or url}"' in found


def test_wrong_settings_are_named(call, tmp_path):
    path = tmp_path / "kiwi.toml"
    path.write_text("[run]\nshards = 3\n")
    code, _, said = call("config", "show", "--config", path)
    assert code == 2
    assert said == (
        f"kiwi-fhir: The config file '{path}': [run] has no 'shards': known are sink, shard_notes, max_failure_rate.\n"
    )
    code, _, said = call("config", "show", "--device", "abacus")
    assert (code, said) == (2, "kiwi-fhir: 'device' must be cpu, cuda, mps or openvino.\n")
    code, _, said = call("config", "show", "--threads", "0")
    assert code == 2
    assert "--threads" in said


def test_every_setting_is_an_option_of_run_and_of_show(call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    for command in (("run",), ("config", "show")):
        code, said, _ = call(*command, "--help")
        assert code == 0
        options = set(re.findall(r"--[a-z-]+", said))
        for group, kind in GROUPS.items():
            assert f"[{group}] of the config file" in said
            assert {f"--{one.name.replace('_', '-')}" for one in kind.declared()} <= options
