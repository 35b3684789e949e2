"""Embedded sets, real sets, and the batches a search and a training take from them."""

from dartslib.data.batches import Batches, Part
from dartslib.data.sets import DataSet, Parts, load, parts

__all__ = ["Batches", "DataSet", "Part", "Parts", "load", "parts"]
