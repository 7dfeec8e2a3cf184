"""A training step that does not fit into memory is done again in smaller pieces, with the same update."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from trainers.fitting import FittingRows
from trainers.pieces import split_batch
from trainers.processes import agree
from utils.errors import OutOfMemory, first_line
from utils.memory import Halving, is_out_of_memory

ADVICE = (
    "Lower image.size, freeze parts of the model with train.freeze, use train.precision=bf16, a smaller model or a GPU "
    "with more memory; with rewards, lower scst.num_samples."
)
ELSEWHERE = "in another process"


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Memory that runs out where smaller pieces would not help, as in the optimizer's first step, ends in one message.

    Raises:
        OutOfMemory: In place of what torch raises.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(
            f"memory ran out outside of the passes of a batch ({first_line(error)}), where smaller pieces of it do not "
            f"help: model, gradients and optimizer do not fit. {ADVICE}"
        ) from error


class FailedTogetherError(Exception):
    """Memory ran out in some process, and all of them know."""


class StepPieces:
    """Runs the micro-batches of a step in pieces of as many rows as fit.

    Where memory runs out, what the step has done so far is dropped, the pieces are halved, and the step's micro-batches
    are run again. Losses are sums over tokens, divided by the tokens of the whole step, so the update stays what it
    was. Of several processes all do so together: they ask each other before the backward pass that adds up gradients,
    and after every other one. Memory that runs out within that pass, or anywhere in shards, ends them all, since the
    others wait for gradients or weights; the next start begins with smaller pieces.

    Args:
        trainer: A :class:`trainers.base.BaseTrainer`, whose steps they are; it imports this module.
        fitting: Remembers the pieces from start to start.
    """

    def __init__(self, trainer: Any, fitting: FittingRows) -> None:
        self.trainer, self.fitting = trainer, fitting
        self.halving = Halving("training", ADVICE)
        self._batches: list[dict[str, Tensor]] = []
        self._losses: list[Tensor] = []
        self._returned: Tensor | None = None
        self._others_wait = self._adds_up = False

    def begin_step(self) -> None:
        """Forget the last step."""
        self._batches, self._losses, self._returned = [], [], None

    @property
    def batches(self) -> list[dict[str, Tensor]]:
        """Micro-batches of the open step so far."""
        return self._batches

    def loss(self) -> Tensor:
        """Loss of the open step so far, in this process."""
        return torch.stack(self._losses).sum()

    def run(self, model: nn.Module, batch: dict[str, Tensor], tokens: Tensor) -> Tensor:
        """Forward and backward pass of one more micro-batch of the step.

        Returns:
            What it adds to the loss of the step.

        Raises:
            OutOfMemory: If one row alone does not fit, or the others cannot be told.
        """
        self._batches.append(batch)
        first, repeated = len(self._batches) - 1, False
        while not self._finish(model, first, tokens):
            first, repeated = 0, True
        if not repeated:
            return self._return(self._losses[-1])
        # Under dropout the masks, and so the losses, of the micro-batches before have changed as well.
        return self._return(self.loss() if self._returned is None else self.loss() - self._returned)

    def check_others(self) -> None:
        """Hear whether memory ran out elsewhere; to be called by all before they wait for each other's numbers.

        Raises:
            FailedTogetherError: If it did.
        """
        if self._can_agree() and agree(False):
            raise FailedTogetherError(ELSEWHERE)

    def before_backward(self) -> None:
        """Hear the others for the last time before gradients are added up.

        Raises:
            FailedTogetherError: If memory ran out elsewhere.
        """
        if self._adds_up:
            self.check_others()
            self._others_wait = self._can_agree()

    def attempt(
        self,
        model: nn.Module,
        piece: dict[str, Tensor],
        tokens: Tensor,
        place: tuple[int, int, int],
        *,
        adds_up: bool,
        losses: list[Tensor] | None = None,
    ) -> str | None:
        """Forward and backward pass of one piece.

        Args:
            model: The wrapped module.
            piece: Rows of a micro-batch.
            tokens: Of the step.
            place: Number of the micro-batch, number of the piece, and how many pieces there are.
            adds_up: Add up gradients over the processes, if the loop wants that at this micro-batch.
            losses: The loss is put behind these.

        Returns:
            Why it could not be done, in all processes; None if it was.
        """
        loss: list[Tensor] = [] if losses is None else losses
        # Otherwise the loop's own decision stands, which is to add up only at the end of a step.
        whole = adds_up or self.trainer.shards is not None
        quiet = contextlib.nullcontext() if whole else self.trainer.accelerator.no_sync(model=model)
        self._adds_up = adds_up and bool(self.trainer.accelerator.sync_gradients)
        with quiet:
            return self._caught(lambda: loss.append(self.trainer.run_piece(model, piece, tokens, *place)))

    def state_dict(self) -> dict[str, Any]:
        """For :meth:`load_state_dict`."""
        return {"rows": self.halving.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the pieces of a checkpoint: dropout masks differ between pieces of two sizes."""
        self.halving.rows = self.fitting.smaller(state.get("rows"))

    def _return(self, loss: Tensor) -> Tensor:
        self._returned = loss if self._returned is None else self._returned + loss
        return loss

    def _finish(self, model: nn.Module, first: int, tokens: Tensor) -> bool:
        """Run micro-batches from ``first`` on; False if memory ran out and everything is ready for another try."""
        del self._losses[first:]
        for micro in range(first, len(self._batches)):
            reason = self._run_one(model, micro, tokens)
            if reason is not None:
                self._shrink(self.halving.limit(len(self._batches[micro]["rows"])), reason)
                return False
        return True

    def _run_one(self, model: nn.Module, micro: int, tokens: Tensor) -> str | None:
        """Run a micro-batch in pieces; why it could not be done."""
        trainer, losses = self.trainer, list[Tensor]()
        pieces = split_batch(self._batches[micro], self.halving.rows)
        if len(pieces) > 1:
            reason = self._caught(lambda: trainer.begin_pieces(model, micro, pieces))
            if reason is not None:
                return reason
        for number, piece in enumerate(pieces):
            is_last = micro == len(self._batches) - 1 and number == len(pieces) - 1
            reason = self.attempt(model, piece, tokens, (micro, number, len(pieces)), adds_up=is_last, losses=losses)
            if reason is not None:
                return reason
        self._losses.append(losses[0] if len(losses) == 1 else torch.stack(losses).sum())
        return None

    def _caught(self, work: Callable[[], Any]) -> str | None:
        """Do something; in all processes why memory ran out in one of them, or None."""
        reason, self._others_wait = None, False
        try:
            work()
        except FailedTogetherError as failed:
            return str(failed)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            reason = first_line(error)
        if self._is_alone():
            return reason
        if self._others_wait or not self._can_agree():
            if reason is not None:
                self._end(reason)
            return None
        return (reason or ELSEWHERE) if agree(reason is not None) else None

    def _is_alone(self) -> bool:
        return self.trainer.args.world_size == 1

    def _can_agree(self) -> bool:
        # In shards a forward pass waits for the others' weights, so that they cannot be asked when it has failed.
        return not self._is_alone() and self.trainer.shards is None

    def _shrink(self, tried: int, reason: str) -> None:
        self.trainer.forget_attempt()
        if not self.trainer.may_split:
            raise self._whole_only(tried, reason)
        self.halving.shrink(tried, reason)

    def _end(self, reason: str) -> NoReturn:
        tried = self.halving.limit(len(self._batches[-1]["rows"]))
        if not self.trainer.may_split:
            raise self._whole_only(tried, reason)
        if tried <= 1:
            raise self.halving.refusal(reason)
        self.fitting.remember(tried // 2)
        raise OutOfMemory(
            f"training: {tried} rows at once do not fit into memory ({reason}), where the other processes cannot be "
            f"told. Start again: the same command goes on with {tried // 2} at a time, which is slower"
        )

    def _whole_only(self, tried: int, reason: str) -> OutOfMemory:
        return OutOfMemory(
            f"training: {tried} rows do not fit into memory ({reason}). They are not divided because train.drop_worst "
            "looks at all of them: lower train.batch_size and raise train.accumulation_steps instead, or set "
            f"train.drop_worst to 0. {ADVICE}"
        )
