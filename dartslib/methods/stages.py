"""Methods that go around a search: several searches, an early end, a selection afterwards.

    loop = Stages(EarlyStopping(), config, lambda config: Search(config, train, valid))
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

    def share(self, steps: int) -> int:
        """Steps of its first search in a run of so many; what tunes afterwards has its own."""
        return steps

    def prepare(self, searches: list[Search]) -> None:
        """Called once these are made, also in a run that is resumed."""

    def begin(self, loop: "Stages") -> None:
        """Called when a search begins that is not the first, to take over what stays."""

    def after_step(self, loop: "Stages", record: dict[str, Any] | None) -> None:
        """Called after each step, and with the record of step 0, to which it may add."""


AROUND: dict[str, type[Around]] = {}


class Stages(Loop):
    """Searches one after the other. What it does not have itself is the present search's.

    Args:
        around: the method.
        config: the settings of the run.
        begin: makes a `Search` from settings.

    Attributes:
        searches, stage: all of them, and which one runs.
        step, steps: of all together; so are the records.
    """

    def __init__(
        self, around: Around, config: SearchConfig, begin: Callable[[SearchConfig], Search]
    ) -> None:
        self.around, self.config, self.stage = around, config, 0
        self.searches = [begin(each) for each in around.configs(config)]
        around.prepare(self.searches)
        self.steps = sum(search.steps for search in self.searches)
        for search in self.searches:
            search.owner += around.name + around.model_dump_json()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.searches[self.stage], name)

    @property
    def step(self) -> int:
        """Steps done."""
        before = sum(search.steps for search in self.searches[: self.stage])
        return before + self.searches[self.stage].step

    def each_step(self) -> Iterator[dict[str, Any] | None]:
        """As that of a `Search`; seconds include the method's own."""
        while True:
            search = self.searches[self.stage]
            for record in search.each_step():
                if record is not None:
                    record["step"] = search.history["step"][-1] = self.step
                began, known = perf_counter(), len(search.history["step"])
                self.around.after_step(self, record)
                search.seconds += perf_counter() - began
                yield record
                if len(search.history["step"]) > known:  # it ended: the record of what it returns
                    yield {name: values[-1] for name, values in search.history.items()}
            if search is self.searches[-1]:
                return
            self.stage += 1
            after = self.searches[self.stage]
            after.history, after.seconds = search.history, search.seconds
            self.around.begin(self)

    def state_dict(self) -> dict[str, Any]:
        """That of the present search, and which one it is."""
        state = self.searches[self.stage].state_dict()
        return {"step": self.step, "seconds": self.seconds, "stage": self.stage, "search": state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from the `state_dict` of an equal run; ValueError if it is of another method."""
        self.searches[state["stage"]].load_state_dict(state["search"])
        self.stage = state["stage"]
