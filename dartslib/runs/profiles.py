"""Profiles: one word for the size of a run.

`smoke` is for tests and a first look (seconds, embedded data), `lesson` for a laptop's CPU;
`report` and `darts` are the settings of the report and of Liu et al. (2019), for a GPU.
"""

from dataclasses import dataclass

from dartslib.searching import SearchConfig
from dartslib.space import DARTS_OPERATIONS
from dartslib.training import TrainConfig


@dataclass(frozen=True)
class Profile:
    """The settings of the four kinds of runs.

    Attributes:
        search: find a cell.
        compare: train a cell in a network of the search's size, to compare it with others.
        final: train a deep network on all data.
        transfer: the same cell and network on another data set.
    """

    search: SearchConfig
    compare: TrainConfig
    final: TrainConfig
    transfer: TrainConfig


# The smallest networks with both cell types; high rates, since there are only some 20 steps.
_SMALL = {"dataset": "shapes10", "held_out": 0.1, "reductions": (1,), "channels": 4}
_SMALL |= {"head": "linear", "epochs": 1}
_SMOKE = TrainConfig(**_SMALL, layers=3, batch_size=64, lr=0.1, schedule="one_cycle")
# For small budgets: one cycle, label smoothing, batch (128) and rate scaled together.
_LESSON = TrainConfig(
    held_out=0.1, head="linear", epochs=9, lr=0.15, schedule="one_cycle", label_smoothing=0.1
)
_REPORT = TrainConfig()
_DARTS = TrainConfig(
    layers=20, channels=36, head="linear", batch_size=96, cutout=16, drop_path=0.2, auxiliary=0.4
)

PROFILES = {
    "smoke": Profile(
        search=SearchConfig(**_SMALL, half=320, layers=2, batch_size=16, w_lr=0.1, alpha_lr=0.01),
        compare=_SMOKE.changed(part="compare"),
        final=_SMOKE,
        transfer=_SMOKE.changed(dataset="shapes100"),
    ),
    "lesson": Profile(
        search=SearchConfig(
            half=10_000, held_out=0.1, layers=5, channels=8, head="linear", epochs=8, alpha_lr=None
        ),
        compare=_LESSON.changed(part="compare", layers=8, channels=8, epochs=6),
        final=_LESSON,
        transfer=_LESSON.changed(dataset="cifar100"),
    ),
    "report": Profile(
        search=SearchConfig(),
        compare=_REPORT.changed(part="compare", layers=8, epochs=100, batch_size=64),
        final=_REPORT,
        transfer=_REPORT.changed(dataset="cifar100", epochs=300, batch_size=64),
    ),
    "darts": Profile(
        search=SearchConfig(
            nodes=4,
            operations=DARTS_OPERATIONS,
            head="linear",
            epochs=50,
            w_lr_min=0.001,
            alpha_init_std=1e-3,
        ),
        compare=_DARTS.changed(
            part="compare", layers=8, channels=16, epochs=100, auxiliary=0.0, drop_path=0.0
        ),
        final=_DARTS,
        transfer=_DARTS.changed(dataset="cifar100"),
    ),
}


def profile(name: str) -> Profile:
    """A profile by name; ValueError if there is none."""
    if name not in PROFILES:
        raise ValueError(f"There is no profile {name!r}: choose one of {', '.join(PROFILES)}.")
    return PROFILES[name]
