"""What annotators corrected, remembered: the next click on a thing of the kind is answered with their words."""

from backend.memory.memory import Advice, ProjectMemories

__all__ = ["Advice", "ProjectMemories"]
