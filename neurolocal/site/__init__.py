"""The static site of a store: model page, layer pages, neuron pages and search, without a network."""

from neurolocal.site.pages import Pages

__all__ = ["Pages"]
