"""`kiwi-fhir train`: a brat folder to a model folder."""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kiwi_fhir.documents.brat import read_folder
from kiwi_fhir.errors import UsageError
from kiwi_fhir.types import Document


def train_model(
    corpus: Path,
    output: Path,
    *,
    arch: str,
    dev: Path | None,
    exclude: Path | None,
    passages: Path | None,
    texts: Path | None,
    teacher_model: str | None,
    templates: Path | None,
    name: str,
    version: str,
    threads: int | None,
    device: str | None,
    **recipe: Any,
) -> None:
    """Train and write a model folder. `recipe` holds fields of Recipe or LlamaRecipe; None keeps a field's default.

    Raises UsageError when a list names a note that CORPUS lacks, nothing is left to train on, an option is of the other
    kind of model or lacks one that it needs, or the teacher model is one that writes.
    """
    if not corpus.is_dir():
        raise UsageError(f"The corpus '{corpus}' is no folder: name one with NAME.txt and NAME.ann files.")
    documents = {document.note.id: document for document in read_folder(corpus)}
    dev_notes = _named(dev, documents)
    left_out = set(dev_notes) | set(_named(exclude, documents))
    training = [document for name_, document in documents.items() if name_ not in left_out]
    if not training:
        raise UsageError(f"The corpus '{corpus}' holds no notes to train on.")
    others = {
        "llama": ("passages", "texts", "adapt_epochs", "teachers", "teacher_model", "student_epochs"),
        "llama-tagger": ("templates", "four_bit", "dropout"),
        "bert": ("templates", "four_bit", "dropout"),
    }[arch]
    given = {**recipe, "passages": passages, "texts": texts, "templates": templates, "teacher_model": teacher_model}
    if wrong := next((option for option in others if given.get(option) not in (None, False)), None):
        raise UsageError(f"--{wrong.replace('_', '-')} is not for --arch {arch}.")
    needs = {"adapt_epochs": "texts", "teachers": "texts", "student_epochs": "teachers", "teacher_model": "teachers"}
    for option, wanted in needs.items():
        if given.get(option) is not None and given.get(wanted) is None:
            raise UsageError(f"--{option.replace('_', '-')} needs --{wanted}.")
    settings = {key: value for key, value in recipe.items() if value is not None}
    chosen = [documents[name_] for name_ in dev_notes]

    from kiwi_fhir.extract.device import choose_device, set_threads

    set_threads(threads)
    where = choose_device(device)
    with _Display() as display:
        if arch == "llama":
            _train_llama(training, chosen, output, settings, templates, name, version, where, display)
        else:
            more = list(read_folder(passages)) if passages else []
            tagger = _tagger(teacher_model)
            _train_bert(training, chosen, more, output, arch, settings, texts, tagger, name, version, where, display)
    sys.stderr.write(f"kiwi-fhir: model written to {output}.\n")


def _train_bert(
    training: list[Document],
    dev: list[Document],
    passages: list[Document],
    output: Path,
    arch: str,
    settings: dict[str, Any],
    texts: Path | None,
    teacher_model: Any,
    name: str,
    version: str,
    device: Any,
    display: _Display,
) -> None:
    """Checkpoints are kept in the model's folder until the model is written, so the same call goes on from them."""
    from kiwi_fhir.train.adapt import read_texts
    from kiwi_fhir.train.bert import LLAMA_TAGGER, Recipe, save, train

    checkpoint = output / "checkpoint"
    model, followed, metrics = train(
        training,
        dev,
        replace(LLAMA_TAGGER if arch == LLAMA_TAGGER.arch else Recipe(), **settings),
        texts=list(read_texts(texts)) if texts else (),
        passages=passages,
        teacher_model=teacher_model,
        checkpoint=checkpoint,
        device=device,
        report=display.report,
    )
    save(output, model, followed, metrics, name=name, version=version)
    shutil.rmtree(checkpoint, ignore_errors=True)


def _tagger(model: str | None) -> Any:
    """The choice of a tagger, not loaded yet. Raises UsageError for a model that writes, ModelError for none."""
    from kiwi_fhir.extract import ModelChoice
    from kiwi_fhir.extract.folder import read_config

    if model is None:
        return None
    choice = ModelChoice(model)
    if choice.is_server or read_config(choice.folder)["arch"] == "llama":
        raise UsageError(f"--teacher-model takes a tagger; '{model}' writes.")
    return choice


def _train_llama(
    training: list[Document],
    dev: list[Document],
    output: Path,
    settings: dict[str, Any],
    templates: Path | None,
    name: str,
    version: str,
    device: Any,
    display: _Display,
) -> None:
    """The checkpoint is kept in the model's folder until the model is written, so the same call goes on from it."""
    from kiwi_fhir.extract.generative.prompts import TEMPLATES, load_templates
    from kiwi_fhir.train.llama import LlamaRecipe, save, train

    folder = templates or TEMPLATES
    recipe = LlamaRecipe(**settings)
    checkpoint = output / "checkpoint"
    model, metrics = train(
        training, dev, recipe, load_templates(folder), device=device, checkpoint=checkpoint, report=display.report
    )
    save(output, model, recipe, folder, metrics, name=name, version=version)
    shutil.rmtree(checkpoint, ignore_errors=True)


def _named(path: Path | None, documents: dict[str, Document]) -> list[str]:
    if path is None:
        return []
    if not path.is_file():
        raise UsageError(f"The list '{path}' does not exist.")
    names = path.read_text(encoding="utf-8").split()
    missing = [name for name in names if name not in documents]
    if missing:
        raise UsageError(f"The list '{path.name}' names {missing[0]}, which the corpus lacks.")
    return names


class _Display:
    """Progress bars on a terminal; elsewhere a line every 20 seconds and at every stage's end."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._bars = (
            Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[loss]}"),
                console=console,
            )
            if console.is_terminal
            else None
        )
        self._tasks: dict[str, Any] = {}
        self._said = 0.0

    def __enter__(self) -> _Display:
        if self._bars:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars:
            self._bars.stop()

    def report(self, stage: str, step: int, steps: int, value: float | None) -> None:
        """Show that `stage` has done `step` of `steps`; `value` is the loss, for `dev` the mean F1."""
        told = "" if value is None else f"{'F1' if stage == 'dev' else 'loss'} {value:.4f}"
        if self._bars is None:
            if step == steps or stage.startswith("dev") or time.monotonic() - self._said > 20:
                self._said = time.monotonic()
                sys.stderr.write(f"kiwi-fhir: {stage} {step}/{steps}{', ' if told else ''}{told}\n")
                sys.stderr.flush()
            return
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=steps, loss="")
        self._bars.update(self._tasks[stage], completed=step, loss=told)
