"""Small LLaMAs with random weights and real tokenizers, made in the test."""

import json

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from kiwi_fhir.extract.generative.vocabulary import _byte_characters

#: What the tokenizers learn their pieces from: notes of our own, and tags that grow together with the text around them.
WORDS = """He denies chest pain, cough and fever. She has no shortness of breath; leg swelling is mild.
MEDICATIONS: aspirin 81 mg daily, metformin 500 mg twice a day. LABS: sodium 140, glucose 98 mg/dL (70-99).
Write the clinical text again, exactly as it is, and put tags around each problem, test, drug and treatment.
One problem is marked in the clinical text. Write the text again without that mark. Marked: Text:
says more about this problem: negation, uncertain, subject, condition, severity, course, bodyloc, temporal.
<span class="problem">pain</span>, <span class="test">glucose</span>; <span class="drug">aspirin</span>.
"""


def byte_level_tokenizer(pieces=500, lacking=b""):
    """As LLaMA 3 and SmolLM2 have it; `lacking` are bytes that no token writes."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = [mark for mark, byte in _byte_characters().items() if byte not in lacking]
    special = ["<|end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=pieces, initial_alphabet=alphabet, special_tokens=special, show_progress=False
    )
    made.train_from_iterator([WORDS] * 4, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|end|>", pad_token="<|end|>")


def sentencepiece_tokenizer(pieces=700):
    """As LLaMA 2 has it: ▁ for spaces, one before the text, bytes for what is not in the vocabulary."""
    learned = Tokenizer(models.BPE())
    learned.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trainer = trainers.BpeTrainer(vocab_size=pieces, show_progress=False)
    learned.train_from_iterator(WORDS.splitlines() * 4, trainer)
    state = json.loads(learned.to_str())["model"]
    first = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    vocabulary = {piece: index for index, piece in enumerate([*first, *state["vocab"]])}
    merges = [tuple(merge) for merge in state["merges"]]
    made = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    made.normalizer = learned.normalizer
    made.decoder = decoders.Sequence([
        decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)
    ])  # fmt: skip
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=made, **names)


def tiny_llama(tokenizer, seed=0):
    """A LLaMA of two layers with shared key-value heads; large random weights, so that it has opinions."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        initializer_range=0.4,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config).eval()


def save_llama(folder, tokenizer, seed=0):
    """A model folder as transformers writes it."""
    tiny_llama(tokenizer, seed).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
