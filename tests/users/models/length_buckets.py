# sentences of similar length go in one batch -> hardly any padding
import random

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Sampler

from autoaccel import Task


class BucketBatchSampler(Sampler):
    def __init__(self, lengths, batch_size, seed=0):
        order = sorted(range(len(lengths)), key=lengths.__getitem__)
        self.batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
        self.seed = seed

    def __iter__(self):
        yield from random.Random(self.seed).sample(self.batches, len(self.batches))

    def __len__(self):
        return len(self.batches)


def corpus(n, seed):
    rng = random.Random(seed)
    rows = []
    for _ in range(n):
        label = rng.randrange(3)
        words = [rng.randrange(1, 30) if rng.random() < 0.6 else 30 + label for _ in range(rng.randrange(3, 30))]
        rows.append((torch.tensor(words), label))
    return rows


def pad(batch):
    return pad_sequence([w for w, _ in batch], batch_first=True), torch.tensor([label for _, label in batch])


class BagOfWords(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(33, 32, padding_idx=0)
        self.fc = nn.Linear(32, 3)

    def forward(self, ids):
        mask = (ids > 0).unsqueeze(-1)
        return self.fc((self.emb(ids) * mask).sum(1) / mask.sum(1))


rows, held_out = corpus(640, 0), corpus(128, 1)
buckets = BucketBatchSampler([len(w) for w, _ in rows], batch_size=32)
task = Task(
    model=BagOfWords,
    train=DataLoader(rows, batch_sampler=buckets, collate_fn=pad),
    valid=DataLoader(held_out, batch_size=64, collate_fn=pad),
)
