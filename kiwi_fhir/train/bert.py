"""Training of a joint model on a BERT or a LLaMA: adaptation, teachers and student, and the model folder."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from kiwi_fhir.errors import UsageError
from kiwi_fhir.extract import ModelChoice
from kiwi_fhir.extract.base import arch_of, base_sha256, load_base
from kiwi_fhir.extract.folder import FORMATS
from kiwi_fhir.extract.segment import segment
from kiwi_fhir.extract.tagger.delta import pack_delta
from kiwi_fhir.extract.tagger.extractor import TaggerExtractor
from kiwi_fhir.extract.tagger.model import JointModel
from kiwi_fhir.extract.tagger.windows import Windower
from kiwi_fhir.train.adapt import adapt
from kiwi_fhir.train.checkpoint import Stages
from kiwi_fhir.train.distil import ask, folds, lean, learn_from_folds, soften, teach
from kiwi_fhir.train.examples import SoftExample
from kiwi_fhir.train.folder import folder_config, plain, write_json
from kiwi_fhir.train.joint import LLAMA_TAGGER, Recipe, Report, fit_model, mean_f1, new_model, prepare, trained
from kiwi_fhir.types import Document

__all__ = ["LLAMA_TAGGER", "Recipe", "save", "train"]


def train(
    documents: Sequence[Document],
    dev: Sequence[Document],
    recipe: Recipe,
    *,
    texts: Sequence[str] = (),
    passages: Sequence[Document] = (),
    teacher_model: ModelChoice | None = None,
    checkpoint: Path | None = None,
    device: torch.device,
    report: Report,
) -> tuple[JointModel, Recipe, dict[str, Any]]:
    """Train a joint model on `documents` and `passages`.

    With `texts` the base is adapted to them first. With `recipe.teachers` as many models, each without one fold of the
    documents, label the texts, and the model learns from these labels, too; the folds that the teachers did not see
    give a cross-validation (`passages` are in no fold). `teacher_model` labels the texts, too, with as much weight as
    all of them; it may be a tagger of another architecture. With `dev` the epoch with the best mean of the exact F1 of
    mentions, modifiers and links there is kept, and training stops after `recipe.patience` epochs without a better
    one. `report(stage, step, steps, loss)` is called after every step.

    Returns the model on the CPU (an adapter not yet merged), the recipe as it was followed (the window fits the base's
    positions) and the metrics. The same seed on the same machine gives the same weights. Models that are done are kept
    in the folder `checkpoint`, and a run that finds its own there goes on after them. Teachers train in processes that
    import the caller's main module: a script calls this under `if __name__ == "__main__"`.

    Raises UsageError for teachers without texts or with too few documents, a teacher model without teachers, a base of
    another kind than `recipe.arch`, and a checkpoint of another run; KiwiError when the system ends a teacher's
    process.
    """
    if recipe.teachers and not texts:
        raise UsageError("Teachers need texts to label: name them with --texts.")
    if teacher_model is not None and not recipe.teachers:
        raise UsageError("A teacher model labels texts beside teachers: say how many with --teachers.")
    if recipe.teachers > len(documents):
        raise UsageError(f"{recipe.teachers} teachers need as many annotated notes; there are {len(documents)}.")
    encoder, tokenizer = load_base(recipe.base)
    if (kind := arch_of(encoder)) != recipe.arch:
        raise UsageError(f"The base '{recipe.base}' is none for --arch {recipe.arch}: use --arch {kind}.")
    recipe = replace(recipe, window=min(recipe.window, _positions(encoder)))
    stages = Stages(checkpoint, _key(recipe, documents, passages, texts))
    metrics: dict[str, Any] = {"recipe": asdict(recipe), "notes": len(documents), "device": device.type}
    adapted: dict[str, torch.Tensor] = {}
    if texts and recipe.adapt_epochs:
        adapted, metrics["adaptation"] = stages.run("adapted", lambda: _adapt(recipe, texts, device, report))
    soft: list[SoftExample] = []
    if recipe.teachers:
        started = time.monotonic()
        parts = folds(documents, recipe.teachers, recipe.seed)
        teachers = teach(recipe, parts, passages, adapted, stages, device, report)
        metrics |= learn_from_folds(teachers, parts, tokenizer, recipe, device)
        windower = Windower(tokenizer, recipe.window)
        windows = [window for text in texts for window in windower.windows(text, segment(text))]
        pad = tokenizer.pad_token_id or 0
        asked = None
        if teacher_model is not None:
            metrics["teacher_model"] = str(teacher_model.identify()[0])
            asked, _ = stages.run(
                f"labels of {metrics['teacher_model']}", lambda: _ask(teacher_model, texts, device, report)
            )
        soft = soften(teachers, windows, pad, device, lambda done, of: report("label", done, of, None), asked)
        metrics["teachers"] = {"seconds": time.monotonic() - started}
        del teachers, asked
    last = replace(recipe, epochs=recipe.student_epochs) if soft else recipe
    weights, fitted = fit_model(last, adapted, [*documents, *passages], dev, soft, device, report)
    model = new_model(recipe, weights, device).cpu().eval()
    lean(model, metrics.get("balance", {}))
    return model, recipe, metrics | fitted


def _ask(
    choice: ModelChoice, texts: Sequence[str], device: torch.device, report: Report
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """What the tagger says of the texts; it is in memory only while it does."""
    model = choice.load(threads=torch.get_num_threads(), device=device.type)
    if not isinstance(model, TaggerExtractor):
        raise UsageError(f"A teacher model is a tagger; '{choice.model}' writes.")
    return ask(model, texts, lambda done, of: report("ask", done, of, None)), {}


def _key(recipe: Recipe, documents: Sequence[Document], passages: Sequence[Document], texts: Sequence[str]) -> str:
    """Names all that decides what adaptation and teachers become."""
    digest = hashlib.sha256()
    own = (FORMATS[recipe.arch], replace(recipe, student_epochs=0))
    for part in (*own, *documents, "passages", *passages, "texts", *texts):
        digest.update(f"{part!r}\n".encode(errors="surrogatepass"))
    return digest.hexdigest()


def _positions(encoder: Any) -> int:
    """How many pieces the encoder reads at once; RoBERTa's first two positions are for padding."""
    known = getattr(encoder.config, "max_position_embeddings", None)
    return int(known) - 2 if known else sys.maxsize


def _adapt(
    recipe: Recipe, texts: Sequence[str], device: torch.device, report: Report
) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """The encoder's trained weights after its adaptation to `texts`, and what that cost."""
    torch.manual_seed(recipe.seed)
    encoder, tokenizer = load_base(recipe.base)
    encoder = prepare(encoder, recipe.rank, device).to(device)
    metrics = adapt(
        encoder,
        tokenizer,
        texts,
        epochs=recipe.adapt_epochs,
        learning_rate=recipe.adapt_learning_rate,
        seed=recipe.seed,
        device=device,
        report=lambda step, steps, loss: report("adapt", step, steps, loss),
    )
    return {f"encoder.{name}": weight.detach().cpu() for name, weight in trained(encoder).items()}, metrics


def save(folder: Path, model: JointModel, recipe: Recipe, metrics: dict[str, Any], *, name: str, version: str) -> None:
    """Write the model folder: adapter in fp16 (or difference from the base), heads in fp16, config, metrics and card.

    The base itself is not written when there is an adapter; config.json names it.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)

    def half(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {key: value.detach().to(torch.float16).contiguous() for key, value in sorted(weights.items())}

    if recipe.rank:
        from peft import get_peft_model_state_dict

        save_file(half(get_peft_model_state_dict(model.encoder)), folder / "adapter_model.safetensors")
        adapter = model.encoder.peft_config["default"].to_dict()
        adapter |= {"base_model_name_or_path": recipe.base, "inference_mode": True}
        write_json(folder / "adapter_config.json", {key: plain(value) for key, value in adapter.items()})
    else:
        base, _ = load_base(recipe.base)
        save_file(
            pack_delta(dict(base.named_parameters()), dict(model.encoder.named_parameters())),
            folder / "delta.safetensors",
        )
    save_file(half(model.heads.state_dict()), folder / "heads.safetensors")
    for path in folder.glob("*.safetensors"):
        path.chmod(0o644)  # safetensors writes files that only their owner can read
    config = folder_config(recipe.arch, recipe.base, recipe.window, name, version)
    config["base_sha256"] = base_sha256(recipe.base)
    if "calibration" in metrics:
        config["calibration"] = metrics["calibration"]
    write_json(folder / "config.json", config)
    write_json(folder / "metrics.json", metrics)
    card = folder / "README.md"
    if not card.exists():  # a card that somebody wrote says more than this one
        card.write_text(_card(name, version, recipe, metrics), encoding="utf-8")


def _card(name: str, version: str, recipe: Recipe, metrics: dict[str, Any]) -> str:
    """A model card that says what this run knows; the trainer adds what only people know."""
    rows = [f"| {key} | {value} |" for key, value in asdict(recipe).items()]
    history = [row for row in metrics.get("epochs", []) if "mentions" in row]
    best = max(history, key=mean_f1, default=None)
    scores = (
        [f"- {level}: exact F1 {best[level]:.3f}" for level in ("mentions", "modifiers", "links")]
        if best
        else ["No development notes were given."]
    )
    return "\n".join(
        [
            f"# {name} {version}",
            "",
            f"A joint model of kiwi_fhir, trained on {metrics['notes']} annotated notes.",
            "",
            "## Recipe",
            "",
            "| setting | value |",
            "|---|---|",
            *rows,
            "",
            "## On the development notes (they chose the epoch)",
            "",
            *scores,
            "",
        ]
    )
