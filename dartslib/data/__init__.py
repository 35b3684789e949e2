"""Embedded sets, real sets, their subsets, and the batches that a search and a training take."""

from dartslib.data.batches import Batches, Subset
from dartslib.data.sets import DataSet, load
from dartslib.data.splitting import Split, split

__all__ = ["Batches", "DataSet", "Split", "Subset", "load", "split"]
