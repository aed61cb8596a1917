"""What is right for the model files about tables and series."""

from functools import partial
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from accelerate.state import AcceleratorState
from by_hand import Right
from sklearn import metrics
from torch.utils.data import default_collate

from autoaccel.training.data.prepare import prepare


def accuracy(target, output):
    return metrics.accuracy_score(target, output.argmax(1))


def balanced(target, output):
    return metrics.balanced_accuracy_score(target, output.argmax(1))


def one_against_rest(target, output):
    counts = target != -100
    return metrics.roc_auc_score(target[counts], output[counts].softmax(1), multi_class="ovr")


def flat_mse(output, target):
    return F.mse_loss(output.reshape(target.shape), target)


def mae(target, output):
    return metrics.mean_absolute_error(target, output.reshape(target.shape))


def classes(batch):
    return batch[0].float(), batch[1].long().flatten()


def named_classes(batch):
    return batch[0].float(), torch.as_tensor(np.unique(batch[1], return_inverse=True)[1])


def floats(batch):
    return batch[0].float(), batch[1].float()


def binary(output, target):
    return F.binary_cross_entropy_with_logits(output.reshape(target.shape), target.to(output.dtype))


def focal(output, target):
    each = F.cross_entropy(output, target, reduction="none")
    return (0.75 * (1 - (-each).exp()) ** 2 * each).mean()


def smoothed(module):
    weight = 1 / torch.bincount(module.y).float()
    return Right(
        lambda out, y: F.cross_entropy(out, y, weight=weight, label_smoothing=0.1),
        lambda y, out: metrics.f1_score(y, out.argmax(1), average="macro"),
        ("cross_entropy", "3 classes", "f1", "macro"),
    )


def weighted(output, target):
    y, w = target
    each = F.cross_entropy(output, y, reduction="none")
    return (each * w).sum() / w.sum()


def represented(module, _task):
    """The survey's data with the weight of each sample beside its target."""
    weight = torch.as_tensor(module.represents).float()
    return tuple(
        (module.answers[part], (module.votes[part], weight[part])) for part in (module.TRAIN, module.VALID)
    )


def in_order(_module, task, skipped=0):
    """A stream's batches in its own order."""
    stream = getattr(task.train, "dataset", task.train)
    batch = []
    for sample in islice(stream, skipped, None):
        batch.append(sample)
        if len(batch) == 64:
            yield default_collate(batch)
            batch = []


def first_samples(_module, task):
    """The endless stream, with the first 256 samples for validation."""
    samples = list(islice(task.train, 256 + 1280))
    return samples[256:], samples[:256]


def sampled(_module, task):
    """Batches from the user's own sampler."""
    yield from task.train


def contrast(a, b):
    logits = a @ b.T / 0.2
    both = logits.log_softmax(1).diagonal() + logits.log_softmax(0).diagonal()
    return -both.mean() / 2


def pulled(output, same):
    d = F.pairwise_distance(*output)
    return torch.where(same > 0, d**2, (1 - d).clamp(min=0) ** 2).mean()


def drawn(_module, task):
    """The split that was drawn, since only it can be compared with."""
    AcceleratorState._reset_state(reset_partial_state=True)
    held = prepare(task, task.model(), 0).split
    kept = torch.ones(len(task.train[0]), dtype=torch.bool)
    kept[held] = False
    return kept.nonzero().flatten(), held


CLASSIFIED = ("cross_entropy", "accuracy")
RIGHT = {
    # Regression, in the user's units.
    "house_prices": Right(
        flat_mse,
        mae,
        ("mse_loss", "mean_absolute_error", "scal"),
        scaled=True,
    ),
    "residual_forecast": Right(flat_mse, mae, ("mse_loss", "mae")),
    "dead_sensor": Right(flat_mse, None, ("mse_loss", "scal"), scaled=True),
    "timestamps": Right(flat_mse, mae, ("mse_loss", "mean_absolute_error"), scaled=True),
    "electricity_drift": Right(
        flat_mse,
        None,
        ("mse_loss", "time"),
        scaled=True,
        split=lambda module, task: (range(1000), range(1000, 1250)),
    ),
    "pendulum_float64": Right(flat_mse, None, ("mse_loss",)),
    "sine_mse_module": Right(flat_mse, metrics.r2_score, ("mse_loss", "r2")),
    "tcn_weight_norm": Right(F.l1_loss, None, ("l1_loss",)),
    "fourier_layer": Right(F.mse_loss, None, ("mse_loss",)),
    # Classes, in every form of labels.
    "pandas_frame": Right(
        F.cross_entropy,
        lambda y, out: metrics.f1_score(y, out.argmax(1)),
        ("cross_entropy", "2 classes", "f1"),
        batch=classes,
    ),
    "labels_bool": Right(F.cross_entropy, accuracy, (*CLASSIFIED, "2 classes"), batch=classes),
    "labels_int8": Right(F.cross_entropy, accuracy, (*CLASSIFIED, "4 classes"), batch=classes),
    "labels_int32": Right(F.cross_entropy, accuracy, (*CLASSIFIED, "3 classes"), batch=classes),
    "labels_column": Right(F.cross_entropy, accuracy, (*CLASSIFIED, "3 classes"), batch=classes),
    "labels_float": Right(F.cross_entropy, accuracy, (*CLASSIFIED, "3 classes"), batch=classes),
    "labels_string": Right(
        F.cross_entropy, accuracy, (*CLASSIFIED, "3 classes", "versicolor"), batch=named_classes
    ),
    "int_table": Right(F.cross_entropy, accuracy, (*CLASSIFIED, "table"), batch=classes),
    "uint8_table": Right(F.cross_entropy, accuracy, (*CLASSIFIED, "table"), batch=classes),
    "extra_state": Right(F.cross_entropy, accuracy, CLASSIFIED, plain_file=False),
    "model_with_lock": Right(F.cross_entropy, balanced, ("cross_entropy", "balanced_accuracy")),
    "argparse_script": Right(F.cross_entropy, accuracy, CLASSIFIED),
    "gcn_sparse": Right(F.cross_entropy, accuracy, (*CLASSIFIED, "3 classes"), plain_file=False),
    "sparse_embedding": Right(F.cross_entropy, accuracy, CLASSIFIED),
    # Losses and metrics.
    "weighted_smoothing": smoothed,
    "focal_mean": Right(focal, accuracy, ("FocalLoss", "one number a batch", "accuracy")),
    "churn_bce": Right(
        binary,
        lambda y, out: metrics.accuracy_score(y, out.flatten() > 0),
        ("binary_cross_entropy_with_logits", "accuracy"),
    ),
    "multilabel_tags": Right(
        binary,
        lambda y, out: metrics.f1_score(y, out > 0, average="macro"),
        ("binary_cross_entropy_with_logits", "f1", "macro"),
    ),
    "toxic_ap": Right(
        binary,
        lambda y, out: metrics.average_precision_score(y, out.sigmoid(), average="macro"),
        ("binary_cross_entropy_with_logits", "average_precision", "macro"),
    ),
    "wine_auc": Right(
        F.cross_entropy, one_against_rest, ("cross_entropy", "3 classes", "roc_auc", "ovr|one.+rest")
    ),
    "fraud_auc": Right(binary, metrics.roc_auc_score, ("binary_cross_entropy_with_logits", "auc")),
    "survey_weights": Right(
        weighted,
        lambda target, out: metrics.accuracy_score(target[0], out.argmax(1), sample_weight=target[1]),
        (*CLASSIFIED, "weights"),
        data=represented,
        tolerance=5e-3,
        why="a batch's mean may be divided by its own weights or by those of the pass",
    ),
    # Splits and samplers.
    "rare_species": Right(F.cross_entropy, accuracy, (*CLASSIFIED, "5 classes"), split=drawn),
    "weighted_sampler": Right(
        F.cross_entropy,
        balanced,
        ("cross_entropy", "balanced_accuracy", "WeightedRandomSampler"),
        batches=sampled,
        tolerance=0.15,
        why="the user's sampler has its own random numbers, which may be drawn for a look at the data first",
    ),
    "subset_sampler": Right(
        F.cross_entropy,
        accuracy,
        (*CLASSIFIED, "800", "200"),
        split=lambda module, task: (module.train_indices, module.val_indices),
        tolerance=0.1,
        why="the user's sampler draws from the global random numbers",
    ),
    "small_clinic": Right(
        F.cross_entropy,
        balanced,
        ("cross_entropy", "balanced_accuracy", "folds"),
        split=lambda module, task: (range(30, 150), range(30)),
        tolerance=0.5,
        why="on other folds",
    ),
    # Streams.
    "stream_sized": Right(F.cross_entropy, accuracy, (*CLASSIFIED, "stream"), batches=in_order),
    "stream_endless": Right(
        flat_mse, None, ("mse_loss", "stream", "256"), batches=partial(in_order, skipped=256), data=first_samples
    ),
    # Structures.
    "info_nce": Right(
        lambda views, _: contrast(*views),
        facts=("info_nce", "one number a batch"),
        run=lambda model, batch: (model(*batch), batch),
    ),
    "siamese_pairs": Right(
        pulled,
        lambda y, out: metrics.roc_auc_score(y, -F.pairwise_distance(*out)),
        ("contrastive", "auc"),
        run=lambda model, batch: (model(*batch[0]), batch[1]),
    ),
    "face_triplets": Right(
        lambda out, _: F.triplet_margin_loss(*out),
        facts=("no targets", "one number a batch"),
        run=lambda model, batch: (model(*batch), batch),
    ),
    "aux_heads": Right(
        lambda out, y: F.cross_entropy(out[0], y) + 0.3 * F.cross_entropy(out[1], y),
        lambda y, out: accuracy(y, out[0]),
        ("loss", "main_accuracy"),
    ),
    "two_tasks_dict": Right(
        lambda out, y: F.mse_loss(out["age"], y["age"]) + F.cross_entropy(out["sex"], y["sex"]),
        facts=("joint_loss", "one number a batch"),
    ),
    "dataclass_output": Right(
        lambda out, y: F.gaussian_nll_loss(out.mean, y, out.log_var.exp()), facts=("gaussian_nll",)
    ),
    "one_dict_input": Right(
        binary, lambda y, out: metrics.roc_auc_score(y, out), ("binary_cross_entropy_with_logits", "roc_auc")
    ),
}
