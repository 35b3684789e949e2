"""Write what the pages take from records: the tables of results and the pictures.

    python tools/write_readme.py

Everything between the two marks in README.md, in short, and in docs/results.md, whole, comes from
here, so that no number is typed in; a test compares it with the records.
"""

import re
from collections.abc import Callable
from math import ceil, isnan
from pathlib import Path
from statistics import mean

from dartslib.runs.files import write_text, write_whole
from dartslib.runs.records import Record
from dartslib.runs.results import Results, Summary, bar, cpu_hours, used_gpu
from dartslib.runs.study import HAND_RATES

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- results: tools/write_readme.py -->", "<!-- end of results -->"
GROUPS = {
    "one_level": "one level",
    "first_order": "ξ = 0",
    "finite_difference": "ξ > 0",
    "random": "at random",
    "REPORT_FIRST": "the report's own, ξ = 0",
    "REPORT_SECOND": "the report's own, ξ > 0",
    **{f"hand_{number}": f"by hand, rate {rate}" for number, rate in enumerate(HAND_RATES)},
    "long": "the best of these cells",
}
# Tables 2 and 3 of the report: accuracies as fractions.
REPORT = {
    ("compare", "first_order"): 0.7142,
    ("compare", "finite_difference"): 0.7464,
    ("final", "first_order"): 0.7828,
    ("final", "finite_difference"): 0.7967,
    ("transfer", "first_order"): 0.3845,
    ("transfer", "finite_difference"): 0.4641,
}
OWN = {"first_order": "REPORT_FIRST", "finite_difference": "REPORT_SECOND"}
REPORT |= {(kind, OWN[group]): accuracy for (kind, group), accuracy in REPORT.items()}
TEST_IMAGES = 10_000  # of CIFAR-10 and of CIFAR-100
HEAD = """| cells found with | report | here | n | weights | multiply-adds | CPU-hours |
|---|---|---|---|---|---|---|"""


def _size(config: dict) -> str:
    epochs = "1 epoch" if config["epochs"] == 1 else f"{config['epochs']} epochs"
    return f"{config['layers']} cells, {config['channels']} channels, {epochs}"


def _row(kind: str, group: str, found: Summary, more: str = "") -> str:
    published = f"{REPORT[kind, group]:.2%}" if (kind, group) in REPORT else ""
    here = f"{found.mean:.2%}" + (f" ± {found.spread:.2%}" if found.n > 1 else "")
    hours = "" if isnan(found.cpu_hours) else f"{found.cpu_hours:.1f}"
    return (
        f"| {GROUPS[group]}{more} | {published} | {here} | {found.n} | {found.weights:,.0f} | "
        f"{found.multiply_adds / 1e6:.1f} M | {hours} |"
    )


def _difference(one: list[float], other: list[float]) -> str:
    """The difference of two means in points, its bar, and its words."""
    difference, reach = 100 * (mean(one) - mean(other)), 100 * bar(one, other)
    word = "it counts" if abs(difference) > reach else "not told apart"
    return f"{difference:+.2f} ± {reach:.2f} ({word})"


def _trained_again(study: Results) -> dict[str, list[float]]:
    """Where a cell that was trained several times comes from -> its accuracies."""
    return {
        GROUPS[runs[0].name.split("-")[2]]: [run.meta["result"]["valid_accuracy"] for run in runs]
        for runs in study.again()
    }


def _published(study: Results, length: str = "") -> dict[str, Summary]:
    """The report's own cells, trained as those of the study, or for twice as long."""
    found = {cell: study.compared(cell, *filter(None, [length])) for cell in OWN.values()}
    return {cell: Summary(runs, "valid_accuracy") for cell, runs in found.items() if runs}


def _own_cells(study: Results) -> str:
    """What the report's own cells say of each other; "" if they are not trained yet."""
    said = []
    for length, words in {"": "trained alike", "twice": "for twice as long"}.items():
        found = [list(row.accuracies) for row in _published(study, length).values()]
        if len(found) == len(OWN) and min(map(len, found)) > 1:
            said.append(f"{words}, ξ > 0, minus ξ = 0 {_difference(found[1], found[0])}")
    return f" The report's own two cells, several seeds each: {'; '.join(said)}." if said else ""


def _compared(study: Results) -> str:
    compared = study.comparison()
    rows = [_row("compare", group, found) for group, found in compared.items()]
    rows += [_row("compare", cell, found) for cell, found in _published(study).items()]
    longer = ", twice as many epochs"
    rows += [_row("compare", c, found, longer) for c, found in _published(study, "twice").items()]
    values = {group: list(found.accuracies) for group, found in compared.items()}
    drawn, first, second = (values[g] for g in ("random", "first_order", "finite_difference"))
    learned = [value for group in values if group != "random" for value in values[group]]
    ahead = sum(value > max(drawn) for value in learned)
    size = _size(study.compared("random")[0].meta["config"])
    again = "; ".join(
        f"{label} {', '.join(f'{value:.2%}' for value in trained)} (mean {mean(trained):.2%})"
        for label, trained in _trained_again(study).items()
    )
    return "\n".join(
        [
            f"**Cells compared** (Table 2; {size}; CIFAR-10, images that no search has seen):\n",
            HEAD,
            *rows,
            f"\n{ahead or 'None'} of the {len(learned)} learned cells came out above the best "
            f"random one (best against best: {100 * (max(learned) - max(drawn)):+.1f} points). "
            "± in the table is the standard deviation over n cells. A difference of means counts "
            "if it is larger than its bar, half of its 95 % interval by Welch's t: "
            f"ξ > 0, minus ξ = 0 {_difference(second, first)}; "
            f"one level, minus ξ = 0 {_difference(values['one_level'], first)}; "
            f"one level, minus at random {_difference(values['one_level'], drawn)}; ξ = 0 and ξ > "
            f"0 together, minus at random {_difference(first + second, drawn)}. One cell trained "
            f"with another seed moves by {100 * study.noise.deviation:.2f} points (standard "
            "deviation). "
            f"One cell of each with three seeds: {again}.{_own_cells(study)}\n",
            "![Accuracies of the compared cells, one row per way to search and one for those drawn "
            "at random; beside them, one cell of each with three seeds.](compared.png)\n",
        ]
    )


def _mirrored(finals: dict[str, Record]) -> str:
    """What the mean of an image's scores and its mirror image's gives; "" if none has that."""
    found = [
        f"{GROUPS[group]} {record.meta['result']['mirrored_accuracy']:.2%}"
        for group, record in finals.items()
        if "mirrored_accuracy" in record.meta["result"]
    ]
    how = "With the scores of an image and of its mirror image averaged, a second pass"
    return f" {how}: {', '.join(found)}." if found else ""


def _finals(study: Results, kind: str, title: str) -> str:
    """A table of what one kind has; "" if there is none."""
    finals = {group: found[kind] for group, found in study.finals().items() if kind in found}
    if not finals:
        return ""
    config = next(iter(finals.values())).meta["config"]
    rows = []
    for group, record in finals.items():
        epochs = record.meta["config"]["epochs"]
        more = "" if epochs == config["epochs"] else f", {epochs} epochs"
        rows.append(_row(kind, group, Summary([record], "test_accuracy"), more))
    worst = max(p * (1 - p) for p in (r.meta["result"]["test_accuracy"] for r in finals.values()))
    reach = ceil(2000 * (worst / TEST_IMAGES) ** 0.5) / 10  # points, rounded up: "at most"
    return "\n".join(
        [
            f"**{title}** (Table 3; {_size(config)}; test images):\n",
            HEAD,
            *rows,
            f"\nThe choice of the {TEST_IMAGES:,} test images alone leaves each of ours uncertain "
            f"by at most {reach} percentage points (two standard errors). "
            "No second seed was tried here, so these are levels, and no order: two trainings of "
            f"one compared cell may differ by {100 * study.noise.bar:.1f} for their seeds alone."
            f"{_mirrored(finals)}\n",
        ]
    )


def _how(study: Results) -> str:
    searches = {method: runs for method in GROUPS if (runs := study.searches(method))}
    found = [runs[0].meta for runs in searches.values()]
    costs = ", ".join(
        f"{GROUPS[method]} {cpu_hours(runs):.1f}" for method, runs in searches.items()
    )
    cores, gpus, with_gpu = set(), set(), []
    for record in study:
        with_gpu += [record.name] if used_gpu(record) else []
        for machine in record.meta["machines"]:
            if "gpu" in machine:
                gpus.add(machine["gpu"])
            else:
                cores.add(f"{machine['processor']} ({machine['instructions']})")
    text = (
        f"The searches ({_size(found[0]['config'])}, {found[0]['steps']} steps) took, "
        f"in CPU-hours: {costs}. Each run had one core of {' or '.join(sorted(cores))}"
    )
    if with_gpu:
        text += (
            f", except {len(with_gpu)} of the {len(list(study))}, made wholly or partly on an "
            f"{' or '.join(sorted(gpus))} and not in the hours: "
            f"{', '.join(f'`{name}`' for name in sorted(with_gpu))}"
        )
    return text + "."


def results(study: Results) -> str:
    """The tables of results in Markdown: the report's numbers, ours, and how ours were obtained."""
    parts = [
        _compared(study),
        _finals(study, "final", "Final networks, CIFAR-10"),
        _finals(study, "transfer", "The same cells, CIFAR-100"),
        _how(study),
    ]
    return "\n".join(filter(None, parts))


def summary(study: Results) -> str:
    """The results in ten lines: the report's accuracies, and ours."""
    compared, finals = study.comparison() | _published(study), study.finals()
    rows = [
        "| cells found with | compared: report, here | final | on CIFAR-100 |",
        "|---|---|---|---|",
    ]
    for group, label in ((g, label) for g, label in GROUPS.items() if {g} & {*compared, *finals}):
        cells = [label]
        for kind in ("compare", "final", "transfer"):
            here = ""
            if kind == "compare" and group in compared:
                found = compared[group]
                here = f"**{found.mean:.2%}** ± {found.spread:.2%}"
            elif kind in finals.get(group, {}):
                here = f"**{finals[group][kind].meta['result']['test_accuracy']:.2%}**"
            published = f"{REPORT[kind, group]:.2%}, " if (kind, group) in REPORT else ""
            cells.append(published + here)
        rows.append(f"| {' | '.join(cells)} |")
    values = {group: list(found.accuracies) for group, found in compared.items()}
    learned = values["first_order"] + values["finite_difference"]
    rows.append(
        "\nIn points, cells compared of ξ = 0 and ξ > 0 together, minus those at random: "
        f"{_difference(learned, values['random'])}."
    )
    return "\n".join(rows)


PAGES = {"README.md": summary, "docs/results.md": results}


def with_results(page: str, write: Callable[[Results], str]) -> str:
    """A page with the tables between its marks."""
    pattern = re.escape(BEGIN) + r".*?" + re.escape(END)
    tables = f"{BEGIN}\n{write(Results())}\n{END}"
    return re.sub(pattern, lambda _: tables, page, flags=re.DOTALL)


def pictures() -> None:
    """docs/toy.png, docs/cells.png and docs/compared.png."""
    from dartslib import show, toy

    runs = [toy.descend(xi) for xi in (0, 0.3, 0.5, 0.7)]
    study = Results()
    found = study.searches("finite_difference")[0].genotype
    compared = {GROUPS[way]: row.accuracies for way, row in study.comparison().items()}
    alone, again = "Different cells, one training each", "One cell, three trainings"
    drawn = {
        "toy": show.toy_map(runs),
        "cells": show.genotype_cells(found),
        "compared": show.rows(
            {alone: compared, again: _trained_again(study)},
            x="accuracy on held-out images",
            percent=True,
            shared=True,
        ),
    }
    for name, picture in drawn.items():
        write_whole(ROOT / "docs" / f"{name}.png", picture.png)


if __name__ == "__main__":
    for name, write in PAGES.items():
        write_text(ROOT / name, with_results((ROOT / name).read_text(encoding="utf-8"), write))
    pictures()
