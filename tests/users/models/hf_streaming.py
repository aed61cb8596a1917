"""load_dataset(..., streaming=True) gives an object that can only be iterated; this stands for it."""

import random

import torch
from transformers import BertConfig, BertForSequenceClassification

from autoaccel import Task


class StreamingDataset:
    def __init__(self, seed, size):
        self.seed, self.size = seed, size

    def __iter__(self):
        rng = random.Random(self.seed)
        for _ in range(self.size):
            label = rng.randrange(2)
            words = [rng.randrange(2, 20) + 20 * label * (rng.random() < 0.7) for _ in range(rng.randrange(4, 12))]
            yield {"input_ids": words, "label": label}


def collate(examples):
    ids = torch.zeros(len(examples), 12, dtype=torch.long)
    for i, e in enumerate(examples):
        ids[i, : len(e["input_ids"])] = torch.tensor(e["input_ids"])
    labels = torch.tensor([e["label"] for e in examples])
    return {"input_ids": ids, "attention_mask": (ids > 0).long(), "labels": labels}


def model():
    config = BertConfig(
        vocab_size=40, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=12, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return BertForSequenceClassification(config)


task = Task(
    model, StreamingDataset(0, 1280), valid=list(StreamingDataset(1, 150)), collate=collate, metric="accuracy"
)
