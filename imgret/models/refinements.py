"""Refinements: changes to a trained model that need no training, chosen when descriptors are extracted.

Listing and reading them costs nothing; `refine` brings torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imgret.errors import ImgretError
from imgret.tables import look_up

if TYPE_CHECKING:
    from imgret.models.base import DescriptorModel

NONE = "none"
PAPER = "arXiv:2308.06954"  # SuperGlobal: Shao, Chen, Karpur, Cui, Araujo, Cao


@dataclass(frozen=True)
class Setting:
    """A number of a refinement: its default and its range, ends included; `odd` admits odd whole numbers only."""

    default: float
    least: float
    most: float
    odd: bool = False


@dataclass(frozen=True)
class RefinementCard:
    """What a refinement does, in words, and its settings by name."""

    summary: str
    settings: Mapping[str, Setting]


# In the order of the computation: trunk, map, pooling.
REFINEMENTS: dict[str, RefinementCard] = {
    "relup": RefinementCard(
        "the ReLUs of a ResNet become max(x, floor), but for those of the stem and inside the later stages",
        {"floor": Setting(0.014, 0.0, 1.0)},
    ),
    "regional": RefinementCard(
        "each cell of the map is averaged with the GeM of the side x side cells around it",
        {"p": Setting(2.5, 1.0, 20.0), "side": Setting(5, 3, 15, odd=True)},
    ),
    "gem+": RefinementCard("GeM's p is set anew, eps to 1e-8", {"p": Setting(4.6, 1.0, 20.0)}),
}


@dataclass(frozen=True)
class Refinement:
    """A row of REFINEMENTS with every setting; as text it is what `parse_refinements` reads."""

    name: str
    settings: Mapping[str, float]

    def __str__(self) -> str:
        settings = ",".join(f"{key}={repr(value).removesuffix('.0')}" for key, value in self.settings.items())
        return f"{self.name}:{settings}"


def parse_refinements(text: str) -> tuple[Refinement, ...]:
    """'gem+ relup:floor=0.02' -> steps in the order of REFINEMENTS, with all settings; their order in `text` is free.

    UnknownNameError ("did you mean") for a name or setting there is none of; ImgretError for a number out of its
    range, for what is given twice, and for no refinement at all.
    """
    given: dict[str, Refinement] = {}
    for word in text.split():
        name, _, rest = word.partition(":")
        card = look_up(REFINEMENTS, "refinement", name)
        if name in given:
            raise ImgretError(f"refinement {name} is given twice in {text!r}")
        settings: dict[str, float] = {}
        for pair in filter(None, rest.split(",")):
            key, _, value = pair.partition("=")
            setting = look_up(card.settings, f"setting of {name}", key)
            if key in settings:
                raise ImgretError(f"setting {key} of {name} is given twice in {text!r}")
            settings[key] = _number(f"{name}:{key}", value, setting)
        defaults = {key: setting.default for key, setting in card.settings.items()}
        given[name] = Refinement(name, {**defaults, **settings})
    if not given:
        raise ImgretError(f"no refinement is named; known: {', '.join(REFINEMENTS)}")
    return tuple(given[name] for name in REFINEMENTS if name in given)


def canonical_refinements(text: str) -> str:
    """The one text for a set of refinements, every setting in it: what the recipe of a store holds. 'none' stays."""
    return NONE if text.strip() == NONE else " ".join(map(str, parse_refinements(text)))


def _number(what: str, text: str, setting: Setting) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    kind = "an odd whole number" if setting.odd else "a number"
    if not setting.least <= value <= setting.most or (setting.odd and value % 2 != 1):
        raise ImgretError(f"{what} must be {kind} from {setting.least:g} to {setting.most:g}, got {text!r}")
    return value


def refine(model: DescriptorModel, steps: Sequence[Refinement]) -> DescriptorModel:
    """The model, refined in place: what it is given and what it returns stay as they were.

    For models whose one feature map ends in GeM: gem, glam, gala and gsa. WeightsError for another model, for gem on
    a trunk that pools itself, and for relup on a trunk that is no ResNet. Not to be trained further.
    """
    from imgret.errors import WeightsError
    from imgret.nn.backbones import Trunk
    from imgret.nn.pooling import GeM
    from imgret.nn.regional import RegionalGeM
    from imgret.nn.relup import floor_relus

    trunk, pool = getattr(model, "trunk", None), getattr(model, "pool", None)
    if not isinstance(trunk, Trunk) or not isinstance(pool, GeM):
        backbone = model.arguments().get("backbone")
        raise WeightsError(
            f"{type(model).__name__}{f' on {backbone}' if backbone else ''} cannot be refined, for no single feature "
            "map of it ends in GeM (gem, glam, gala and gsa on convolutional trunks have one); leave out --refine"
        )
    asked = {step.name: step.settings for step in steps}
    if "relup" in asked:
        floor_relus(trunk, asked["relup"]["floor"])
    p, eps = (asked["gem+"]["p"], 1e-8) if "gem+" in asked else (float(pool.power.detach()), pool.eps)
    regional = asked.get("regional")
    refined = GeM(p, eps) if regional is None else RegionalGeM(p, eps, regional["p"], int(regional["side"]))
    model.pool = refined.to(pool.p.device).train(pool.training)
    return model
