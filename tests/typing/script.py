"""What somebody writes who uses promptlab: the mistakes and the types that a type checker must find in it."""

from typing import reveal_type

import promptlab
from promptlab import (
    BackboneError,
    DataError,
    Example,
    HeadClassifier,
    LoRA,
    ManualTemplate,
    ManualVerbalizer,
    PromptClassifier,
    PVPEnsemble,
    TemplateError,
    k_shot,
    load_sample,
)

sample = load_sample("sst2")
train, dev = sample.few_shot(13)
reveal_type(train)  # list[promptlab.core.types.Example]

template = ManualTemplate("{{ text_a }} It was {{ mask }}.")
verbalizer = ManualVerbalizer({"negative": ["bad"], "positive": ["good"]})
classifier = PromptClassifier(template, verbalizer, "minilm", tuning=LoRA(rank=4), learning_rate=1e-4, max_steps=50)
reveal_type(classifier.learning_rate)  # float | None
reveal_type(classifier.fit(train, eval_set=(dev, None)))  # promptlab.estimators.classifiers.PromptClassifier
reveal_type(classifier.score(sample.test))  # float
reveal_type(k_shot([example.label for example in sample.pool], k=16, seed=0))  # tuple[list[int], list[int]]
reveal_type(template.render(Example({"text_a": "a dull film"})).n_masks)  # int
reveal_type(LoRA().defaults.learning_rate)  # float

PromptClassifier(learning_rate="x")  # error: arg-type
PromptClassifier(learn_rate=1.0)  # error: call-arg
classifier.fitt(train)  # error: attr-defined
HeadClassifier(max_steps=1.5)  # error: arg-type
PVPEnsemble(batch_size="8")  # error: arg-type
LoRA(rank="4")  # error: arg-type
LoRA(ranks=4)  # error: call-arg
load_sample(13)  # error: arg-type
promptlab.PromtClassifier()  # error: attr-defined

try:
    PromptClassifier.from_pretrained("saved")
except (BackboneError, DataError, TemplateError) as error:
    reveal_type(error.args)  # tuple[Any, ...]
