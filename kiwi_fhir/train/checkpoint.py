"""A training run that can be stopped and taken up again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kiwi_fhir.errors import UsageError


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
                    raise UsageError(
                        f"{self._file.parent} holds the checkpoint of a run with other settings or notes: remove it, "
                        "or name another folder."
                    )
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
