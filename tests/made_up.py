"""A table of the small space whose truth is known, a contest on it, and images that are noise."""

import json
from zlib import crc32

import numpy as np
import torch

from dartslib.data import DataSet
from dartslib.relaxation import Architecture
from dartslib.rivals import contest
from dartslib.tabular.cells import classes, name
from dartslib.tabular.table import Table


def made_up_table(value, noise=0.0, runs=3, seed=0, price=lambda cell: 60.0, more=()):
    """The table where a class is worth value(cell), give or take noise, at price(cell) seconds.

    more: rows of other trainings.
    """
    generator = np.random.default_rng(seed)
    rows, prices = [], []
    for cell in classes():
        named = name(cell.normal)
        prices.append(
            {
                "cell": named,
                "train_seconds": price(cell),
                "forward_64_ms": 0.0,
                "step_seconds": price(cell) / 1248,
            }
        )
        for run in range(runs):
            end = value(cell) + noise * generator.normal()
            epochs = " ".join(str(end * (k + 1) / 8) for k in range(8))
            rows.append(
                {"recipe": "short", "cell": named, "run": run, "valid": end, "test": end,
                 "train": end, "epochs": epochs}
            )  # fmt: skip
    return Table([*rows, *more], prices, {"recipes": {"short": {"epochs": 8}}})


FAILED = ("snas-budget-3", "watched-collapse-1", "fbnet-latency2-0")


def made_up_contest(records=5, better=()):
    """Writes prices and a record per arm into contest.FOLDER; alpha walks at random.

    By each arm's own relaxation, so tables and cells have its form. In the arms that are better it
    walks to cells of convolutions. The searches `FAILED` have their first record alone.
    """
    contest.FOLDER.mkdir(parents=True, exist_ok=True)
    every = (arm for arm in contest.arms() if not arm.startswith(("watched", "jitter")))
    prices = {arm: {"once": 1.0, "per_step": 0.1 + 0.01 * k} for k, arm in enumerate(every)}
    fast = {"darts": {"once": 1.0, "per_step": 0.5}}  # a budget is some trainings
    content = {"prices": {"plain": prices, "fast": fast, "pace": 1.0}}
    found = {"milliseconds": {"normal": [[0.07, 0.0, 0.5, 0.0]] * 5}, "rest": 0.4, "explained": 0.9}
    for file, of_file in (content | {"latency": found}).items():
        text = json.dumps(of_file | {"digest": contest.digest()})
        (contest.FOLDER / f"{file}.json").write_text(text, encoding="utf-8")
    trained = [{"cell": name(cell.normal), "valid": 0.5} for cell in classes()[::40]]
    contest.collect((_searched(job, records, better) for job in contest.plan()), trained)


def _searched(job, records, better):
    arm, group, seed = job.split("-")
    config = contest.config_of(arm, 0.1, 0)
    generator = torch.Generator().manual_seed(crc32(job.encode()))
    toward = torch.tensor([float(name.startswith("sep")) for name in config.operations])
    architecture = Architecture(config.space(), config.relaxation)
    cells, probabilities, steps = [], [], contest.steps_of(arm, group)
    at = np.linspace(0, steps, records).astype(int).tolist()
    watched = arm.startswith(("early_stopping", "watched"))
    curves = [[1.0 / (1 + k)] * len(contest.CURVES) for k in range(records)]
    meta = {"price": None, "w_lr": 0.1, "alpha_lr": 1e-3, "operations": config.operations}
    meta |= {"config": config.model_dump(mode="json"), "around": {}}
    meta |= {"error": "", "curves": curves, "logits": probabilities}
    if job in FAILED:
        at, meta["error"], meta["curves"] = at[:1], "The train loss is not finite.", curves[:1]
    for _ in at:
        cells.append(name(architecture.derive().normal))
        probabilities.append(architecture.probabilities()["normal"].tolist())
        for logits in architecture.alpha:
            logits.data += 0.3 * torch.randn(logits.shape, generator=generator)
        if arm in better:
            architecture.logits["normal"].data += toward
    return {"arm": arm, "group": group, "seed": int(seed), "steps": steps, "seconds": 1.0, "at": at,
            "cells": cells, "probabilities": probabilities, "commit": "c", "data": "d",
            "digest": contest.digest(), "machine": {}, "versions": {},
            "eigenvalues": [[k, 1.0 + k] for k in at if watched]} | meta  # fmt: skip


def noise_images(training, test=24, classes=10):
    """A data set of 16 x 16 pixels that mean nothing."""
    generator = np.random.default_rng(0)
    shapes = [(count, 16, 16, 3) for count in (training, test)]
    x = [generator.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
    y = [generator.integers(0, classes, len(images)) for images in x]
    return DataSet.from_arrays("noise", x[0], y[0], x[1], y[1], list("abcdefghij"[:classes]))
