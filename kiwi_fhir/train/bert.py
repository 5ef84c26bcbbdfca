"""Training of the joint model on a BERT or a LLaMA: adaptation, task, and the model folder."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kiwi_fhir.errors import UsageError
from kiwi_fhir.evaluate import score
from kiwi_fhir.evaluate.counts import LEVELS, MATCHES, Level
from kiwi_fhir.extract.base import DEFAULT_BASE, arch_of, base_sha256, load_base, quiet_peft
from kiwi_fhir.extract.bert import BertExtractor, set_threads
from kiwi_fhir.extract.delta import pack_delta
from kiwi_fhir.extract.llama_base import SMOLLM2
from kiwi_fhir.extract.model import Heads, JointModel, collate
from kiwi_fhir.extract.segment import segment
from kiwi_fhir.extract.windows import Windower, batches
from kiwi_fhir.train.adapt import adapt
from kiwi_fhir.train.checkpoint import Stages
from kiwi_fhir.train.distil import SoftExample, folds, soften
from kiwi_fhir.train.examples import Example, examples
from kiwi_fhir.train.folder import folder_config, plain, write_json
from kiwi_fhir.types import Document

Report = Callable[[str, int, int, float], None]
AnyExample = Example | SoftExample

#: A student sees this part of the labelled texts in each of its epochs: they are ten times the annotated notes.
SOFT_PARTS = 4
#: What is tried in addition to the logits of "no span".
BALANCES = (0.0, 0.5, 1.0, 1.5)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a training run does; it stands in the model folder, so that the run can be repeated.

    `rank` 0 trains all weights but the words' own vectors. `teachers` is the number of models that label the texts for
    a student (0: none); `student_epochs` are passes over the annotated notes, each with one of SOFT_PARTS of the
    texts. The defaults were chosen on folds of the training notes (model card of the default model).
    """

    arch: str = "bert"
    base: str = DEFAULT_BASE
    rank: int = 0
    epochs: int = 12
    learning_rate: float = 4e-4
    batch: int = 8
    window: int = 160
    patience: int = 3
    seed: int = 13
    adapt_epochs: int = 6
    adapt_learning_rate: float = 4e-4
    teachers: int = 0
    student_epochs: int = 8


def prepare(encoder: Any, rank: int) -> Any:
    """The encoder with those weights to train that `rank` says.

    Without an adapter the embeddings stay as they are: most are of words that no training note has. Dropout inside
    the attention goes, as it keeps torch from the fast kernel, and a fifth of the speed with it.
    """
    for module in encoder.modules():
        if hasattr(module, "query") and isinstance(getattr(module, "dropout", None), nn.Dropout):
            module.dropout.p = 0.0
    if rank:
        return attach_lora(encoder, rank)
    for name, weight in encoder.named_parameters():
        weight.requires_grad_("embed" not in name and "pooler" not in name)
    return encoder


#: The recipe of a tagger on a LLaMA, as far as a caller says nothing else.
LLAMA_TAGGER = Recipe(arch="llama-tagger", base=SMOLLM2, rank=16, learning_rate=5e-4)


def attach_lora(encoder: Any, rank: int) -> Any:
    """The encoder with low-rank adapters on all its linear layers, the pooler's excepted; only these train.

    The frozen weights of a LLaMA go to bf16: autocast would round them anew in every step.
    """
    from peft import LoraConfig, get_peft_model

    if arch_of(encoder) == LLAMA_TAGGER.arch:
        encoder.to(torch.bfloat16)
    config = LoraConfig(
        r=rank,
        lora_alpha=rank,
        lora_dropout=0.05,
        target_modules="all-linear",
        exclude_modules=r".*pooler.*" if getattr(encoder, "pooler", None) else None,
        bias="none",
    )
    with quiet_peft():
        return get_peft_model(encoder, config)


def train(
    documents: Sequence[Document],
    dev: Sequence[Document],
    recipe: Recipe,
    *,
    texts: Sequence[str] = (),
    passages: Sequence[Document] = (),
    checkpoint: Path | None = None,
    device: torch.device,
    report: Report,
) -> tuple[JointModel, Recipe, dict[str, Any]]:
    """Train a joint model on `documents` and `passages`.

    With `texts` the base is adapted to them first. With `recipe.teachers` as many models, each without one fold of the
    documents, label the texts, and the model learns from these labels, too; the folds that the teachers did not see
    give a cross-validation (`passages` are in no fold). With `dev` the epoch with the best mean of the exact F1 of
    mentions, modifiers and links there is kept, and training stops after `recipe.patience` epochs without a better
    one. `report(stage, step, steps, loss)` is called after every step.

    Returns the model on the CPU (an adapter not yet merged), the recipe as it was followed (the window fits the base's
    positions) and the metrics. The same seed on the same machine gives the same weights. Models that are done are kept
    in the folder `checkpoint`, and a run that finds its own there goes on after them.

    Raises UsageError for teachers without texts, a base of another kind than `recipe.arch`, and a checkpoint of
    another run.
    """
    if recipe.teachers and not texts:
        raise UsageError("Teachers need texts to label.")
    encoder, tokenizer = load_base(recipe.base)
    if (kind := arch_of(encoder)) != recipe.arch:
        raise UsageError(f"The base '{recipe.base}' is none for --arch {recipe.arch}: use --arch {kind}.")
    recipe = replace(recipe, window=min(recipe.window, _positions(encoder)))
    notes = [(document.note.id, len(document.mentions)) for document in (*documents, *passages)]
    stages = Stages(checkpoint, repr((replace(recipe, student_epochs=0), notes, sum(map(len, texts)))))
    metrics: dict[str, Any] = {"recipe": asdict(recipe), "notes": len(documents), "device": device.type}
    adapted: dict[str, torch.Tensor] = {}
    if texts and recipe.adapt_epochs:
        adapted, metrics["adaptation"] = stages.run("adapted", lambda: _adapt(recipe, texts, device, report))
    soft: list[SoftExample] = []
    if recipe.teachers:
        parts = folds(documents, recipe.teachers, recipe.seed)
        teachers = _teach(recipe, parts, passages, adapted, stages, device, report)
        metrics["balance"], metrics["cross_validation"] = _balance(teachers, parts, tokenizer, recipe, device)
        windower = Windower(tokenizer, recipe.window)
        windows = [window for text in texts for window in windower.windows(text, segment(text))]
        pad = tokenizer.pad_token_id or 0
        soft = soften(teachers, windows, pad, device, lambda done, of: report("label", done, of, 0.0))
    last = replace(recipe, epochs=recipe.student_epochs) if soft else recipe
    weights, fitted = _fit(last, adapted, [*documents, *passages], dev, soft, device, report)
    model = _model(recipe, weights, device).cpu().eval()
    lean(model, metrics.get("balance", {}))
    return model, recipe, metrics | fitted


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
    encoder = prepare(encoder, recipe.rank).to(device)
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


def _teach(
    recipe: Recipe,
    parts: Sequence[Sequence[Document]],
    passages: Sequence[Document],
    start: dict[str, torch.Tensor],
    stages: Stages,
    device: torch.device,
    report: Report,
) -> list[JointModel]:
    """A teacher for each of `parts`, which learned from all the others.

    On a processor each core trains one at a time: twice as many threads for one model do not make it twice as fast.
    """
    own = [replace(recipe, seed=recipe.seed + number) for number in range(len(parts))]
    missing = [number for number in range(len(parts)) if not stages.has(f"teacher {number + 1}")]
    workers = min(len(missing), torch.get_num_threads()) if device.type == "cpu" else 1
    with ProcessPoolExecutor(max(1, workers), get_context("spawn"), set_threads, (1,)) as pool:
        running = {}
        for number in missing:
            known = [document for part in parts if part is not parts[number] for document in part]
            job = pool.submit(_fit, own[number], start, [*known, *passages], (), (), device)
            running[job] = f"teacher {number + 1}"
        for done, job in enumerate(as_completed(running), 1):
            _, metrics = stages.run(running[job], job.result)
            report("teachers", done, len(missing), metrics["epochs"][-1]["loss"])
    return [_model(each, stages.load(f"teacher {number + 1}")[0], device).eval() for number, each in enumerate(own)]


def lean(model: JointModel, balance: dict[Level, float]) -> None:
    """Add to the taggers' logits of "no span", in place: more of it is more precision and less recall."""
    for level, value in balance.items():
        head = {"mentions": model.heads.mention, "modifiers": model.heads.modifier}[level]
        head.bias.data[0] += value


def _balance(
    teachers: Sequence[JointModel],
    parts: Sequence[Sequence[Document]],
    tokenizer: Any,
    recipe: Recipe,
    device: torch.device,
) -> tuple[dict[Level, float], dict[str, Any]]:
    """For each tagger the step of BALANCES with the best exact F1 on folds that a teacher did not see; and the F1s.

    Passages mark modifiers more thoroughly than other annotators do, and a model that learned from both finds too many.
    """
    gold = [document for part in parts for document in part]

    def guesses(balance: dict[Level, float]) -> list[Document]:
        found: list[Document] = []
        for teacher, part in zip(teachers, parts, strict=True):
            leaning = deepcopy(teacher)
            lean(leaning, balance)
            found += _extractor(leaning, tokenizer, recipe, device).predict([document.note for document in part])
        return found

    best: dict[Level, float] = {}
    for level in ("mentions", "modifiers"):
        f1 = {value: score(gold, guesses(best | {level: value}), samples=0).f1(level, "exact") for value in BALANCES}
        best[level] = max(f1, key=lambda value: f1[value])
    return best, figures(gold, guesses(best))


def _model(recipe: Recipe, weights: dict[str, torch.Tensor], device: torch.device) -> JointModel:
    """A new joint model with `weights` in place of its own, as far as they go."""
    torch.manual_seed(recipe.seed)
    encoder, _ = load_base(recipe.base)
    model = JointModel(prepare(encoder, recipe.rank), Heads(encoder.config.hidden_size))
    model.load_state_dict(weights, strict=False)
    model.to(device)
    return model


def _fit(
    recipe: Recipe,
    start: dict[str, torch.Tensor],
    documents: Sequence[Document],
    dev: Sequence[Document],
    soft: Sequence[SoftExample],
    device: torch.device,
    report: Report | None = None,
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The trained weights, on the CPU, of a model that starts from `start`, and its metrics."""
    report = report or (lambda *_: None)
    _, tokenizer = load_base(recipe.base)
    model = _model(recipe, start, device)
    shuffle = random.Random(recipe.seed)
    windower = Windower(tokenizer, recipe.window)
    parts = [list(soft[first::SOFT_PARTS]) for first in range(SOFT_PARTS)]
    per_epoch = len(_plan([*examples(documents, windower), *parts[0]], recipe, random.Random(0)))
    steps = max(1, per_epoch * recipe.epochs)
    learned = trained(model)
    weights = list(learned.values())
    optimizer = torch.optim.AdamW(weights, lr=recipe.learning_rate, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / (0.1 * steps)) * max(0.02, 1 - step / (1.02 * steps))
    )
    best: tuple[float, dict[str, torch.Tensor]] = (-1.0, {})
    history: list[dict[str, float]] = []
    step, started = 0, time.monotonic()
    for epoch in range(1, recipe.epochs + 1):
        model.train()
        total = 0.0
        found: list[AnyExample] = [*examples(documents, windower, shuffle), *parts[epoch % SOFT_PARTS]]
        for batch in _plan(found, recipe, shuffle):
            loss = _loss(model, batch, tokenizer.pad_token_id or 0, device)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            schedule.step()
            step += 1
            total += loss.item()
            report("train", min(step, steps), steps, loss.item())
        row = {"epoch": float(epoch), "loss": total / max(1, per_epoch)}
        history.append(row)
        if not dev:
            continue
        row |= _dev_scores(model, tokenizer, dev, recipe, device)
        report("dev", epoch, recipe.epochs, _mean(row))
        if _mean(row) > best[0]:
            best = (_mean(row), {key: weight.detach().clone() for key, weight in learned.items()})
        elif all(_mean(past) < best[0] for past in history[-recipe.patience :]):
            break
    weights_now = {key: weight.detach().cpu() for key, weight in (best[1] or learned).items()}
    return weights_now, {"epochs": history, "seconds": time.monotonic() - started}


def trained(model: nn.Module) -> dict[str, torch.Tensor]:
    """The weights that train, by name."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def _mean(row: dict[str, float]) -> float:
    return sum(row[level] for level in LEVELS) / len(LEVELS)


def _plan(found: list[AnyExample], recipe: Recipe, shuffle: random.Random) -> list[list[AnyExample]]:
    """Batches of windows of like lengths, in random order."""
    order = list(found)
    shuffle.shuffle(order)
    plan = [
        [order[index] for index in batch]
        for batch in batches([len(example.window.pieces) for example in order], recipe.batch * recipe.window)
    ]
    shuffle.shuffle(plan)
    return plan


def _loss(model: JointModel, found: list[AnyExample], pad: int, device: torch.device) -> torch.Tensor:
    """Cross-entropy of both taggers (mean over words) and of the linker (mean over pairs)."""
    batch = collate([example.window for example in found], pad).to(device)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        words = model(batch)
    words = words.float()
    loss = words.new_zeros(())
    for logits, wanted in zip(
        model.heads.tags(words),
        ([example.mentions for example in found], [example.modifiers for example in found]),
        strict=True,
    ):
        log = logits[batch.word_mask].log_softmax(-1)
        targets = torch.cat([_dense(labels, log.shape[-1]) for labels in wanted]).to(device)
        loss = loss - (targets * log).sum() / len(targets)
    pairs = [[row, *pair] for row, example in enumerate(found) for pair in example.pairs]
    if pairs:
        linked = torch.tensor([float(link) for example in found for link in example.linked], device=device)
        logits = model.heads.links(words, torch.tensor(pairs, device=device))
        loss = loss + nn.functional.binary_cross_entropy_with_logits(logits, linked)
    return loss


def _dense(labels: list[int] | torch.Tensor, size: int) -> torch.Tensor:
    """Labels of words as probabilities [W, size]."""
    if isinstance(labels, torch.Tensor):
        return labels.float()
    return nn.functional.one_hot(torch.tensor(labels), size).float()


def _extractor(model: JointModel, tokenizer: Any, recipe: Recipe, device: torch.device) -> BertExtractor:
    return BertExtractor(model.eval(), tokenizer, name="training", window=recipe.window, device=device)


def _dev_scores(
    model: JointModel, tokenizer: Any, dev: Sequence[Document], recipe: Recipe, device: torch.device
) -> dict[str, float]:
    """Exact micro F1 on `dev`."""
    guesses = _extractor(model, tokenizer, recipe, device).predict([document.note for document in dev])
    report = score(dev, guesses, samples=0)
    return {level: report.f1(level, "exact") for level in LEVELS}


def figures(gold: Sequence[Document], guesses: Sequence[Document]) -> dict[str, Any]:
    """F1 of each level with its 95 % interval over notes, as metrics.json keeps it."""
    report = score(gold, guesses)
    rows = {f"{level} {match}": report.row(level, match).f1 for level in LEVELS for match in MATCHES}
    return {name: {"f1": value.value, "interval": value.interval} for name, value in rows.items()}


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
    write_json(folder / "config.json", config)
    write_json(folder / "metrics.json", metrics)
    card = folder / "README.md"
    if not card.exists():  # a card that somebody wrote says more than this one
        card.write_text(_card(name, version, recipe, metrics), encoding="utf-8")


def _card(name: str, version: str, recipe: Recipe, metrics: dict[str, Any]) -> str:
    """A model card that says what this run knows; the trainer adds what only people know."""
    rows = [f"| {key} | {value} |" for key, value in asdict(recipe).items()]
    history = [row for row in metrics.get("epochs", []) if "mentions" in row]
    best = max(history, key=_mean, default=None)
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
