"""YAML and JSON that people write, read with bounds: how long, how deep, and no key twice.

Both formats can say little and mean much: aliases that stand for one another, brackets a thousand deep, keys that hide
one another, words that YAML takes for something else. All of it is one error of the caller's kind.
"""

from __future__ import annotations

from promptlab.core.errors import PromptlabError
from promptlab.core.json_loader import load as load_json


def read_yaml(text: str, what: str, error: type[PromptlabError], remedy: str) -> object:
    """Return what a YAML text says.

    Args:
        text: of a file.
        what: that file, as the beginning of a message.
        error: the class of the message.
        remedy: its end, such as ``write YAML with a list 'pvps'``.

    Raises:
        PromptlabError: of the class ``error``, naming the line.
    """
    from promptlab.core.yaml_loader import load as load_yaml  # slow to import, so only where it is used

    try:
        return load_yaml(text)
    except ValueError as cause:
        raise error(f"{what} can't be read: {cause}; {remedy}.") from None


def read_json(text: str, what: str, error: type[PromptlabError], remedy: str) -> object:
    """Return what a JSON text says; the arguments are those of ``read_yaml``.

    Raises:
        PromptlabError: of the class ``error``.
    """
    try:
        return load_json(text)
    except ValueError as cause:
        raise error(f"{what} isn't valid JSON ({cause}); {remedy}.") from None
