"""The models that a backend has had: which of them answers, which were kept aside and why."""

from backend.models.promotion import Decision, consider
from backend.models.registry import Registry, registry_of

__all__ = ["Decision", "Registry", "consider", "registry_of"]
