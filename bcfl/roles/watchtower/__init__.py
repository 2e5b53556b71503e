"""The watchtower: recomputes every proposal and challenges a wrong one."""
