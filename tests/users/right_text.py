"""What is right for the model files about text."""

import math

import torch
import torch.nn.functional as F
from by_hand import Right, labels_inside
from sklearn.metrics import accuracy_score, f1_score


def own(output, _target):
    return output.loss


def own_perplexity(_target, output):
    return math.exp(output.loss)


def accuracy(target, output):
    return accuracy_score(target, output.logits.argmax(-1))


def tokens(logits, target):
    return F.cross_entropy(logits.flatten(0, 1), target.flatten())


def counted_f1(target, output):
    counts = target != -100
    return f1_score(target[counts], output.logits.argmax(-1)[counts], average="macro", zero_division=0)


def nano(model, batch):
    return model(*batch), batch[1]


def shuffled_buckets(module, _task):
    """The user's own batches."""
    for batch in module.buckets:
        yield module.pad([module.rows[i] for i in batch])


def streamed(module, task):
    """The stream in its own order."""
    batch = []
    for example in task.train:
        batch.append(example)
        if len(batch) == 64:
            yield module.collate(batch)
            batch = []


RIGHT = {
    "gpt2_poems": Right(own, own_perplexity, ("model's own", "perplexity"), labels_inside),
    "bert_mlm": Right(own, None, ("model's own",), labels_inside),
    "t5_reverse": Right(own, None, ("model's own",), labels_inside),
    "bert_sentiment": Right(own, accuracy, ("2 classes", "accuracy"), labels_inside),
    "ner_tags": Right(own, counted_f1, ("3 classes", "macro_f1"), labels_inside),
    "nano_gpt": Right(
        loss=lambda output, target: F.cross_entropy(output[0].flatten(0, 1), target.flatten()),
        facts=("model's own",),
        run=nano,
    ),
    "ragged_chars": Right(
        tokens, lambda y, out: math.exp(tokens(out, y)), ("cross_entropy", "27 classes", "perplexity")
    ),
    "length_buckets": Right(
        F.cross_entropy,
        lambda y, out: accuracy_score(y, out.argmax(1)),
        ("cross_entropy", "3 classes", "BucketBatchSampler"),
        batches=shuffled_buckets,
    ),
    "hf_streaming": Right(own, accuracy, ("stream", "2 classes", "accuracy"), labels_inside, batches=streamed),
    "ctc_digits": Right(
        loss=lambda out, y: F.ctc_loss(
            out.transpose(0, 1), y, torch.full((len(y),), 16), (y > 0).sum(1), zero_infinity=True
        ),
        facts=("one number a batch",),
    ),
}
