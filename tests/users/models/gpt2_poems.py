"""A tiny GPT-2 from scratch on made-up "poems". labels = input_ids, as in the Hugging Face course."""

import torch
from torch.utils.data import Dataset
from transformers import GPT2Config, GPT2LMHeadModel

from autoaccel import Task

VOCAB = 40
PAD = 0


class Poems(Dataset):
    def __init__(self, n, seed):
        g = torch.Generator().manual_seed(seed)
        self.lines = []
        for _ in range(n):
            length = int(torch.randint(5, 17, (1,), generator=g))
            start = int(torch.randint(0, VOCAB - 1, (1,), generator=g))
            step = int(torch.randint(1, 3, (1,), generator=g))
            self.lines.append([1 + (start + step * i) % (VOCAB - 1) for i in range(length)])

    def __len__(self):
        return len(self.lines)

    def __getitem__(self, i):
        ids = torch.full((16,), PAD)
        ids[: len(self.lines[i])] = torch.tensor(self.lines[i])
        mask = (ids != PAD).long()
        # the model shifts the labels itself
        return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)}


def make_model():
    config = GPT2Config(
        vocab_size=VOCAB, n_embd=48, n_layer=2, n_head=2, n_positions=16, bos_token_id=0, eos_token_id=0,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    return GPT2LMHeadModel(config)


task = Task(model=make_model, train=Poems(600, seed=0), valid=Poems(100, seed=1), metric="perplexity")
