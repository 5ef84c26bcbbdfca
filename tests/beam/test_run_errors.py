"""An error keeps its sentence and exit code on its way from a worker, and runs in one process stay apart."""

import json
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import kiwi_fhir.extract
from kiwi_fhir.beam.files import files_for, store_for
from kiwi_fhir.beam.job import execute
from kiwi_fhir.beam.options import options_of
from kiwi_fhir.config import Config
from kiwi_fhir.errors import KiwiError, ModelError, place, sentence
from kiwi_fhir.run.errors import home, marked
from kiwi_fhir.run.prepare import prepare
from kiwi_fhir.run.progress import Progress

SECRET = "Zebediah has chest pain."
LOOPBACK = ("--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=LOOPBACK")


def ready(folder, output, config, notes=1):
    folder.mkdir()
    for number in range(notes):
        (folder / f"{number}.txt").write_text(SECRET)
    return prepare("text", [str(folder)], config, files=files_for([]), store=store_for(str(output)))


@pytest.mark.parametrize("options", [(), LOOPBACK], ids=["local", "portable"])
def test_a_model_that_does_not_load_on_a_worker_ends_with_its_own_sentence(tmp_path, options):
    model = tmp_path / "broken"
    shutil.copytree(Path(kiwi_fhir.extract.__file__).parent / "default", model)
    with (model / "heads.safetensors").open("r+b") as stream:
        stream.truncate(1000)  # `prepare` reads no weights
    run = ready(tmp_path / "notes", tmp_path / "out", Config().with_options(model=str(model), device="cpu", threads=1))
    with pytest.raises(ModelError) as ended:
        execute(run, options_of(options))
    assert str(ended.value).startswith("The model folder 'broken' is damaged or does not fit its base (Safetensor")
    assert str(ended.value).endswith("get it whole.")
    assert ended.value.exit_code == 2
    report = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (report["status"], report["errors"]) == ("failed", [str(ended.value)])


@pytest.mark.parametrize("options", [(), LOOPBACK], ids=["local", "portable"])
def test_a_disk_that_refuses_on_a_worker_is_one_sentence(tmp_path, options):
    output = tmp_path / "out"
    run = ready(tmp_path / "notes", output, Config().with_options(device="cpu", threads=1))
    output.mkdir(exist_ok=True)
    (output / "bundles").write_text("a file stands where the folder should be")
    with pytest.raises(KiwiError, match="The system refused: ") as ended:
        execute(run, options_of(options))
    assert "bundles" in str(ended.value)
    assert ended.value.exit_code == 1


def test_a_foreign_exception_leaves_its_message_behind():
    with pytest.raises(KiwiError) as left, marked():
        files_for(int(SECRET) for _ in range(1))
    text = f"Traceback ...\n  {left.value} [while running 'Extract']"  # what a runner makes of it
    ended = home(RuntimeError(text))
    assert isinstance(ended, KiwiError)
    assert ended.exit_code == 1
    assert str(ended).startswith("The program failed with ValueError at kiwi_fhir.beam.files:")
    assert "Zebediah" not in text


def test_home_looks_behind_an_exception_and_leaves_others_alone():
    with pytest.raises(KiwiError) as left, marked():
        raise KiwiError("It's <over>.\nReally.")
    runners = RuntimeError("failed")
    runners.__cause__ = left.value
    assert str(home(runners)) == "It's <over>.\nReally."
    other = RuntimeError("failed")
    assert home(other) is other


def test_the_place_of_an_exception_is_in_our_code():
    with pytest.raises(KeyError) as caught:
        files_for({}["missing"] for _ in range(1))
    assert place(caught.value).startswith("kiwi_fhir.beam.files:")
    assert sentence(caught.value).startswith("The program failed with KeyError at kiwi_fhir.beam.files:")
    assert "missing" not in sentence(caught.value)
    assert place(KeyError()) is None


def test_two_runs_in_one_process_count_for_themselves(tmp_path):
    config = Config().with_options(device="cpu", threads=1, shard_notes=2)
    runs = [ready(tmp_path / f"notes{notes}", tmp_path / f"out{notes}", config, notes) for notes in (3, 5)]
    with Progress() as first, Progress() as second, ThreadPoolExecutor(2) as threads:
        reports = list(threads.map(execute, runs, [options_of(()), options_of(())], [first, second]))
        assert (first.done(), second.done()) == (3, 5)
    assert [report["notes"]["out"] for report in reports] == [3, 5]


def test_copies_of_a_progress_count_together_until_it_ends():
    with Progress() as progress:
        copy = pickle.loads(pickle.dumps(progress))
        progress.add(2)
        copy.add(3)
        assert progress.done() == copy.done() == 5
    copy.add(1)
    assert copy.done() == 0
