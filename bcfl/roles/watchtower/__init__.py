"""The watchtower: recomputes every proposal and challenges wrong ones, with no stake and no role."""

from bcfl.renamed import former_names

__getattr__ = former_names(__name__, {"Watchtower": "bcfl.roles.watchtower.watchtower.Watchtower"})
