"""Pickles read as data: one machine walks them all, within one budget for each file.

What their names become, a vocabulary says; values can be read together with their places.
"""

from sacdoctor.pickles.arrays import NUMPY_ARRAYS, NUMPY_NUMBERS, PickledArray, PickledDType
from sacdoctor.pickles.asked_names import GlobalName, global_names, with_global_names
from sacdoctor.pickles.budget import WalkBudget
from sacdoctor.pickles.encoded import ENCODE, ENCODED_BYTES, ENCODED_TEXT, encode
from sacdoctor.pickles.machine import Machine, read_pickle
from sacdoctor.pickles.opaque import (
    OpaqueNames,
    Path,
    attributes,
    class_of,
    contents,
    dotted,
    walk,
)
from sacdoctor.pickles.places import Items, Place, PlacedValue, Places, read_placed_pickle
from sacdoctor.pickles.start import is_pickle
from sacdoctor.pickles.values import Made, Name, as_key
from sacdoctor.pickles.vocabulary import ListedNames, Symbols, Vocabulary
from sacdoctor.pickles.with_arrays import WithArrays

__all__ = [
    "ENCODE",
    "ENCODED_BYTES",
    "ENCODED_TEXT",
    "NUMPY_ARRAYS",
    "NUMPY_NUMBERS",
    "GlobalName",
    "Items",
    "ListedNames",
    "Machine",
    "Made",
    "Name",
    "OpaqueNames",
    "Path",
    "PickledArray",
    "PickledDType",
    "Place",
    "PlacedValue",
    "Places",
    "Symbols",
    "Vocabulary",
    "WalkBudget",
    "WithArrays",
    "as_key",
    "attributes",
    "class_of",
    "contents",
    "dotted",
    "encode",
    "global_names",
    "is_pickle",
    "read_pickle",
    "read_placed_pickle",
    "walk",
    "with_global_names",
]
