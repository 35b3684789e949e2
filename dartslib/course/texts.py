"""What the exercises say, read from exercises.toml, and the notebook cells that this makes."""

import tomllib
from pathlib import Path
from typing import Any, NamedTuple

FILE = Path(__file__).with_name("exercises.toml")


class Wrong(NamedTuple):
    """An answer that readers give, and a part of what they are told."""

    code: str
    says: str


class Exercise(NamedTuple):
    """One exercise; see the head of exercises.toml for what each field holds."""

    name: str
    notebook: str
    title: str
    stars: int
    minutes: int
    about: str
    task: str
    code: str
    hint: str
    solution: str
    wrong: tuple[Wrong, ...]
    needs: str = ""


def load() -> list[Exercise]:
    """All exercises, in the order of the series."""
    tables = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return [_exercise(name, table) for name, table in tables.items()]


def _exercise(name: str, table: dict[str, Any]) -> Exercise:
    texts = {key: value.strip() for key, value in table.items() if isinstance(value, str)}
    wrong = tuple(Wrong(w["code"].strip(), w["says"]) for w in table.get("wrong", ()))
    return Exercise(name=name, **(table | texts | {"wrong": wrong}))


def text(exercise: Exercise, number: str) -> str:
    """The Markdown cell: task, and hint and solution folded."""
    return "\n\n".join(
        [
            f"### Exercise {number} · {exercise.title} {'★' * exercise.stars}",
            f"*About {exercise.minutes} minutes.*",
            exercise.task,
            f"<details><summary>Hint</summary>\n\n{exercise.hint}\n\n</details>",
            "<details><summary>Solution</summary>\n\n"
            f"```python\n{exercise.solution}\n```\n\n</details>",
        ]
    )
