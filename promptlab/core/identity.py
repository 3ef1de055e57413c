"""Everything that a result depends on, as a hash: equal for equal things, whenever and wherever it is computed.

Training runs, jobs and searches keep what is finished under such hashes, so that a result is taken up by what it
belongs to and by nothing else.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from enum import Enum
from typing import TYPE_CHECKING, Required, TypeAlias, TypedDict

import numpy as np
import torch
from torch import Tensor, nn

from promptlab.core.interfaces import Backbone
from promptlab.core.plugins import package_of
from promptlab.core.types import Example

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

Hashed: TypeAlias = "bytes | memoryview"
ELSEWHERE = ("_name_or_path", "transformers_version")  # settings of a model that say where it comes from
UNREAD = {  # settings that change nothing of what promptlab reads
    "architectures", "dtype", "torch_dtype", "id2label", "label2id", "num_labels", "problem_type", "return_dict",
    "output_attentions", "output_hidden_states", "use_cache",
}  # fmt: skip
LIBRARIES = ("torch", "transformers", "peft")  # the numbers in their modules count, the rest tells where they came from


class BaseDescription(TypedDict, total=False):
    """What is saved beside weights that were trained on a backbone, so that another one is noticed."""

    name: str
    revision: Required[str]
    config: dict[str, object]  # version 0.1 wrote neither this
    tokenizer: str  # nor this


def digest(*values: object) -> str:
    """The hash of values of any kind: plain ones, tensors, arrays, containers, dataclasses, modules, functions.

    A module counts by its class, its settings, its weights and which of them are trained; a dataclass by its class and
    its fields; a function by its name, since nobody can tell what is in it.
    """
    return _Digest().of(values).hex()[:32]


def examples_digest(examples: Iterable[Example]) -> str:
    """A hash of examples and their labels; values that JSON doesn't know count as the text that they print as."""
    rows = [[dict(example.fields), example.label, example.labels] for example in examples]
    return hashlib.sha256(json.dumps(rows, default=str, sort_keys=True).encode()).hexdigest()


def fingerprint(backbone: Backbone) -> str:
    """The hash of a backbone: its weights, but for those of a head that is random, its configuration, its tokenizer.

    A revision says where these come from, not that nobody has changed them since.
    """
    network = backbone.model if backbone.has_lm_head else backbone.model.base_model
    return digest(config_settings(network.config), tokenizer_rules(backbone.tokenizer), network.state_dict())


def config_settings(config: PreTrainedConfig) -> dict[str, object]:
    """The settings of a model of the transformers library as plain JSON, but for those that say where it comes from."""
    plain: dict[str, object] = json.loads(json.dumps(config.to_dict(), default=str))
    return {name: value for name, value in plain.items() if name not in ELSEWHERE}


def tokenizer_rules(tokenizer: PreTrainedTokenizerBase) -> str:
    """What decides which ids a text has, as JSON; how the last call cut and padded doesn't.

    What is absent counts like what is off, so that a newer version of the tokenizers library says the same.
    """
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    rules |= {"truncation": None, "padding": None, "version": None, "max_length": tokenizer.model_max_length}
    merges = rules["model"].get("merges")
    if merges:
        rules["model"]["merges"] = [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    return json.dumps(_present(rules | {"special": special}), sort_keys=True)


def described_base(backbone: Backbone) -> BaseDescription:
    """What is saved beside weights that were trained on a backbone."""
    config = config_settings(backbone.model.config)
    return {
        "name": backbone.name,
        "revision": backbone.revision,
        "config": {name: value for name, value in config.items() if name not in UNREAD},
        "tokenizer": digest(tokenizer_rules(backbone.tokenizer)),
    }


def base_difference(saved: BaseDescription, backbone: Backbone) -> str:
    """How a backbone differs from the one of which ``described_base`` said this; empty if it doesn't.

    Settings that only one of both has don't count: versions of the transformers library differ in them.

    Args:
        saved: with the revision at least, as version 0.1 wrote it, which hashed less.
    """
    here, revision = described_base(backbone), saved["revision"]
    former = backbone.revision.partition("+")[0]
    if revision != backbone.revision and ("tokenizer" in saved or revision != former):
        return f"revision {revision or 'unknown'}, but {backbone.name} is revision {backbone.revision or 'unknown'}"
    for name, value in saved.get("config", {}).items():
        if here["config"].get(name, value) != value:
            return f"with {name}={value!r}, but {backbone.name} has {here['config'][name]!r}"
    if saved.get("tokenizer", here["tokenizer"]) != here["tokenizer"]:
        return f"with another tokenizer than {backbone.name} has"
    return ""


def _present(value: object) -> object:
    """JSON without what is None or False."""
    if isinstance(value, dict):
        return {name: _present(part) for name, part in value.items() if part is not None and part is not False}
    return [_present(part) for part in value] if isinstance(value, list) else value


class _Digest:
    """Hashes of values, each from those of its parts; what occurs more than once is read once."""

    def __init__(self) -> None:
        self.modules: dict[int, int] = {}  # id → number of those that were met
        self.weights: dict[tuple[object, ...], bytes] = {}  # place in memory → hash

    def of(self, value: object) -> bytes:
        name, parts = self._taken_apart(value)
        found = hashlib.sha256(f"{len(name)} {name}".encode())
        for part in parts:
            found.update(part)
        return found.digest()

    def _taken_apart(self, value: object) -> tuple[str, Iterable[Hashed]]:
        """What kind of value it is, and the hashes of its parts."""
        if isinstance(value, np.generic):
            return self._taken_apart(value.item())
        if isinstance(value, Enum):
            return f"{_location(type(value))}.{value.name}", ()
        if value is None or isinstance(value, (bool, int, float, str, bytes)):
            return f"{type(value).__name__} {value!s}", ()
        if (found := self._contents(value)) is not None:
            return found
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            return _location(type(value)), [self.of(fields)]
        if callable(value):
            return _location(value), ()
        own = type(value).__repr__ is not object.__repr__
        return f"{_location(type(value))} {_without_addresses(value) if own else ''}", ()

    def _contents(self, value: object) -> tuple[str, Iterable[Hashed]] | None:
        """The same of what holds others or numbers, None for other values."""
        match value:
            case Tensor():
                return _bytes_of(value)
            case np.ndarray():
                return self._array(value)
            case nn.Module():
                return self._module(value)
            case Mapping():
                return "mapping", [self.of(part) for pair in value.items() for part in pair]
            case Set():
                return "set", sorted(map(self.of, value))
            case Sequence() | Iterator():
                return _location(type(value)) if hasattr(value, "_fields") else "sequence", map(self.of, value)
            case os.PathLike():
                return f"path {os.fspath(value)}", ()
            case functools.partial():
                return "partial", map(self.of, (value.func, value.args, value.keywords))
        return None

    def _array(self, value: np.ndarray) -> tuple[str, Iterable[Hashed]]:
        if value.dtype.hasobject:
            return f"array {value.shape}", map(self.of, value.ravel().tolist())
        return f"array {value.dtype} {value.shape}", [np.ascontiguousarray(value).reshape(-1).view(np.uint8).data]

    def _module(self, root: nn.Module) -> tuple[str, Iterable[bytes]]:
        if id(root) in self.modules:
            return f"module {self.modules[id(root)]} again", ()
        self.modules[id(root)] = len(self.modules)
        return "module", self._modules(root)

    def _modules(self, root: nn.Module) -> Iterator[bytes]:
        for name, module in root.named_modules():
            yield self.of([name, _location(type(module)), _settings(module)])
            for kind in (module.named_parameters, module.named_buffers):
                for own, weight in kind(recurse=False, remove_duplicate=False):
                    yield self.of([own, weight.requires_grad]) + self._weight(weight)

    def _weight(self, weight: Tensor) -> bytes:
        """The hash of a weight, which copies of a model share."""
        place = weight.data_ptr(), weight.device, weight.dtype, weight.shape, weight.stride()
        if place not in self.weights:
            self.weights[place] = self.of(weight)
        return self.weights[place]


def _settings(module: nn.Module) -> dict[str, object]:
    """What a module is set to, beside weights and modules; a name with an underscore isn't a setting."""
    given = {name: value for name, value in vars(module).items() if not name.startswith("_") and name != "training"}
    if isinstance(module, Backbone):
        return {name: value for name, value in given.items() if _is_numbers(value)} | {
            "config": config_settings(module.model.config)
        }
    if type(module).__module__.partition(".")[0] in LIBRARIES:
        return {name: value for name, value in given.items() if _is_numbers(value)}
    return given


def _is_numbers(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_numbers, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_is_numbers, value))
    return isinstance(value, (bool, int, float))


def _bytes_of(tensor: Tensor) -> tuple[str, Iterable[Hashed]]:
    plain = tensor.detach().cpu().reshape(-1).contiguous()
    return f"tensor {tensor.dtype} {tuple(tensor.shape)}", [plain.view(torch.uint8).numpy().data]


def _location(part: object) -> str:
    """Where something is, and of which package, if one brings parts: another version may do something else."""
    module = str(getattr(part, "__module__", ""))
    return f"{module}:{getattr(part, '__qualname__', type(part).__name__)}{package_of(module)}"


def _without_addresses(value: object) -> str:
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))
