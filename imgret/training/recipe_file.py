"""Recipes from TOML, from the command line and back to TOML, every value checked at the door."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from imgret.errors import ImgretError
from imgret.tables import did_you_mean, resolve
from imgret.training.recipe import Recipe, Tuples, as_dict, on_tuples

SUFFIX = ".toml"
_HOME = Path(__file__).parent / "recipes"
# The parser is in the standard library from Python 3.11 on.
_PARSER = "tomllib:loads" if sys.version_info >= (3, 11) else "tomli:loads"
_TYPE_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text in quotes", dict: "a table"}

Section = TypeVar("Section")


def packaged() -> list[str]:
    """The names of the recipes that ship, such as "glam"."""
    return sorted(path.stem for path in _HOME.glob(f"*{SUFFIX}"))


def read(path_or_name: str | Path) -> Recipe:
    """The recipe in a TOML file, or the one that ships under a name ("small", also "small.toml").

    A file that exists comes before a name. ImgretError, one line with file and key, for what is not
    TOML, an unknown section or key ("did you mean"), and values of another type, out of range or at odds.
    """
    path = Path(path_or_name)
    if not path.is_file():
        path = _HOME / f"{str(path_or_name).removesuffix(SUFFIX)}{SUFFIX}"
        if path.stem not in packaged() or path.parent != _HOME:
            hint = did_you_mean(Path(path_or_name).stem, packaged())
            raise ImgretError(f"{path_or_name}: no such recipe file{hint}; recipes that ship: {', '.join(packaged())}")
    try:
        tree = resolve(_PARSER)(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ImgretError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # not UTF-8, or not TOML: the parser's own error says line and column
        raise ImgretError(f"{path} is not TOML: {' '.join(str(error).split())}") from error
    return from_dict(tree, str(path))


def from_dict(tree: Mapping[str, Any], where: str) -> Recipe:
    """The recipe of a nested table; `where` begins the one line of an ImgretError."""
    recipe = _section(Recipe, tree, "", where)
    problem = _at_odds(recipe)
    if problem:
        raise ImgretError(f"{where}: {problem}")
    return recipe


def override(recipe: Recipe, where: str = "command line", **changes: Any) -> Recipe:
    """The recipe with other values, by 'section.key': override(recipe, **{"schedule.epochs": 3}).

    None changes nothing, for options that were not given. Raises as `read` does.
    """
    tree = as_dict(recipe)
    for name, value in changes.items():
        *sections, key = name.split(".")
        branch = tree
        for section in sections:
            branch = branch.setdefault(section, {})
            if not isinstance(branch, dict):
                raise ImgretError(f"{where}: {name} is no key of a recipe: {section} is a value, not a section")
        if value is not None:
            branch[key] = value
    return from_dict(tree, where)


def to_toml(recipe: Recipe) -> str:
    """The recipe as TOML with every default written out: `read` gives it back."""
    return "\n".join(f"{text}\n" for name, section in as_dict(recipe).items() if (text := _written(name, section)))


def _section(cls: type[Section], tree: Any, path: str, where: str) -> Section:
    """An instance of a section's class; `path` is its name in the file, "" for the whole recipe."""
    if not isinstance(tree, Mapping):
        raise ImgretError(f"{where}: {path} must be a table, as in [{path}]")
    hints = get_type_hints(cls)
    values = {}
    for key, value in tree.items():
        full = f"{path}.{key}" if path else str(key)
        if key not in hints:
            what = "key" if path else "section"
            known = ", ".join(hints)
            raise ImgretError(f"{where}: unknown {what} {full}{did_you_mean(str(key), hints)}; known: {known}")
        hint = hints[key]
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            values[key] = _section(hint, value, full, where)
        else:
            rule = cls.__dataclass_fields__[key].metadata  # type: ignore[attr-defined]
            values[key] = _value(value, hint, rule, f"{where}: {full}")
    return cls(**values)


def _value(value: Any, hint: Any, rule: Mapping[str, Any], where: str) -> Any:
    """The value as its field wants it, or an ImgretError."""
    if get_origin(hint) is Mapping:
        return _arguments(value, where)
    types = [kind for kind in get_args(hint) or (hint,) if kind is not type(None)]
    if float in types and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    # bool is a subclass of int in Python, but `epochs = true` is a slip.
    if type(value) not in types or (isinstance(value, float) and not math.isfinite(value)):
        wanted = " or ".join(_TYPE_WORDS[kind] for kind in types)
        raise ImgretError(f"{where} must be {wanted}, got {_shown(value)}")
    words = resolve(rule["table"]) if "table" in rule else rule.get("words")
    if words is not None and value not in words:
        raise ImgretError(f"{where} must be one of {', '.join(words)}{did_you_mean(value, words)}, got {_shown(value)}")
    if value == "":
        raise ImgretError(f"{where} is empty; leave the key out instead")
    if "holds" in rule and not rule["holds"](value):
        raise ImgretError(f"{where} {rule['must']}, got {_shown(value)}")
    return value


def _arguments(value: Any, where: str) -> dict[str, Any]:
    """A table of plain values and lists of them: what JSON and TOML both have."""
    if not isinstance(value, Mapping):
        raise ImgretError(f"{where} must be {_TYPE_WORDS[dict]}, got {_shown(value)}")
    for key, inner in value.items():
        for one in inner if isinstance(inner, list) else [inner]:
            if type(one) not in (bool, int, float, str) or (isinstance(one, float) and not math.isfinite(one)):
                raise ImgretError(f"{where}.{key} must be a number, a text, true, false or a list, got {_shown(inner)}")
    return dict(value)


def _at_odds(recipe: Recipe) -> str | None:
    """What in two places of a recipe cannot both be meant; None for a sound one."""
    model, batches, validation, schedule = recipe.model, recipe.batches, recipe.validation, recipe.schedule
    for key in ("backbone", "pretrained"):
        if key in model.arguments:
            return f"model.arguments.{key}: write it as {key} under [model]"
    if model.start is not None and model.pretrained:
        return "model.start and model.pretrained: both say where the trunk's weights come from; leave one out"
    if batches.kind == "fixed" and isinstance(batches.size, str):
        return f'batches.size must be a side in pixels for kind = "fixed", got {_shown(batches.size)}'
    if batches.kind == "pk":
        if batches.images_per_class is None:
            return 'batches.images_per_class is needed for kind = "pk"; 4 is usual'
        if batches.batch_size % batches.images_per_class or batches.batch_size == batches.images_per_class:
            return (
                f"batches.batch_size must be two times images_per_class or more of it, in whole classes, "
                f"got {batches.batch_size} and {batches.images_per_class}"
            )
    elif batches.images_per_class is not None:
        return f'batches.images_per_class is for kind = "pk", not "{batches.kind}"'
    problem = _tuples_at_odds(recipe) or _teacher_at_odds(recipe)
    if problem:
        return problem
    if recipe.loss.map_weight > 0 and recipe.data.maps is None:
        return "loss.map_weight needs heat maps: give their folder as data.maps, or leave it out"
    if recipe.optimiser.frozen_epochs > schedule.epochs:
        return f"optimiser.frozen_epochs must be at most schedule.epochs, {schedule.epochs}"
    if schedule.warmup_epochs >= schedule.epochs:
        return f"schedule.warmup_epochs must be below schedule.epochs, {schedule.epochs}"
    if schedule.decay is not None and schedule.final_lr:
        return "schedule.decay and schedule.final_lr: the second is where the cosine ends; leave one out"
    judges = [key for key in ("hold_out", "split", "ground_truth") if getattr(validation, key)]
    if len(judges) > 1:
        return f"validation.{judges[0]} and validation.{judges[1]}: one of them judges; leave one out"
    if (validation.ground_truth is None) != (validation.images is None):
        return "validation.ground_truth and validation.images go together: a file and the folder its names are in"
    if validation.patience and not judges:
        return "validation.patience needs something to judge by: hold_out, split or ground_truth"
    if validation.split is not None and recipe.data.split is None:
        return "validation.split needs data.split too, or the judged images would be trained on"
    if validation.split is not None and validation.split == recipe.data.split:
        return f"validation.split and data.split are both {_shown(validation.split)}; judge what is not trained on"
    return None


def _tuples_at_odds(recipe: Recipe) -> str | None:
    """The same, of a loss on tuples."""
    batches, loss, tuples = recipe.batches, recipe.loss, recipe.tuples
    if not on_tuples(recipe):
        return (
            None if tuples == Tuples() else f'[tuples] is for contrastive and triplet, not "{loss.name}"; leave it out'
        )
    if batches.kind == "pk":
        return f'batches.kind = "pk" is for losses on classes; {loss.name} takes "size-groups" or "fixed"'
    each = 2 + tuples.negatives
    if batches.batch_size % each:
        count = max(1, round(batches.batch_size / each))
        return (
            f"batches.batch_size counts images, and a tuple has {each} (2 + tuples.negatives): "
            f"{count * each} is {count} tuples, got {batches.batch_size}"
        )
    if tuples.pool < tuples.negatives:
        return f"tuples.pool must be at least tuples.negatives, {tuples.negatives}, got {tuples.pool}"
    if batches.views > 1 or loss.map_weight:
        key = "batches.views" if batches.views > 1 else "loss.map_weight"
        return f"{key} is for losses on labels, and {loss.name} learns from tuples; leave it out"
    return None


def _teacher_at_odds(recipe: Recipe) -> str | None:
    """The same, of a teacher."""
    teacher = recipe.teacher
    if teacher.model is not None and on_tuples(recipe):
        return f"teacher.model is for losses on labels, and {recipe.loss.name} learns from tuples; leave it out"
    if teacher.own + teacher.label > 1:
        return f"teacher.own and teacher.label are shares of 1, got {teacher.own:g} and {teacher.label:g}"
    return None


def _written(path: str, section: Mapping[str, Any]) -> str:
    """A section and the tables in it, the section's own keys first as TOML demands."""
    plain = [f"{_key(key)} = {_shown(value)}" for key, value in section.items() if not isinstance(value, dict)]
    inner = [_written(f"{path}.{key}", value) for key, value in section.items() if isinstance(value, dict)]
    own = ["\n".join([f"[{path}]", *plain])] if plain else []
    return "\n\n".join([*own, *filter(None, inner)])


def _key(name: str) -> str:
    return name if re.fullmatch("[A-Za-z0-9_-]+", name) else _shown(name)


def _shown(value: Any) -> str:
    """A value as TOML writes it; anything else as Python does."""
    if isinstance(value, (bool, str)):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    return repr(value)
