"""OpenVINO as the engine of a BERT encoder on a processor: the same weights and windows, other kernels.

It stands where JointModel has its encoder. Hidden states differ from torch's by rounding alone. Nothing is written to
disk, and nothing is sent: OpenVINO's telemetry stays out, and with it `openvino.convert_model`, which speaks to it.
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kiwi_fhir.errors import ModelError

#: Shapes of batches whose kernels are kept; thousands by default, and each takes memory.
_SHAPES = "32"


@dataclass(frozen=True, slots=True)
class Hidden:
    """What an encoder of transformers returns, as far as JointModel reads it: states [B, T, H] in fp32."""

    last_hidden_state: Tensor


class OpenVinoEncoder:
    """An encoder compiled for the processor; threads may share it."""

    def __init__(self, encoder: Any, *, threads: int, dtype: torch.dtype) -> None:
        """Compile `encoder` (of transformers, in fp32 on the CPU), to compute in `dtype` (bf16 or fp32).

        Raises ModelError when OpenVINO is not installed or can't take the encoder.
        """
        # Its own word for "not installed": importing openvino would otherwise count its use, and may report it.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        try:
            from openvino import Core
            from openvino.frontend import FrontEndManager
            from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
        except ImportError as error:
            raise ModelError("OpenVINO is not installed: run `pip install 'kiwi_fhir[openvino]'`.") from error
        example = torch.ones((2, 8), dtype=torch.long)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of tracing: constants, which checks of shapes are, and its age
                traced = torch.jit.trace(_Traced(encoder), (example, example), check_trace=False)
            front = FrontEndManager().load_by_framework("pytorch")
            decoder = TorchScriptPythonDecoder(traced)  # named, as the front end alone does not keep it alive
            self._compiled = Core().compile_model(
                front.convert(front.load(decoder)),
                "CPU",
                {
                    "INFERENCE_PRECISION_HINT": "bf16" if dtype == torch.bfloat16 else "f32",
                    "INFERENCE_NUM_THREADS": threads,
                    "NUM_STREAMS": 1,
                    # Pinned threads of two workers would meet on the same core.
                    "ENABLE_CPU_PINNING": False,
                    "CPU_RUNTIME_CACHE_CAPACITY": _SHAPES,
                },
            )
        except RuntimeError as error:
            raise ModelError("OpenVINO can't take this model: leave --device openvino out.") from error

    def __call__(self, *, input_ids: Tensor, attention_mask: Tensor) -> Hidden:
        """The hidden states of token ids and mask, both [B, T] of int64."""
        # A request of its own costs next to nothing; a shared one would belong to one thread at a time.
        request = self._compiled.create_infer_request()
        found = request.infer([input_ids.numpy(), attention_mask.numpy()], share_inputs=True, share_outputs=False)
        return Hidden(torch.from_numpy(found[0]))


class _Traced(nn.Module):
    """The encoder as a function of two tensors."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        states: Tensor = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return states
