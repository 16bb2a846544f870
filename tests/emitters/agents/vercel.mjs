// The Vercel AI SDK with its integration for OpenTelemetry, or with the one that writes what version 6 wrote.

import { readFileSync } from 'node:fs';
import { generateText, isStepCount, jsonSchema, registerTelemetry, tool } from 'ai';
import { LegacyOpenTelemetry, OpenTelemetry } from '@ai-sdk/otel';
import { createOpenAI } from '@ai-sdk/openai';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { defaultResource, detectResources, envDetector } from '@opentelemetry/resources';
import { BatchSpanProcessor, NodeTracerProvider } from '@opentelemetry/sdk-trace-node';

const scenario = JSON.parse(readFileSync(process.env.SCENARIO));
const provider = new NodeTracerProvider({
  resource: defaultResource().merge(detectResources({ detectors: [envDetector] })),
  spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())],
});
provider.register();
registerTelemetry(process.env.LEGACY ? new LegacyOpenTelemetry() : new OpenTelemetry({ runtimeContext: true }));
const openai = createOpenAI({ baseURL: process.env.MODEL_URL, apiKey: 'none' });

const weather = tool({
  description: scenario.tool.description,
  inputSchema: jsonSchema(scenario.tool.parameters),
  execute: ({ city }) => {
    const call = scenario.calls.find((call) => call.city === city);
    if (call.error) throw new Error(call.error);
    return call.result;
  },
});

const run = (question) =>
  generateText({
    model: openai.chat(scenario.requested_model),
    system: scenario.instructions,
    prompt: question,
    tools: { [scenario.tool.name]: weather },
    stopWhen: isStepCount(3),
    maxRetries: 0,
    telemetry: { functionId: scenario.agent, includeRuntimeContext: { sessionId: true, userId: true } },
    runtimeContext: { sessionId: scenario.conversation, userId: scenario.user },
  });

await run(scenario.question);
await run(scenario.refused_question).then(
  () => {
    throw new Error('the model should have refused');
  },
  (error) => {
    if (!String(error).includes(scenario.refusal)) throw error;
  },
);
await provider.shutdown();
