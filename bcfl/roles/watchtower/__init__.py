"""The watchtower: recomputes every proposal and challenges wrong ones, with no stake and no role."""
