"""Training of the joint BERT model: adaptation, task, and the model folder."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kiwi_fhir.evaluate import score
from kiwi_fhir.extract.base import DEFAULT_BASE, base_sha256, load_base, quiet_peft
from kiwi_fhir.extract.bert import BertExtractor
from kiwi_fhir.extract.model import Heads, JointModel, collate
from kiwi_fhir.extract.windows import Windower, batches
from kiwi_fhir.train.adapt import adapt
from kiwi_fhir.train.examples import Example, examples
from kiwi_fhir.train.folder import folder_config, plain, write_json
from kiwi_fhir.types import Document

Report = Callable[[str, int, int, float], None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a training run does; it stands in the model folder, so that the run can be repeated.

    `rank` 0 trains all weights. Learning rates are the study's order of magnitude for LoRA; the other defaults were
    chosen on folds of the training notes (model card of the default model).
    """

    base: str = DEFAULT_BASE
    rank: int = 64
    epochs: int = 18
    learning_rate: float = 1e-3
    batch: int = 8
    window: int = 160
    patience: int = 3
    seed: int = 13
    adapt_epochs: int = 3
    adapt_learning_rate: float = 8e-4


def attach_lora(encoder: Any, rank: int) -> Any:
    """The encoder with low-rank adapters on all its linear layers, the pooler's excepted; only these train."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=rank,
        lora_alpha=rank,
        lora_dropout=0.05,
        target_modules="all-linear",
        exclude_modules=r".*pooler.*",
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
    device: torch.device,
    report: Report,
) -> tuple[JointModel, Recipe, dict[str, Any]]:
    """Train a joint model on `documents`.

    With `texts` the base is adapted to them first. With `dev` the epoch with the best mean of the exact F1 of
    mentions, modifiers and links there is kept, and training stops after `recipe.patience` epochs without a better
    one. `report(stage, step, steps, loss)` is called after every step. Returns the model on the CPU (its adapter not
    yet merged), the recipe as it was followed (the window fits the base's positions) and the metrics. The same seed on
    the same machine gives the same weights.
    """
    torch.manual_seed(recipe.seed)
    shuffle = random.Random(recipe.seed)
    encoder, tokenizer = load_base(recipe.base)
    recipe = replace(recipe, window=min(recipe.window, _positions(encoder)))
    hidden = encoder.config.hidden_size
    if recipe.rank:
        encoder = attach_lora(encoder, recipe.rank)
    encoder.to(device)
    metrics: dict[str, Any] = {"recipe": asdict(recipe), "notes": len(documents), "device": device.type}
    if texts and recipe.adapt_epochs:
        metrics["adaptation"] = adapt(
            encoder,
            tokenizer,
            texts,
            epochs=recipe.adapt_epochs,
            learning_rate=recipe.adapt_learning_rate,
            seed=recipe.seed,
            device=device,
            report=lambda step, steps, loss: report("adapt", step, steps, loss),
        )
        torch.manual_seed(recipe.seed)  # so that the task starts alike after any adaptation
    model = JointModel(encoder, Heads(hidden)).to(device)
    metrics |= _fit(model, tokenizer, documents, dev, recipe, shuffle, device, report)
    return model.cpu().eval(), recipe, metrics


def _positions(encoder: Any) -> int:
    """How many pieces the encoder reads at once; RoBERTa's first two positions are for padding."""
    known = getattr(encoder.config, "max_position_embeddings", None)
    return int(known) - 2 if known else sys.maxsize


def _fit(
    model: JointModel,
    tokenizer: Any,
    documents: Sequence[Document],
    dev: Sequence[Document],
    recipe: Recipe,
    shuffle: random.Random,
    device: torch.device,
    report: Report,
) -> dict[str, Any]:
    windower = Windower(tokenizer, recipe.window)
    per_epoch = len(_plan(examples(documents, windower), recipe, random.Random(0)))
    steps = max(1, per_epoch * recipe.epochs)
    weights = list(_trained(model).values())
    optimizer = torch.optim.AdamW(weights, lr=recipe.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / (0.1 * steps)) * max(0.02, 1 - step / (1.02 * steps))
    )
    best: tuple[float, dict[str, torch.Tensor]] = (-1.0, {})
    history: list[dict[str, float]] = []
    step, started = 0, time.monotonic()
    for epoch in range(1, recipe.epochs + 1):
        model.train()
        total = 0.0
        for batch in _plan(examples(documents, windower, shuffle), recipe, shuffle):
            loss = _loss(model, batch, tokenizer.pad_token_id, device)
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
            best = (_mean(row), {name: weight.detach().clone() for name, weight in _trained(model).items()})
        elif all(_mean(past) < best[0] for past in history[-recipe.patience :]):
            break
    if best[1]:
        model.load_state_dict(best[1], strict=False)
    return {"epochs": history, "seconds": time.monotonic() - started}


def _trained(model: JointModel) -> dict[str, nn.Parameter]:
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def _mean(row: dict[str, float]) -> float:
    return (row["mentions"] + row["modifiers"] + row["links"]) / 3


def _plan(found: list[Example], recipe: Recipe, shuffle: random.Random) -> list[list[Example]]:
    """Batches of windows of like lengths, in random order."""
    order = list(found)
    shuffle.shuffle(order)
    plan = [
        [order[index] for index in batch]
        for batch in batches([len(example.window.pieces) for example in order], recipe.batch * recipe.window)
    ]
    shuffle.shuffle(plan)
    return plan


def _loss(model: JointModel, found: list[Example], pad: int, device: torch.device) -> torch.Tensor:
    """Cross-entropy of both taggers (mean over words) and of the linker (mean over pairs)."""
    batch = collate([example.window for example in found], pad).to(device)
    shape = batch.heads.shape
    mentions = torch.full(shape, -1, dtype=torch.long)
    modifiers = torch.full(shape, -1, dtype=torch.long)
    for row, example in enumerate(found):
        mentions[row, : len(example.mentions)] = torch.tensor(example.mentions)
        modifiers[row, : len(example.modifiers)] = torch.tensor(example.modifiers)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        words = model(batch)
    words = words.float()
    mention_logits, modifier_logits = model.heads.tags(words)
    loss = nn.functional.cross_entropy(
        mention_logits.flatten(0, 1), mentions.flatten().to(device), ignore_index=-1
    ) + nn.functional.cross_entropy(modifier_logits.flatten(0, 1), modifiers.flatten().to(device), ignore_index=-1)
    pairs = [[row, *pair] for row, example in enumerate(found) for pair in example.pairs]
    if pairs:
        linked = torch.tensor([float(link) for example in found for link in example.linked], device=device)
        logits = model.heads.links(words, torch.tensor(pairs, device=device))
        loss = loss + nn.functional.binary_cross_entropy_with_logits(logits, linked)
    return loss


def _dev_scores(
    model: JointModel, tokenizer: Any, dev: Sequence[Document], recipe: Recipe, device: torch.device
) -> dict[str, float]:
    """Exact micro F1 on `dev`."""
    extractor = BertExtractor(model.eval(), tokenizer, name="training", window=recipe.window, device=device)
    report = score(dev, extractor.predict([document.note for document in dev]), samples=0)
    return {level: report.f1(level, "exact") for level in ("mentions", "modifiers", "links")}


def save(folder: Path, model: JointModel, recipe: Recipe, metrics: dict[str, Any], *, name: str, version: str) -> None:
    """Write the model folder: adapter (or whole encoder) and heads in fp16, config, metrics and a model card.

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
        save_file(half(model.encoder.state_dict()), folder / "encoder.safetensors")
    save_file(half(model.heads.state_dict()), folder / "heads.safetensors")
    for path in folder.glob("*.safetensors"):
        path.chmod(0o644)  # safetensors writes files that only their owner can read
    config = folder_config("bert", recipe.base, recipe.window, name, version)
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
