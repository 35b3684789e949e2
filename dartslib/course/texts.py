"""What the exercises say, read from exercises.toml, and the notebook cells that this makes."""

import tomllib
from pathlib import Path
from typing import NamedTuple

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
    found = []
    for name, table in tomllib.loads(FILE.read_text(encoding="utf-8")).items():
        wrong = tuple(Wrong(w["code"].strip(), w["says"]) for w in table.pop("wrong", ()))
        texts = {key: value.strip() for key, value in table.items() if isinstance(value, str)}
        found.append(Exercise(name=name, wrong=wrong, **table | texts))
    return found


def text(exercise: Exercise, number: str) -> str:
    """The Markdown cell: task, and hint and solution folded."""
    solution = f"```python\n{exercise.solution}\n```"
    return (
        f"### Exercise {number} · {exercise.title} {'★' * exercise.stars}\n\n"
        f"*About {exercise.minutes} minutes.*\n\n"
        f"{exercise.task}\n\n"
        f"<details><summary>Hint</summary>\n\n{exercise.hint}\n\n</details>\n\n"
        f"<details><summary>Solution</summary>\n\n{solution}\n\n</details>"
    )
