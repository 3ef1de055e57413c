"""From a name to a loaded backbone: installed model packages, hub ids and local folders."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path

import torch
import transformers

from promptlab.backbones.download import DOWNLOADS, downloaded
from promptlab.backbones.tokenization import only_in_python
from promptlab.backbones.well_known import WELL_KNOWN
from promptlab.core.errors import BackboneError, PromptlabError, UnknownNameError, short_repr
from promptlab.core.files import check_path, sha256
from promptlab.core.interfaces import Backbone
from promptlab.core.registry import BACKBONES, MODELS

DEFAULT = "minilm"
PICKLED = ("pytorch_model*.bin", "pytorch_model*.bin.index.json", "adapter_model.bin")  # only read, by transformers


def is_own_name(name: str) -> bool:
    """Whether a name is that of a package or of a model to download, and no folder or hub id."""
    return name in MODELS.names or name in DOWNLOADS


def default_model() -> str:
    """The model used where none is named.

    Raises:
        BackboneError: if no such package is installed.
    """
    if DEFAULT not in MODELS.names:
        raise BackboneError(
            f"no model was named and the package promptlab-{DEFAULT} isn't installed; install it, or pass model= "
            "(--model) with a hub id or a folder."
        )
    return DEFAULT


def locate(name: str) -> str:
    """The folder or hub id behind a name.

    Raises:
        BackboneError: if it is a model to download first, or looks like a folder that isn't there or holds no model.
        UnknownNameError: if it is neither a package, a folder, a hub id nor a well-known name.
    """
    if name in MODELS.names:
        return str(MODELS.get(name)())
    if name in DOWNLOADS:
        folder = downloaded(name)
        if folder is None:
            raise BackboneError(f"model {name!r} isn't here yet; fetch it with: promptlab download {name}")
        return str(folder)
    path = check_path(name, BackboneError).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise BackboneError(f"folder {name!r} holds no config.json; give a folder saved by save_pretrained.")
        return str(path)
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise BackboneError(f"model folder {name!r} doesn't exist; check the path.")
    if name in WELL_KNOWN:
        return name if _is_cached(name) else WELL_KNOWN[name]
    if "/" not in name:
        example = WELL_KNOWN[next(iter(difflib.get_close_matches(name, WELL_KNOWN, n=1)), "bert-base-uncased")]
        known = [*MODELS.names, *DOWNLOADS]
        raise UnknownNameError("model", name, known, more=f"A hub id has a slash, such as {example}.")
    return name


def _is_cached(hub_id: str) -> bool:
    """Whether a model was fetched under this id before."""
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(hub_id, "config.json"), str)


def load_backbone(
    model: str | Path | Backbone | None = None, *, revision: str | None = None, trust_remote_code: bool = False
) -> Backbone:
    """Load a language model, so that several classifiers can share its memory.

    Args:
        model: a package's name, a hub id such as ``FacebookAI/roberta-base`` (or just ``roberta-base``), a folder, a
            loaded backbone (returned as it is), or None for ``minilm``.
        revision: a hub branch, tag or commit; None for the newest.
        trust_remote_code: let a model repository run code of its own; never set by promptlab itself.

    Raises:
        BackboneError: if the model can't be found or read, or its family isn't supported.

    Example:
        >>> from promptlab import PromptClassifier, load_backbone
        >>> backbone = load_backbone("minilm")
        >>> two = [PromptClassifier(name, "sst2", backbone) for name in ("sst2/it-was", "sst2/just")]
        >>> backbone.hidden_size, backbone.max_length, backbone.vocabulary
        (384, 512, 30522)
    """
    from transformers import AutoConfig

    if isinstance(model, Backbone):
        return model
    if model is not None and not isinstance(model, (str, Path)):
        raise BackboneError(f"model is {short_repr(model)}; pass a name, a hub id, a folder or a loaded backbone.")
    name = default_model() if model is None else str(model)
    place = locate(name)
    options: dict[str, str | bool] = {"revision": revision or "main", "trust_remote_code": trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(place, **options)
        check_family(config.model_type)
        _check_tokenizer(place)
        backbone_class = BACKBONES.get(config.model_type)
        backbone_class.prepare(config, place)
        tokenizer = _read_tokenizer(name, place, options)
        network, loading = getattr(transformers, backbone_class.auto_class).from_pretrained(
            place, config=config, dtype=torch.float32, output_loading_info=True, **options
        )
    except PromptlabError:
        raise
    except Exception as error:  # whatever files that are damaged make of transformers, tokenizers and safetensors
        is_folder = Path(place).is_dir()
        where = "" if is_folder else ", which is no folder here, is a hub id that"
        remedy = "" if is_folder else " Check the name and the connection, or give a folder."
        raise BackboneError(f"model {name!r}{where} can't be loaded: {_first_line(error)}{remedy}") from error
    found = getattr(config, "_commit_hash", None) or _fingerprint(Path(place))
    inside = f"{network.base_model_prefix}."
    has_head = all(key.startswith(inside) for key in loading["missing_keys"])
    backbone = backbone_class(network.eval(), tokenizer, name=name, revision=found, has_lm_head=has_head)
    if Path(place).is_dir() and not is_own_name(name):
        backbone.folder = str(Path(place).resolve())
    return backbone


def check_family(model_type: str) -> None:
    """Refuse families that no backbone runs.

    Raises:
        BackboneError: if the registry doesn't know ``model_type``.
    """
    if model_type not in BACKBONES.names:
        raise BackboneError(
            f"models of the family {model_type!r} aren't supported; choose one of {', '.join(BACKBONES.names)}."
        )


def _check_tokenizer(place: str) -> None:
    """Refuse a folder without a tokenizer, for which transformers would make an empty one."""
    folder = Path(place)
    if folder.is_dir() and not any(any(folder.glob(name)) for name in ("tokenizer.json", "vocab.*", "*.model")):
        raise BackboneError(f"folder {place!r} holds no tokenizer.json; save the tokenizer beside the model.")


def _read_tokenizer(name: str, place: str, options: Mapping[str, str | bool]) -> transformers.PreTrainedTokenizerBase:
    """The tokenizer of a model; one that exists in Python only isn't even made, since it asks for more packages.

    Raises:
        BackboneError: if there is no fast version of it.
    """
    from transformers import AutoTokenizer
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    said = get_tokenizer_config(place, **options).get("tokenizer_class")
    known = getattr(transformers, str(said), None)
    if known is not None and not issubclass(known, transformers.PreTrainedTokenizerFast):
        raise only_in_python(name, str(said))
    return AutoTokenizer.from_pretrained(place, **options)


def _fingerprint(folder: Path) -> str:
    """A hash of the weights, so that a saved model notices another base; empty if there are none in the folder.

    Behind ``+`` stands what version 0.1 left out: which file of several holds a weight, and weights that were pickled.
    """
    known = sorted(folder.glob("*.safetensors"))
    more = sorted(folder.glob("*.safetensors.index.json"))
    if not any(path.name.startswith("model") for path in known):  # else transformers takes those
        more += sorted(path for name in PICKLED for path in folder.glob(name))
    parts = ("-".join(sha256(path)[:16] for path in paths) for paths in (known, more))
    return "+".join(parts) if more else next(parts)


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
