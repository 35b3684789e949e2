"""What dartslib computes, a second time: from sums and products alone, by the formulas.

No module and no convolution of torch's, so that the two have nothing in common but the weights.
Those are taken from a network in the order in which it lists them, never by name.
"""

import torch
from torch.nn import functional as F


def windows(x, side, stride=1, padding=0, dilation=1):
    """What each output pixel of a k x k filter reads: (N, C, k * k, H', W')."""
    height, width = (
        (size + 2 * padding - dilation * (side - 1) - 1) // stride + 1 for size in x.shape[2:]
    )
    columns = F.unfold(x, side, dilation, padding, stride)
    return columns.view(*x.shape[:2], side * side, height, width)


def convolve(x, kernel, stride=1, padding=0, dilation=1, depthwise=False):
    """(N, C, H, W) with a kernel (O, C, k, k), or (C, 1, k, k) if depthwise."""
    taps = windows(x, kernel.shape[-1], stride, padding, dilation)
    if depthwise:
        return torch.einsum("nckhw,ck->nchw", taps, kernel[:, 0].flatten(1))
    return torch.einsum("nckhw,ock->nohw", taps, kernel.flatten(2))


def pool(x, stride, kind):
    """3 x 3, padding 1; padded pixels never win a maximum and do not count in an average."""
    taps = windows(x, 3, stride, 1)
    inside = windows(torch.ones_like(x[:1, :1]), 3, stride, 1)
    if kind == "max":
        return torch.where(inside > 0, taps, float("-inf")).amax(dim=2)
    return taps.sum(dim=2) / inside.sum(dim=2)


class Plain:
    """A forward pass with the weights of a network.

    parameters, buffers: as the network lists them; taken one after the other.
    searching: BatchNorm without affine and after pools, or with affine and not after pools.
    training: BatchNorm by the batch, or by the running statistics.

    While training, `moved` is what the buffers that were given are afterwards.
    """

    def __init__(self, parameters, buffers=(), searching=True, training=True, activation=F.relu):
        self.parameters, self.buffers = iter(parameters), iter(buffers)
        self.searching, self.training, self.relu = searching, training, activation
        self.moved = []

    def finished(self):
        return next(self.parameters, None) is None and next(self.buffers, None) is None

    def batch_norm(self, x, affine=None):
        affine = not self.searching if affine is None else affine
        if affine:
            scale, shift = next(self.parameters), next(self.parameters)
        before = [next(self.buffers, None) for _ in range(3)]  # mean, variance, batches so far
        if self.training:
            mean = x.mean(dim=(0, 2, 3))
            squares = ((x - mean.view(1, -1, 1, 1)) ** 2).sum(dim=(0, 2, 3))
            count = x.numel() / x.shape[1]
            variance = squares / count
            if before[0] is not None:
                self.moved += [
                    0.9 * before[0] + 0.1 * mean.detach(),
                    0.9 * before[1] + 0.1 * squares.detach() / (count - 1),
                    before[2] + 1,
                ]
        else:
            mean, variance, _ = before
        x = (x - mean.view(1, -1, 1, 1)) / (variance.view(1, -1, 1, 1) + 1e-5).sqrt()
        return x * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1) if affine else x

    def separable(self, x, stride, dilation):
        depthwise, pointwise = next(self.parameters), next(self.parameters)
        padding = dilation * (depthwise.shape[-1] - 1) // 2
        x = convolve(self.relu(x), depthwise, stride, padding, dilation, depthwise=True)
        return self.batch_norm(convolve(x, pointwise))

    def factorized_reduce(self, x):
        x = self.relu(x)
        even, odd = x[:, :, ::2, ::2], x[:, :, 1::2, 1::2]
        missing = [a - b for a, b in zip(even.shape[2:], odd.shape[2:], strict=True)]
        odd = F.pad(odd, (0, missing[1], 0, missing[0]))
        first, second = next(self.parameters), next(self.parameters)
        return self.batch_norm(torch.cat([convolve(even, first), convolve(odd, second)], dim=1))

    def operation(self, name, x, stride):
        if name == "none":
            return 0.0 * x[:, :, ::stride, ::stride]
        if name == "skip_connect":
            return x if stride == 1 else self.factorized_reduce(x)
        if name in ("max_pool_3x3", "avg_pool_3x3"):
            x = pool(x, stride, name[:3])
            return self.batch_norm(x, affine=False) if self.searching else x
        if name.startswith("dil_conv"):
            return self.separable(x, stride, 2)
        if name.startswith("sep_conv"):
            return self.separable(self.separable(x, stride, 1), 1, 1)
        raise AssertionError(name)

    def adjust(self, x, halve):
        if halve:
            return self.factorized_reduce(x)
        return self.batch_norm(convolve(self.relu(x), next(self.parameters)))

    def stem(self, images):
        return self.batch_norm(convolve(images, next(self.parameters), padding=1), affine=True)

    def head(self, x):
        """Linear layers with a ReLU between; on the mean if the first one reads as many numbers."""
        layers = list(self.parameters)
        x = x.mean(dim=(2, 3)) if layers[0].shape[1] == x.shape[1] else x.flatten(1)
        for position in range(0, len(layers), 2):
            if position:
                x = self.relu(x)
            x = x @ layers[position].T + layers[position + 1]
        return x

    def supernet(self, images, tables, space, layers, reductions):
        """tables: cell type -> (edges, operations), what the operations are multiplied by."""
        before = last = self.stem(images)
        for k in range(layers):
            reduces = k in reductions
            states = [self.adjust(before, k - 1 in reductions), self.adjust(last, False)]
            table = tables["reduction" if reduces else "normal"]
            edge = 0
            for node in range(space.nodes):
                total = 0.0
                for source in range(node + 2):
                    stride = 2 if reduces and source < 2 else 1
                    for column, name in enumerate(space.operations):
                        weight = table[edge, column]
                        total = total + weight * self.operation(name, states[source], stride)
                    edge += 1
                states.append(total)
            before, last = last, torch.cat(states[2:], dim=1)
        return self.head(last)

    def auxiliary_head(self, x):
        """The mean of 5 x 5 windows, 3 apart; 1 x 1 and 2 x 2 convolutions; linear on the mean."""
        x = windows(self.relu(x), 5, 3).mean(dim=2)
        for _ in range(2):
            x = self.relu(self.batch_norm(convolve(x, next(self.parameters))))
        return x.mean(dim=(2, 3)) @ next(self.parameters).T + next(self.parameters)

    def final(self, images, genotype, layers, reductions, auxiliary_cell=None):
        """Scores of both heads; the auxiliary ones are None where there is no such head."""
        before = last = self.stem(images)
        outputs = []
        for k in range(layers):
            reduces = k in reductions
            states = [self.adjust(before, k - 1 in reductions), self.adjust(last, False)]
            for edges in genotype.reduction if reduces else genotype.normal:
                states.append(
                    sum(
                        self.operation(name, states[source], 2 if reduces and source < 2 else 1)
                        for name, source in edges
                    )
                )
            before, last = last, torch.cat(states[2:], dim=1)
            outputs.append(last)
        auxiliary = None
        if auxiliary_cell is not None:
            auxiliary = self.auxiliary_head(outputs[auxiliary_cell])
        return self.head(last), auxiliary


def reducing(layers, reductions=None):
    """Which cells reduce: the ones named, or those at one and two thirds."""
    return {layers // 3, 2 * layers // 3} if reductions is None else set(reductions)


class Noise:
    """Batches of noise that depend on seed and step alone; keeps the steps asked for."""

    def __init__(self, batches=4, size=8, channels=3, classes=10, images=4, seed=0):
        self.batches, self.shape = batches, (images, channels, size, size)
        self.classes, self.seed, self.asked = classes, seed, []

    def __len__(self):
        return self.batches

    def at(self, step):
        self.asked.append(step)
        generator = torch.Generator().manual_seed(1000 * self.seed + step)
        images = torch.randn(self.shape, generator=generator)
        return images, torch.randint(self.classes, self.shape[:1], generator=generator)


def random_tables(space, seed=0, dtype=torch.float64):
    """Weights of every edge and operation, (edges, operations) per cell type."""
    generator = torch.Generator().manual_seed(seed)
    shape = len(space.edges), len(space.operations)
    return {
        cell_type: torch.randn(shape, generator=generator, dtype=dtype).softmax(-1)
        for cell_type in ("normal", "reduction")
    }


def is_one_sentence(error):
    """Whether a message is a line that a reader can act on."""
    text = str(error)
    return "\n" not in text and text.endswith(".") and 20 < len(text) < 300 and text[0].strip()
