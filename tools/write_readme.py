"""Write what the README takes from records: the table of results and the pictures.

    python tools/write_readme.py

Everything between the two marks in README.md comes from here, so that no number is typed in; a
test compares it with the records.
"""

import re
from pathlib import Path

from dartslib.runs import records
from dartslib.runs.files import write_text, write_whole

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- results: tools/write_readme.py -->", "<!-- end of results -->"
METHODS = {"first_order": "ξ = 0", "finite_difference": "ξ > 0"}

# Tables 2 and 3 of the report: accuracies as fractions.
REPORT = {
    ("compare-cifar10", "first_order"): 0.7142,
    ("compare-cifar10", "finite_difference"): 0.7464,
    ("final-cifar10", "first_order"): 0.7828,
    ("final-cifar10", "finite_difference"): 0.7967,
    ("transfer-cifar100", "first_order"): 0.3845,
    ("transfer-cifar100", "finite_difference"): 0.4641,
}
WHAT = {
    "compare-cifar10": ("Learned cells, network of the search's size", "valid_accuracy"),
    "final-cifar10": ("Final network, CIFAR-10 test", "test_accuracy"),
    "transfer-cifar100": ("Transfer, CIFAR-100 test", "test_accuracy"),
}


def _network(config: dict) -> str:
    epochs = "1 epoch" if config["epochs"] == 1 else f"{config['epochs']} epochs"
    return f"{config['layers']} cells, {config['channels']} channels, {epochs}"


def results() -> str:
    """The table of results in Markdown: the report's numbers, ours, and how ours were obtained."""
    rows = [
        "| | method | report | here | our network | weights | time |",
        "|---|---|---|---|---|---|---|",
    ]
    machines = set()
    for (name, method), published in REPORT.items():
        meta = records.load(f"{name}-{method}").meta
        label, key = WHAT[name]
        rows.append(
            f"| {label} | {METHODS[method]} | {published:.2%} | {meta['result'][key]:.2%} | "
            f"{_network(meta['config'])} | {meta['weights']:,} | {meta['seconds'] / 60:.0f} min |"
        )
    for method in METHODS:
        meta = records.load(f"search-cifar10-{method}").meta
        machines |= {(m["processor"], m["threads"]) for m in meta["machines"]}
        rows.append(
            f"| Search, {meta['steps']} steps | {METHODS[method]} | | | "
            f"{_network(meta['config'])} | {meta['weights']:,} | {meta['seconds'] / 60:.0f} min |"
        )
    where = "; ".join(
        f"{processor}, {threads} thread{'s' if threads > 1 else ''}"
        for processor, threads in sorted(machines)
    )
    note = f"One run each, seed 0, on {where}; times by the clock, with other work on the machine."
    return "\n".join([*rows, "", note])


def with_results(readme: str) -> str:
    """The README with the table between its marks."""
    pattern = re.escape(BEGIN) + r".*?" + re.escape(END)
    return re.sub(pattern, lambda _: f"{BEGIN}\n{results()}\n{END}", readme, flags=re.DOTALL)


def pictures() -> None:
    """docs/toy.png and docs/cells.png."""
    from dartslib import show, toy

    runs = [toy.descend(xi) for xi in (0, 0.3, 0.5, 0.7)]
    found = records.load("search-cifar10-finite_difference").genotype
    drawn = {
        "toy": show.picture(show.toy_paths(runs), "paths of the toy problem"),
        "cells": show.genotype_cells(found),
    }
    for name, picture in drawn.items():
        write_whole(ROOT / "docs" / f"{name}.png", picture.png)


if __name__ == "__main__":
    readme = ROOT / "README.md"
    write_text(readme, with_results(readme.read_text(encoding="utf-8")))
    pictures()
