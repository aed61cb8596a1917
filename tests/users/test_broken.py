"""Files that cannot be trained: `check` says the cause, the value and what is accepted, in one line."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from autoaccel.errors import AutoaccelError
from autoaccel.training.data.discovery import load_target, resolve
from autoaccel.training.rehearsal import rehearse

pytestmark = [
    pytest.mark.filterwarnings("default"),
    pytest.mark.usefixtures("one_thread"),
]
BROKEN = Path(__file__).parent / "broken"
WORDS = {
    "labels_from_one": ("labels", "1 to 5", "5 outputs", "0 to 4"),
    "too_few_outputs": ("labels", "0 to 6", "2 outputs"),
    "wrong_width": ("forward", "1024", "784"),
    "loss_raises": ("loss", "my_loss", "IndexError"),
    "metric_raises": ("metric", "recall_at_least", "ZeroDivisionError"),
    "metric_needs_probabilities": ("metric", "auc_ovr", "metric_on", "output"),
    "nan_in_inputs": ("train inputs", "not finite"),
    "empty_data": ("train", "empty"),
    "one_shot_generator": ("train", "generator", "function"),
    "model_instance": ("model", "factory", "Sequential", "lambda"),
    "all_frozen": ("no parameters to train",),
    "forward_argument": ("forward", "lengths"),
    "target_shape": ("3", "2", "output", "target"),
    "unknown_loss": ("crossentropy", "cross_entropy"),
    "metric_typo": ("acuracy", "accuracy"),
    "no_direction": ("profit", "direction", "max", "min"),
    "collate_raises": ("collate", "equal size"),
    "unreadable_images": ("train", "cannot identify image file"),
    "grows_each_time": ("load", "model"),
    "shadowing/torch": ("torch", "another name"),
    "stream_without_valid": ("train", "valid_samples"),
    "weights_length": ("weights", "90", "100"),
    "rows_differ": ("120", "118"),
    "order_by_date": ("date", "time"),
    "csv_path": ("train.csv", "path", "DataLoader"),
    "text_column": ("train inputs", "numbers"),
    "metric_on_logits": ("metric_on", "logits", "output", "prediction"),
    "scaling_cannot_be_folded": ("target_scaling", "last"),
    "not_installed": ("our_company_layers", "ModuleNotFoundError"),
    "nothing_to_train": ("no task", "task = Task"),
    "detached_loss": ("loss", "grad"),
}
AT = {
    "wrong_width": "torch.relu(self.fc1(x))",
    "loss_raises": "F.cross_entropy",
    "metric_raises": "int(found) /",
    "metric_needs_probabilities": "return roc_auc_score",
    "collate_raises": "torch.stack(xs)",
    "unreadable_images": "raise OSError",
    "not_installed": "import our_company_layers",
}
"""The line that is named, where it is not that of the call of `Task`."""
NO_LINE = {"shadowing/torch", "nothing_to_train"}


def line_of(name):
    """Return `file:line` as the message names it."""
    path = BROKEN / f"{name}.py"
    sought = AT.get(name, "Task(")
    lines = path.read_text().splitlines()
    return f"{path}:{next(i for i, line in enumerate(lines, 1) if sought in line)}"


def checked(name):
    command = [sys.executable, "-m", "autoaccel.cli", "check", str(BROKEN / f"{name}.py")]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)


def test_each_file_is_here():
    found = {path.relative_to(BROKEN).with_suffix("").as_posix() for path in BROKEN.rglob("*.py")}
    assert found == WORDS.keys()
    assert len(found) >= 20


@pytest.mark.parametrize("name", sorted(WORDS.keys() - {"shadowing/torch"}))
def test_the_message_says_what_is_wrong(name):
    with pytest.raises(AutoaccelError) as caught:
        rehearse(resolve(load_target(str(BROKEN / f"{name}.py"))), seed=0, cpu=True)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.exit_code in (2, 3)
    for word in WORDS[name]:
        assert word in message, message


@pytest.mark.slow
def test_check_says_it_in_one_line():
    """In a process each, as users do; all faults are collected."""
    faults = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, done in zip(WORDS, pool.map(checked, WORDS), strict=True):
            said = done.stderr.strip()
            missing = [word for word in WORDS[name] if word not in said]
            if done.returncode not in (2, 3) or "\n" in said or missing:
                faults.append(f"{name}: {done.returncode}, without {missing}: {said[-1000:]}")
            if name not in NO_LINE and not re.search(rf"{re.escape(line_of(name))}\b", said):
                faults.append(f"{name}: {line_of(name)} is not in {said[-1000:]}")
    assert not faults, "\n".join(faults)
