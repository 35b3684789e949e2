"""Where the time of a step goes: what torch's profiler says, sorted into kinds of work."""

import os
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

# Otherwise the profiler says on stderr when it begins, when it ends, and that there is no GPU.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

# Kinds of work by the name of the operator; convolutions are told apart by their kernel.
DEPTHWISE, DEPTHWISE_BACK = "depthwise convolution", "depthwise convolution, backward"
POINTWISE, NORM, POOL, RELU = "pointwise convolution", "BatchNorm", "pools", "ReLU"
SUMS, COPIES, REST = "add, multiply", "copy, fill, concatenate", "all else"
KINDS = {
    NORM: "native_batch_norm native_batch_norm_backward batch_norm_update_stats",
    POOL: "max_pool2d_with_indices max_pool2d_with_indices_backward avg_pool2d avg_pool2d_backward",
    RELU: "relu relu_ clamp_min clamp_min_ threshold_backward",
    POINTWISE: "mm bmm addmm",
    SUMS: "add add_ sub mul mul_ addcmul addcmul_ sum dot neg lerp_",
    COPIES: "copy_ fill_ zero_ cat clone contiguous constant_pad_nd",
}
KIND_OF = {f"aten::{name}": kind for kind, names in KINDS.items() for name in names.split()}
ORDER = (DEPTHWISE, DEPTHWISE_BACK, POINTWISE, NORM, SUMS, COPIES, POOL, RELU, REST)


# Operators that only look at a tensor in another way, or take memory: no work, no kernel on a GPU.
VIEWS = {
    f"aten::{name}"
    for name in """alias as_strided chunk contiguous detach empty empty_like empty_strided expand
    expand_as flatten narrow new_empty permute reshape resize_ resolve_conj resolve_neg select slice
    split split_with_sizes squeeze t to transpose unbind unflatten unfold unsqueeze view view_as
    _reshape_alias _to_copy _unsafe_view""".split()
}


def kind(name: str, shapes: list) -> str:
    """The kind of work of an operator that was called with tensors of these shapes."""
    if "conv" not in name:
        return KIND_OF.get(name, REST)
    back = "backward" in name
    kernel = shapes[2 if back else 1] if len(shapes) > 1 + back else []
    if len(kernel) != 4:  # an operator that only calls another
        return REST
    if kernel[1] == 1 and kernel[0] > 1:
        return DEPTHWISE_BACK if back else DEPTHWISE
    return POINTWISE if list(kernel[2:]) == [1, 1] else REST


def look(step: Callable[[], object]) -> dict:
    """One step under the profiler, after three without: the first ones take memory.

    Returns:
        "calls": operators called by anything but another operator, views not counted.
        "calls_in_all": every operator.
        "shares": {kind of work: its share of the time}.
    """
    for _ in range(3):
        step()
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as found:
        step()
    events = found.events()
    seconds = dict.fromkeys(ORDER, 0.0)
    for event in events:
        seconds[kind(event.name, event.input_shapes)] += event.self_cpu_time_total
    whole = sum(seconds.values())
    operators = [event for event in events if event.name.startswith("aten::")]
    return {
        "calls": sum(map(_works, operators)),
        "calls_in_all": len(operators),
        "shares": {name: round(part / whole, 4) for name, part in seconds.items()},
    }


def _works(event) -> bool:
    """Whether an operator does work that no operator above it counts for."""
    above = event.cpu_parent
    while above is not None and above.name in VIEWS:
        above = above.cpu_parent
    inside = above is not None and above.name.startswith("aten::")
    return event.name not in VIEWS and not inside


def kernels(step: Callable[[], object]) -> int:
    """Kernels and copies that one step launches on a CUDA device."""
    step()
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        step()
        torch.cuda.synchronize()
    return sum(event.device_type == torch.autograd.DeviceType.CUDA for event in found.events())
