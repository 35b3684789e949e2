"""What a network costs: weights and multiply-adds."""

from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_weights(module: nn.Module) -> int:
    """The number of learned parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_multiply_adds(module: nn.Module, *image_shape: int, **inputs: Any) -> int:
    """Multiply-adds of convolutions and linear layers for one image, in evaluation.

    Args:
        module: any module that takes a batch of images, or of maps.
        image_shape: C, H and W of an image.
        inputs: further arguments, such as `mixture` of a supernet or `last` of a cell.
    """
    parameter = next(module.parameters(), torch.empty(0))
    image = torch.zeros(1, *image_shape, device=parameter.device, dtype=parameter.dtype)
    was_training = module.training
    module.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(image, **inputs)
    module.train(was_training)
    return counter.get_total_flops() // 2  # torch counts a multiply-add as two
