"""Continue masked-language-model training on plain text, masking content words more often than function words.

    train_mlm.py --init FOLDER --corpus FOLDER_OF_TXT --out FOLDER --minutes 75

One pass over a shuffled mix (at most ``--cap`` of the rows from the largest file): linear warm-up, constant rate,
linear decay over the last ``--decay`` of the time. Saves fp32 weights every eight minutes and fp16 weights at the end.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AutoTokenizer, BertForMaskedLM

WARM_UP = 150  # steps
SAVE_EVERY = 480  # seconds
HELD_OUT = 400  # rows


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--init", required=True)
    parser.add_argument("--corpus", required=True, type=Path)
    parser.add_argument("--out", required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--decay", type=float, default=0.5)
    parser.add_argument("--seq", type=int, default=96)
    parser.add_argument("--cap", type=float, default=0.58)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def blocks(path: Path, tokenizer, length: int) -> np.ndarray:
    """Lines of a text file, shuffled, joined by [SEP] and cut into rows of ``length`` tokens."""
    raw = tokenizer.backend_tokenizer
    with path.open(encoding="utf8") as file:
        lines = [line.strip() for line in file if len(line) > 20]
    random.Random(0).shuffle(lines)
    ids: list[int] = []
    for start in range(0, len(lines), 2000):
        for encoding in raw.encode_batch(lines[start : start + 2000], add_special_tokens=False):
            ids.extend([*encoding.ids, tokenizer.sep_token_id])
    rows = len(ids) // length
    return np.array(ids[: rows * length], np.uint16).reshape(rows, length)


def mix(corpus: Path, tokenizer, length: int, cap: float) -> np.ndarray:
    """Rows of all files in random order, the largest file cut to ``cap`` of the whole."""
    rng = np.random.default_rng(0)
    parts = {path.stem: blocks(path, tokenizer, length) for path in sorted(corpus.glob("*.txt"))}
    largest = max(parts, key=lambda name: len(parts[name]))
    rest = sum(len(rows) for name, rows in parts.items() if name != largest)
    keep = int(rest * cap / (1 - cap))
    parts[largest] = parts[largest][rng.permutation(len(parts[largest]))[:keep]]
    rows = np.concatenate(list(parts.values()))
    return rows[rng.permutation(len(rows))]


def masking_rates(rows: np.ndarray, tokenizer) -> torch.Tensor:
    """Chance of each piece to be masked: function words rarely, content words often."""
    count = np.bincount(rows.reshape(-1), minlength=len(tokenizer))
    rank = np.empty(len(tokenizer), np.int64)
    rank[np.argsort(-count)] = np.arange(len(tokenizer))
    rates = torch.from_numpy(np.where(rank < 100, 0.10, np.where(rank < 300, 0.22, 0.36)).astype(np.float32))
    rates[[tokenizer.cls_token_id, tokenizer.sep_token_id]] = 0
    return rates


def framed(rows: np.ndarray, tokenizer) -> torch.Tensor:
    """Rows between [CLS] and [SEP]."""
    out = np.full((len(rows), rows.shape[1] + 2), tokenizer.sep_token_id, np.int64)
    out[:, 0], out[:, 1:-1] = tokenizer.cls_token_id, rows
    return torch.from_numpy(out)


def corrupt(ids: torch.Tensor, rates: torch.Tensor, generator: torch.Generator, tokenizer):
    """Inputs with 90 % of the chosen tokens masked, 5 % random, 5 % kept; and where the chosen ones are."""
    chosen = torch.rand(ids.shape, generator=generator) < rates
    kind = torch.rand(ids.shape, generator=generator)
    inputs = ids.clone()
    inputs[chosen & (kind < 0.9)] = tokenizer.mask_token_id
    swapped = chosen & (kind >= 0.95)
    inputs[swapped] = torch.randint(1000, len(tokenizer), ids.shape, generator=generator)[swapped]
    return inputs, chosen


@torch.no_grad()
def evaluate(model, held_out: np.ndarray, rates: torch.Tensor, tokenizer) -> str:
    """Cross-entropy and accuracy on the held-out rows at 15 % masking."""
    generator = torch.Generator().manual_seed(1)
    loss = right = total = 0.0
    for start in range(0, len(held_out), 50):
        ids = framed(held_out[start : start + 50], tokenizer)
        inputs, chosen = corrupt(ids, (rates[ids] > 0) * 0.15, generator, tokenizer)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model.cls(model.bert(input_ids=inputs).last_hidden_state[chosen]).float()
        loss += F.cross_entropy(logits, ids[chosen], reduction="sum").item()
        right += (logits.argmax(-1) == ids[chosen]).sum().item()
        total += len(logits)
    return f"loss {loss / total:.4f} accuracy {right / total:.4f}"


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(options.init)
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    rows = mix(options.corpus, tokenizer, options.seq - 2, options.cap)
    held_out, rows = rows[:HELD_OUT], rows[HELD_OUT:]
    rates = masking_rates(rows, tokenizer)

    model = BertForMaskedLM.from_pretrained(options.init, dtype=torch.float32, attn_implementation="sdpa")
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    matrices = [weight for weight in model.parameters() if weight.ndim > 1]
    vectors = [weight for weight in model.parameters() if weight.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=options.lr, betas=(0.9, 0.98), eps=1e-6, fused=True)
    body = torch.compile(model.bert)

    print("start", evaluate(model, held_out, rates, tokenizer), flush=True)
    generator = torch.Generator().manual_seed(7)
    start, limit, next_save, step = time.time(), options.minutes * 60, SAVE_EVERY, 0
    while (elapsed := time.time() - start) < limit:
        rate = options.lr * min(1, (step + 1) / WARM_UP) * min(1.0, (1 - elapsed / limit) / options.decay)
        for group in optimizer.param_groups:
            group["lr"] = rate
        first = (step * options.batch) % (len(rows) - options.batch)
        ids = framed(rows[first : first + options.batch], tokenizer)
        inputs, chosen = corrupt(ids, rates[ids], generator, tokenizer)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model.cls(body(input_ids=inputs).last_hidden_state[chosen])
        F.cross_entropy(logits.float(), ids[chosen]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        if time.time() - start > next_save:
            print(step, evaluate(model, held_out, rates, tokenizer), flush=True)
            model.save_pretrained(options.out + "-fp32")
            tokenizer.save_pretrained(options.out + "-fp32")
            next_save = time.time() - start + SAVE_EVERY
    print("end", step, evaluate(model, held_out, rates, tokenizer), flush=True)
    model.to(torch.float16).save_pretrained(options.out)
    tokenizer.save_pretrained(options.out)


if __name__ == "__main__":
    main()
