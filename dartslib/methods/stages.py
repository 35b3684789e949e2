"""Methods that go around a search: several searches, an early end, a selection afterwards.

    loop = Stages(EarlyStopping(), config, lambda config: dartslib.search(config, train, valid))
    for record in loop: …;  loop.architecture.derive()

A method that is no relaxation is an `Around`: settings, and members that do nothing unless it
overrides them. `Stages` is iterated, driven, recorded and resumed as a `Search` is.
"""

from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any, ClassVar

from dartslib.loops import Loop
from dartslib.searching import Search, SearchConfig
from dartslib.settings import Config


class Around(Config):
    """A method around a search; its fields are its settings. Alone it changes nothing."""

    name: ClassVar[str] = "nothing"

    def __init_subclass__(cls, *, name: str, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.name, AROUND[name] = name, cls

    def configs(self, config: SearchConfig) -> list[SearchConfig]:
        """The settings of its searches, from those of the run."""
        return [config]

    def prepare(self, searches: list[Search]) -> None:
        """Called once these are made, also in a run that is resumed."""

    def begin(self, loop: "Stages") -> None:
        """Called when a search begins that is not the first, to take over what stays."""

    def after_step(self, loop: "Stages", record: dict[str, Any] | None) -> None:
        """Called after each step, and with the record of step 0; it may add to the record."""


AROUND: dict[str, type[Around]] = {}


class Stages(Loop):
    """Searches one after the other. What it does not have itself is the present search's.

    Args:
        around: the method.
        config: the settings of the run.
        begin: makes a `Search` from settings.

    Attributes:
        searches, stage: all of them, and which one runs.
        step, steps, seconds: sums over the searches; seconds include the method's own.
    """

    def __init__(
        self, around: Around, config: SearchConfig, begin: Callable[[SearchConfig], Search]
    ) -> None:
        self.around, self.config, self.stage = around, config, 0
        self.searches = [begin(each) for each in around.configs(config)]
        around.prepare(self.searches)
        for search in self.searches:
            search.owner += around.name + around.model_dump_json()

    def __getattr__(self, name: str) -> Any:
        if name in ("step", "steps", "seconds"):
            return sum(getattr(search, name) for search in self.searches)
        return getattr(self.searches[self.stage], name)

    @property
    def history(self) -> dict[str, list[Any]]:
        """The records of all searches; steps and seconds go on counting."""
        found: dict[str, list[Any]] = {}
        for k, search in enumerate(self.searches):
            for name, values in search.history.items():
                if name in ("step", "seconds"):
                    before = sum(getattr(earlier, name) for earlier in self.searches[:k])
                    values = [before + value for value in values]
                found.setdefault(name, []).extend(values)
        return found

    def each_step(self) -> Iterator[dict[str, Any] | None]:
        """As that of a `Search`; a record's step and seconds are those of the whole run."""
        while True:
            search = self.searches[self.stage]
            for record in search.each_step():
                began = perf_counter()
                self.around.after_step(self, record)
                search.seconds += perf_counter() - began
                yield record and record | {"step": self.step, "seconds": self.seconds}
            if search is self.searches[-1]:
                return
            self.stage += 1
            self.around.begin(self)

    def state_dict(self) -> dict[str, Any]:
        """The states of all searches that have begun."""
        states = [search.state_dict() for search in self.searches[: self.stage + 1]]
        return {"step": self.step, "seconds": self.seconds, "searches": states}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from the `state_dict` of an equal run; ValueError if it is of another method."""
        for search, own in zip(self.searches, state["searches"], strict=False):
            search.load_state_dict(own)
        self.stage = len(state["searches"]) - 1
