"""One script for every kind of model: python examples/any_model.py [minilm | smollm2 | a T5's folder or hub id …]."""

import sys

from promptlab import InContextTemplate, MultiTokenVerbalizer, PromptClassifier, load_backbone, load_sample

sample = load_sample("sst2")
train, dev = sample.few_shot(seed=13)
test = sample.test[:200]
truth = [example.label for example in test]

template = "{{ text_a }} It was {{ mask }}"  # ends with the mask, so that a causal model can answer it, too
answers = MultiTokenVerbalizer({"negative": ["terrible", "not good"], "positive": ["great", "very good"]})

for name in sys.argv[1:] or ["minilm"]:
    backbone = load_backbone(name)
    zero_shot = PromptClassifier(template, answers, backbone)
    print(name, "zero-shot", zero_shot.score(test, truth))
    shown = PromptClassifier(InContextTemplate(template, k=4), answers, backbone, tuning="none").fit(train)
    print(name, "4 demonstrations", shown.score(test, truth))
