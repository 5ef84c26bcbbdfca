"""`kiwi-fhir train`: a brat folder to a model folder."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kiwi_fhir.brat import read_folder
from kiwi_fhir.errors import UsageError
from kiwi_fhir.types import Document


def train_model(
    corpus: Path,
    output: Path,
    *,
    dev: Path | None,
    exclude: Path | None,
    adapt: Path | None,
    name: str,
    version: str,
    threads: int | None,
    device: str | None,
    **recipe: Any,
) -> None:
    """Train and write a model folder. `recipe` holds fields of Recipe; None keeps a field's default.

    Raises UsageError when a list names a note that CORPUS lacks, or nothing is left to train on.
    """
    if not corpus.is_dir():
        raise UsageError(f"The corpus '{corpus}' is no folder: name one with NAME.txt and NAME.ann files.")
    documents = {document.note.id: document for document in read_folder(corpus)}
    dev_notes = _named(dev, documents)
    left_out = set(dev_notes) | set(_named(exclude, documents))
    training = [document for name_, document in documents.items() if name_ not in left_out]
    if not training:
        raise UsageError(f"The corpus '{corpus}' holds no notes to train on.")

    from kiwi_fhir.extract.bert import choose_device, set_threads
    from kiwi_fhir.train.adapt import read_texts
    from kiwi_fhir.train.bert import Recipe, save, train

    set_threads(threads)
    settings = Recipe(**{key: value for key, value in recipe.items() if value is not None})
    texts = [*read_texts(adapt), *(document.note.text for document in training)] if adapt else []
    with _Display() as display:
        model, followed, metrics = train(
            training,
            [documents[name_] for name_ in dev_notes],
            settings,
            texts=texts,
            device=choose_device(device),
            report=display.report,
        )
    save(output, model, followed, metrics, name=name, version=version)
    sys.stderr.write(f"kiwi-fhir: model written to {output}.\n")


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

    def report(self, stage: str, step: int, steps: int, value: float) -> None:
        """Show that `stage` has done `step` of `steps`; `value` is the loss, for `dev` the mean F1."""
        what = "F1" if stage == "dev" else "loss"
        if self._bars is None:
            if step == steps or stage == "dev" or time.monotonic() - self._said > 20:
                self._said = time.monotonic()
                sys.stderr.write(f"kiwi-fhir: {stage} {step}/{steps}, {what} {value:.4f}\n")
                sys.stderr.flush()
            return
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=steps, loss="")
        self._bars.update(self._tasks[stage], completed=step, loss=f"{what} {value:.4f}")
