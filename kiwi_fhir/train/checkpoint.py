"""A training run that can be stopped and taken up again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kiwi_fhir.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    _Stage = tuple[dict[str, Tensor], dict[str, Any]]


class Stand:
    """Where a run stands: adapters, the optimizer's moments, the step, in one safetensors file.

    `seconds` is the time that the run had taken when it was saved, `history` what it said of its epochs.
    """

    def __init__(self, folder: Path, key: str, model: Any, optimizer: Any) -> None:
        """`key` says whose run it is: all that decides what training does."""
        self._file = folder / "checkpoint.safetensors"
        self._key = key
        self._weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self._optimizer = optimizer
        self.seconds = 0.0
        self.history: list[dict[str, float]] = []

    def save(self, step: int, seconds: float) -> None:
        """Write it, whole or not at all."""
        from safetensors.torch import save_file

        tensors = {}
        for name, weight in self._weights.items():
            moments = self._optimizer.state.get(weight, {})
            tensors[f"weight/{name}"] = weight.detach().cpu()
            for key in ("exp_avg", "exp_avg_sq", "step"):
                if key in moments:
                    tensors[f"{key}/{name}"] = moments[key].detach().cpu().clone()
        self._file.parent.mkdir(parents=True, exist_ok=True)
        part = self._file.with_suffix(".part")
        stand = {"step": step, "seconds": seconds, "history": self.history, "key": self._key}
        save_file(tensors, part, metadata={"stand": json.dumps(stand)})
        part.replace(self._file)

    def load(self) -> int:
        """The step to go on from; 0 where there is no checkpoint.

        Raises UsageError for a checkpoint that is damaged or of another run.
        """
        from safetensors import SafetensorError, safe_open

        if not self._file.is_file():
            return 0
        try:
            with safe_open(self._file, "pt") as stored:
                stand = json.loads(stored.metadata()["stand"])
                if stand["key"] != self._key:
                    raise _other_run(self._file.parent)
                for name, weight in self._weights.items():
                    weight.data.copy_(stored.get_tensor(f"weight/{name}"))
                    if f"exp_avg/{name}" in stored.keys():  # noqa: SIM118 (not a dict)
                        self._optimizer.state[weight] = {
                            key: stored.get_tensor(f"{key}/{name}").to("cpu" if key == "step" else weight.device)
                            for key in ("exp_avg", "exp_avg_sq", "step")
                        }
        except (SafetensorError, KeyError, OSError, ValueError) as error:
            raise UsageError(f"The checkpoint in {self._file.parent} is damaged: remove it.") from error
        self.seconds, self.history = stand["seconds"], stand["history"]
        return int(stand["step"])


class Stages:
    """Models that a run has finished on its way, a safetensors file each, in a folder; without one in memory only."""

    def __init__(self, folder: Path | None, key: str) -> None:
        """`key` says whose run it is: all that decides what training does."""
        self._folder = folder
        self._key = key
        self._memory: dict[str, _Stage] = {}

    def has(self, name: str) -> bool:
        """Whether the stage is done."""
        return name in self._memory or (self._folder is not None and self._file(self._folder, name).is_file())

    def run(self, name: str, make: Callable[[], _Stage]) -> _Stage:
        """The weights (on the CPU) and metrics that `make` returns, or those that it returned before.

        Raises UsageError for a file that is damaged or of another run.
        """
        if self.has(name):
            return self.load(name)
        weights, metrics = make()
        if self._folder is None:
            self._memory[name] = weights, metrics
            return weights, metrics
        from safetensors.torch import save_file

        file = self._file(self._folder, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        save_file(
            {key: weight.contiguous() for key, weight in weights.items()},
            part,
            metadata={"key": self._key, "metrics": json.dumps(metrics)},
        )
        part.replace(file)
        return weights, metrics

    def load(self, name: str) -> _Stage:
        """What a stage that is done returned. Raises UsageError for a file that is damaged or of another run."""
        from safetensors import SafetensorError, safe_open

        if self._folder is None:
            return self._memory[name]
        try:
            with safe_open(self._file(self._folder, name), "pt") as stored:
                if stored.metadata()["key"] != self._key:
                    raise _other_run(self._folder)
                weights = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 (not a dict)
                return weights, json.loads(stored.metadata()["metrics"])
        except (SafetensorError, KeyError, OSError, ValueError) as error:
            raise UsageError(f"The checkpoint in {self._folder} is damaged: remove it.") from error

    @staticmethod
    def _file(folder: Path, name: str) -> Path:
        return folder / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}.safetensors"


def _other_run(folder: Path) -> UsageError:
    return UsageError(
        f"{folder} holds the checkpoint of a run with other settings or notes: remove it, or name another folder."
    )
