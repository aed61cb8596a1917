"""Fine-tune-style sentence classification. Dropout is left at BERT's defaults."""

import torch
from torch.utils.data import DataLoader
from transformers import BertConfig, BertForSequenceClassification

from autoaccel import Task

torch_rng = torch.Generator().manual_seed(3)
GOOD, BAD = range(5, 15), range(15, 25)


def reviews(n):
    out = []
    for _ in range(n):
        label = int(torch.randint(0, 2, (1,), generator=torch_rng))
        words = torch.randint(25, 60, (int(torch.randint(6, 20, (1,), generator=torch_rng)),), generator=torch_rng)
        lo = (GOOD if label else BAD).start
        words[::2] = torch.randint(lo, lo + 10, words[::2].shape, generator=torch_rng)
        out.append({"input_ids": words, "label": label})
    return out


def collate_fn(batch):
    longest = max(len(b["input_ids"]) for b in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    for row, b in zip(ids, batch, strict=True):
        row[: len(b["input_ids"])] = b["input_ids"]
    return {
        "input_ids": ids,
        "attention_mask": (ids != 0).long(),
        "labels": torch.tensor([b["label"] for b in batch]),
    }


def get_model():
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=60, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
            max_position_embeddings=20, num_labels=2,
        )
    )  # fmt: skip


train_loader = DataLoader(reviews(640), batch_size=32, shuffle=True, collate_fn=collate_fn)
eval_loader = DataLoader(reviews(150), batch_size=64, collate_fn=collate_fn)

task = Task(model=get_model, train=train_loader, valid=eval_loader, metric="accuracy")
