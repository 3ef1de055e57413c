"""What training may minimise instead of a head's own loss: models around a model, with losses of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from promptlab.backbones.masked import MaskedBackbone
from promptlab.core.errors import DataError, TuningError
from promptlab.core.interfaces import Backbone
from promptlab.core.means import weighted_mean
from promptlab.core.types import Batch, Encoded
from promptlab.models.prompt_model import PromptModel
from promptlab.models.trainable_model import Seen, TrainableModel

MASK_PROBABILITY = 0.15  # of the tokens that are predicted
UNSEEN, RANDOM = 0.8, 0.1  # of these, shares that become the mask and another token; the others stay
NOT_PREDICTED = -100


class ModelObjective(TrainableModel[Seen]):
    """A model that is trained with another loss than its own."""

    def __init__(self, model: PromptModel) -> None:
        super().__init__()
        self.model = model
        self.backbone = model.backbone


class Distillation(ModelObjective[Batch]):
    """Learns from a teacher's log-probabilities, which stand where a batch has labels.

    Args:
        temperature: see ``distillation_loss``.
    """

    def __init__(self, model: PromptModel, *, temperature: float) -> None:
        super().__init__(model)
        self.temperature = temperature

    def loss(self, batch: Batch) -> Tensor:
        assert batch.labels is not None
        student = self.model.log_probs(batch)
        return distillation_loss(student, batch.labels, temperature=self.temperature, weights=batch.weights)

    forward = loss

    def loss_weights(self, batch: Batch) -> Tensor:
        return self.model.loss_weights(batch)


def distillation_loss(student: Tensor, teacher: Tensor, *, temperature: float, weights: Tensor | None = None) -> Tensor:
    """KL(teacher || student) of temperature-softened class distributions, in nats, mean over the batch.

    Source: PET, arXiv:2001.07676, section 3.3; the factor T² is from arXiv:1503.02531, section 2.

    Args:
        student: logits or log-probabilities, (batch, classes).
        teacher: log-probabilities, (batch, classes).
        temperature: above 0; 1 leaves both distributions as they are.
        weights: of the rows, (batch,); None: alike.
    """
    soft_student = F.log_softmax(student / temperature, dim=-1)
    soft_teacher = F.log_softmax(teacher / temperature, dim=-1)
    losses = F.kl_div(soft_student, soft_teacher, reduction="none", log_target=True).sum(dim=-1)  # (batch,)
    return weighted_mean(losses, weights) * temperature**2


@dataclass(slots=True)
class BatchAndWords:
    """Labeled prompts, and unlabeled ones with words hidden; ``targets`` are the words, see ``mask_words``."""

    batch: Batch
    unlabeled: Batch
    targets: Tensor  # (unlabeled, length)


class AuxiliaryMLM(ModelObjective[BatchAndWords]):
    """Also predicts masked words of unlabeled prompts, so that few labeled ones don't make the model forget language.

    Source: PET, arXiv:2001.07676, section 3.2, whose α is ``weight``; its code's option is 1 - α.

    Args:
        unlabeled: encoded prompts of the same template, other examples; the slot's own mask is never predicted.
        weight: of the masked words' loss; the classification loss counts 1 - ``weight``.
        ratio: unlabeled prompts for each labeled one of a batch.

    Raises:
        TuningError: if the model isn't a masked one, or the weight is no share.
    """

    def __init__(self, model: PromptModel, unlabeled: Sequence[Encoded], *, weight: float, ratio: int = 3) -> None:
        super().__init__(model)
        check_masked_words(model.backbone, weight)
        if not unlabeled:
            raise DataError("the loss on masked words needs unlabeled texts; give some, or set mlm_weight=0.")
        self.unlabeled, self.weight, self.ratio = unlabeled, weight, ratio

    def prepare(self, batch: Batch) -> BatchAndWords:
        """The batch with unlabeled prompts, which are drawn anew each time, as are the words to predict."""
        drawn = torch.randint(len(self.unlabeled), (self.ratio * len(batch),)).tolist()
        unlabeled = self.backbone.collate([self.unlabeled[row] for row in drawn]).to(batch.input_ids.device)
        hidden_ids, targets = mask_words(unlabeled.input_ids, self.backbone.tokenizer, self.backbone.vocabulary)
        targets.masked_fill_(unlabeled.attention_mask == 0, NOT_PREDICTED)  # a model may pad with an ordinary id
        return BatchAndWords(batch, replace(unlabeled, input_ids=hidden_ids), targets)

    def loss_weights(self, batch: BatchAndWords) -> Tensor:
        n_words = (batch.targets != NOT_PREDICTED).sum().float()
        return torch.stack([self.model.loss_weights(batch.batch).to(n_words.device), n_words])

    def loss(self, both: BatchAndWords) -> Tensor:
        """Return what both losses contribute, (2,)."""
        words = masked_words_loss(self.backbone, both.unlabeled, both.targets)
        return torch.stack([(1 - self.weight) * self.model.loss(both.batch), self.weight * words])

    forward = loss


def check_masked_words(backbone: Backbone, weight: float) -> None:
    """Refuse a model that can't predict masked words, or a weight that is no share.

    Raises:
        TuningError: if so.
    """
    if not 0 < weight <= 1:
        raise TuningError(f"mlm_weight={weight!r} is a share of the loss: from 0 (none) to 1, usually 1e-4.")
    if not isinstance(backbone, MaskedBackbone):
        raise TuningError(
            f"model {backbone.name!r} isn't a masked language model, so that it has no masked words to learn from; set "
            "mlm_weight=0."
        )


def masked_words_loss(backbone: Backbone, batch: Batch, targets: Tensor) -> Tensor:
    """Mean loss, in nats, of the words of a batch that are to be predicted (see ``mask_words``); 0 if none is."""
    chosen = targets != NOT_PREDICTED
    hidden = backbone.hidden_states(batch)[chosen]  # (words, hidden)
    logits = backbone.project(backbone.transform(hidden))
    return F.cross_entropy(logits, targets[chosen], reduction="sum") / max(1, len(logits))


def mask_words(input_ids: Tensor, tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> tuple[Tensor, Tensor]:
    """Ids with words hidden, and the words to predict, ``NOT_PREDICTED`` elsewhere: both (batch, length).

    15 % of the words are to be predicted: 80 % of them are masked, 10 % replaced, 10 % stay as they are. Special
    tokens, padding and soft tokens are never predicted. Source: BERT, arXiv:1810.04805, section 3.1.
    """
    device = input_ids.device
    special = torch.tensor(tokenizer.all_special_ids, device=device)
    words = ~torch.isin(input_ids, special) & (input_ids < vocabulary)
    draw, kind = torch.rand(2, *input_ids.shape).to(device)  # on the CPU, whose random state checkpoints keep
    chosen = words & (draw < MASK_PROBABILITY)
    others = torch.randint(vocabulary, input_ids.shape).to(device)
    replaced = torch.where(
        kind < UNSEEN, tokenizer.mask_token_id, torch.where(kind < UNSEEN + RANDOM, others, input_ids)
    )
    return torch.where(chosen, replaced, input_ids), input_ids.masked_fill(~chosen, NOT_PREDICTED)
