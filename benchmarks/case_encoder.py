"""A small BERT-style encoder that tells the mood of sentences, from float to four bits: train, quantize, fine-tune, evaluate.

    OMP_NUM_THREADS=1 python -m benchmarks.case_encoder [--runs 3] [--json J] [--report R]

The sentences are made here, of 27 words: clauses about a film that praise, blame or just describe, negated or not, joined by
"but" (what follows counts) or "although" (the other clause counts). Counting words does not solve it: the report
names what logistic regression on word counts reaches. Training and test sentences are distinct.
``--runs`` is the number of seeds, which draw the weights and the order of the data.
"""

import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

import fxsim
from benchmarks.case_networks import encoder
from benchmarks.machine import machine, options, publish, table
from fxsim import train
from fxsim.files import atomic_write
from fxsim.model.graph import Graph
from fxsim.quant import quantize

SUBJECTS = "film plot cast score story hero".split()
MOODS = ("dull poor weak slow", "long short recent silent", "great lovely clever warm")
NOT, VERY = "not never".split(), "very rather".split()
WORDS = ["", "the", "is", "but", "although", *SUBJECTS, *" ".join(MOODS).split(), *NOT, *VERY]
TOKENS, TRAINING, TESTING, CALIBRATION = 16, 8000, 1000, 128
FLOAT = {"epochs": 8, "rate": 3e-3, "weight_decay": 1e-1}
REPAIR = {"epochs": 2, "rate": 5e-4}
ROWS = {
    "int8": ("int8", "litert-reference"),
    "int4": ("int4", "litert-reference"),
    "int4, activations too": ("w4a4", "generic"),
}
"""row -> scheme, numerics"""


def clause(rng: np.random.Generator) -> tuple[list[str], int]:
    """Words and their mood: -1, 0 or 1."""
    mood = int(rng.integers(-1, 2))
    words = ["the", str(rng.choice(SUBJECTS)), "is"]
    negated = rng.random() < 0.4
    words += [str(rng.choice(NOT))] if negated else []
    words += [str(rng.choice(VERY))] if rng.random() < 0.4 else []
    return [*words, str(rng.choice(MOODS[mood + 1].split()))], -mood if negated else mood


def sentence(rng: np.random.Generator) -> tuple[list[str], int]:
    """One or two clauses, and the mood of the one that counts."""
    (a, first), (b, second) = clause(rng), clause(rng)
    match int(rng.integers(4)):
        case 0:
            return a, first
        case 1:
            return [*a, "but", *b], second
        case 2:
            return ["although", *a, *b], second
    return [*a, "although", *b], first


def sentences(count: int, seed: int = 0) -> tuple[Any, Any]:
    """Distinct sentences as word numbers ``(count, TOKENS)``, 0 where there is no word, and labels 0, 1, 2."""
    rng = np.random.default_rng(seed)
    found: dict[tuple[int, ...], int] = {}
    while len(found) < count:
        words, mood = sentence(rng)
        ids = [WORDS.index(w) for w in words]
        found[*ids, *[0] * (TOKENS - len(ids))] = mood + 1
    return np.array(list(found), np.int32), np.array(list(found.values()))


def accuracy(graph: Graph, x: Any, y: Any, numerics: str) -> float:
    """Share of the sentences that are told right."""
    (scores,) = fxsim.simulate(graph, x[:, None], numerics).outputs.values()
    return float(np.mean(scores.reshape(len(y), -1).argmax(1) == y))


def study(seed: int, x: Any, y: Any) -> dict[str, tuple[float, int]]:
    """Row -> accuracy on the test sentences, bytes of constants."""
    found = {}

    def note(name: str, graph: Graph, numerics: str) -> None:
        size = sum(t.nbytes for t in graph.tensors if t.constant)
        found[name] = accuracy(graph, x[TRAINING:], y[TRAINING:], numerics), size

    data, calibration = (x[:TRAINING, None], y[:TRAINING]), x[:CALIBRATION, None]
    net = train.from_graph(encoder(seed, len(WORDS), TOKENS, 3))
    train.fine_tune(net, data, seed=seed, **FLOAT)
    note("float32", net.to_graph(), "float32")
    for name, (scheme, numerics) in ROWS.items():
        note(f"{name}: after training", quantize(net.to_graph(), calibration, scheme), numerics)
        model = train.quantized(net, calibration, scheme, numerics=numerics)
        train.distil(model, net, data, seed=seed, **REPAIR)
        note(f"{name}: fine-tuned", model.to_graph(), numerics)
    return found


def counted(x: Any, y: Any) -> float:
    """The test accuracy of logistic regression on word counts."""
    counts = np.stack([np.bincount(row, minlength=len(WORDS)) for row in x])
    fitted = LogisticRegression(max_iter=1000).fit(counts[:TRAINING], y[:TRAINING])
    return float(fitted.score(counts[TRAINING:], y[TRAINING:]))


def main() -> None:
    parser = options(__doc__, runs=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    x, y = sentences(TRAINING + TESTING)
    runs, start = [], time.time()
    for seed in range(args.runs):
        runs.append(study(seed, x, y))
        print(f"seed {seed}: {time.time() - start:.0f} s", flush=True)
    base = [r["float32"][0] for r in runs]
    rows, result = [], {}
    for name in runs[0]:
        every = [r[name][0] for r in runs]
        loss = [100 * (b - v) for b, v in zip(base, every, strict=True)]
        result[name] = {"accuracy": every, "points_lost": loss, "weight_bytes": runs[0][name][1]}
        spread = 100 * statistics.stdev(every) if len(every) > 1 else 0.0
        price = f"{runs[0][name][1]:,}"
        means = f"{100 * statistics.mean(every):.2f}", f"{spread:.2f}", f"{statistics.mean(loss):+.2f}"
        rows.append([name, *means, f"{max(loss):+.2f}", price])
    words = counted(x, y)
    head = ("network", "accuracy, %", "spread", "points lost", "at most", "bytes of constants")
    text = (
        f"# An encoder on sentences, from float to four bits\n\n`python -m benchmarks.case_encoder --runs {args.runs}`: "
        f"{args.runs} seeds, {TRAINING} sentences to learn, {TESTING} others to test; logistic regression on word counts "
        f"reaches {words:.1%}. Mean, standard deviation and greatest loss over seeds; accuracy of integers as "
        f"`fxsim.simulate` computes them. {machine('torch', 'scikit-learn', 'numpy')}.\n\n{table(head, rows)}\n"
    )
    publish(text, args.report)
    if args.json:
        text = json.dumps({"seeds": args.runs, "word_counts": words, "rows": result}, indent=1)
        atomic_write(args.json, text.encode())


if __name__ == "__main__":
    main()
