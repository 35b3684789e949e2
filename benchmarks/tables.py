"""The measured numbers in the pages: tables from results.json, between marks.

A mark names its table: `<!-- speed: NAME -->` up to `<!-- end of speed -->`. So no number on a page
is typed in; tests/test_benchmarks.py compares the pages with the file.
"""

import json
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import side_by_side
from benchmarks.forms import ON_A_GPU
from dartslib.runs.files import write_text

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results.json"
METHODS = RESULTS.with_name("methods.json")
PAGES = ROOT / "docs" / "results.md", ROOT / "benchmarks" / "README.md"
END = "<!-- end of speed -->"
MISSING = "Not measured: `python -m benchmarks.{} --record` writes this table."
NO_WIDER = "This processor has AVX2 and nothing wider."
CASES = {
    "first_order_step": "step of the paper's search, first order",
    "second_order_step": "step of the paper's search, second order",
    "forward_backward": "forward and backward, all gradients",
    "alpha_only": "gradient of alpha",
    "memory": "peak memory, first order; ratio ours to plain",
    "report_first_order_step": "step of the report's search, first order",
    "final_network_step": "step of a final training, 14 cells",
    "lesson_first_order": "step of the lesson's search, first order",
    "lesson_second_order": "step of the lesson's search, second order",
}


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; all columns but the first are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cases(results: dict[str, Any], key: str = "cases", where: str = "machine") -> str:
    """The forms side by side, and what they were measured on."""
    rows = []
    for name, label in CASES.items():
        if name not in results[key]:  # a quick run
            continue
        row, unit = results[key][name], "gib" if name == "memory" else "s"
        values = [row[f"{form}_{unit}"] for form in ("plain", "channels_last", "ours")]
        shown = [f"{value:.3g} {'GiB' if unit == 'gib' else 's'}" for value in values]
        ratio = f"{row['ratio']:.2f}" if name == "memory" else f"{row['ratio']:.1f}x"
        rows.append([label, *shown, ratio])
    machine, rounds = results[where], results["rounds"]
    note = (
        f"{machine['processor']}, {machine['instructions']}, {machine['threads']} threads, torch "
        f"{results['versions']['torch']}. Medians of {rounds['counted']} steps after "
        f"{rounds['discarded']} discarded, the forms taking turns; the rows one after the other, "
        "so compare within a row."
    )
    return table(["", "plain", "channels_last alone", "ours", "ratio"], rows) + f"\n\n{note}"


def avx2(results: dict[str, Any]) -> str:
    """The same with AVX2."""
    return "The same with AVX2 alone:\n\n" + cases(results, "avx2_cases", "avx2_machine")


def operators(results: dict[str, Any]) -> str:
    """Where the time of a first-order step goes, and how many operators it calls."""
    step, forms = results["cases"]["first_order_step"], ("plain", "channels_last", "ours")
    found = results["operators"]
    rows = []
    for name in found["plain"]["shares"]:
        cells = []
        for form in forms:
            share = found[form]["shares"][name]
            cells += [f"{share:.0%}", f"{share * step[f'{form}_s']:.2f} s"]
        rows.append([name, *cells])
    rows.append(["operator calls", *sum(([f"{found[f]['calls']:,}", ""] for f in forms), [])])
    head = sum(([f"{form}, share", "s"] for form in ("plain", "channels_last", "ours")), [])
    shown = table(["", *head], rows)
    plain, there = found["plain"], found[ON_A_GPU]
    words = (
        f"What `dartslib.search` runs on a GPU makes {there['calls']:,} operator calls in that "
        f"step, {there['calls'] / plain['calls']:.2f} of plain's"
    )
    if "cuda_kernels" in plain:
        kernels = there["cuda_kernels"]
        words += f"; on a GPU it launches {kernels:,} kernels, plain {plain['cuda_kernels']:,}"
    return f"{shown}\n\n{words}."


def techniques(results: dict[str, Any]) -> str:
    """What each technique brings."""
    columns = results["techniques"]
    names = next(iter(columns.values()))
    rows = [[name, *(f"{found[name]:.2f}" for found in columns.values())] for name in names]
    return table(["without", *columns], rows)


def line(found: dict[str, float]) -> tuple[float, float]:
    """The straight line nearest to values over numbers: what it costs at 0, and each more."""
    x, y = [float(number) for number in found], list(found.values())
    slope, price = statistics.linear_regression(x, y)
    return price, slope


def growth(results: dict[str, Any]) -> str:
    """Seconds by batch and by cells, and the straight lines through them."""
    parts = []
    for name, unit, others in (
        ("batch", "images a batch", "{layers} cells"),
        ("cells", "cells", "{batch_size} images a batch"),
    ):
        found, others = results["growth"][name], others.format(**results["growth"]["at"])
        price, each = line(found)
        rows = [
            ["a step"] + [f"{seconds:.2f} s" for seconds in found.values()],
            ["on the line"] + [f"{price + each * int(number):.2f} s" for number in found],
        ]
        words = f"{others}; the line nearest to the three: {price:.2f} s, and for each of the "
        words += f"{unit.split()[0]} {1000 * each:.0f} ms."
        parts.append(table([unit, *found], rows) + f"\n\n{words.capitalize()}")
    return "\n\n".join(parts)


def float32_errors(results: dict[str, Any]) -> str:
    """How far float32 outputs are from those in float64."""
    found = results["float32_errors"]
    rows = [
        [form, f"{error:.1e}", f"{error / found['plain']:.1f}"] for form, error in found.items()
    ]
    return table(["", "relative error of the outputs", "plain 1"], rows)


def images(results: dict[str, Any]) -> str:
    """Images a second."""
    found = results["images_per_second"]
    rows = [
        ["loading: crop, flip, normalize", f"{found['loading']:,}"],
        ["final training, plain", f"{found['final_training_plain']:.0f}"],
        ["final training, ours", f"{found['final_training_ours']:.0f}"],
    ]
    return table(["", "images a second"], rows)


def first_rounds(results: dict[str, Any]) -> str:
    """What the discarded rounds took."""
    found = results["first_rounds_s"]
    usual = results["cases"]["first_order_step"]
    count = len(found["plain"])
    rows = [
        [form, *(f"{seconds:.2f} s" for seconds in times), f"{usual[f'{form}_s']:.2f} s"]
        for form, times in found.items()
    ]
    return table(["", *(f"step {k + 1}" for k in range(count)), "later"], rows)


def methods(results: dict[str, Any]) -> str:
    """What a step of each method costs, beside DARTS's."""
    found = results["methods"]
    sizes = found["sizes"]
    rows = []
    for name in sizes["paper"]:
        cells = [name.replace("_", " ")]
        for row in (of_size[name] for of_size in sizes.values()):
            cells += [f"{row['seconds']:.3g} s", f"{row['of_darts']:.2f}"]
            cells += [f"{row['mib']:,} MiB", f"{row['memory_of_darts']:.2f}"]
        rows.append(cells)
    head = sum(([size, "of DARTS", "memory", "of DARTS"] for size in sizes), [])
    where = found["machine"]
    note = (
        f"A step at the paper's search size and at the table's, all in the plain form. "
        f"{where['processor']}, {where['instructions']}, one thread, torch "
        f"{found['versions']['torch']}; mean of {found['steps_counted']} steps after "
        f"{found['steps_discarded']} discarded, the searches taking turns."
    )
    return table(["", *head], rows) + f"\n\n{note}"


TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "cases": cases,
    "avx2_cases": avx2,
    "images_per_second": images,
    "operators": operators,
    "techniques": techniques,
    "float32_errors": float32_errors,
    "growth": growth,
    "first_rounds_s": first_rounds,
    "methods": methods,
    "side_by_side": lambda results: side_by_side.sentence(results["side_by_side"]),
}  # by the results that they show


def text(results: dict[str, Any]) -> str:
    """The tables of what these results hold, for a terminal."""
    return "\n\n".join(make(results) for name, make in TABLES.items() if name in results)


def load() -> dict[str, Any] | None:
    """The recorded results, and those of side_by_side.py; None where there are none yet."""
    if not RESULTS.exists():
        return None
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    if METHODS.exists():
        found["methods"] = json.loads(METHODS.read_text(encoding="utf-8"))
    if side_by_side.RECORD.exists():
        found["side_by_side"] = json.loads(side_by_side.RECORD.read_text(encoding="utf-8"))
    return found


def with_tables(page: str, results: dict[str, Any] | None) -> str:
    """A page with its tables made anew."""

    def made(mark: re.Match) -> str:
        name = mark[1]
        shown = MISSING.format(name if name == "methods" else "speed")
        if results and name in results:
            shown = TABLES[name](results)
        elif name == "avx2_cases" and results and results["machine"]["instructions"] == "AVX2":
            shown = NO_WIDER
        return f"<!-- speed: {name} -->\n{shown}\n{END}"

    return re.sub(rf"<!-- speed: (\w+) -->.*?{END}", made, page, flags=re.DOTALL)


def write() -> None:
    """Writes the tables of all pages."""
    for page in PAGES:
        write_text(page, with_tables(page.read_text(encoding="utf-8"), load()))
