"""The official procedure, from this project's own parts: one field for each call, nothing kept from one to the next."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from benchmarks.perceive.measure import Run, Stopwatch
from model import PAM, Prompt
from model.language import Question, prompt_ids, splice
from model.language.generate import END


class _FirstToken(StoppingCriteria):
    """Stops nothing; ends the stopwatch's prefill when it is first asked, which is after the first token."""

    def __init__(self, watch: Stopwatch):
        self._watch = watch
        self.at: float | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: object) -> Tensor:
        if self.at is None:
            self.at = self._watch.lap("prefill")
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


@torch.inference_mode()
def run(pam: PAM, image: np.ndarray, prompt: Prompt, questions: Sequence[str], new_tokens: int) -> Run:
    """Answer `questions` about what `prompt` means on `image`, uint8 (H, W, 3), with `new_tokens` tokens each."""
    watch = Stopwatch(pam.device)
    masks, firsts, tokens = [], [], []
    end_token = pam.tokenizer.convert_tokens_to_ids(END)
    for question in questions:
        image_features = pam.encode(image)
        watch.lap("encode")
        segmentation = pam.segment(image_features, prompt)
        masks.append(watch.lap("segment"))
        visual = pam.visual_tokens([segmentation])[0]
        watch.lap("perceive")
        before, after = prompt_ids(pam.tokenizer, Question(question))
        embeds = splice(pam.language.get_input_embeddings(), before, visual, after)
        first = _FirstToken(watch)
        ids = pam.language.generate(  # type: ignore[misc]
            inputs_embeds=embeds[None],
            generation_config=GenerationConfig(
                max_new_tokens=new_tokens,
                min_new_tokens=new_tokens,
                do_sample=False,
                use_cache=True,
                eos_token_id=end_token,
                pad_token_id=end_token,
            ),
            stopping_criteria=StoppingCriteriaList([first]),
        )
        end = watch.lap("decode")
        firsts.append(end if first.at is None else first.at)
        tokens.append(ids[0].tolist())
    return Run(watch.phases, masks[0], firsts[0], end, len(questions) * (new_tokens - 1), tokens)
