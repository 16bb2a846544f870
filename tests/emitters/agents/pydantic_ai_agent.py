"""Pydantic AI, which watches itself."""

import os

import otel_setup
from openai import AsyncOpenAI
from pydantic_ai import Agent, ModelRetry
from pydantic_ai.models.instrumented import InstrumentationSettings
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

import conversation
from conversation import SCENARIO, both

Agent.instrument_all(InstrumentationSettings(tracer_provider=otel_setup.traces))
openai = AsyncOpenAI(base_url=os.environ["MODEL_URL"], api_key="none", max_retries=0)
agent = Agent(
    OpenAIChatModel(SCENARIO["requested_model"], provider=OpenAIProvider(openai_client=openai)),
    name=SCENARIO["agent"],
    instructions=SCENARIO["instructions"],
)


@agent.tool_plain(retries=2)
def get_weather(city: str) -> dict:
    try:
        return conversation.get_weather(city)
    except conversation.ToolError as error:
        raise ModelRetry(str(error)) from error


def run(question):
    agent.run_sync(question, conversation_id=SCENARIO["conversation"])


both(run)
otel_setup.send_all()
