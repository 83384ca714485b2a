"""Models that turn an image into a descriptor: the table of names, and what loads them.

Listing and checking names costs nothing; `load_model` brings torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from imgret.errors import WeightsError
from imgret.tables import look_up

WEIGHTS_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class ModelCard:
    """What there is to know about a model before torch loads.

    `dim` 0 means "as many as the backbone has channels"; `backbone` is a timm name ("none": the model
    has no trunk); `image_size` is the longer side in pixels that is taken by default. `weights` is "trunk" when
    a public pretrained backbone alone makes a useful model, "ships" when they are in the package, "none" when it must
    be trained or given.
    `parameters` and `gmacs` (10^9 multiply-adds for one 512 x 512 image) are with the default backbone. `equations`
    are (step, equation, origin) in the order of the computation; an origin of "" is the paper.
    """

    target: str
    dim: int
    summary: str
    paper: str
    backbone: str
    image_size: int
    weights: str = "none"
    parameters: int = 0
    gmacs: float = 0.0
    equations: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True)
class ShippedModel:
    """A trained model in the package: a row of MODELS with a trunk, a dimension, an image size and weights.

    The rest is in the file itself: see `shipped_file` and `read_card`. `parameters` and `gmacs` are as in ModelCard.
    """

    model: str
    backbone: str
    dim: int
    image_size: int
    summary: str
    parameters: int
    gmacs: float


DEFAULT_MODEL = "glam-small"
SHIPPED: dict[str, ShippedModel] = {
    "glam-small": ShippedModel(
        "glam",
        backbone="mobilenetv4_conv_small",
        dim=512,
        image_size=320,
        summary="GLAM on a light trunk, trained by this project; the default",
        parameters=2_721_817,
        gmacs=1.23,
    ),
}

MODELS: dict[str, ModelCard] = {
    "gem": ModelCard(
        "imgret.models.gem:GeMModel",
        dim=0,
        summary="trunk and generalised-mean pooling, the baseline",
        paper="arXiv:1711.02512",
        backbone="resnet50",
        image_size=1024,
        weights="trunk",
        parameters=23_508_033,
        gmacs=21.35,
        equations=(
            ("trunk", "F = last feature map, F >= 0 for a trunk that ends in a ReLU", ""),
            ("pooling", "f_c = (mean over locations of max(F_c, eps)^p)^(1/p), p learnable from 3", "eq. 3"),
            ("or", "the trunk's own pooling, for a trunk that ends in a layer norm", "ours"),
        ),
    ),
    "glam": ModelCard(
        "imgret.models.glam:GLAM",
        dim=512,
        summary="local and global attention, channel and spatial",
        paper="arXiv:2107.08000",
        backbone="resnet101",
        image_size=1024,
        parameters=47_946_065,
        gmacs=41.93,
        equations=(
            ("local channel", "A_lc = sigmoid(conv1d(GAP(F)))", ""),
            (
                "local spatial",
                "A_ls = conv1x1(F', conv3x3 of F' at dilations 1, 2, 3), F' = conv1x1(F)",
                "c' = c/8, P_0 = F': ours",
            ),
            ("local stream", "F_l = F_lc A_ls + F_lc, F_lc = F A_lc + F", ""),
            ("global channel", "G_c = F softmax(k^T q), k and q = sigmoid(conv1d(GAP(F)))", "over the keys: ours"),
            ("global spatial", "G_s = conv1x1(V softmax(K^T Q)) over locations", "over the keys: ours"),
            ("global stream", "F_g = F_gc G_s + F_gc, F_gc = F G_c", "F_gc: eq. 5"),
            ("fusion", "w_l F_l + w_g F_g + w F, weights = softmax of three scalars", "eq. 7, second term read as F_g"),
            ("head", "GeM, dropout, FC, batch norm", "order ours"),
        ),
    ),
    "dalg": ModelCard(
        "imgret.models.dalg:DALG",
        dim=512,
        summary="transformer, windows, cross-attention fusion",
        paper="arXiv:2207.00287",
        backbone="swin_small_patch4_window7_224",
        image_size=512,
        parameters=57_201_700,
        gmacs=54.91,
        equations=(
            ("trunk", "X3, X4 = last two maps of a hierarchical transformer", "a transformer: abstract; rest ours"),
            (
                "local branch",
                "L0 = window attention of X3, plain, then shifted by half a window",
                "windows: abstract; rest ours",
            ),
            (
                "spatial attention",
                "L = s u / |u|, s = softplus(conv1x1(ReLU(u))), u = BN(conv1x1(L0))",
                "abstract; form of DOLG's code",
            ),
            ("cross attention", "T' = T + MHA(LN(T), L, L), T = linear(LN(X4))", "abstract; form ours"),
            ("feed-forward", "T'' = T' + MLP(LN(T'))", "ours"),
            ("head", "FC of [mean T''; FC(GeM(X4))], batch norm", "ours"),
        ),
    ),
    "dtop": ModelCard(
        "imgret.models.dtop:DToP",
        dim=1536,
        summary="class and patch tokens of a CNN-ViT hybrid",
        paper="arXiv:2210.11909",
        backbone="vit_base_r50_s16_384",
        image_size=512,
        parameters=128_297_537,
        gmacs=153.77,
        equations=(
            ("trunk", "class and patch tokens of the last k = 6 layers of a CNN-ViT hybrid", "abstract; k ours"),
            ("class tokens", "u_c = FC(k class tokens)", "third-party outline; form ours"),
            ("patch tokens", "Y = conv1x1(k maps of patch tokens)", "third-party outline; form ours"),
            ("enhanced locality", "Y' = Y + ASPP(WaveBlock(InvertedResidual(Y)))", "third-party outline; sizes ours"),
            ("head", "[u_c; FC(GeM(Y'))], batch norm", "third-party outline; order ours"),
        ),
    ),
    "gala": ModelCard(
        "imgret.models.gala:GALA",
        dim=512,
        summary="global-and-local gates inside a ResNet",
        paper="arXiv:1805.08819",
        backbone="resnet50",
        image_size=1024,
        parameters=28_708_039,
        gmacs=22.97,
        equations=(
            ("global path", "g = W2 ReLU(W1 GAP(X))", "as Papers with Code prints it"),
            ("local path", "l = v2 ReLU(V1 X), one number a location", "as Papers with Code prints it"),
            ("integration", "S = tanh(a (g + l) + m g l), a and m per channel", "as Papers with Code prints it"),
            ("identity gate", "Y = X (1 + S), a = m = 0 at start", "ours"),
            ("paper's gate", "Y = X S", "Papers with Code, released code"),
            (
                "supervision",
                "|| A / |A| - M / |M| ||^2, M a click map, A = mean over channels of S^2",
                "A: released code; the rest ours",
            ),
            ("head", "GeM, dropout, FC, batch norm", "ours"),
        ),
    ),
    "gsa": ModelCard(
        "imgret.models.gsa:GSANet",
        dim=512,
        summary="global self-attention inside a ResNet",
        paper="arXiv:2010.03019",
        backbone="resnet50",
        image_size=1024,
        parameters=26_987_201,
        gmacs=22.75,
        equations=(
            (
                "content",
                "C = Q^T (softmax over all pixels(K) V), queries not normalised",
                "figure 1; details: gsa-pytorch",
            ),
            (
                "position, columns",
                "Yc(i) = sum over t of (Q(i) . Rc(t - i)) V(t), both signs of t - i",
                "figure 1; sum: gsa-pytorch",
            ),
            (
                "position, rows",
                "Yr(j) = sum over t of (Q(j) . Rr(t - j)) BN(Yc)(t), the same Q",
                "figure 1; sum: gsa-pytorch",
            ),
            ("module", "C + Yr", "figure 1"),
            ("placement", "conv3x3(x) + gamma GSA(x), last stage, gamma = 0 at start", "ours"),
            ("head", "GeM, dropout, FC, batch norm", "ours"),
        ),
    ),
}

_HOMES = {
    "DescriptorModel": "imgret.models.base",
    "LoadedModel": "imgret.models.weights",
    "load_model": "imgret.models.weights",
    "save_weights": "imgret.models.weights",
    "read_card": "imgret.models.weights_card",
}

__all__ = [
    "DEFAULT_MODEL",
    "MODELS",
    "SHIPPED",
    "DescriptorModel",
    "LoadedModel",
    "ModelCard",
    "ShippedModel",
    "cards",
    "check_name",
    "is_weights_file",
    "load_model",
    "read_card",
    "save_weights",
    "shipped_file",
]


def cards() -> dict[str, ModelCard]:
    """Every name that `load_model` knows, with its card: what ships first."""
    shipped = {
        name: replace(
            MODELS[one.model],
            dim=one.dim,
            summary=one.summary,
            backbone=one.backbone,
            image_size=one.image_size,
            weights="ships",
            parameters=one.parameters,
            gmacs=one.gmacs,
        )
        for name, one in SHIPPED.items()
    }
    return {**shipped, **MODELS}


def shipped_file(name: str) -> Path:
    """The weights file of a row of SHIPPED; WeightsError when this installation lacks it."""
    path = Path(__file__).parent / "shipped" / f"{name}{WEIGHTS_SUFFIX}"
    if not path.is_file():
        raise WeightsError(f"{path} is missing from this installation: pip install --force-reinstall imgret")
    return path


def is_weights_file(name: str | Path) -> bool:
    """Whether `name` means a file (`*.safetensors`) rather than the name of a model."""
    return str(name) not in {*SHIPPED, *MODELS} and str(name).endswith(WEIGHTS_SUFFIX)


def check_name(name: str | Path) -> None:
    """Check a model name before anything heavy loads.

    UnknownNameError ("did you mean") unless it is a row of SHIPPED or MODELS or a `*.safetensors` path;
    WeightsError when that path holds no file.
    """
    if not is_weights_file(name):
        look_up({**SHIPPED, **MODELS}, "model", str(name))
    elif not Path(name).is_file():
        raise WeightsError(f"{name}: no such weights file")


def __getattr__(name: str) -> Any:
    """Load a public name from its home (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'imgret.models' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
