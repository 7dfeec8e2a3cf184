"""The commands behind ``finetune.py``: train, evaluate, caption."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from captioning.writer import Captioner, Decoding
from configuration.loading import RunConfig
from pipeline.data import hash_examples, prepare_data, read_corpus, read_split
from pipeline.evaluation import describe_provenance, score_examples, write_evaluation, write_run_report
from pipeline.model_setup import (
    StyledModel,
    build_preprocessor,
    model_settings,
    new_registry,
    open_styled_model,
    save_styled_model,
    set_up_model,
)
from pipeline.record import describe_data, enter_run, keep_document_frequency
from pipeline.tasks import TrainingTasks, prepare_tasks
from pipeline.training import build_trainer, training_arguments
from preprocessors.examples import CaptionExample, make_example_id
from preprocessors.pictures.images import load_image
from preprocessors.readers import ReadResult
from preprocessors.text.styles import resolve_styles
from runs.checkpoints import last_checkpoint, read_training_state
from runs.folder import Run, has_reached
from utils.logging import setup_logging

logger = logging.getLogger(__name__)

CAPTION_BATCH = 16


def rank() -> int:
    """Number of this process under ``torchrun``, 0 alone."""
    return int(os.environ.get("RANK", "0"))


def join_processes() -> PartialState:
    """This process among those of ``torchrun``, or alone; knows its device."""
    return PartialState(cpu=not torch.accelerator.is_available())


def train(
    config: RunConfig, command: Sequence[str], conf_file: Path, pause_after: float | None = None
) -> dict[str, Any]:
    """Train, save the final model, evaluate it.

    Everything that can be wrong with configuration, data or model is found before the run folder is made. A run that
    was interrupted goes on; one that has its final model is only evaluated again.

    Args:
        config: Resolved configuration.
        command: The command line, for the record.
        conf_file: The configuration file, for the record.
        pause_after: Stop at the first checkpoint at or after so many epochs, if training is not complete then; the
            same run goes on from there when it is started again.

    Returns:
        The results of the evaluation, or ``{"paused": {"epoch", "global_step"}}``; empty on ranks above 0.
    """
    args = training_arguments(config)
    with args.main_process_first(desc="data"):
        if rank() == 0:
            prepare_data(config)
    train_split, corpus = read_split(config, "train"), read_corpus(config)
    styled = set_up_model(config, train_split.examples, corpus)
    before = styled.settings
    already = before.get("trained_styles", ())
    styled = styled._replace(settings=model_settings(config, styled.registry, train_split.examples, corpus, already))
    captioner = build_captioner(config, styled)
    check_fits(config, captioner)
    train_split = with_model_styles(train_split, styled)
    val_split = with_model_styles(read_split(config, "val", config.eval.styles), styled)
    eval_split = val_split if config.eval.split == "val" else read_eval_split(config, styled)
    run = Run(config.work_dir)
    tasks = TrainingTasks() if run.output.is_dir() else prepare_tasks(config, captioner, train_split.examples, corpus)
    splits = {"train": train_split, "val": val_split, "eval": eval_split}
    made_from = describe_data(config, splits)
    with args.main_process_first(desc="run folder"):
        if rank() == 0:
            enter_run(run, config, command, conf_file, splits, made_from)
    setup_logging(run.log, rank())
    for difference in differing_use(config.model.name or "", before, styled.settings):
        logger.warning("%s", difference)
    if run.output.is_dir():
        logger.info("%s is trained already; evaluating it", run.output)
        trained = open_styled_model(run.output)
        trained.model.to(args.device)
        captioner = build_captioner(config, trained)
        run.features.unlink(missing_ok=True)
    else:
        if rank() == 0 and tasks.document_frequency is not None:
            keep_document_frequency(run, tasks.document_frequency)
        examples = train_split.examples, val_split.examples
        checkpoint = last_checkpoint(run)
        state = read_training_state(checkpoint) if checkpoint and pause_after is not None else None
        if state is not None and has_reached(state.epoch, pause_after or 0.0) and not state.is_finished:
            return report_pause(run, state)
        trainer = build_trainer(config, run, args, styled, captioner, *examples, tasks, pause_after)
        trainer.train(resume_from_checkpoint=checkpoint)
        if trainer.state.global_step < trainer.state.max_steps:
            return report_pause(run, trainer.state)
        # Evaluate what is saved: accelerate leaves the forward pass under autocast.
        trainer.accelerator.unwrap_model(trainer.model_wrapped, keep_fp32_wrapper=False)
        if rank() == 0:
            save_styled_model(run.output, styled)
            run.features.unlink(missing_ok=True)
            logger.info("model: %s", run.output)
    return evaluate_split(config, run, captioner, eval_split, train_split.examples, model=str(run.output))


def evaluate(config: RunConfig, checkpoint: str | None) -> dict[str, Any]:
    """Evaluate a trained model on ``eval.split``; under ``torchrun`` the processes share the work.

    Args:
        config: Of the run; results go into its folder.
        checkpoint: Model folder or hub id; None takes the run's own ``output``.

    Returns:
        The results; empty on ranks above 0.

    Raises:
        FileNotFoundError: If there is no model yet.
    """
    run = Run(config.work_dir)
    if checkpoint is None and not run.output.is_dir():
        raise FileNotFoundError(f"{run.output}: no trained model there; train first, or name one with --checkpoint")
    processes = join_processes()
    with processes.main_process_first():
        if rank() == 0:
            prepare_data(config)
    train_split = read_split(config, "train", check_pictures=False)
    name = checkpoint or str(run.output)
    styled = open_styled_model(name, registry=new_registry(config, train_split.examples))
    wanted = model_settings(config, styled.registry, train_split.examples)
    differences = differing_use(name, styled.settings, wanted)
    if differences:
        raise ValueError(differences[0])
    styled = styled._replace(settings=styled.settings or wanted)
    styled.model.to(processes.device)
    captioner = build_captioner(config, styled)
    check_fits(config, captioner)
    eval_split = read_eval_split(config, styled)
    train_split = with_model_styles(train_split, styled)
    setup_logging(run.log, rank())
    return evaluate_split(config, run, captioner, eval_split, train_split.examples, model=name)


def build_captioner(config: RunConfig, styled: StyledModel) -> Captioner:
    """The captioner of a run: the model's own picture size and prompt, the run's decoding and training draws."""
    preprocessor = build_preprocessor(
        styled,
        style_dropout=config.style.dropout,
        random_crop_from=config.image.max_size if config.image.random_crop else None,
        seed=config.train.seed,
    )
    return Captioner(styled.model, styled.tokenizer, preprocessor, Decoding(**config.decode.model_dump()))


def evaluate_split(
    config: RunConfig,
    run: Run,
    captioner: Captioner,
    split: ReadResult,
    train_examples: Sequence[CaptionExample],
    *,
    model: str,
) -> dict[str, Any]:
    """Caption a split, score it, write results, captions and report (rank 0), and return the results.

    The file also has the scores of every example, for ``metrics.compare``; what is returned, and printed, has not.
    The run's own model writes into ``eval/``, any other into a folder of its own below.
    """
    hypotheses = captioner.caption(split.examples, config.eval.batch_size, progress=sys.stderr.isatty())
    if rank() > 0:
        return {}
    provenance = describe_provenance(
        config,
        captioner,
        model=model,
        split=config.eval.split,
        split_id=split.split_id,
        data_hash=hash_examples(split.examples),
        dropped=len(split.dropped),
    )
    results = score_examples(
        split.examples,
        hypotheses,
        train_examples=train_examples,
        metrics=config.eval.metrics,
        provenance=provenance,
    )
    own = Path(model).resolve() == run.output.resolve()
    folder = run.eval if own else run.eval / "-".join(Path(model).parts[-2:]).strip("/")
    write_evaluation(folder, config.eval.split, results, split, hypotheses)
    report = run.report if own else folder / "report.html"
    write_run_report(report, run, config, captioner, results, split.examples, hypotheses)
    return {key: value for key, value in results.items() if key != "per_image"}


def differing_use(model: str, settings: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """How a model is to be used otherwise than it was trained; other people's folders say nothing about it."""
    names = {"patch_image_size": "image.size", "style_prompt": "style.prompt"}
    names |= {"imagenet_default_mean_and_std": "image.mean_std=imagenet"}
    return [
        f"{name}: {wanted[key]!r} is asked for, but {model} was trained with {settings[key]!r}"
        for key, name in names.items()
        if settings and settings[key] != wanted[key]
    ]


def caption_images(
    model: str, images: Sequence[Path], style: str | None, *, all_styles: bool
) -> list[tuple[Path, str, str]]:
    """Caption pictures with a trained model, decoding as its folder says.

    Args:
        model: Model folder.
        images: Picture files.
        style: Style name; None is the neutral style.
        all_styles: One caption in every style instead.

    Returns:
        (picture, style, caption), picture by picture.
    """
    for path in images:
        check_picture(path)
    styled = open_styled_model(model)
    if not styled.settings:
        raise ValueError(f"{model}: configuration.json does not say how styles enter the prompt; use a trained folder")
    trained = styled.settings["trained_styles"]
    wanted = trained if all_styles else [styled.registry.resolve(style or styled.registry.neutral)]
    if wanted[0] not in trained:
        raise ValueError(f"{model}: style {wanted[0]!r} was never trained; give --style, one of: {', '.join(trained)}")
    beam = styled.settings["beam_search"]
    decoding = Decoding(
        num_beams=beam["beam_size"],
        max_length=beam["max_len_b"],
        min_length=beam["min_len"],
        no_repeat_ngram_size=beam["no_repeat_ngram_size"],
        length_penalty=styled.settings["length_penalty"],
    )
    styled.model.to(join_processes().device)
    captioner = Captioner(styled.model, styled.tokenizer, build_preprocessor(styled), decoding)
    examples = [
        CaptionExample(make_example_id(f"{path}, number {number}", name), path, name, ("",))
        for number, path in enumerate(images)
        for name in wanted
    ]
    captions = captioner.caption(examples, CAPTION_BATCH)
    return [(example.image_path, example.style, captions[example.example_id]) for example in examples]


def check_picture(path: Path) -> None:
    """Refuse a file that is missing or no picture."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: picture not found; check the path")
    try:
        load_image(path)
    except ValueError as error:
        raise ValueError(f"{path}: the picture cannot be read; it is damaged, or no picture") from error


def with_model_styles(split: ReadResult, styled: StyledModel) -> ReadResult:
    """The split with styles written as the model's registry writes them."""
    return replace(split, examples=resolve_styles(split.examples, styled.registry))


def read_eval_split(config: RunConfig, styled: StyledModel) -> ReadResult:
    """Rows to evaluate on."""
    return with_model_styles(read_split(config, config.eval.split, config.eval.styles), styled)


def check_fits(config: RunConfig, captioner: Captioner) -> None:
    """Refuse pictures, prompts and decoding lengths that the model's position tables do not cover.

    Raises:
        ValueError: Naming the setting and the most it can be.
    """
    ofa, preprocessor = captioner.model.config, captioner.preprocessor
    size = preprocessor.image_transform.height
    patches, rest = divmod(size, ofa.patch_size)
    if rest or patches > ofa.image_bucket_size:
        most = ofa.image_bucket_size * ofa.patch_size
        raise ValueError(f"image.size={size}: the model takes multiples of {ofa.patch_size} up to {most} pixels")
    positions = ofa.max_position_embeddings
    if config.decode.max_length + 2 > positions:
        raise ValueError(f"decode.max_length={config.decode.max_length}: the model has positions for {positions - 2}")
    for style in preprocessor.registry.names:
        tokens = len(captioner.tokenizer.encode_text(preprocessor.prompt_text(style)))
        if tokens + 2 > positions:
            raise ValueError(f"style.prompt: {tokens} tokens with the style {style!r}; at most {positions - 2} fit")


def report_pause(run: Run, state: Any) -> dict[str, Any]:
    """Leave a run that will go on later: what it says, and no features, which are large and quickly made again."""
    if rank() != 0:
        return {}
    run.features.unlink(missing_ok=True)
    logger.info("paused after %.2f epochs, step %d/%d", state.epoch or 0.0, state.global_step, state.max_steps)
    return {"paused": {"epoch": state.epoch, "global_step": state.global_step}}
