"""seq2seq: reverse a list of symbols with a very small T5."""

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import T5Config, T5ForConditionalGeneration

from autoaccel import Task


def load(n, seed):
    g = torch.Generator().manual_seed(seed)
    rows = []
    for _ in range(n):
        size = int(torch.randint(2, 6, (1,), generator=g))
        source = torch.randint(2, 12, (size,), generator=g)
        rows.append({"source": source, "target": torch.cat([source.flip(0), torch.tensor([1])])})
    return rows


def collate(rows):
    ids = pad_sequence([r["source"] for r in rows], batch_first=True)
    labels = pad_sequence([r["target"] for r in rows], batch_first=True, padding_value=-100)
    return {"input_ids": ids, "attention_mask": (ids > 0).long(), "labels": labels}


def build():
    config = T5Config(
        vocab_size=12, d_model=32, d_kv=16, d_ff=64, num_layers=1, num_heads=2, dropout_rate=0.0,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    return T5ForConditionalGeneration(config)


def task():
    return Task(model=build, train=load(512, 0), valid=load(90, 1), collate=collate)
