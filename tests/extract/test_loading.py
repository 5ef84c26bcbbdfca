"""Models that several threads load at a time: transformers patches its own classes while it loads."""

from concurrent.futures import ThreadPoolExecutor

import torch
from tiny_llamas import byte_level_tokenizer, save_llama
from transformers import PreTrainedModel

from kiwi_fhir.extract.base import DEFAULT_BASE, load_base
from kiwi_fhir.extract.llama_base import load_llama


def test_loads_that_overlap_leave_transformers_as_it_was(tmp_path):
    own = PreTrainedModel.tie_weights
    folder = str(save_llama(tmp_path / "llama", byte_level_tokenizer()))
    loads = [lambda: load_llama(folder, dtype=torch.float32), lambda: load_base(DEFAULT_BASE)] * 4
    with ThreadPoolExecutor(8) as threads:
        models = [loaded[0] for loaded in threads.map(lambda load: load(), loads)]
    assert PreTrainedModel.tie_weights is own
    assert not any(weight.is_meta for model in models for weight in model.parameters())
