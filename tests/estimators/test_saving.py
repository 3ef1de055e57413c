from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from promptlab import DemonstrationTemplate, HeadClassifier, JointClassifier, PromptClassifier, load_backbone
from promptlab.core.errors import DataError, PromptlabError, SavedModelError, TuningError
from promptlab.estimators.saving import load_any
from promptlab.tuning.prompt_tuning import PromptTuning

TEXTS = ["the film was great", "a good story", "a dull mess", "the acting was bad"]
LABELS = ["positive", "positive", "negative", "negative"]
WORDS = {"positive": ["good", "great"], "negative": ["bad", "dull"]}


def prompt_classifier(base, **changes):
    return PromptClassifier("{{ text_a }} {{ mask }}", WORDS, base, max_steps=3, device="cpu", **changes)


@pytest.fixture
def saved(base, tmp_path):
    classifier = prompt_classifier(base).fit(TEXTS, LABELS)
    classifier.save_pretrained(tmp_path / "out")
    return classifier, tmp_path / "out"


@pytest.mark.parametrize(
    "make",
    [
        prompt_classifier,
        lambda base: prompt_classifier(base, tuning="top-layers"),
        lambda base: PromptClassifier("{{ text_a }} {{ soft(2) }} {{ mask }}", WORDS, base, "frozen", max_steps=3),
        lambda base: HeadClassifier(base, max_steps=3, device="cpu"),
        lambda base: HeadClassifier(base, "frozen", max_steps=3, device="cpu"),
    ],
)
def test_a_loaded_classifier_is_the_saved_one(base, tmp_path, make):
    classifier = make(base).fit(TEXTS, LABELS)
    expected = classifier.predict_proba(TEXTS)

    classifier.save_pretrained(tmp_path / "out")
    loaded = type(classifier).from_pretrained(tmp_path / "out", device="cpu")

    assert np.array_equal(loaded.predict_proba(TEXTS), expected)
    assert loaded.classes_.tolist() == classifier.classes_.tolist()
    assert loaded.trainable_parameters() == classifier.trainable_parameters()


def test_only_what_was_trained_is_saved(base, tmp_path):
    from safetensors import safe_open

    HeadClassifier(base, "frozen", max_steps=2, device="cpu").fit(TEXTS, LABELS).save_pretrained(tmp_path / "out")

    with safe_open(tmp_path / "out" / "weights.safetensors", framework="pt") as weights:
        assert sorted(weights.keys()) == ["head.linear.bias", "head.linear.weight"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "README.md",
        "promptlab.json",
        "weights.safetensors",
    ]


def test_the_class_is_found_in_the_folder(saved):
    _, folder = saved

    assert isinstance(load_any(folder, device="cpu"), PromptClassifier)


def test_a_loaded_classifier_can_be_fitted_again(saved):
    _, folder = saved

    assert PromptClassifier.from_pretrained(folder, device="cpu").fit(TEXTS, LABELS).predict(TEXTS).shape == (4,)


def test_saving_over_a_model_replaces_it_whole(saved, base):
    _, folder = saved
    (folder / "stray.txt").write_text("x")

    HeadClassifier(base, "frozen", max_steps=2, device="cpu").fit(TEXTS, LABELS).save_pretrained(folder)

    assert not (folder / "stray.txt").exists()
    assert isinstance(load_any(folder, device="cpu"), HeadClassifier)


def test_a_crash_while_saving_leaves_the_old_model(saved, monkeypatch):
    classifier, folder = saved
    monkeypatch.setattr("promptlab.estimators.saving.card", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))

    with pytest.raises(KeyboardInterrupt):
        classifier.save_pretrained(folder)

    assert load_any(folder, device="cpu").predict(TEXTS).shape == (4,)
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".out")] == []


def damage(folder, **changes):
    path = folder / "promptlab.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_newer_schema_says_update(saved):
    _, folder = saved
    damage(folder, schema=99)

    with pytest.raises(SavedModelError, match=r"schema 99.*update promptlab"):
        load_any(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"estimator": ["x"]}, "as estimator, where a str should stand"),
        ({"parameters": None}, "holds None as parameters, where a dict should"),
        ({"tuning": "full"}, "holds 'full' as tuning"),
        ({"template": None, "verbalizer": "x"}, "holds None as template"),
        ({"model": {"revision": "x"}}, "lacks 'name'"),
        (
            {"model": {"name": "x", "revision": "x", "config": [1]}},
            "holds \\[1\\] as config, where a dict should stand",
        ),
        ({"parameters": {"sead": 1}}, "the setting 'sead', which PromptClassifier of promptlab"),
        ({"verbalizer": {"kind": "manual", "label_words": None}}, "label words are None"),
        ({"template": {"kind": "in-context", "template": {}}}, "template is {}"),
        ({"tuning": {"kind": "lora", "rank": "8"}}, "rank='8' must be a whole number"),
    ],
)
def test_settings_that_were_edited_wrongly_are_named(saved, changes, message):
    _, folder = saved
    damage(folder, **changes)

    with pytest.raises(PromptlabError, match=message) as caught:
        PromptClassifier.from_pretrained(folder, device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", [None, 3, "x" * 400, "~nobody-of-this-name/x"])
def test_what_can_be_no_folder_is_one_clear_line(path):
    with pytest.raises(SavedModelError, match="no file or folder"):
        PromptClassifier.from_pretrained(path)


def test_a_file_is_no_saved_model(saved):
    _, folder = saved

    with pytest.raises(SavedModelError, match="holds no promptlab"):
        load_any(folder / "README.md")


def test_lora_weights_of_another_rank_are_refused(base, tmp_path):
    prompt_classifier(base, tuning="lora").fit(TEXTS, LABELS).save_pretrained(tmp_path / "lora")
    damage(tmp_path / "lora", tuning={"kind": "lora", "rank": 4})

    with pytest.raises(SavedModelError, match="doesn't fit its settings"):
        PromptClassifier.from_pretrained(tmp_path / "lora")


def test_the_folder_of_the_base_model_is_not_replaced(saved, base):
    classifier, folder = saved

    with pytest.raises(DataError, match="holds other files"):
        classifier.save_pretrained(base)
    with pytest.raises(DataError, match="holds other files"):
        classifier.export_model(folder)


def test_another_base_model_is_noticed(saved, tiny_backbone):
    _, folder = saved
    damage(folder, model={"name": str(folder.parent / "base"), "revision": "0123"})

    with pytest.raises(SavedModelError, match="revision 0123, but"):
        load_any(folder)


def in_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def without(*names):
    def take_out(settings):
        for name in names:
            del settings["model"][name]

    return take_out


def vocabulary_swapped(rules):
    vocabulary = rules["model"]["vocab"]
    vocabulary["good"], vocabulary["dull"] = vocabulary["dull"], vocabulary["good"]


BASES = {  # file of the base model, what is done to it, what is said
    "lower case": (
        "tokenizer.json", lambda r: r["normalizer"].update(lowercase=False), "with another tokenizer than .* has; load"
    ),
    "words that changed places": ("tokenizer.json", vocabulary_swapped, "with another tokenizer than"),
    "activation": (
        "config.json", lambda c: c.update(hidden_act="relu"), "with hidden_act='gelu', but .* has 'relu'; load it with"
    ),
    "epsilon": ("config.json", lambda c: c.update(layer_norm_eps=1e-3), "with layer_norm_eps=1e-12, but .* has 0.001"),
}  # fmt: skip
DELTAS = {
    "full": prompt_classifier,
    "lora": lambda base: prompt_classifier(base, tuning="lora"),
    "prompt": lambda base: prompt_classifier(base, tuning=PromptTuning(length=2)),
    "probe": lambda base: HeadClassifier(base, "frozen", max_steps=3, device="cpu"),
}


@pytest.mark.parametrize("change", BASES)
@pytest.mark.parametrize("delta", DELTAS)
def test_another_tokenizer_or_configuration_of_the_base_model_is_noticed(base, tmp_path, delta, change):
    file, edit, message = BASES[change]
    DELTAS[delta](base).fit(TEXTS, LABELS).save_pretrained(tmp_path / "out")
    in_json(Path(base) / file, edit)

    with pytest.raises(SavedModelError, match=message):
        load_any(tmp_path / "out")


def test_what_a_newer_transformers_adds_or_what_says_nothing_of_the_model_is_no_other_base(saved):
    classifier, folder = saved
    config = folder.parent / "base" / "config.json"
    in_json(config, lambda c: c.update(something_new=3, use_cache=False, transformers_version="9.0", architectures=[]))

    assert np.array_equal(load_any(folder).predict_proba(TEXTS), classifier.predict_proba(TEXTS))


@pytest.mark.parametrize("change", BASES)
def test_what_version_0_1_saved_says_nothing_of_tokenizer_and_configuration(saved, change):
    _, folder = saved
    in_json(folder / "promptlab.json", without("config", "tokenizer"))
    in_json(folder.parent / "base" / BASES[change][0], BASES[change][1])

    load_any(folder)


def test_a_delta_of_pickled_weights_notices_others(base, tmp_path):
    folder = Path(base)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    classifier = prompt_classifier(base, tuning="lora").fit(TEXTS, LABELS)
    classifier.save_pretrained(tmp_path / "out")
    classifier.save_pretrained(tmp_path / "old")
    in_json(tmp_path / "old" / "promptlab.json", lambda s: s["model"].update(revision=""))
    in_json(tmp_path / "old" / "promptlab.json", without("config", "tokenizer"))

    for name in ("out", "old"):  # version 0.1 knew no revision of such weights
        assert np.array_equal(load_any(tmp_path / name).predict_proba(TEXTS), classifier.predict_proba(TEXTS))
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    weights["bert.embeddings.word_embeddings.weight"][9] += 1
    torch.save(weights, folder / "pytorch_model.bin")

    with pytest.raises(SavedModelError, match=r"was trained on .* revision"):
        load_any(tmp_path / "out")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("promptlab.json", "{", "damaged"),
        ("promptlab.json", "[]", "damaged"),
        ("promptlab.json", '{"schema": 1}', "lacks 'estimator'"),
        ("weights.safetensors", "x", "damaged or missing"),
    ],
)
def test_damage_is_named(saved, file, content, message):
    _, folder = saved
    (folder / file).write_text(content)

    with pytest.raises(SavedModelError, match=message) as caught:
        load_any(folder)
    assert "\n" not in str(caught.value)


def test_weights_of_another_model_are_refused(saved, base, tmp_path):
    _, folder = saved
    HeadClassifier(base, "frozen", max_steps=2, device="cpu").fit(TEXTS, LABELS).save_pretrained(tmp_path / "head")
    (folder / "weights.safetensors").write_bytes((tmp_path / "head" / "weights.safetensors").read_bytes())

    with pytest.raises(SavedModelError, match="doesn't hold the weights"):
        load_any(folder)


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(SavedModelError, match=r"holds no promptlab\.json"):
        load_any(tmp_path)


def test_a_file_where_the_folder_should_be_is_named(saved, tmp_path):
    classifier, _ = saved
    (tmp_path / "file").write_text("x")

    with pytest.raises(DataError, match="is a file"):
        classifier.save_pretrained(tmp_path / "file")


def test_the_wrong_class_is_named(saved):
    _, folder = saved

    with pytest.raises(SavedModelError, match="holds a PromptClassifier, not a HeadClassifier"):
        HeadClassifier.from_pretrained(folder)


def test_a_backbone_that_is_passed_for_loading_is_not_changed(tiny_backbone, tmp_path):
    backbone = tiny_backbone("bert")
    fitted = [prompt_classifier(backbone, seed=seed, learning_rate=1e-2).fit(TEXTS, LABELS) for seed in (0, 1)]
    for number, classifier in enumerate(fitted):
        classifier.save_pretrained(tmp_path / str(number))

    loaded = [PromptClassifier.from_pretrained(tmp_path / str(i), model=backbone, device="cpu") for i in (0, 1)]

    for classifier, back in zip(fitted, loaded):
        assert np.array_equal(back.predict_proba(TEXTS), classifier.predict_proba(TEXTS))


def test_settings_of_other_libraries_types_are_saved(base, tmp_path):
    from pathlib import Path

    prompt_classifier(Path(base), batch_size=np.int64(4)).fit(TEXTS, LABELS).save_pretrained(tmp_path / "out")

    assert PromptClassifier.from_pretrained(tmp_path / "out").batch_size == 4


def test_a_part_that_holds_a_function_cannot_be_saved(base, tmp_path):
    template = DemonstrationTemplate("{{ text_a }} {{ mask }}", sets=1, embed=lambda rows: [[1.0]] * len(rows))
    classifier = PromptClassifier(template, WORDS, base, max_steps=1, device="cpu").fit(TEXTS, LABELS)

    with pytest.raises(SavedModelError, match=r"function .* can't be saved"):
        classifier.save_pretrained(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    odd = PromptClassifier("{{ text_a }} {{ mask }}", WORDS, base, device="cpu", origin={"seeds": {("a", 1): 2}})
    with pytest.raises(SavedModelError, match=r"JSON can't hold a setting: keys must be"):
        odd.save_pretrained(tmp_path / "out")


def test_a_folder_with_other_files_is_not_replaced(saved, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")

    with pytest.raises(DataError, match="holds other files"):
        saved[0].save_pretrained(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("tuning", ["full", "bitfit", "lora", "ia3"])
def test_an_exported_model_answers_without_promptlabs_additions(base, tmp_path, tuning):
    classifier = prompt_classifier(base, tuning=tuning, learning_rate=1e-2).fit(TEXTS, LABELS)
    classifier.export_model(tmp_path / "exported")

    plain = PromptClassifier("{{ text_a }} {{ mask }}", WORDS, str(tmp_path / "exported"))

    np.testing.assert_allclose(plain.predict_proba(TEXTS), classifier.predict_proba(TEXTS), atol=1e-5)
    assert (tmp_path / "exported" / "config.json").is_file()


@pytest.mark.parametrize(
    ("tuning", "message"), [("adapter", "adapter"), ("p-tuning-v2", "prefix_table"), ("prompt-tuning", "soft tokens")]
)
def test_what_no_weight_can_hold_is_not_exported(base, tmp_path, tuning, message):
    classifier = prompt_classifier(base, tuning=tuning).fit(TEXTS, LABELS)

    with pytest.raises(TuningError, match=message):
        classifier.export_model(tmp_path / "exported")
    assert not (tmp_path / "exported").exists()


def test_a_head_that_was_never_trained_is_not_exported(tiny_backbone, tmp_path):
    from promptlab import load_backbone

    backbone = tiny_backbone("bert")
    backbone.model.bert.save_pretrained(tmp_path / "base")
    backbone.tokenizer.save_pretrained(tmp_path / "base")
    classifier = HeadClassifier(str(tmp_path / "base"), max_steps=1, device="cpu").fit(TEXTS, LABELS)

    classifier.export_model(tmp_path / "out")

    assert not load_backbone(tmp_path / "out").has_lm_head


@pytest.fixture
def project(saved_model, tmp_path, monkeypatch):
    """A directory with a base model, in which a classifier was trained on it by its relative path."""
    saved_model("bert")
    (tmp_path / "project" / "models").mkdir(parents=True)
    (tmp_path / "base").rename(tmp_path / "project" / "models" / "x")
    monkeypatch.chdir(tmp_path / "project")
    classifier = PromptClassifier("{{ text_a }} {{ mask }}", WORDS, "models/x", tuning="none", device="cpu")
    classifier.save_pretrained("out/classifier")
    return tmp_path / "project", classifier.predict_proba(TEXTS)


def test_a_base_model_given_by_a_relative_path_is_found_from_anywhere(project, tmp_path, monkeypatch):
    folder, expected = project
    assert PromptClassifier.from_pretrained("out/classifier").model == "models/x"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    loaded = PromptClassifier.from_pretrained(folder / "out" / "classifier")

    assert abs(loaded.predict_proba(TEXTS) - expected).max() < 1e-6
    assert loaded.fit(TEXTS, LABELS).model == str(folder / "models" / "x")


def test_it_is_found_when_it_moved_together_with_the_classifier_or_was_saved_by_0_1(project, tmp_path, monkeypatch):
    folder, expected = project
    monkeypatch.chdir(tmp_path)
    folder.rename(tmp_path / "moved")
    place = tmp_path / "moved" / "out" / "classifier"
    moved = PromptClassifier.from_pretrained(place).predict_proba(TEXTS)
    settings = json.loads((place / "promptlab.json").read_text())
    del settings["model"]["folder"]
    (place / "promptlab.json").write_text(json.dumps(settings))

    old = PromptClassifier.from_pretrained(place).predict_proba(TEXTS)

    assert abs(moved - expected).max() < 1e-6
    assert abs(old - expected).max() < 1e-6


def test_a_base_model_that_is_nowhere_is_told_with_where_it_was(project, tmp_path, monkeypatch):
    folder, expected = project
    monkeypatch.chdir(tmp_path)
    (folder / "models" / "x").rename(tmp_path / "new-place")

    with pytest.raises(SavedModelError, match=r"was the folder '.*/project/models/x', which isn't there; .*--model"):
        PromptClassifier.from_pretrained(folder / "out" / "classifier")

    loaded = PromptClassifier.from_pretrained(folder / "out" / "classifier", model="new-place")
    assert loaded.model == "new-place"
    assert abs(loaded.predict_proba(TEXTS) - expected).max() < 1e-6


def test_another_folder_of_that_name_is_not_taken_for_the_base_model(project, tmp_path, monkeypatch, tiny_backbone):
    folder, expected = project
    other = tiny_backbone("bert")
    other.model.bert.embeddings.word_embeddings.weight.data += 1
    other.model.save_pretrained(tmp_path / "elsewhere" / "models" / "x")
    other.tokenizer.save_pretrained(tmp_path / "elsewhere" / "models" / "x")
    monkeypatch.chdir(tmp_path / "elsewhere")

    loaded = PromptClassifier.from_pretrained(folder / "out" / "classifier")

    assert abs(loaded.predict_proba(TEXTS) - expected).max() < 1e-6


@pytest.mark.parametrize("tuning", ["full", "lora", "p-tuning-v2", "none"])
def test_a_classifier_saved_before_fit_answers_as_the_untrained_model_when_loaded(base, tmp_path, tuning):
    classifier = prompt_classifier(base, tuning=tuning)
    expected = classifier.predict_proba(TEXTS)

    classifier.save_pretrained(tmp_path / "out")
    loaded = PromptClassifier.from_pretrained(tmp_path / "out", device="cpu")
    loaded.save_pretrained(tmp_path / "again")

    assert np.array_equal(loaded.predict_proba(TEXTS), expected)
    assert loaded.trainable_parameters() == 0
    again = PromptClassifier.from_pretrained(tmp_path / "again", device="cpu")
    assert np.array_equal(again.predict_proba(TEXTS), expected)
    if tuning != "none":
        again.fit(TEXTS, LABELS).save_pretrained(tmp_path / "fitted")
        fitted = PromptClassifier.from_pretrained(tmp_path / "fitted", device="cpu")
        assert fitted.trainable_parameters() > 0
        assert np.array_equal(fitted.predict_proba(TEXTS), again.predict_proba(TEXTS))


def test_a_classifier_saved_before_fit_can_share_a_pass_when_loaded(base, tmp_path):
    classifier = prompt_classifier(base)
    classifier.save_pretrained(tmp_path / "out")
    backbone = load_backbone(base)

    loaded = PromptClassifier.from_pretrained(tmp_path / "out", model=backbone, device="cpu")
    joint = JointClassifier({"one": loaded}, backbone)

    together = np.array(joint.predict_proba(TEXTS, ["one"] * len(TEXTS)))
    assert np.allclose(together, classifier.predict_proba(TEXTS), atol=1e-6)


def test_exporting_before_fit_writes_the_model_as_it_was(base, tmp_path):
    classifier = prompt_classifier(base, tuning="lora")

    classifier.export_model(tmp_path / "out")

    exported = prompt_classifier(str(tmp_path / "out"))
    assert np.array_equal(exported.predict_proba(TEXTS), classifier.predict_proba(TEXTS))
