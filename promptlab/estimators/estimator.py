"""What every estimator is asked, and what those of one model share: saving, loading, training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic, Protocol, Self, TypeVar

from sklearn.exceptions import NotFittedError

from promptlab.core.inputs import DeviceLike, DevSet, ModelLike, Texts
from promptlab.core.interfaces import Backbone, Tuning
from promptlab.core.types import Example
from promptlab.data.labeled import Training
from promptlab.estimators import saving
from promptlab.estimators.saving import SavedSettings
from promptlab.estimators.table_scores import TableScores
from promptlab.estimators.training_options import TrainingOptions
from promptlab.library.resolve import resolve_tuning
from promptlab.models.input_warnings import notice
from promptlab.models.prompt_model import PromptModel
from promptlab.models.trainable_model import AnyModel
from promptlab.training.fitting import EncodedSet, Objective, training_runs
from promptlab.training.run import TrainingRun


class Estimator(Protocol):
    """What the rest of promptlab asks of an estimator, of whatever class: this, and nothing with an underscore.

    Those of one model are a ``TrainedEstimator``, and of texts a ``TextEstimator``, which say what they are asked
    besides: to train, to save and to join them.
    """

    table_scores: ClassVar[TableScores | None]  # how predictions for rows of a table are scored, if they are
    hub_task: ClassVar[str]  # what model cards call what it does
    hub_example: ClassVar[str]  # what they show to be predicted, in Python

    def check_settings(self, eval_set: DevSet | None) -> None:
        """Refuse settings that ``fit`` couldn't work with, before a model is loaded."""

    def ready(self) -> object:
        """Return what predicts: the fitted model, or the models; NotFittedError if there is none."""

    def predict(self, X: Texts) -> object:
        """Return what is said of each row."""

    def save_pretrained(self, folder: str | Path) -> None:
        """Write all that ``from_pretrained`` needs into a folder."""

    @property
    def label_separator(self) -> str | None:
        """What stands between the labels of a row of a table; None if a row has one."""

    def table_rows(
        self, examples: Iterable[Example], *, proba: bool = False, separator: str | None = None
    ) -> Iterator[dict[str, object]]:
        """Predict examples as they come, as rows of a table; see ``TrainingOptions.table_rows``."""

    def check_scored(self) -> TableScores:
        """Return ``table_scores``, if there are such; see ``TrainingOptions.check_scored``."""


Model = TypeVar("Model", bound=AnyModel)


if TYPE_CHECKING:

    class HasModel:
        """What an estimator of one model has."""

        model: ModelLike | None
else:
    HasModel = object


@dataclass(kw_only=True, eq=False, repr=False)
class TrainedEstimator(TrainingOptions, Generic[Model], HasModel):
    """Train, save and load one model.

    A subclass says what it needs to come back from disk: ``saved_parts``, ``restored`` and ``take_model``.

    Attributes:
        model_: the trained model, an ``nn.Module``.
        history_: record of the training: a dict of ``step``, ``loss`` and, where there is a dev set, its scores for
            each evaluation.
    """

    def ready(self) -> Model:
        """Return the fitted model, or what else predicts.

        Raises:
            NotFittedError: if there is none.
            TuningError: if a setting was changed to one that can't work.
        """
        self._check_values()
        if not hasattr(self, "model_"):
            raise NotFittedError(f"this {type(self).__name__} isn't fitted yet; call fit first.")
        model: Model = self.model_
        return model

    def model_tuning(self) -> Tuning:
        """Return the tuning that the model has: that of the settings, or ``none`` where none was trained."""
        return resolve_tuning(self.tuning)

    def save_pretrained(self, folder: str | Path) -> None:
        """Save what was trained, the settings and a model card; see ``promptlab.estimators.saving``."""
        saving.save(self, folder)

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, *, model: ModelLike | None = None, device: DeviceLike = "auto"
    ) -> Self:
        """Load a saved classifier from a folder or a hub id; ``model`` overrides where its base model is looked for."""
        return saving.load(cls, folder, model=model, device=device)

    def export_model(self, folder: str | Path) -> None:
        """Write the tuned language model, updates merged into its weights, as an ordinary Hugging Face folder.

        The head isn't part of it; a prompt classifier with label words has none and needs just the folder as ``model``.

        Raises:
            TuningError: if the method adds something that no weight of the model can hold.
            DataError: if the folder can't be written.
        """
        saving.export_model(self, folder)

    def trainable_parameters(self) -> int:
        """Return the number of weights that training moved."""
        return sum(weight.numel() for _, weight in self.ready().trained_parameters())

    def saved_parts(self) -> dict[str, object]:
        """Return what it takes to come back from disk, as plain JSON, beside settings, tuning and base model."""
        raise NotImplementedError

    @classmethod
    def restored(cls, saved: SavedSettings, backbone: Backbone, tuning: Tuning) -> tuple[Self, Model]:
        """Return an estimator and its model, as yet without the trained weights."""
        raise NotImplementedError

    def take_model(self, model: Model, saved: SavedSettings) -> None:
        """Become fitted with a model whose weights are in place."""
        raise NotImplementedError

    def runs(
        self, model: PromptModel, training: Training, dev: EncodedSet | None, objective: Objective | None = None
    ) -> Iterable[TrainingRun]:
        """Return what trains a prompt model on texts by the settings; what is odd about the texts is told.

        Args:
            dev: what the weights are chosen by, or None.
            objective: what is minimised, if not the head's loss.

        Raises:
            TemplateError: if a text doesn't fit the model.
        """
        tuning = resolve_tuning(self.tuning)
        if tuning.defaults.max_steps == 0:
            model.encode(training.examples[:1], max_length=self.max_length)  # what doesn't fit is told now
            self._check_untrained()
            return ()
        encoded = EncodedSet.of(training, model, self.max_length)
        notice(encoded.rows, model.backbone, self.max_length, n_variants=encoded.n_variants)
        n, width, n_variants = len(training.examples), model.backbone.hidden_size, encoded.n_variants
        settings = self.training_settings(tuning, n, width, n_variants=n_variants)
        checkpoint = self.checkpoints(tuning, dev)
        return training_runs(model, encoded, dev, settings, checkpoint=checkpoint, objective=objective)
