"""Scores without training, against what can be computed by other means."""

import numpy as np
import pytest
import torch
from torch import nn

from dartslib.networks import FinalNetwork
from dartslib.rivals import scores
from dartslib.tabular.cells import classes


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


def test_linear_regions_are_patterns(batch):
    images, _ = batch
    linear = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    assert scores.linear_regions(linear, images) == 1
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 3), nn.ReLU())
    patterns = {tuple(row) for row in (network(images) > 0).tolist()}
    assert scores.linear_regions(network, images) == len(patterns) <= 12
    same = images[:1].expand(5, -1, -1, -1)
    assert scores.linear_regions(network, same) == 1
