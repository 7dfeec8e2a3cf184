"""Everything that a training run is made of, built once before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from captioning.styled import StyledCaptioner
from captioning.writer import CaptionWriter
from configuration.data import DataConfig
from configuration.groups import EvalConfig, RunConfig
from models.adapters import Adapters
from models.settings import CaptionerSettings
from pipeline.adapters import attach_adapters
from pipeline.captioner import check_fits, check_guidance, make_settings, make_writer, set_up_captioner
from pipeline.continuation import resizer_of
from pipeline.data import read_corpus, read_split, styles_of
from pipeline.features import check_vision
from pipeline.lengths import LengthChoice, choose_length, with_limit
from pipeline.lm_perplexity import check_lm
from pipeline.punctuation import punctuation_of
from pipeline.sight import check_clip
from pipeline.streaming import read_training
from pipeline.tasks import TrainingTasks, prepare_tasks
from preprocessors.examples import CaptionExample
from preprocessors.pictures.images import limit_pixels
from preprocessors.readers import ReadResult
from preprocessors.text.corpora import StyledText
from preprocessors.text.styles import StyleRegistry, resolve_styles
from runs.folder import Run
from runs.leaderboard import check_leaderboard
from trainers.processes import on_first


@dataclass(frozen=True)
class RunData:
    """The rows of a run; styles as the captioner's registry writes them."""

    train: ReadResult
    val: ReadResult
    eval: ReadResult
    corpus: Sequence[StyledText]
    """Texts without pictures, styles as their file writes them."""


@dataclass(frozen=True)
class Prepared:
    """A training run before its first step.

    Attributes:
        config: What it is made from, with what was left to the data and the model resolved.
        data: Rows.
        captioner: With the settings of this run.
        writer: Captions with it in this run.
        tasks: What the losses and rewards need; empty where training is over.
        run: The folder.
        lengths: How long its captions may be, and the training captions are.
        came_with: Settings of the captioner that the run starts from.
        adapters: In the captioner, if they are what the run trains; None where training is over.
    """

    config: RunConfig
    data: RunData
    captioner: StyledCaptioner
    writer: CaptionWriter
    tasks: TrainingTasks
    run: Run
    lengths: LengthChoice
    came_with: CaptionerSettings | None = None
    adapters: Adapters | None = None

    @property
    def learnt(self) -> Sequence[CaptionExample]:
        """What the rows of training are: those of the training split, or pairs in their place."""
        pairs = self.tasks.pairs
        return self.data.train.examples if pairs is None else [pair.example for pair in pairs]


def prepare(config: RunConfig) -> Prepared:
    """Read the data, set up the captioner, build the tasks.

    Nothing is written. Whatever can be wrong with configuration, data or model is found here.

    Raises:
        ValueError: If something cannot be used.
        FileNotFoundError: If something is missing.
    """
    limit_pixels(config.image.max_pixels)
    check_leaderboard(config.eval.leaderboard)
    aliases = config.style.aliases
    train = read_training(config.data, aliases=aliases, neutral=config.style.neutral)
    corpus = read_corpus(config.masked_lm.corpus, config.data.styles, aliases)
    styled = set_up_captioner(config, train.examples, corpus)
    came_with, registry, vision = styled.settings, styled.registry, styled.captioner.vision()
    styles = styles_of(train.examples, corpus)
    punctuation = punctuation_of(config.data, came_with)
    lengths = choose_length(config, styled.captioner, train.examples, came_with, punctuation)
    config = with_limit(config, lengths.limit)
    wanted = (config.image, config.style, config.decode, registry, styles, vision, came_with)
    # Nobody has trained a new model yet, so that it may see pictures as they come fastest.
    resizer = resizer_of(Run(config.work_dir)) or ("torch" if config.model.name is None else None)
    styled = styled.with_settings(make_settings(*wanted, punctuation=punctuation, resizer=resizer))
    check_guidance(config.decode, styled)
    writer = make_writer(config, styled)
    lengths = replace(lengths, trainable=writer.preprocessor.max_source_length)
    check_fits(config.decode, writer)
    check_vision(config, writer)
    on_first(partial(check_clip, config.eval.clip))
    on_first(partial(check_lm, config.eval.lm))
    train = with_model_styles(train, registry)
    val = read_split(config.data, "val", config.eval.styles, aliases=registry.aliases, neutral=registry.neutral)
    val = with_model_styles(val, registry)
    evaluated = val if config.eval.split == "val" else read_eval_split(config.data, config.eval, registry)
    run, tasks, adapters = Run(config.work_dir), TrainingTasks(), None
    if not run.output.is_dir():
        adapters = attach_adapters(config, styled)
        tasks = prepare_tasks(config, styled.captioner, writer.preprocessor, train.examples, corpus)
    rows = RunData(train, val, evaluated, corpus)
    return Prepared(config, rows, styled, writer, tasks, run, lengths, came_with, adapters)


def with_model_styles(split: ReadResult, registry: StyleRegistry) -> ReadResult:
    """The split with styles written as a captioner's registry writes them."""
    return replace(split, examples=resolve_styles(split.examples, registry))


def read_eval_split(data: DataConfig, evaluation: EvalConfig, registry: StyleRegistry) -> ReadResult:
    """Rows to evaluate on."""
    split = read_split(data, evaluation.split, evaluation.styles, aliases=registry.aliases, neutral=registry.neutral)
    return with_model_styles(split, registry)
