"""OLES: an operation's weights freeze where training and validation pull them apart.

Jiang et al., "Operation-level early stopping for robustifying differentiable NAS" (NeurIPS 2023).
w_o are the weights of one operation on one edge of one cell; the mean is over M steps::

    mean of cos(d L_train / d w_o, d L_val / d w_o) < threshold:   w_o freezes for good

What differs from the paper and its code (PasaLab/oles), on purpose:

1. The cosine is the paper's. The code's gradient of L_val has that of L_train in it, which is
   never zeroed; its cosines are along one axis of each tensor; 21 of them are divided by 20.
2. So the code's threshold of 0.4 means nothing here. Ours is 0: the gradients point apart. With
   equal operations the small space's supernet shows 0.2 at first, 0.07 after an epoch.
3. L_val's gradient is a pass of its own, with the alpha from before alpha's step.
4. A frozen weight stays to the bit: in the code it still follows momentum and weight decay. A
   skip of stride 2 has weights, too, and may freeze.
"""

import torch
from pydantic import Field
from torch import Tensor

from dartslib.gradients import BatchLoss, leaves
from dartslib.relaxation import Relaxation
from dartslib.searching import Search


class OLES(Relaxation, name="oles"):
    """DARTS with operations that stop learning one by one (Jiang et al. 2023, section 4)."""

    threshold: float = Field(0.0, ge=-1, le=1)
    """An operation freezes where its mean cosine is smaller; -1 for none."""
    window: int = Field(20, ge=1)
    """M, steps per mean."""

    def after_step(self, search: Search) -> None:
        """Puts back what is frozen, compares gradients, and notes L_val's for the next step."""
        notes, w = search.notes, search.w
        owner = _owners(search)  # (weights,)
        now = torch.cat([p.detach().flatten() for p in w])  # (weights,)
        nothing = now.new_zeros(int(owner.max()) + 1)  # one number per operation, and for the rest
        frozen = notes.setdefault("frozen", nothing.bool())
        notes["weights"] = torch.where(frozen[owner], notes.get("weights", now), now)
        if frozen.any():
            for p, kept in zip(w, notes["weights"].split([p.numel() for p in w]), strict=True):
                p.data.copy_(kept.view_as(p))
        if "gradient" in notes:
            of_step = [torch.zeros_like(p) if p.grad is None else p.grad for p in w]
            found = cosines(torch.cat([g.flatten() for g in of_step]), notes["gradient"], owner)
            notes["sum"] = notes.get("sum", nothing) + found
            notes["count"] = notes.get("count", torch.zeros(())) + 1
            if notes["count"] == self.window:
                apart = notes.pop("sum") / notes.pop("count") < self.threshold
                apart[0] = False  # stem, cell inputs and head
                notes["frozen"] = frozen | apart
        if search.step < search.steps:
            net, architecture, batch = search.supernet, search.architecture, search._batch
            loss = BatchLoss(net, architecture, *batch(search.valid), moment=search.moment)
            free, alpha = leaves(w), [a.detach() for a in architecture.alpha]
            gradient = torch.autograd.grad(loss(free, alpha), free, materialize_grads=True)
            notes["gradient"] = torch.cat([g.flatten() for g in gradient])


def _owners(search: Search) -> Tensor:
    """The number of each weight's operation, from 1 on; 0 for weights of none, (weights,)."""
    edges = [edge for cell in search.supernet.cells for edge in cell.edges]
    operations = [[*operation.parameters()] for edge in edges for operation in edge.operations]
    number = {p: k for k, own in enumerate(filter(None, operations), start=1) for p in own}
    return torch.cat([torch.full_like(p, number.get(p, 0), dtype=int).flatten() for p in search.w])


def cosines(one: Tensor, other: Tensor, owner: Tensor) -> Tensor:
    """The cosine between two gradients (weights,), per owner; 0 where one of them is 0."""
    dot, square, other_square = (
        one.new_zeros(int(owner.max()) + 1).index_add(0, owner, product)
        for product in (one * other, one * one, other * other)
    )
    size = square.sqrt() * other_square.sqrt()
    return torch.where(size > 0, dot / size, 0.0).clamp(-1, 1)
