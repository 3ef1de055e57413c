"""The settings of training that all estimators share, as scikit-learn's parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from promptlab.core.checks import check_seed, check_types, warn
from promptlab.core.devices import resolve_device
from promptlab.core.docstrings import list_settings
from promptlab.core.errors import DataError, TuningError, UnsupportedError, short_repr
from promptlab.core.inputs import DeviceLike, DevSet, TuningLike
from promptlab.core.interfaces import Tuning
from promptlab.core.part import by_owner, changed_part
from promptlab.core.ranges import Count, Limit, NonNegative, PartShare, Rate
from promptlab.core.registry import TUNINGS
from promptlab.core.types import Example
from promptlab.data.weights import check_class_weight
from promptlab.estimators.scikit_learn import BaseEstimator, Tags
from promptlab.estimators.table_scores import TableScores
from promptlab.library.resolve import resolve_tuning
from promptlab.training.checkpoint import Checkpoints
from promptlab.training.settings import TrainingSettings, default_steps, learning_rate_for, updates_per_epoch

USUAL_WIDTH = 768  # of a model that isn't loaded yet


if TYPE_CHECKING:

    class HasTuning:
        """What every estimator has; a subclass says which method is the usual one."""

        tuning: TuningLike
else:
    HasTuning = object


@dataclass(kw_only=True, eq=False, repr=False)
class TrainingOptions(BaseEstimator, HasTuning):
    """Take the settings of training, which all estimators share, of one model or of several.

    Args:
        learning_rate: rate of the model's weights; None takes the tuning method's own.
        head_learning_rate: rate of heads and soft tokens; None takes ``learning_rate`` if that is given, else the
            tuning method's own.
        max_steps: number of updates; None takes the tuning method's own, more for more examples
            (``training.settings.default_steps``).
        epochs: instead of ``max_steps``: how often every prompt is seen. A template with several demonstration sets
            makes as many prompts of each example.
        batch_size: prompts of a batch.
        gradient_accumulation_steps: batches of an update.
        warmup_ratio: share of the updates in which the rate rises from 0.
        weight_decay: decay of the weights, on matrices only, decoupled from the gradient.
        max_grad_norm: norm of the gradient above which it is scaled down.
        optimizer: ``"adamw"`` or ``"adafactor"``.
        schedule: course of the rate after the warm-up: ``"linear"`` (down to 0) or ``"constant"``.
        gradient_checkpointing: whether to compute activations again instead of keeping them: less memory, more time.
        eval_every: updates between dev evaluations; None is a tenth of the updates.
        patience: dev evaluations without improvement before training stops early; None never stops.
        max_length: tokens that a prompt may have; fields are shortened to fit. None is the model's own limit.
        precision: ``"no"``, ``"bf16"``, ``"fp16"`` or ``"auto"`` (bf16 where the device has it).
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, …
        seed: seed of everything that is drawn.
        resume_dir: folder from which an interrupted ``fit`` goes on. Every run has a folder of its own in it, named by
            all that its result depends on, so that ``cross_val_score`` and ``GridSearchCV`` may share one.
    """

    learning_rate: Rate | None = None
    head_learning_rate: Rate | None = None
    max_steps: Count | None = None
    epochs: Count | None = None
    batch_size: Count = 8
    gradient_accumulation_steps: Count = 1
    warmup_ratio: PartShare = 0.1
    weight_decay: NonNegative = 0.01
    max_grad_norm: Limit = 1.0
    optimizer: str = "adamw"
    schedule: str = "linear"
    gradient_checkpointing: bool = False
    eval_every: Count | None = None
    patience: Count | None = None
    max_length: int | None = None
    precision: str = "auto"
    device: DeviceLike = "auto"
    seed: int = 0
    resume_dir: str | Path | None = None

    dev_form: ClassVar[str] = "a pair (X, y), or (X, None) if the examples carry their labels"
    dev_option: ClassVar[str] = "pass eval_set (--dev on the command line)"
    table_scores: ClassVar[TableScores | None] = None  # how predictions for rows of a table are scored, if they are
    hub_task: ClassVar[str] = "text-classification"
    hub_example: ClassVar[str] = '["a text"]'

    def __init_subclass__(cls, **keywords: object) -> None:
        super().__init_subclass__(**keywords)
        list_settings(cls)

    def get_params(self, deep: bool = True) -> dict[str, object]:
        """Return the settings by name; if ``deep`` those of parts, too, such as ``tuning__rank``."""
        params = super().get_params(deep=deep)
        tuning = self._named_tuning()
        if deep and isinstance(tuning, Tuning):
            params |= {f"tuning__{name}": value for name, value in tuning.get_params().items()}
        return params

    def set_params(self, **params: object) -> Self:
        """Change settings, named as ``get_params`` names them.

        A part such as a ``Tuning`` is never changed itself: another takes its place. The name of a tuning becomes the
        method with the settings that are given.

        Raises:
            ValueError: if there is no such parameter.
            PromptlabError: if a part has no such setting, or a value doesn't fit it.
        """
        own, of_parts = by_owner(params)
        super().set_params(**own, **{name: getattr(self, name, None) for name in of_parts if name not in own})
        for name, settings in of_parts.items():
            part = self._named_tuning() if name == "tuning" else getattr(self, name)
            setattr(self, name, changed_part(name, part, settings))
        return self

    def _named_tuning(self) -> TuningLike | None:
        """The tuning, made if a known name was given."""
        is_name = isinstance(self.tuning, str) and self.tuning in TUNINGS.names
        return resolve_tuning(self.tuning) if is_name else self.tuning

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        return tags

    @property
    def label_separator(self) -> str | None:
        """What stands between the labels of a row where tables are read and written; None if a row has one."""
        return None

    def table_rows(
        self, examples: Iterable[Example], *, proba: bool = False, separator: str | None = None
    ) -> Iterator[dict[str, object]]:
        """Predict examples as they come, as rows of a table: the number of each from 1, and what is said of it.

        Args:
            proba: whether the probability of every class is added.
            separator: what stands between several labels; None for a list.

        Raises:
            UnsupportedError: if predictions are no such rows, or have no such probabilities.
        """
        raise UnsupportedError(f"a {type(self).__name__} doesn't predict rows of a table of texts; use it in Python.")

    def check_scored(self) -> TableScores:
        """Return how predictions for rows of a table are scored.

        Raises:
            UnsupportedError: if they aren't.
        """
        if self.table_scores is None:
            raise UnsupportedError(f"a {type(self).__name__} isn't scored on rows of a table; use its score in Python.")
        return self.table_scores

    def checkpoints(self, *depends_on: object) -> Checkpoints | None:
        """Return where the states of this training are kept, if anywhere.

        Args:
            depends_on: the tuning, what the dev score comes from, and whatever else the loop can't see.
        """
        return None if self.resume_dir is None else Checkpoints(Path(self.resume_dir), depends_on)

    def _check_values(self) -> None:
        """Refuse settings that neither training nor prediction can work with."""
        check_types(self, TuningError)
        check_seed(self.seed, TuningError)
        check_class_weight(getattr(self, "class_weight", None))

    def check_settings(self, eval_set: DevSet | None) -> None:
        """Refuse settings that ``fit`` couldn't work with, before a model is loaded.

        Args:
            eval_set: the dev set that ``fit`` is called with, or None.

        Raises:
            PromptlabError: naming the setting, its value and what was expected.
        """
        self._check_values()
        if self.patience is not None and eval_set is None:
            raise TuningError(f"patience={self.patience} needs dev examples to wait for; {self.dev_option}.")
        if eval_set is not None and not (isinstance(eval_set, (tuple, list)) and len(eval_set) == 2):
            raise DataError(f"eval_set is {short_repr(eval_set)}; pass {self.dev_form}.")
        resolve_device(self.device)
        tuning = self._named_tuning()
        if isinstance(tuning, Tuning) and tuning.defaults.max_steps > 0:
            self.training_settings(tuning, 1, USUAL_WIDTH)  # what is out of range is told before a model is loaded

    def _check_untrained(self) -> None:
        """Tell of settings that have no use where nothing is trained, as for some members of a search."""
        given = {name: getattr(self, name) for name in ("max_steps", "epochs", "learning_rate")}
        unused = [f"{name}={value!r}" for name, value in given.items() if value is not None]
        if unused:
            warn(f"tuning 'none' trains nothing, so that {', '.join(unused)} has no use.")

    def training_settings(
        self, tuning: Tuning, n_examples: int, hidden_size: int, *, n_variants: int = 1
    ) -> TrainingSettings:
        """Return what ``fit`` trains with: the user's settings, else the tuning method's own.

        Args:
            n_variants: prompts that the template makes of each example.
        """
        defaults = tuning.defaults
        rate, head_rate = self.learning_rate, self.head_learning_rate
        if rate is None:
            rate = defaults.learning_rate
            rate = learning_rate_for(rate, hidden_size) if defaults.scale_with_width else rate
            head_rate = defaults.head_learning_rate if head_rate is None else head_rate
        steps = self._steps(defaults.max_steps, n_examples, n_variants)
        given: dict[str, Any] = {field.name: getattr(self, field.name, None) for field in fields(TrainingSettings)}
        given.update(
            learning_rate=rate,
            head_learning_rate=rate if head_rate is None else head_rate,
            max_steps=steps,
            eval_every=max(1, steps // 10) if self.eval_every is None else self.eval_every,
        )
        return TrainingSettings(**given)

    def updates(self, tuning: Tuning, n_examples: int, hidden_size: int, *, n_variants: int = 1) -> int:
        """Return how many updates a ``fit`` on so many examples would take.

        Raises:
            TuningError: if a setting of the training is out of range, or has no use where nothing is trained.
        """
        steps = self.training_settings(tuning, n_examples, hidden_size, n_variants=n_variants).max_steps
        if tuning.defaults.max_steps == 0:
            self._check_untrained()
            return 0
        return steps

    def rows_seen(self, tuning: Tuning, n_examples: int, hidden_size: int, *, n_variants: int = 1) -> int:
        """Count the prompts in all batches that a ``fit`` takes at most, those that come again included."""
        n_prompts = n_examples * n_variants
        updates = self.updates(tuning, n_examples, hidden_size, n_variants=n_variants)
        epochs, rest = divmod(updates, self._updates_per_epoch(n_prompts))
        return epochs * n_prompts + min(n_prompts, rest * self.batch_size * self.gradient_accumulation_steps)

    def _steps(self, base: int, n_examples: int, n_variants: int) -> int:
        if self.epochs is not None and self.max_steps is not None:
            raise TuningError(f"max_steps={self.max_steps} and epochs={self.epochs} are both given; give one.")
        if self.max_steps is not None:
            return self.max_steps
        if self.epochs is not None:
            return self.epochs * self._updates_per_epoch(n_examples * n_variants)
        return default_steps(base, self._updates_per_epoch(n_examples))  # more prompts of one example tell little more

    def _updates_per_epoch(self, n_prompts: int) -> int:
        return updates_per_epoch(n_prompts, self.batch_size, self.gradient_accumulation_steps)
