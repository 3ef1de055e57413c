"""The parts that promptlab comes with, by name: where each is, what it is in one line, and its source."""

from __future__ import annotations

from collections.abc import Mapping

from promptlab.core.entries import Entry

TEMPLATES: Mapping[str, Entry] = {
    "manual": Entry(
        "promptlab.templates.manual:ManualTemplate",
        "a hand-written Jinja pattern with a mask",
        "PET, arXiv:2001.07676, section 3",
    ),
    "input": Entry(
        "promptlab.templates.plain:InputTemplate",
        "the fields as they are, without a mask, for a classification head",
    ),
    "demonstrations": Entry(
        "promptlab.templates.demonstrations:DemonstrationTemplate",
        "an answered example of each class after the text, drawn anew for each, for fine-tuning",
        "LM-BFF, arXiv:2012.15723, section 6",
    ),
    "soft-prompt": Entry(
        "promptlab.tuning.soft_prompts:SoftPromptTemplate",
        "another template with soft tokens before it",
        "Prompt Tuning, arXiv:2104.08691, section 2",
    ),
    "in-context": Entry(
        "promptlab.templates.demonstrations:InContextTemplate",
        "answered examples before the text, the same for every text, without training",
        "GPT-3, arXiv:2005.14165, section 2.4",
    ),
}

FILTERS: Mapping[str, Entry] = {
    "keep": Entry("promptlab.templates.filters:keep", "text that is never shortened"),
    "lower_first": Entry("promptlab.templates.filters:lower_first", "the first letter in lower case"),
    "strip_punctuation": Entry(
        "promptlab.templates.filters:strip_punctuation", "without the white space and punctuation at the end"
    ),
    "upper_first": Entry("promptlab.templates.filters:upper_first", "the first letter in upper case"),
}

VERBALIZERS: Mapping[str, Entry] = {
    "manual": Entry(
        "promptlab.verbalizers.manual:ManualVerbalizer",
        "logits of a class's label words at the mask",
        "PET, arXiv:2001.07676, section 3.1",
    ),
    "linear": Entry(
        "promptlab.verbalizers.linear:LinearVerbalizer",
        "a trained linear layer on the hidden states, without label words",
    ),
    "strings": Entry(
        "promptlab.verbalizers.strings:MultiTokenVerbalizer",
        "log-probabilities of whole answers, of several tokens",
        "PET on SuperGLUE, arXiv:2009.07118, section 3.1",
    ),
    "contextual": Entry(
        "promptlab.verbalizers.calibrated:ContextualCalibration",
        "calibration: class probabilities divided by those of inputs without content",
        "Zhao et al., arXiv:2102.09690, section 5",
    ),
    "domain": Entry(
        "promptlab.verbalizers.calibrated:PMICalibration",
        "calibration: divided by the probabilities after a text that only announces the answer",
        "Holtzman et al., arXiv:2104.08315, section 3",
    ),
    "ensemble": Entry(
        "promptlab.verbalizers.ensemble:EnsembleVerbalizer",
        "the weighted mean of several verbalizers in one pass",
        "PET, arXiv:2001.07676, section 3.3",
    ),
    "rules": Entry(
        "promptlab.verbalizers.rules:RuleVerbalizer",
        "a word for each of several masks",
        "PTR, arXiv:2105.11259, section 3",
    ),
    "prototypical": Entry(
        "promptlab.verbalizers.prototypical:PrototypicalVerbalizer",
        "prototypes of the classes among the mask states, learned by contrast",
        "ProtoVerb, arXiv:2203.09770, section 3",
    ),
    "soft": Entry(
        "promptlab.verbalizers.soft:SoftVerbalizer",
        "a trained vector a class, started from its label words",
        "WARP, arXiv:2101.00121, section 3",
    ),
    "words": Entry(
        "promptlab.verbalizers.words:WordsVerbalizer",
        "class → words as they come: label words, or whole answers where the model cuts them into several tokens",
    ),
    "weighted": Entry(
        "promptlab.verbalizers.weighted:WeightedVerbalizer",
        "label words with learned weights",
        "KPT, arXiv:2108.02035, section 3.3.4",
    ),
    "support": Entry(
        "promptlab.verbalizers.calibrated:SupportCalibration",
        "calibration: label words' probabilities divided by their mean over unlabeled texts",
        "KPT, arXiv:2108.02035, section 3.3.3",
    ),
}

TUNINGS: Mapping[str, Entry] = {
    "none": Entry("promptlab.tuning.none:NoTuning", "the model stays as it is: zero-shot"),
    "full": Entry("promptlab.tuning.full:Full", "every weight"),
    "frozen": Entry(
        "promptlab.tuning.frozen:Frozen",
        "only the head and the soft tokens",
        "Houlsby et al., arXiv:1902.00751, section 3",
    ),
    "top-layers": Entry(
        "promptlab.tuning.top_layers:TopLayers",
        "the last layers and what stands above them",
        "Houlsby et al., arXiv:1902.00751, section 3.2",
    ),
    "bitfit": Entry("promptlab.tuning.bitfit:BitFit", "biases and the head", "BitFit, arXiv:2106.10199, section 3"),
    "layer-norm": Entry(
        "promptlab.tuning.layer_norm:LayerNormTuning",
        "scale and shift of every normalization layer, and the head",
        "Houlsby et al., arXiv:1902.00751, section 3.4",
    ),
    "adapter": Entry(
        "promptlab.tuning.adapter:Adapter",
        "bottlenecks in every layer",
        "Houlsby et al., arXiv:1902.00751, section 2; Pfeiffer et al., arXiv:2005.00247, section 3",
    ),
    "lora": Entry(
        "promptlab.tuning.lora:LoRA",
        "low-rank updates of query and value projections, or of every linear layer",
        "LoRA, arXiv:2106.09685, section 4",
    ),
    "ia3": Entry(
        "promptlab.tuning.lora:IA3",
        "vectors that rescale keys, values and inner activations",
        "T-Few, arXiv:2205.05638, section 3.3",
    ),
    "prefix": Entry(
        "promptlab.tuning.prefix:PrefixTuning",
        "keys and values before every attention layer, made by an MLP",
        "Prefix-Tuning, arXiv:2101.00190, section 4",
    ),
    "p-tuning-v2": Entry(
        "promptlab.tuning.prefix:PTuningV2",
        "keys and values before every attention layer, without an MLP",
        "P-Tuning v2, arXiv:2110.07602, section 3",
    ),
    "prompt-tuning": Entry(
        "promptlab.tuning.prompt_tuning:PromptTuning",
        "soft tokens before the template",
        "Prompt Tuning, arXiv:2104.08691, section 2",
    ),
    "p-tuning": Entry(
        "promptlab.tuning.prompt_tuning:PTuning",
        "the template's soft tokens, through an LSTM and an MLP",
        "P-Tuning, arXiv:2103.10385, section 3",
    ),
}

BACKBONES: Mapping[str, Entry] = {
    "albert": Entry("promptlab.backbones.masked:MaskedBackbone", "masked: ALBERT", "arXiv:1909.11942"),
    "bart": Entry("promptlab.backbones.seq2seq:BartBackbone", "encoder-decoder: BART", "arXiv:1910.13461"),
    "bert": Entry("promptlab.backbones.masked:MaskedBackbone", "masked: BERT", "arXiv:1810.04805"),
    "deberta-v2": Entry(
        "promptlab.backbones.deberta:DebertaV2Backbone", "masked: DeBERTa v2 and v3", "arXiv:2006.03654"
    ),
    "distilbert": Entry("promptlab.backbones.masked:MaskedBackbone", "masked: DistilBERT", "arXiv:1910.01108"),
    "electra": Entry("promptlab.backbones.masked:MaskedBackbone", "masked: ELECTRA's generator", "arXiv:2003.10555"),
    "gpt2": Entry("promptlab.backbones.causal:CausalBackbone", "causal: GPT-2"),
    "gpt_neox": Entry("promptlab.backbones.causal:CausalBackbone", "causal: GPT-NeoX, Pythia", "arXiv:2204.06745"),
    "llama": Entry("promptlab.backbones.causal:CausalBackbone", "causal: Llama, SmolLM", "arXiv:2302.13971"),
    "mistral": Entry("promptlab.backbones.causal:CausalBackbone", "causal: Mistral", "arXiv:2310.06825"),
    "mt5": Entry("promptlab.backbones.seq2seq:T5Backbone", "encoder-decoder: mT5", "arXiv:2010.11934"),
    "phi": Entry("promptlab.backbones.causal:CausalBackbone", "causal: Phi", "arXiv:2306.11644"),
    "qwen2": Entry("promptlab.backbones.causal:CausalBackbone", "causal: Qwen2, Qwen2.5", "arXiv:2407.10671"),
    "qwen3": Entry("promptlab.backbones.causal:CausalBackbone", "causal: Qwen3", "arXiv:2505.09388"),
    "t5": Entry(
        "promptlab.backbones.seq2seq:T5Backbone", "encoder-decoder: T5, its version 1.1, flan", "arXiv:1910.10683"
    ),
    "mpnet": Entry("promptlab.backbones.mpnet:MPNetBackbone", "masked: MPNet", "arXiv:2004.09297"),
    "modernbert": Entry("promptlab.backbones.masked:MaskedBackbone", "masked: ModernBERT", "arXiv:2412.13663"),
    "roberta": Entry("promptlab.backbones.masked:MaskedBackbone", "masked: RoBERTa", "arXiv:1907.11692"),
    "xlm-roberta": Entry("promptlab.backbones.masked:MaskedBackbone", "masked: XLM-R", "arXiv:1911.02116"),
}

ESTIMATORS: Mapping[str, Entry] = {
    "HeadClassifier": Entry(
        "promptlab.estimators.classifiers:HeadClassifier", "classes from a trained head on the hidden states"
    ),
    "MultiLabelClassifier": Entry(
        "promptlab.estimators.multi_label_classifier:MultiLabelClassifier",
        "any number of classes for each text, by template and verbalizer",
    ),
    "PVPEnsemble": Entry(
        "promptlab.ensembles.ensemble:PVPEnsemble",
        "several templates and verbalizers that decide together",
        "PET, arXiv:2001.07676, section 3.3",
    ),
    "PromptClassifier": Entry(
        "promptlab.estimators.classifiers:PromptClassifier",
        "one class for each text, by template and verbalizer",
        "PET, arXiv:2001.07676, section 3.1",
    ),
    "PromptGenerator": Entry(
        "promptlab.estimators.generator:PromptGenerator",
        "text that a template's last mask stands for",
        "Prefix-Tuning, arXiv:2101.00190, section 4",
    ),
    "PromptRegressor": Entry(
        "promptlab.estimators.prompt_regressor:PromptRegressor",
        "a number for each text, between two ends that have label words",
        "LM-BFF, arXiv:2012.15723, section 4.2",
    ),
    "TokenClassifier": Entry("promptlab.estimators.token_classifier:TokenClassifier", "a tag for each word"),
}

WORD_SEARCHES: Mapping[str, Entry] = {
    "autoprompt": Entry(
        "promptlab.search.words.engines:autoprompt",
        "words whose vectors a classifier of mask states takes for a class",
        "AutoPrompt, arXiv:2010.15980, section 2.3",
    ),
    "lm-bff": Entry(
        "promptlab.search.words.engines:lm_bff",
        "a likely word for each class, by accuracy on the examples",
        "LM-BFF, arXiv:2012.15723, section 5.1",
    ),
    "petal": Entry(
        "promptlab.search.words.engines:petal",
        "several words for each class, by likelihood ratio",
        "PETAL, arXiv:2010.13641, section 4",
    ),
}

TEMPLATE_SEARCHES: Mapping[str, Entry] = {
    "autoprompt": Entry(
        "promptlab.search.gradient_based.autoprompt:AutoPromptSearch",
        "trigger tokens, exchanged by gradient",
        "AutoPrompt, arXiv:2010.15980, section 2.2",
    ),
    "bart": Entry(
        "promptlab.search.generation_based.infill_engines:BartSearch",
        "templates that BART writes around the label words",
        "BART, arXiv:1910.13461, section 2.2",
    ),
    "heuristic": Entry(
        "promptlab.search.rule_based.heuristic:HeuristicSearch",
        "templates from rules, pruned by the model's likelihood",
    ),
    "lm": Entry(
        "promptlab.search.generation_based.causal_engine:CausalSearch",
        "templates that a causal model writes",
        "objective of LM-BFF, arXiv:2012.15723, section 5.2",
    ),
    "masked-lm": Entry(
        "promptlab.search.generation_based.masked_engine:MaskedSearch",
        "templates that a masked model writes",
        "objective of LM-BFF, arXiv:2012.15723, section 5.2",
    ),
    "paraphrase": Entry(
        "promptlab.search.rule_based.heuristic:ParaphraseSearch", "versions of a template with words replaced"
    ),
    "t5": Entry(
        "promptlab.search.generation_based.infill_engines:T5Search",
        "templates that T5 writes around the label words",
        "LM-BFF, arXiv:2012.15723, section 5.2",
    ),
}
