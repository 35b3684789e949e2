"""Embedded sets, real sets, their parts, and the batches that a search and a training take."""

from dartslib.data.batches import Batches, Part
from dartslib.data.sets import DataSet, load
from dartslib.data.splitting import Parts, parts

__all__ = ["Batches", "DataSet", "Part", "Parts", "load", "parts"]
