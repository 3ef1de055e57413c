"""Classify film reviews from 16 examples of each class."""

from promptlab import PromptClassifier, load_sample

sample = load_sample("sst2")
train, dev = sample.few_shot(seed=13)

classifier = PromptClassifier(
    template="{{ text_a }} All in all, it was {{ mask }}.",
    verbalizer={"negative": ["terrible", "awful", "bad"], "positive": ["great", "good", "wonderful"]},
    model="minilm",
)
print("zero-shot ", classifier.score(sample.test, [example.label for example in sample.test]))
classifier.fit(train, eval_set=(dev, None))
print("fine-tuned", classifier.score(sample.test, [example.label for example in sample.test]))
classifier.save_pretrained("sst2-classifier")
