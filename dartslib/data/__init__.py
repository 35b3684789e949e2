"""Embedded sets, real sets, their subsets, and the batches that a search and a training take."""

from dartslib.data.batches import Batches, Subset
from dartslib.data.sets import DataSet, load, locate
from dartslib.data.splitting import Split, remarks, split

__all__ = ["Batches", "DataSet", "Split", "Subset", "load", "locate", "remarks", "split"]
