"""OpenVINO as the engine of an encoder on a processor: the same weights and windows, other kernels, int8 products.

It stands where JointModel has its encoder. In fp32 and bf16 hidden states differ from torch's by rounding alone. In
int8 a layer's weights are rounded once, a scale for each output, and its input at each call, a scale for each group of
numbers of one word piece: what a note gets depends on its own text here, too. Nothing is written to disk, and nothing
is sent: OpenVINO's telemetry stays out, and with it `openvino.convert_model`, which speaks to it.
"""

from __future__ import annotations

import math
import sys
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kiwi_fhir.errors import ModelError

#: Shapes of batches whose kernels are kept; thousands by default, and each takes memory.
_SHAPES = "32"
#: At most so many numbers of a layer's input share a scale in int8. With OpenVINO's 32 the scales cost what int8 saves.
_GROUP = 384


@dataclass(frozen=True, slots=True)
class Hidden:
    """What an encoder of transformers returns, as far as JointModel reads it: states [B, T, H] in fp32."""

    last_hidden_state: Tensor


class OpenVinoEncoder:
    """An encoder compiled for the processor; threads may share it."""

    def __init__(self, encoder: Any, *, threads: int, dtype: torch.dtype, int8: bool) -> None:
        """Compile `encoder` (of transformers, in fp32 on the CPU), to compute in `dtype` (bf16 or fp32).

        With `int8` that is all but the layers' matrix products.
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
            model = front.convert(front.load(decoder))
            widths = _round_weights(model) if int8 else set()
            self._compiled = Core().compile_model(
                model,
                "CPU",
                {
                    "INFERENCE_PRECISION_HINT": "bf16" if dtype == torch.bfloat16 else "f32",
                    "DYNAMIC_QUANTIZATION_GROUP_SIZE": str(_group(widths)),
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


def _group(widths: set[int]) -> int:
    """The largest group that divides all `widths` of layers' inputs; 0, which is no int8, for none."""
    common = math.gcd(*widths)
    return max((size for size in range(1, _GROUP + 1) if common and common % size == 0), default=0)


def _round_weights(model: Any) -> set[int]:
    """Replace the weights of `model`'s layers by int8 with a scale for each output, in place.

    OpenVINO knows the pattern (int8 constant, as float, times scale) and multiplies in int8. Returns the widths of the
    layers' inputs.
    """
    from openvino import opset13

    widths = set()
    for product in model.get_ops():
        weights = product.input_value(1).get_node() if product.get_type_name() == "MatMul" else None
        if weights is None or weights.get_type_name() != "Constant" or len(weights.get_output_shape(0)) != 2:
            continue
        values = weights.get_data().astype(np.float32)
        inputs = 1 if product.get_attributes()["transpose_b"] else 0
        scale = np.maximum(np.abs(values).max(axis=inputs, keepdims=True), np.finfo(np.float32).tiny) / 127
        widths.add(values.shape[inputs])
        rounded = opset13.constant(np.round(values / scale).astype(np.int8))
        product.input(1).replace_source_output(
            opset13.multiply(opset13.convert(rounded, np.float32), opset13.constant(scale)).output(0)
        )
    return widths


class _Traced(nn.Module):
    """The encoder as a function of two tensors."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        states: Tensor = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return states
