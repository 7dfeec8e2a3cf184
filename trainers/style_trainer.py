"""The trainer: transformers' loop with OFA's loss, a token mean over the whole step, and draws that can be resumed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Sampler
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback, TrainingArguments

from models.ofa import OFAForConditionalGeneration
from preprocessors.collator import CaptionBatch, CaptionCollator
from preprocessors.dataset import CaptionDataset
from preprocessors.examples import CaptionExample
from trainers.captioning import Captioner
from trainers.losses import IGNORE_INDEX, count_kept, label_smoothed_cross_entropy, r_drop
from trainers.schedule import EpochSampler, polynomial_decay
from utils.io import append_jsonl


@dataclass(frozen=True)
class Objective:
    """What is minimised.

    Attributes:
        label_smoothing: eps of OFA's smoothing, in [0, 1).
        drop_worst: Share of the tokens of a micro-batch to leave out, in [0, 1).
        rdrop: Weight of R-Drop's KL per token; 0 is off, anything else doubles the batch.
    """

    label_smoothing: float = 0.1
    drop_worst: float = 0.0
    rdrop: float = 0.0


@dataclass(frozen=True)
class Validation:
    """What a validation does beside the loss.

    Attributes:
        captioner: Captions examples with the model in training.
        samples: So many rows, spread evenly, are captioned into ``samples_file`` every time.
        samples_file: JSON Lines.
        batch_size: Examples per generation.
        score: From captions by example id to a number that is logged as ``eval_CIDEr``; None skips it, and with it
            the captions of the whole split.
    """

    captioner: Captioner
    samples: int
    samples_file: Path
    batch_size: int
    score: Callable[[dict[str, str]], float] | None = None


class StyleCaptionTrainer(Trainer):
    """Fine-tunes an OFA captioner.

    The loss is a sum over tokens, divided by the tokens of the whole optimizer step: over all micro-batches and all
    processes, so 1 x 8, 2 x 4 and 4 accumulation steps give the same update. Order, crops and captions depend on
    (seed, epoch, row), dropout on (seed, step, micro-batch, rank). The wrapped module is always what is called.

    Args:
        model: The captioner; frozen parts already have ``requires_grad`` off.
        args: Trainer's arguments; ``learning_rate`` is the peak.
        train_dataset: Rows to train on.
        eval_dataset: Rows to validate on.
        collator: Rows to batches.
        objective: The loss.
        warmup: Share of the steps in which the learning rate rises.
        lr_end: Learning rate at the last step.
        validation: Captions at validation; None validates the loss only.
        save_companions: Called with each checkpoint folder, writes what the weights need beside them.
        callbacks: More observers.
    """

    def __init__(
        self,
        model: OFAForConditionalGeneration,
        args: TrainingArguments,
        *,
        train_dataset: CaptionDataset,
        eval_dataset: CaptionDataset | None,
        collator: CaptionCollator,
        objective: Objective,
        warmup: float = 0.0,
        lr_end: float = 0.0,
        validation: Validation | None = None,
        save_companions: Callable[[Path], None] | None = None,
        callbacks: list[TrainerCallback] | None = None,
    ) -> None:
        super().__init__(model, args, data_collator=collator, train_dataset=train_dataset, eval_dataset=eval_dataset)
        for spoken in (ProgressCallback, PrinterCallback):  # both write to stdout, which belongs to the results
            self.remove_callback(spoken)
        for callback in (_EpochForData(self), *(callbacks or [])):
            self.add_callback(callback)
        self.objective, self.warmup, self.lr_end = objective, warmup, lr_end
        self.validation, self.save_companions = validation, save_companions
        self.loss_is_scaled_for_ga = True
        self._sampler = EpochSampler(train_dataset, args.seed)
        self._micro_step = 0

    lr_scheduler: Any
    control: Any

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return self._sampler

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> LambdaLR:
        """Linear warm-up, linear decay."""
        if self.lr_scheduler is None:
            chosen = self.optimizer if optimizer is None else optimizer
            lr = self.args.learning_rate
            self.lr_scheduler = polynomial_decay(chosen, num_training_steps, self.warmup, lr, self.lr_end)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def _get_num_items_in_batch(self, batch_samples: list[CaptionBatch], device: torch.device) -> Tensor:
        """Tokens of the whole optimizer step that the loss counts, over all processes."""
        counted = (int(batch["labels"].ne(IGNORE_INDEX).sum()) for batch in batch_samples)
        tokens = sum(count_kept(count, self.objective.drop_worst) for count in counted)
        total = torch.tensor(tokens, device=device)
        return self.accelerator.reduce(total, "sum") if self.args.world_size > 1 else total

    def training_step(self, model: nn.Module, inputs: CaptionBatch, num_items_in_batch: Any = None) -> Tensor:
        """One micro-batch, under dropout masks of its own."""
        place = f"{self.args.seed}/{self.state.global_step}/{self._micro_step}/{self.args.process_index}"
        torch.manual_seed(random.Random(place).getrandbits(63))
        self._micro_step += 1
        return super().training_step(model, inputs, num_items_in_batch)

    def compute_loss(
        self, model: nn.Module, inputs: CaptionBatch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Loss of a micro-batch as its share of the step's token mean.

        Gradients are averaged over the processes, so the sum is scaled up by their number.
        """
        views = 2 if self.objective.rdrop else 1
        tensors: dict[str, Any] = dict(inputs)
        if views == 2:
            tensors = {name: torch.cat([tensor, tensor]) for name, tensor in tensors.items()}
        labels = tensors.pop("labels")
        outputs = model(**tensors)
        entropy = label_smoothed_cross_entropy(
            outputs.logits, labels, self.objective.label_smoothing, self.objective.drop_worst
        )
        tokens = entropy.tokens / views if num_items_in_batch is None else num_items_in_batch
        loss = entropy.loss / (views * tokens)
        if views == 2:
            loss = loss + self.objective.rdrop * r_drop(outputs.logits, labels) / tokens
        loss = loss * self.args.world_size
        return (loss, outputs) if return_outputs else loss

    def evaluate(self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval") -> Any:
        """Loss per token over the validation rows, and captions of some or all of them.

        Returns:
            ``eval_loss`` (label-smoothed as in training) and ``eval_nll`` in nats per token; ``eval_CIDEr`` if the
            validation scores captions.
        """
        self._average_batch_norm()
        self.model.eval()
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in self._validation_loss().items()}
        if self.validation is not None:
            score = self._caption_samples(self.validation)
            if score is not None:
                metrics[f"{metric_key_prefix}_CIDEr"] = score
        self.model.train()
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    @torch.no_grad()
    def _validation_loss(self) -> dict[str, float]:
        sums = torch.zeros(3, dtype=torch.float64, device=self.args.device)
        for batch in self.get_eval_dataloader():
            inputs = self._prepare_inputs(batch)
            labels = inputs["labels"]
            with self.compute_loss_context_manager():
                logits = self.model(**{name: tensor for name, tensor in inputs.items() if name != "labels"}).logits
            rows = [
                label_smoothed_cross_entropy(logits[row, None], labels[row, None], self.objective.label_smoothing)
                for row in range(len(labels))
            ]
            # Per row, because the last batch repeats rows to fill all processes and those must not count.
            sums += self.accelerator.gather_for_metrics(torch.stack([torch.stack(row) for row in rows])).sum(0)
        loss, nll, tokens = sums.tolist()
        return {"loss": loss / max(tokens, 1.0), "nll": nll / max(tokens, 1.0)}

    def _caption_samples(self, validation: Validation) -> float | None:
        examples = self.eval_dataset.examples
        shown = choose_samples(examples, validation.samples)
        wanted = shown if validation.score is None else examples
        captions = validation.captioner.caption(wanted, validation.batch_size)
        if self.is_world_process_zero():
            decoding = asdict(validation.captioner.decoding)
            for example in shown:
                row = {"example_id": example.example_id, "style": example.style, "decoding": decoding}
                row |= {"caption": captions[example.example_id], "references": list(example.captions)}
                append_jsonl(validation.samples_file, {"global_step": self.state.global_step} | row)
        return None if validation.score is None else validation.score(captions)

    def _average_batch_norm(self) -> None:
        """Give all processes the mean of their running statistics, which each gathered on its own rows."""
        if self.args.world_size == 1:
            return
        for name, buffer in self.model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                dist.all_reduce(buffer)
                buffer /= self.args.world_size

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self._average_batch_norm()
        super()._save_checkpoint(model, trial)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        super()._save(output_dir, state_dict)
        if self.save_companions is not None:
            self.save_companions(Path(output_dir or self.args.output_dir))


def choose_samples(examples: Sequence[CaptionExample], count: int) -> list[CaptionExample]:
    """The same ``count`` examples at every validation: pictures spread over the split, styles taking turns."""
    by_image: dict[Path, list[CaptionExample]] = {}
    for example in examples:
        by_image.setdefault(example.image_path, []).append(example)
    groups = list(by_image.values())
    chosen = [groups[number * len(groups) // count] for number in range(count)]
    picked = (group[number % len(group)] for number, group in enumerate(chosen))
    return list({example.example_id: example for example in picked}.values())


class _EpochForData(TrainerCallback):
    """Tells data set and sampler the epoch, and starts the count of micro-batches with each step."""

    def __init__(self, trainer: StyleCaptionTrainer) -> None:
        self.trainer = trainer

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        epoch = int(state.epoch or 0)
        self.trainer.train_dataset.set_epoch(epoch)
        self.trainer._sampler.set_epoch(epoch)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.trainer._micro_step = 0
