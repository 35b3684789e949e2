"""Scores without training, against what can be computed by other means."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn

from dartslib.networks import FinalNetwork
from dartslib.rivals import scores
from dartslib.tabular.cells import classes
from dartslib.tabular.making import RECIPE


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(12, 3, 8, 8, generator=generator), torch.arange(12) % 4


@pytest.fixture
def network():
    torch.manual_seed(0)
    sizes = {"channels": 4, "layers": 2, "reductions": (), "image_size": 8, "num_classes": 4}
    return FinalNetwork(classes()[-1], **sizes)


def test_a_score_leaves_the_network_as_it_was(network, batch):
    images, labels = batch
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = [
        scores.gradient_norm(network, images, labels),
        scores.synflow(network, (3, 8, 8)),
        scores.naswot(network, images),
        scores.ntk_condition(network, images),
        scores.linear_regions(network, images),
    ]
    assert np.isfinite(found).all()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_gradient_norm_is_a_sum_of_lengths(batch):
    images, labels = batch
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 5), nn.ReLU(), nn.Linear(5, 4))
    loss = nn.functional.cross_entropy(network(images), labels)
    loss.backward()
    lengths = [network[k].weight.grad.norm().item() for k in (1, 3)]
    assert scores.gradient_norm(network, images, labels) == pytest.approx(sum(lengths))


def test_synflow_of_a_chain_is_its_length_times_what_comes_through():
    """Every layer cuts all paths once, so each gives the whole sum R."""
    torch.manual_seed(0)
    chain = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(),
        nn.Linear(48, 7, bias=False), nn.Linear(7, 2),
    )  # fmt: skip
    through = torch.ones(1, 2, 4, 4, dtype=torch.float64)
    plain = [part for part in chain if not isinstance(part, nn.BatchNorm2d)]
    with torch.no_grad():
        for part in plain:
            copy = part.double() if not isinstance(part, scores.LAYERS) else None
            if copy is not None:
                through = copy(through)
            elif isinstance(part, nn.Conv2d):
                through = nn.functional.conv2d(through, part.weight.double().abs(), padding=1)
            else:
                through = through @ part.weight.double().abs().T
    assert scores.synflow(chain, (2, 4, 4)) == pytest.approx(3 * through.sum().item())


def test_naswot_counts_units_that_agree(batch):
    images, _ = batch
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 9), nn.ReLU())
    on = (network(images) > 0).numpy()
    agree = np.array([[(a == b).sum() for b in on] for a in on], dtype=float)
    assert (np.diag(agree) == 9).all()
    twice = torch.cat([images[:3], images[:1]])  # two equal images: K has two equal rows
    assert scores.naswot(network, twice) == -np.inf
    assert scores.naswot(network, images[:3]) == pytest.approx(np.linalg.slogdet(agree[:3, :3])[1])


def test_the_kernel_of_a_linear_model_is_the_gram_matrix(batch):
    images, _ = batch
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 1))
    flat = images.flatten(1).double().numpy()
    values = np.linalg.eigvalsh(flat @ flat.T)
    found = scores.ntk_condition(network, images)
    assert -found == pytest.approx(values[-1] / values[0], rel=1e-3)
    assert scores.ntk_condition(network, torch.cat([images, images[:1]])) < 1e6 * found


@pytest.mark.parametrize("number", [0, 60, 120, 206])
def test_the_kernel_of_a_cell_is_not_singular(number):
    """With BatchNorm on its batch the rows summed to zero where no pool came last."""
    config = RECIPE.changed(channels=4, layers=2)
    network = config.network(classes()[number], num_classes=4, image_size=8)
    images = torch.randn(12, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    assert 1 < -scores.ntk_condition(network, images) < 1e6
    # By hand: statistics of the batch, then a backward pass per image.
    network.train()(images)
    alone = deepcopy(network)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.reset_running_stats()
            part.momentum = None
    network(images)
    network.eval()
    rows = []
    for image in images:
        network.zero_grad()
        network(image[None]).sum().backward()
        named = network.named_parameters()
        rows.append(torch.cat([p.grad.flatten() for n, p in named if n.endswith("weight")]))
    values = torch.linalg.eigvalsh(torch.stack(rows).double() @ torch.stack(rows).double().T)
    condition = float(values[-1] / values[0])
    assert -scores.ntk_condition(alone, images) == pytest.approx(condition, rel=0.02)


def test_a_plane_is_one_and_cells_differ_on_it():
    points = scores.plane(30, (1, 3, 3), 0).flatten(1).double()
    assert points.shape == (900, 9) and torch.linalg.matrix_rank(points, rtol=1e-4) == 2
    assert points.norm(dim=1).max() == pytest.approx(3 * 2**0.5)
    counts = {}
    for cell in classes()[::20]:
        thin = RECIPE.changed(channels=1, layers=1).network(
            cell, num_classes=4, in_channels=1, image_size=3
        )
        convolutions = str(cell.normal).count("sep_conv")
        regions = scores.linear_regions(thin, scores.plane(60, (1, 3, 3), 0), ".nodes.")
        counts.setdefault(convolutions, []).append(regions)
    assert set(counts[0]) == {1.0} and min(counts[1]) > 1
    assert np.mean(counts[1]) < np.mean(counts[2]) < 0.9 * 3600  # the count is not that of points


def test_linear_regions_are_patterns(batch):
    images, _ = batch
    linear = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    assert scores.linear_regions(linear, images) == 1
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 3), nn.ReLU())
    patterns = {tuple(row) for row in (network(images) > 0).tolist()}
    assert scores.linear_regions(network, images) == len(patterns) <= 12
    same = images[:1].expand(5, -1, -1, -1)
    assert scores.linear_regions(network, same) == 1
