# NER. word pieces after the first get -100, and so does padding (as in the HF token classification tutorial)
import torch
from sklearn.metrics import f1_score
from transformers import BertConfig, BertForTokenClassification

from autoaccel import Task

TAGS = ["O", "B-PER", "B-ORG"]


def sentences(n, seed):
    g = torch.Generator().manual_seed(seed)
    data = []
    for _ in range(n):
        t = int(torch.randint(4, 15, (1,), generator=g))
        ids = torch.randint(3, 50, (t,), generator=g)
        tags = (ids >= 35).long() + (ids >= 43).long()  # names sit at the end of the vocabulary
        tags[torch.rand(t, generator=g) < 0.25] = -100
        tags[0] = -100  # [CLS]
        pad = 14 - t
        data.append(
            {
                "input_ids": torch.cat([ids, torch.zeros(pad, dtype=torch.long)]),
                "attention_mask": torch.cat([torch.ones(t), torch.zeros(pad)]).long(),
                "labels": torch.cat([tags, torch.full((pad,), -100)]),
            }
        )
    return data


def macro_f1(y_true, y_pred):
    return f1_score(y_true, y_pred, average="macro", zero_division=0)


def model():
    return BertForTokenClassification(
        BertConfig(
            vocab_size=50, hidden_size=48, num_hidden_layers=1, num_attention_heads=2, intermediate_size=96,
            max_position_embeddings=14, num_labels=len(TAGS), hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    )  # fmt: skip


task = Task(model, sentences(600, 0), valid=sentences(120, 1), metric=macro_f1, direction="max")
