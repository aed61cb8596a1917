# Masked language modelling on protein-like strings; masks are drawn once here so that runs can be compared.
import torch
from transformers import BertConfig, BertForMaskedLM

from autoaccel import Task

PAD, MASK, FIRST = 0, 1, 2
g = torch.Generator().manual_seed(7)


def make_split(n):
    base = torch.randint(0, 8, (n, 1), generator=g)
    ids = FIRST + (base + torch.arange(20)) % 8  # a cycle of eight residues
    lengths = torch.randint(8, 21, (n, 1), generator=g)
    ids[torch.arange(20) >= lengths] = PAD
    hidden = (torch.rand(n, 20, generator=g) < 0.15) & (ids != PAD)
    hidden[:, 2] = True  # never a sequence without a mask
    labels = ids.masked_fill(~hidden, -100)
    return [
        {"input_ids": i, "attention_mask": (i != PAD).long(), "labels": wanted}
        for i, wanted in zip(ids.masked_fill(hidden, MASK), labels, strict=True)
    ]


def model():
    return BertForMaskedLM(
        BertConfig(
            vocab_size=10,
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=20,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    )


task = Task(model, train=make_split(500), valid=make_split(120))
