"""iPET: the members of PET teach one another before the student learns."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from promptlab.core.errors import TuningError
from promptlab.core.inputs import DevSet
from promptlab.core.ranges import Count, SomeShare
from promptlab.core.types import Example
from promptlab.data.labeled import Labeled
from promptlab.distillation.generations import check_growth, class_counts, draw_rows, draw_teachers, n_generations
from promptlab.distillation.pet import PET
from promptlab.distillation.soft_labels import DistillationRun, load_scores
from promptlab.ensembles.members import TrainSet
from promptlab.ensembles.merging import merged, weights_of
from promptlab.jobs.jobs import Job
from promptlab.jobs.workspace import some_rows
from promptlab.library.resolve import resolve_tuning


@dataclass(eq=False, repr=False)
class IPET(PET):
    """Let the members of ``PET`` teach one another on a training set that grows, before the student learns.

    Source: iPET, arXiv:2001.07676, section 3.4.

    Args:
        generations: number of generations after the first; None for as many as it takes to about 1,000 examples.
        growth_factor: d, by which the training set grows in each generation.
        teacher_share: λ, the share of the other members that label for one.
        n_most_likely: texts that count as the likeliest of a class where none is said to be one, or nothing is trained.

    Attributes:
        generations_: for each generation and member a dict of its teachers and how many examples of each class it had.

    Raises:
        PromptlabError: in ``fit``, if settings, pairs and texts don't fit one another, or there are no unlabeled texts.

    Example:
        >>> from promptlab import IPET
        >>> pairs = [("sst2/it-was", "sst2/great-terrible"), ("sst2/just", "sst2/great-terrible")]
        >>> settings = {"repetitions": 1, "max_steps": 2, "student_steps": 2, "generations": 1, "growth_factor": 2.0}
        >>> ipet = IPET(pairs, "prajjwal1/bert-tiny", **settings)
        >>> ipet = ipet.fit(["dull", "fun"], ["negative", "positive"], unlabeled=["so dull", "a bore", "a gem", "joy"])
        >>> [(one["member"], one["teachers"], one["counts"]["positive"]) for one in ipet.generations_]
        [('sst2/it-was', ['sst2/just'], 2), ('sst2/just', ['sst2/it-was'], 2)]
    """

    generations: Count | None = None
    growth_factor: float = 5.0
    teacher_share: SomeShare = 0.25
    n_most_likely: Count = 100

    def check_settings(self, eval_set: DevSet | None) -> None:
        super().check_settings(eval_set)
        if not 1 < self.growth_factor < math.inf:
            raise TuningError(f"growth_factor={self.growth_factor!r} must be above 1, usually 5.")
        if not resolve_tuning(self.tuning).defaults.max_steps:
            raise TuningError("tuning='none' trains nothing, but members learn anew in each generation; use PET.")
        if self.repetitions * len(self._pairs()) < 2:
            raise TuningError(
                "iPET needs two members or more, which teach one another; give more pairs or repetitions."
            )

    def _n_generations(self, training: Labeled | None) -> int:
        known = 0 if training is None else len(training.examples)
        if self.generations is None:
            return n_generations(known, self.growth_factor)
        check_growth(known, self.growth_factor, self.generations)
        return self.generations

    def _teach(self, lesson: DistillationRun) -> dict[str, Job]:
        teachers = super()._teach(lesson)
        self.generations_: list[dict[str, object]] = []
        for generation in range(1, self._n_generations(lesson.training) + 1):
            scored = self._score(teachers.values(), lesson.unlabeled, lesson.workspace, lesson.done)
            for job in teachers.values():
                lesson.workspace.discard_result(job.key)
            members = [m._replace(name=f"{m.name}, generation {generation}") for m in lesson.members]
            trains = [self._grown(lesson, scored, generation, learner) for learner in range(len(members))]
            teachers = self._train_members(lesson, members, trains)
        return teachers

    def _grown(self, lesson: DistillationRun, scored: list[list[Path]], generation: int, learner: int) -> TrainSet:
        """The training set of one member: the labeled examples and, of weight 1, those that others are sure of."""
        rng = np.random.default_rng([self.seed, generation, learner])
        teachers = draw_teachers(len(scored), learner, self.teacher_share, rng)
        weights = weights_of(lesson.weights[teachers].tolist())
        log_probs = merged(np.stack([load_scores(scored[t]) for t in teachers]), weights)
        known = lesson.training
        names = sorted(lesson.members[learner].classifier.make_verbalizer(None).classes)
        labeled = Counter() if known is None else Counter(known.labels)
        counts = class_counts(labeled, names, generation, self.growth_factor)
        drawn: list[Example] = []
        for column, name in enumerate(names):
            rows = draw_rows(
                log_probs,
                column,
                counts[name] - labeled[name],
                rng,
                most_likely=self.n_most_likely,
                whoever=known is None and generation == 1,
            )
            texts = some_rows(lesson.workspace, lesson.unlabeled.names, rows)
            drawn += [Example(example.fields, name) for example in texts]
        record = {"generation": generation, "member": lesson.members[learner].name, "counts": counts}
        self.generations_.append(record | {"teachers": [lesson.members[t].name for t in teachers]})
        examples = [*(known.examples if known else ()), *drawn]
        grown = Labeled(examples, lesson.label_type)
        if known is not None and known.weights is not None:
            grown = grown._replace(weights=torch.cat([known.weights, torch.ones(len(drawn))]))
        (train,) = self._train_sets(lesson.workspace, [lesson.members[learner]], grown)
        return train
