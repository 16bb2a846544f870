"""Judges items with phoenix-evals: BASE_URL ITEMS CONCURRENCY. Its own rate limiter is opened, or it is all one measures."""

import asyncio
import sys

import pandas
from phoenix.evals import LLM, async_evaluate_dataframe, create_classifier

base_url, items, concurrency = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
TEXT = "Refunds take five days and go to the card that was paid with. " * 8

llm = LLM(provider="openai", model="m", client="openai", base_url=base_url, api_key="none",
          initial_per_second_request_rate=100_000)
judge = create_classifier(
    name="grounded",
    prompt_template="Question: {question}\nData: {context}\nAnswer: {answer}\nIs the answer supported by the data?",
    llm=llm,
    choices={"yes": 1, "no": 0},
)
rows = [{"question": f"{number}: {TEXT}", "context": TEXT, "answer": TEXT} for number in range(items)]
scored = asyncio.run(async_evaluate_dataframe(
    dataframe=pandas.DataFrame(rows), evaluators=[judge], concurrency=concurrency, hide_tqdm_bar=True))
print(int(scored["grounded_score"].notna().sum()))
