"""What is right for the model files about images."""

import torch
import torch.nn.functional as F
from by_hand import Right
from sklearn.metrics import accuracy_score, roc_auc_score


def accuracy(target, output):
    return accuracy_score(target, output.argmax(1))


def floats(batch):
    return batch[0].float(), batch[1]


def void_left_out(output, target):
    return F.cross_entropy(output, target, ignore_index=255)


def iou(target, output):
    found, values = output.argmax(1), []
    counts = target != 255
    for c in range(3):
        a, b = (target == c) & counts, (found == c) & counts
        values.append(int((a & b).sum()) / max(1, int((a | b).sum())))
    return sum(values) / 3


def clear_pixels(target, output):
    counts = target != -100
    return accuracy_score(target[counts], output.argmax(1)[counts])


def elbo(output, x):
    recon, mu, logvar = output
    kl = 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum(1)
    return F.binary_cross_entropy(recon, x, reduction="sum") / len(x) + kl.mean()


def detected(output, targets):
    there, size = torch.zeros_like(output["score"]), torch.zeros_like(output["size"])
    for i, target in enumerate(targets):
        for x0, y0, x1, _ in target["boxes"].int().tolist():
            there[i, y0 // 4, x0 // 4], size[i, y0 // 4, x0 // 4] = 1, x1 - x0
    found = F.binary_cross_entropy_with_logits(output["score"], there)
    return found + 0.1 * (there * (output["size"] - size) ** 2).sum() / len(targets)


def xray(module):
    weight = (module.findings == 0).sum(0) / module.findings.sum(0)
    return Right(
        lambda out, y: F.binary_cross_entropy_with_logits(out, y, pos_weight=weight),
        lambda y, out: roc_auc_score(y, out.sigmoid(), average="macro"),
        ("binary_cross_entropy_with_logits", "roc_auc", "macro"),
    )


RIGHT = {
    "segmentation": Right(void_left_out, iou, ("cross_entropy", "3 classes", "mean_iou", "255")),
    "land_cover": Right(F.cross_entropy, clear_pixels, ("cross_entropy", "4 classes", "accuracy", "-100")),
    "frozen_backbone": Right(F.cross_entropy, accuracy, ("cross_entropy", "3 classes", "accuracy")),
    "uint8_images": Right(F.cross_entropy, accuracy, ("cross_entropy", "2 classes", "uint8"), batch=floats),
    "lazy_layers": Right(F.cross_entropy, accuracy, ("cross_entropy", "4 classes")),
    "keeps_activation": Right(F.cross_entropy, accuracy, ("cross_entropy", "2 classes")),
    "one_tuple_input": Right(F.cross_entropy, accuracy, ("cross_entropy", "2 classes")),
    "autoencoder": Right(F.mse_loss, None, ("mse_loss", "loss")),
    "vae": Right(elbo, None, ("loss_function", "no targets"), run=lambda model, x: (model(x), x)),
    "detection": Right(detected, None, ("detection_loss",)),
    "chest_xray_auc": xray,
}
