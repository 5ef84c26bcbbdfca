"""Instruction tuning of a LLaMA by low-rank adapters: mentions and modifiers mixed in one model, loss on the answers.

A loop of our own instead of trl's: its packing can't share the beginning of prompts, which is two thirds of the tokens.
"""

from __future__ import annotations

import math
import random
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kiwi_fhir.errors import ModelError
from kiwi_fhir.extract.base import quiet_peft
from kiwi_fhir.extract.device import autocast, best_dtype
from kiwi_fhir.extract.generative.prompts import Templates, load_templates
from kiwi_fhir.extract.llama_base import SMOLLM2, llama_sha256, load_llama
from kiwi_fhir.run.memory import peak_memory
from kiwi_fhir.train.checkpoint import Stand
from kiwi_fhir.train.folder import folder_config, plain, write_json
from kiwi_fhir.train.instructions import Example, encode, instructions
from kiwi_fhir.train.packing import pack
from kiwi_fhir.types import Document

Report = Callable[[str, int, int, float], None]
#: Tokens of a packed row: on a processor short rows, as attention over a mask grows with their square.
ROW_TOKENS = {"cpu": 512, "mps": 2048, "cuda": 4096}
#: From this many weights on, activations are computed again in the backward pass instead of being kept.
CHECKPOINTING_FROM = 1_000_000_000
_SAVE_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class LlamaRecipe:
    """What a tuning does; the defaults are the Kiwi study's (arXiv 2411.10020), `batch` counts examples.

    `four_bit` is QLoRA: the base in nf4, by the extra `qlora` on a CUDA device.
    """

    base: str = SMOLLM2
    rank: int = 16
    alpha: int = 64
    dropout: float = 0.05
    epochs: int = 2
    learning_rate: float = 2e-4
    warm_up: float = 0.05
    batch: int = 16
    seed: int = 13
    four_bit: bool = False


def train(
    documents: Sequence[Document],
    dev: Sequence[Document],
    recipe: LlamaRecipe,
    templates: Templates,
    *,
    device: torch.device,
    checkpoint: Path,
    report: Report,
) -> tuple[Any, dict[str, Any]]:
    """Tune adapters on `documents`; `dev` only gives a loss after each epoch.

    `checkpoint` is a folder that holds where the run stands every five minutes; a run that finds one of its own there
    goes on from it. `report(stage, step, steps, loss)` is called after every step. Returns the peft model, its
    adapters not merged, and the metrics. Out of memory halves the rows and goes on.

    Raises ModelError for a base that can't be used and UsageError for a checkpoint of another run.
    """
    base, tokenizer = load_llama(
        recipe.base,
        dtype=best_dtype(device),
        device_map=None if device.type == "cpu" else device.type,
        four_bit=recipe.four_bit,
    )
    torch.manual_seed(recipe.seed)
    model = attach_lora(base, recipe)
    run = _Run(model, recipe, device, ROW_TOKENS[device.type])
    per_epoch = math.ceil(len(instructions(documents, templates, _shuffle(recipe, 0))) / recipe.batch)
    steps = per_epoch * recipe.epochs
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=recipe.learning_rate, weight_decay=0.0)
    notes = [(document.note.id, len(document.mentions)) for document in documents]
    stand = Stand(checkpoint, repr((recipe, notes)), model, optimizer)
    step = stand.load()
    started, saved = time.monotonic() - stand.seconds, time.monotonic()
    for epoch in range(step // max(1, per_epoch), recipe.epochs):
        shuffle = _shuffle(recipe, epoch)
        examples = encode(instructions(documents, templates, shuffle), tokenizer, templates)
        shuffle.shuffle(examples)
        # Windows differ from epoch to epoch, and so may their number: the plan keeps to that of the first.
        batches = [examples[first : first + recipe.batch] for first in range(0, len(examples), recipe.batch)]
        total, first = 0.0, step
        for batch in batches[step - epoch * per_epoch : per_epoch]:
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * _schedule(step, steps, recipe.warm_up)
            torch.manual_seed(recipe.seed + step)  # dropout after a restart as without one
            loss = run.backward(batch)
            nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step, total = step + 1, total + loss
            report("train", step, steps, loss)
            if time.monotonic() - saved > _SAVE_SECONDS:
                stand.save(step, time.monotonic() - started)
                saved = time.monotonic()
        row = {"epoch": epoch + 1, "loss": total / max(1, step - first)}  # after a restart of what came since
        step = (epoch + 1) * per_epoch
        if dev:
            row["dev_loss"] = run.loss(encode(instructions(dev, templates), tokenizer, templates))
            report("dev loss", epoch + 1, recipe.epochs, row["dev_loss"])
        stand.history.append(row)
        stand.save(step, time.monotonic() - started)
    metrics = {
        "recipe": asdict(recipe),
        "notes": len(documents),
        "device": device.type,
        "epochs": stand.history,
        "seconds": time.monotonic() - started,
        "row_tokens": run.room,
        **peak_memory(),
    }
    return model.eval(), metrics


def save(
    folder: Path,
    model: Any,
    recipe: LlamaRecipe,
    templates: Path,
    metrics: dict[str, Any],
    *,
    name: str,
    version: str,
) -> None:
    """Write the model folder: adapters in fp16, the templates that they were tuned on, config, metrics, a card.

    The base itself is not written; config.json names it.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        key: value.detach().to("cpu", torch.float16).contiguous()
        for key, value in sorted(get_peft_model_state_dict(model).items())
    }
    save_file(weights, folder / "adapter_model.safetensors")
    (folder / "adapter_model.safetensors").chmod(0o644)  # safetensors writes files that only their owner can read
    adapter = model.peft_config["default"].to_dict() | {"base_model_name_or_path": recipe.base, "inference_mode": True}
    write_json(folder / "adapter_config.json", {key: plain(value) for key, value in adapter.items()})
    if templates.resolve() != (folder / "templates").resolve():
        shutil.copytree(templates, folder / "templates", dirs_exist_ok=True)
    window = load_templates(templates).window
    config = {**folder_config("llama", recipe.base, window, name, version), "base_sha256": llama_sha256(recipe.base)}
    write_json(folder / "config.json", config)
    write_json(folder / "metrics.json", metrics)
    card = folder / "README.md"
    if not card.exists():  # a card that somebody wrote says more than this one
        rows = "\n".join(f"| {key} | {value} |" for key, value in asdict(recipe).items())
        card.write_text(
            f"# {name} {version}\n\nAdapters for {recipe.base}, tuned by kiwi_fhir on {metrics['notes']} annotated "
            f"notes.\n\n## Recipe\n\n| setting | value |\n|---|---|\n{rows}\n",
            encoding="utf-8",
        )


def attach_lora(base: Any, recipe: LlamaRecipe) -> Any:
    """The base with low-rank adapters (in fp32) on all its linear layers; only these train."""
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    large = base.num_parameters() >= CHECKPOINTING_FROM
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules="all-linear",
        bias="none",
        task_type="CAUSAL_LM",
    )
    with quiet_peft():
        if recipe.four_bit:
            base = prepare_model_for_kbit_training(base, use_gradient_checkpointing=large)
        elif large:
            base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            base.enable_input_require_grads()
        return get_peft_model(base, config)


def _shuffle(recipe: LlamaRecipe, epoch: int) -> random.Random:
    return random.Random(f"{recipe.seed}/{epoch}")


def _schedule(step: int, steps: int, warm_up: float) -> float:
    """The share of the peak learning rate: linear up, then half a cosine down."""
    rising = max(1.0, warm_up * steps)
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1.0, steps - rising)))


class _Run:
    """Losses of batches: packed rows one by one, their gradients added up."""

    def __init__(self, model: Any, recipe: LlamaRecipe, device: torch.device, room: int) -> None:
        self._model, self._device, self.room = model, device, room
        self._inner = model.base_model.model  # the causal model with the adapters in it

    def backward(self, examples: Sequence[Example]) -> float:
        """Add the gradients of the mean loss over the answers' tokens; return that mean."""
        self._model.train()
        try:
            return self._sum(examples, backward=True)
        except (MemoryError, torch.OutOfMemoryError):
            if self.room < 128:
                raise ModelError("The model does not fit into memory: take a smaller base, or --four-bit.") from None
            self.room //= 2
            self._model.zero_grad(set_to_none=True)
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
            return self.backward(examples)

    def loss(self, examples: Sequence[Example]) -> float:
        """The mean loss over the answers' tokens."""
        self._model.eval()
        with torch.no_grad():
            return self._sum(examples, backward=False)

    def _sum(self, examples: Sequence[Example], *, backward: bool) -> float:
        rows = pack(examples, self.room)
        targets = sum(int((row.targets >= 0).sum()) for row in rows)
        total = 0.0
        for row in rows:
            row = row.to(self._device)
            kept = row.targets >= 0
            with autocast(self._device):
                hidden = self._inner.model(
                    input_ids=row.tokens, attention_mask=row.mask, position_ids=row.positions, use_cache=False
                ).last_hidden_state
                logits = self._inner.lm_head(hidden[kept])
            loss = nn.functional.cross_entropy(logits.float(), row.targets[kept], reduction="sum") / max(1, targets)
            if backward:
                loss.backward()
            total += loss.item()
        return total
