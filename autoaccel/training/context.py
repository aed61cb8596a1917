"""What techniques may read and change in a training: the implementation of `techniques.base.Context`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import convert_to_fp32
from torch import Tensor, nn

from autoaccel.errors import UsageError
from autoaccel.techniques.base import Batch, OptimizerTechnique, Technique
from autoaccel.techniques.shared.ranks import average_over_ranks
from autoaccel.techniques.shared.tensors import call, map_tensors
from autoaccel.training.data.loading import BackgroundLoader, enough_workers, same_samples, seconds_per_batch
from autoaccel.training.data.prepare import Data
from autoaccel.training.data.sources import DatasetSource, has_room, root_of
from autoaccel.training.gradients import accumulate, average, shared
from autoaccel.training.means import chunks, mean
from autoaccel.training.optimizer_state import keep_state

if TYPE_CHECKING:  # an exported script copies this file, and counts nothing
    from autoaccel.training.meters.meters import Meters

PRECISIONS: Mapping[str, torch.dtype] = MappingProxyType({"bf16": torch.bfloat16, "fp16": torch.float16})
"""Accelerate's names of the mixed precisions, and the dtypes in which autocast computes."""

BATCH = 256
"""Default number of samples computed at once without training."""


class TrainingContext:
    """One training, as its techniques see it. `Context` explains the other attributes.

    Args:
        model: The user's model, on its device.
        data: The task's data, resolved.
        techniques: The recipe's techniques in their order.
        meter: Books the cost.
        seed: Seed of the random numbers of the techniques and of the loader's workers.
        device: The model's device.

    Attributes:
        micro_batch: Largest number of samples computed at once; 0 for no limit.
        evaluation_batch: Number of samples that an evaluation computes at once.
        restart: Whether to end the pass over the data after the current batch.
        loader: Prefetches the batches of a pass, or None.
        seed: Seed of the random numbers of the techniques and of the loader's workers.
        overlap: Whether processes that share a batch average gradients while they compute the others.
        apart: Whether the weights of the processes may differ: they have trained alone since these were averaged.
        teacher: The run's best finished model, if the recipe needs one.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        techniques: Sequence[Technique],
        meter: Meters,
        seed: int,
        device: torch.device,
    ):
        self.p = 0.0
        self.model = model
        self.data = data
        self.techniques = tuple(techniques)
        self.meter = meter
        self.device = device
        self.kind = data.kind
        self.classes = data.classes
        self.class_axis = data.objective.class_axis
        self.ignored = data.objective.ignored
        self.batch_size = 64
        self.micro_batch = 0
        self.evaluation_batch = BATCH
        self.lr_factor = 1.0
        self.mixed_precision = "no"
        self.sample_loss = torch.full((len(data.train),), float("nan"), dtype=torch.float32, device=device)
        self.generator = torch.Generator(device).manual_seed(seed + PartialState().process_index)
        self.shared = torch.Generator().manual_seed(seed)
        self.variants = meter.variants
        self.seen = 0
        self.restart = False
        self.teacher: nn.Module | None = None
        self.optimizer: torch.optim.Optimizer = None  # type: ignore[assignment]  # set by the optimizer's setup
        self.accelerator: Accelerator | None = None
        self.network: nn.Module = model
        self.current: list[tuple[Batch, Tensor | float]] = []
        self.overlap = True
        self.alone = self.apart = False
        self.loader: BackgroundLoader | None = None
        self.seed = seed

    def forward(self, inputs: Any, model: nn.Module | None = None) -> Any:
        """Return what the loss gets of the output of the model, or of another one, and book the cost."""
        return self.data.objective.view(self.run(inputs, model))

    def run(self, inputs: Any, model: nn.Module | None = None) -> Any:
        """Return what the model returns, in float32 where autocast is on, and book the cost."""
        self.meter.forward(inputs, model)
        if self.mixed_precision == "no":
            return call(model or self.network, inputs)
        # Accelerate's autocast is not used, since setup runs the model before there is an Accelerator.
        with torch.autocast(self.device.type, PRECISIONS[self.mixed_precision]):
            output = call(model or self.network, inputs)
        return convert_to_fp32(output)

    def per_sample(self, output: Any, targets: Any) -> Tensor:
        """Return the task loss of each sample, shape [n]."""
        return self.data.objective(output, targets)

    def of_samples(self, each: Tensor, targets: Any) -> Tensor:
        """Return the mean over the labels of each sample, weighted as in the task's loss, shape [n]."""
        return self.data.objective.of_samples(each, targets)

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Run the model on a batch; return each sample's task loss before and after the techniques change it.

        A loss that is one number a batch is that of each of its samples.
        """
        output = self.forward(batch.inputs)
        plain = self.per_sample(output, batch.targets)
        if batch.other is not None and batch.share is not None:
            plain = batch.share * plain + (1 - batch.share) * self.per_sample(output, batch.other)
        each = plain = plain.expand(len(batch.index))
        for technique in self.techniques:
            each = technique.loss(self, batch, output, each)
        return plain, each

    @property
    def parallel(self) -> bool:
        """Whether several processes share the gradient of each batch."""
        return not self.alone and self.accelerator is not None and self.accelerator.num_processes > 1

    def part(self) -> None:
        """Take the next step alone; in a single process this changes nothing."""
        if self.parallel:
            self.alone, self.network = True, self.model  # not the wrapper, which would average gradients
        self.apart = self.alone

    def meet(self) -> None:
        """Average the weights and statistics over the processes, if they have trained alone since the last time."""
        if self.apart:
            average_over_ranks(self.model)
            self.apart = False

    def mean(self, batch: Batch, each: Tensor, total: Tensor | float) -> Tensor:
        """Return a micro-batch's part of the mean loss; see `means.mean`."""
        return mean(self.data.objective, batch, each, total)

    def backward(self, batch: Batch, total: Tensor | float) -> Tensor:
        """Add the gradient of a micro-batch; return its task losses. `mean` explains the arguments."""
        plain, each = self.losses(batch)
        loss = self.mean(batch, each, total)
        if self.accelerator is None:
            loss.backward()
        else:
            self.accelerator.backward(loss)
        return plain.detach()

    def chunks(self, batch: Batch, size: int) -> list[tuple[Batch, Tensor | float]]:
        """Split a batch into micro-batches of at most `size` samples; see `means.chunks`."""
        return chunks(self.data.objective, batch, size, self.parallel)

    def unscale(self) -> None:
        """Unscale the gradients if a gradient scaler is in use."""
        if self.accelerator is not None and self.accelerator.scaler is not None:
            # The scaler steps the optimizer inside Accelerate's wrapper, so unscale that one.
            self.accelerator.scaler.unscale_(self.optimizer.optimizer)  # type: ignore[attr-defined]

    def update(self) -> bool:
        """Take an optimizer step; return False if the gradient scaler skipped it for non-finite gradients."""
        self.optimizer.step()
        return not getattr(self.optimizer, "step_was_skipped", False)

    def recompute_gradients(self) -> None:
        """Zero the gradients and recompute those of the current step's batch."""
        self.optimizer.zero_grad()
        for _ in accumulate(self):
            pass
        average(self)

    def swap(self, match: Callable[[nn.Module], bool], make: Callable[[nn.Module], nn.Module]) -> int:
        """Replace every child module that matches, rebuild if any did, and return how many were replaced."""
        found = [
            (parent, name, child)
            for parent in self.model.modules()
            for name, child in parent.named_children()
            if match(child)
        ]
        for parent, name, child in found:
            setattr(parent, name, make(child))
        if found and self.optimizer is not None:
            self.rebuild()
        return len(found)

    def rebuild(self) -> None:
        """Rebuild the optimizer over the current parameters and clear the cached costs.

        Parameters that remain in the same shape keep their optimizer state.
        """
        self.meter.forget()
        known = dict(self.optimizer.state)
        for technique in self.techniques:
            if isinstance(technique, OptimizerTechnique):
                technique.setup(self)
        keep_state(self.optimizer, known)
        self.prepare()

    def prepare(self) -> None:
        """Prepare the optimizer with Accelerate, and the model too if there are several processes."""
        if self.accelerator is None:
            return
        self.accelerator._optimizers.clear()
        prepared = self.accelerator.prepare_optimizer(self.optimizer, device_placement=False)
        # Without a gradient scaler, the wrapper only checks for optional packages at every step.
        self.optimizer = prepared.optimizer if prepared.scaler is None else prepared
        if self.parallel:
            self.network = shared(self.model, self.device)

    def training_batches(self, samples: int) -> Iterator[Any]:
        """Yield the inputs of `samples` random training samples, the same at every call, without augmentation."""
        size = min(self.micro_batch or samples, self.batch_size)
        for part in same_samples(len(self.data.train), samples, size, self.seed):
            inputs, _ = self.data.train.take(part)
            yield map_tensors(lambda t: t.to(self.device, non_blocking=True), inputs)

    def one_epoch(self, size: int = BATCH) -> Iterator[Batch]:
        """Yield every training sample once, in index order, without augmentation."""
        for index in torch.arange(len(self.data.train)).split(min(size, self.micro_batch or size)):
            yield self.fetch(index)

    def fetch(self, index: Tensor) -> Batch:
        """Return the training samples at `index`, on the device."""
        return self.to_device(index, *self.data.train.take(index))

    def to_device(self, index: Tensor, inputs: Any, targets: Any) -> Batch:
        """Return samples that were fetched, on the device."""
        if self.device.type != "cpu":
            moved = map_tensors(lambda t: t.to(self.device, non_blocking=True), (index, inputs, targets))
            index, inputs, targets = moved
        return Batch(inputs, targets, index, torch.ones(len(index), device=self.device))

    def begin_pass(self) -> None:
        """End the pass over the data after the current batch."""
        self.restart = True

    def reference(self) -> nn.Module:
        """Return the run's best finished model in eval mode.

        Raises:
            UsageError: If the trial was given none.
        """
        if self.teacher is None:
            raise UsageError("a recipe that learns from a finished model needs one: train(..., reference=RUN)")
        return self.teacher

    def keep_data_on_device(self, share: float) -> bool:
        """Move the training data to the device if they take at most `share` of its free memory.

        Returns:
            Whether the data were moved; False if they are not arrays in memory.
        """
        train = self.data.train
        if not has_room(self.device, root_of(train.source), share):
            return False
        self.data = replace(self.data, train=train.to(self.device))
        return True

    def load_in_background(self, workers: int) -> bool:
        """Prefetch samples in worker processes; return False if the data are in memory already.

        Args:
            workers: Number of worker processes; 0 for none, negative to choose the number by a measurement.
        """
        source = self.data.train
        if not isinstance(root_of(source.source), DatasetSource):
            return False
        if workers < 0:
            measure = partial(seconds_per_batch, source, self.batch_size, now=self.meter.seconds)
            workers = enough_workers(measure, torch.get_num_threads())
        pinned, seed = self.device.type == "cuda", self.seed + PartialState().process_index
        self.loader = BackgroundLoader(source, workers, pinned, seed) if workers else None
        return True

    def deliverable(self) -> bool:
        """Return whether all techniques would deliver the weights that are evaluated now."""
        return all(technique.deliverable(self) for technique in self.techniques)

    def evaluating(self) -> list[AbstractContextManager[None]]:
        """Return the techniques' `evaluate` contexts, in the order in which to enter them."""
        return [technique.evaluate(self) for technique in self.techniques]
