"""Judges items with inspect-ai's model_graded_qa: BASE_URL ITEMS CONCURRENCY. The solver repeats the recorded answer."""

import os
import sys
import tempfile

base_url, items, concurrency = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
os.environ.update(OPENAI_BASE_URL=base_url, OPENAI_API_KEY="none", INSPECT_DISPLAY="none")

from inspect_ai import Task, eval  # noqa: E402
from inspect_ai.dataset import MemoryDataset, Sample  # noqa: E402
from inspect_ai.model import GenerateConfig, ModelOutput, get_model  # noqa: E402
from inspect_ai.scorer import model_graded_qa  # noqa: E402
from inspect_ai.solver import solver  # noqa: E402

TEXT = "Refunds take five days and go to the card that was paid with. " * 8


@solver
def recorded():
    async def solve(state, generate):
        state.output = ModelOutput.from_content("recorded", TEXT)
        return state

    return solve


samples = [Sample(input=f"{number}: {TEXT}", target=TEXT) for number in range(items)]
grader = get_model("openai/m", config=GenerateConfig(max_connections=concurrency), responses_api=False)
task = Task(dataset=MemoryDataset(samples), solver=recorded(), scorer=model_graded_qa(model=grader))
with tempfile.TemporaryDirectory() as logs:
    log = eval(task, model=grader, max_connections=concurrency, max_samples=concurrency, log_dir=logs)[0]
    print(sum(bool(sample.scores) for sample in log.samples))
