"""What a network is worth, guessed without training it: more is better, for all four.

Each takes a network as it was built and images (N, C, H, W), and leaves the network as it was.
BatchNorm takes its statistics from the batch. They cost a forward pass or a few. What they have to
beat is `counting`: the number of weights, or of convolutions.
"""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LAYERS = (nn.Conv2d, nn.Linear)


def gradient_norm(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Sum over convolutions and linear layers of the length of the loss's gradient.

    Abdelfattah et al., Zero-Cost Proxies for Lightweight NAS, ICLR 2021: a sum of lengths, not the
    length of all. `labels` are (N,).
    """
    network = deepcopy(network).train()
    weights = [part.weight for part in network.modules() if isinstance(part, LAYERS)]
    loss = F.cross_entropy(network(images), labels)
    return float(sum(slope.norm() for slope in torch.autograd.grad(loss, weights)))


def synflow(network: nn.Module, shape: tuple[int, ...]) -> float:
    """How much of a constant input's sum comes through, weight by weight; needs no data.

    Tanaka et al., Pruning Neural Networks without Any Data by Iteratively Conserving Synaptic
    Flow, NeurIPS 2020: all weights positive, BatchNorm left out, input of ones, the sum over
    weights of w dR/dw with R the sum of the outputs. In float64: deep networks overflow float32.
    `shape` is that of one image, (C, H, W).
    """
    network = deepcopy(network).double().eval()
    for part in list(network.modules()):
        for name, child in part.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(part, name, nn.Identity())
            elif isinstance(child, LAYERS) and child.bias is not None:
                nn.init.zeros_(child.bias)
    weights = list(network.parameters())
    for weight in weights:
        weight.data.abs_()
    total = network(torch.ones(1, *shape, dtype=torch.float64)).sum()
    slopes = torch.autograd.grad(total, weights, allow_unused=True)
    pairs = zip(weights, slopes, strict=True)  # a weight that nothing comes through has no slope
    return float(sum((w.detach() * s).sum() for w, s in pairs if s is not None))


def naswot(network: nn.Module, images: Tensor) -> float:
    """How differently the images switch the ReLUs: log |det K|, K_ij the units that agree.

    Mellor et al., Neural Architecture Search without Training, ICML 2021. Two equal images give
    minus infinity.
    """
    codes = torch.cat(_switched(network, images), dim=1).double()  # (N, units), 0 or 1
    agree = codes @ codes.T + (1 - codes) @ (1 - codes).T  # (N, N)
    sign, size = torch.linalg.slogdet(agree)
    return float(size) if sign > 0 else -float("inf")


def ntk_condition(network: nn.Module, images: Tensor) -> float:
    """Minus the condition number of the neural tangent kernel: how alike images are learned.

    Chen, Gong, Wang, Neural Architecture Search on ImageNet in Four GPU Hours (TE-NAS), ICLR 2021:
    the kernel is G G', a row of G the gradient of one image's sum of scores for all weights. It
    takes N backward passes.

    Unlike there, BatchNorm keeps the batch's statistics while gradients are taken. Else its outputs
    sum to a constant whatever the weights are; where no pool follows the last of them, as in these
    cells, the rows of G sum to zero, and the smallest eigenvalue is rounding.
    """
    network = deepcopy(network).train()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0  # the running statistics become those of the batch
    with torch.no_grad():
        network(images)
    network.eval()
    weights = [p for name, p in network.named_parameters() if name.endswith("weight")]
    rows = []
    for total in network(images).sum(dim=1):  # an image each
        slopes = torch.autograd.grad(total, weights, retain_graph=True)
        rows.append(torch.cat([slope.flatten() for slope in slopes]).double())
    values = torch.linalg.eigvalsh(torch.stack(rows) @ torch.stack(rows).T)  # ascending
    return -float(values[-1] / values[0].clamp(min=0)) if values[0] > 0 else -float("inf")


def plane(count: int, shape: tuple[int, ...], seed: int) -> Tensor:
    """count x count points of a plane through the space of images, (count * count, *shape).

    Its directions are drawn; the points reach from -3 to 3 along each.
    """
    generator = torch.Generator().manual_seed(seed)
    size = torch.Size(shape).numel()
    directions, _ = torch.linalg.qr(torch.randn(size, 2, generator=generator))  # (size, 2)
    along = torch.linspace(-3, 3, count)
    return (torch.cartesian_prod(along, along) @ directions.T).view(-1, *shape)


def linear_regions(network: nn.Module, inputs: Tensor, within: str = "") -> float:
    """Into how many linear pieces the network cuts these inputs: distinct patterns of its ReLUs.

    The other of TE-NAS's two indicators; it prunes a supernet by both, where here cells are ranked
    by the sum of their ranks. There the inputs are 3,000 crops of images, 3 x 3 pixels, and the
    network has no stem. In so many dimensions a few ReLUs tell all crops apart, and the count is
    their number: so give the points of a `plane`.

    `within` is a part of the names of the modules whose ReLUs count.
    """
    switched = _switched(network, inputs, within)
    return float(len(torch.unique(torch.cat(switched, dim=1), dim=0))) if switched else 1.0


def _switched(network: nn.Module, images: Tensor, within: str = "") -> list[Tensor]:
    """Of every ReLU with `within` in its name, which units are on: (N, units) booleans."""
    found: list[Tensor] = []

    def keep(module: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> None:
        found.append((result > 0).flatten(1))

    network = deepcopy(network).train()
    for name, part in network.named_modules():
        if isinstance(part, nn.ReLU) and within in name:
            part.register_forward_hook(keep)
    with torch.no_grad():
        network(images)
    return found
