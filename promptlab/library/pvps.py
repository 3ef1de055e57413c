"""Pattern-verbalizer pairs as plain data, and the YAML file that keeps several."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from promptlab.core.docstrings import list_settings
from promptlab.core.errors import DataError, UnknownNameError, short_repr
from promptlab.core.files import atomic_file, read_text
from promptlab.core.inputs import TemplateLike, VerbalizerLike
from promptlab.core.plain_text import read_yaml

if TYPE_CHECKING:
    import yaml

BREAKS = frozenset("\u0085\u2028\u2029")


@dataclass(frozen=True)
@list_settings
class PVP:
    """Pair a template with a verbalizer.

    Source: PET, arXiv:2001.07676, section 3.1.

    Args:
        template: Jinja source, a name of the task library, or a ``Template``.
        verbalizer: class → label words, a name of the task library, or a ``Verbalizer``.
        name: name of the pair in tables and files.
        origin: where the pair comes from: search engine, seed, model, scores.

    Example:
        >>> from promptlab import PVP, PromptClassifier
        >>> pair = PVP("{{ text_a }} It was {{ mask }}.", {"negative": ["bad", "dull"], "positive": "good"}, name="was")
        >>> PromptClassifier(pair.template, pair.verbalizer, "minilm").predict(["a dull film", "great fun"])
        array(['negative', 'positive'], dtype='<U8')
    """

    template: TemplateLike
    verbalizer: VerbalizerLike
    name: str = ""
    origin: Mapping[str, object] = field(default_factory=dict)


def write_pvps(path: str | Path, pvps: Sequence[PVP]) -> None:
    """Write pairs whose parts are text, names or mappings as YAML.

    Args:
        path: file to write; one that is there is replaced.
        pvps: pairs to write.

    Raises:
        DataError: if a part is none of these, or the file can't be written.

    Example:
        >>> from promptlab import PVP, write_pvps
        >>> pair = PVP("{{ text_a }} It was {{ mask }}.", {"negative": "bad", "positive": "good"}, name="was")
        >>> write_pvps("pairs.yaml", [pair])
        >>> print(open("pairs.yaml").read())
        pvps:
        - name: was
          template: '{{ text_a }} It was {{ mask }}.'
          verbalizer:
            negative: bad
            positive: good
          origin: {}
        <BLANKLINE>
    """
    import yaml

    for pvp in pvps:
        if not isinstance(pvp.template, str) or not isinstance(pvp.verbalizer, (str, Mapping)):
            raise DataError(f"pair {pvp.name!r} holds objects; a file keeps Jinja source or names, and label words.")
    rows = [
        {
            "name": p.name,
            "template": p.template,
            "verbalizer": _yaml_value(p.verbalizer),
            "origin": _yaml_value(p.origin),
        }
        for p in pvps
    ]
    with atomic_file(path) as file:
        text = yaml.dump({"pvps": rows}, Dumper=_dumper(), allow_unicode=True, sort_keys=False, width=120)
        file.write_text(text, encoding="utf-8")


def read_pvps(path: str | Path) -> list[PVP]:
    """Read the pairs that ``write_pvps`` wrote, or a person in the same form.

    Args:
        path: YAML with a list ``pvps`` of template and verbalizer; ``name`` and ``origin`` may be left out.

    Raises:
        DataError: if the file can't be read, or isn't of that form.

    Example:
        >>> from promptlab import PVP, read_pvps, write_pvps
        >>> write_pvps("pairs.yaml", [PVP("sst2/it-was", "sst2"), PVP("sst2/just", "sst2", name="just")])
        >>> [(pair.name, pair.template) for pair in read_pvps("pairs.yaml")]
        [('1', 'sst2/it-was'), ('just', 'sst2/just')]
    """
    content = read_yaml(read_text(path), f"file {str(path)!r}", DataError, "write YAML with a list 'pvps'")
    rows = content.get("pvps") if isinstance(content, Mapping) else None
    if not isinstance(rows, list) or not rows:
        raise DataError(f"file {str(path)!r} holds no list 'pvps'; write one of entries with template and verbalizer.")
    return [_parsed_pvp(row, number, path) for number, row in enumerate(rows, start=1)]


def find_pvp(reference: str) -> PVP:
    """A pair of a file: ``best.yaml`` is its first, ``best.yaml#name`` the one of that name.

    Raises:
        DataError: if the file can't be read.
        UnknownNameError: if it has no pair of that name.
    """
    path, mark, name = (reference, "", "") if os.path.isfile(reference) else reference.rpartition("#")
    pvps = read_pvps(path if mark else reference)
    named = [pvp for pvp in pvps if pvp.name == name] if mark else pvps
    if not named:
        raise UnknownNameError(f"pair of {path!r}", name, [pvp.name for pvp in pvps])
    return named[0]


def _parsed_pvp(row: object, number: int, path: str | Path) -> PVP:
    if not isinstance(row, Mapping) or not {"template", "verbalizer"} <= set(row):
        raise DataError(f"entry {number} of {str(path)!r} is {short_repr(row)}; give it a template and a verbalizer.")
    unknown = [key for key in row if key not in ("name", "template", "verbalizer", "origin")]
    if unknown:
        raise DataError(
            f"entry {number} of {str(path)!r} has {short_repr(unknown[0])}; known: name, origin, template, verbalizer."
        )
    origin = row.get("origin") or {}
    if not isinstance(origin, Mapping):
        raise DataError(
            f"entry {number} of {str(path)!r} has origin {short_repr(origin)}; give names and values, such as seed: 13."
        )
    return PVP(row["template"], row["verbalizer"], str(row.get("name") or number), _yaml_mapping(origin))


def _dumper() -> type[yaml.SafeDumper]:
    """A YAML writer that escapes the line breaks of Unicode, which would come back as ordinary ones."""
    import yaml

    class Dumper(yaml.SafeDumper):
        pass

    def written(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        style = '"' if BREAKS.intersection(text) else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    Dumper.add_representer(str, written)
    return Dumper


def _yaml_mapping(values: Mapping[str, object]) -> dict[str, object]:
    return {str(key): _yaml_value(one) for key, one in values.items()}


def _yaml_value(value: object) -> object:
    """Mappings and sequences as YAML's own."""
    if isinstance(value, Mapping):
        return _yaml_mapping(value)
    return [_yaml_value(one) for one in value] if isinstance(value, (list, tuple)) else value
