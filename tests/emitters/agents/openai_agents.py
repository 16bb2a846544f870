"""OpenAI's Agents SDK over its Responses API, watched by OpenInference."""

import os

import otel_setup
from agents import Agent, RunConfig, Runner, function_tool, set_default_openai_client
from openai import AsyncOpenAI
from openinference.instrumentation import using_attributes
from openinference.instrumentation.openai_agents import OpenAIAgentsInstrumentor

import conversation
from conversation import SCENARIO, both

OpenAIAgentsInstrumentor().instrument(tracer_provider=otel_setup.traces)
openai = AsyncOpenAI(base_url=os.environ["MODEL_URL"], api_key="none", max_retries=0)
set_default_openai_client(openai, use_for_tracing=False)


@function_tool
def get_weather(city: str) -> dict:
    """The temperature in a city."""
    return conversation.get_weather(city)


agent = Agent(
    name=SCENARIO["agent"],
    instructions=SCENARIO["instructions"],
    model=SCENARIO["requested_model"],
    tools=[get_weather],
)


def run(question):
    with using_attributes(session_id=SCENARIO["conversation"], user_id=SCENARIO["user"]):
        Runner.run_sync(agent, question, run_config=RunConfig(group_id=SCENARIO["conversation"]))


both(run)
otel_setup.send_all()
