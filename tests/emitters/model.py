"""A model that speaks OpenAI's wire format and has two things to say: it asks for tools, then it answers."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def start(scenario):
    """Serves on a free loopback port until the process ends; gives the base URL that clients want."""

    class Handler(ModelHandler):
        script = scenario

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/v1"


class ModelHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script = None

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        api = {"/v1/chat/completions": ChatCompletions, "/v1/responses": Responses}.get(self.path)
        if api is None:
            return self.answer_json(404, error("not_found", f"no such path: {self.path}"))
        if self.script["refused_question"] in json.dumps(request):
            return self.answer_json(400, error("context_length_exceeded", self.script["refusal"]))
        api = api(self.script, request)
        if request.get("stream"):
            return self.answer_events(api.events())
        self.answer_json(200, api.body())

    def answer_json(self, status, body):
        self.answer(status, "application/json", json.dumps(body).encode())

    def answer_events(self, events):
        self.answer(200, "text/event-stream", "".join(events).encode())

    def answer(self, status, content_type, body):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def error(code, message):
    return {"error": {"message": message, "type": "invalid_request_error", "param": "messages", "code": code}}


class ChatCompletions:
    """`/v1/chat/completions`, whole or as a stream of chunks."""

    def __init__(self, script, request):
        self.script, self.request = script, request
        self.answers = any(message["role"] == "tool" for message in request["messages"])
        self.usage = script["usage"][1 if self.answers else 0]

    def head(self, kind):
        turn = 2 if self.answers else 1
        model = self.script["model"]
        return {"id": f"chatcmpl-{turn}", "object": kind, "created": 1763700000, "model": model}

    def calls(self):
        name = self.script["tool"]["name"]
        return [
            {
                "id": call["id"],
                "type": "function",
                "function": {"name": name, "arguments": json.dumps({"city": call["city"]})},
            }
            for call in self.script["calls"]
        ]

    def finish_reason(self):
        return "stop" if self.answers else "tool_calls"

    def counts(self):
        usage = self.usage
        return {
            "prompt_tokens": usage["input"],
            "completion_tokens": usage["output"],
            "total_tokens": usage["input"] + usage["output"],
            "prompt_tokens_details": {"cached_tokens": usage["cached"], "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": usage["reasoning"], "audio_tokens": 0},
        }

    def body(self):
        message = {"role": "assistant", "content": self.script["answer"], "refusal": None}
        if not self.answers:
            message |= {"content": None, "tool_calls": self.calls()}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self.finish_reason()}
        return self.head("chat.completion") | {"choices": [choice], "usage": self.counts()}

    def events(self):
        for delta in self.deltas():
            yield self.chunk({"index": 0, "delta": delta, "finish_reason": None})
        yield self.chunk({"index": 0, "delta": {}, "finish_reason": self.finish_reason()})
        if (self.request.get("stream_options") or {}).get("include_usage"):
            yield event(self.head("chat.completion.chunk") | {"choices": [], "usage": self.counts()})
        yield "data: [DONE]\n\n"

    def deltas(self):
        yield {"role": "assistant", "content": "" if self.answers else None}
        if self.answers:
            yield from ({"content": part} for part in halves(self.script["answer"]))
            return
        for index, call in enumerate(self.calls()):
            function = call["function"]
            begun = call | {"index": index, "function": function | {"arguments": ""}}
            yield {"tool_calls": [begun]}
            for part in halves(function["arguments"]):
                yield {"tool_calls": [{"index": index, "function": {"arguments": part}}]}

    def chunk(self, choice):
        return event(self.head("chat.completion.chunk") | {"choices": [choice]})


class Responses:
    """`/v1/responses`, whole or as a stream of typed events."""

    def __init__(self, script, request):
        self.script, self.request = script, request
        items = request["input"] if isinstance(request["input"], list) else []
        self.answers = any(item.get("type") == "function_call_output" for item in items)
        self.usage = script["usage"][1 if self.answers else 0]

    def output(self):
        if self.answers:
            text = {"type": "output_text", "text": self.script["answer"], "annotations": [], "logprobs": []}
            message = {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant"}
            return [message | {"content": [text]}]
        name = self.script["tool"]["name"]
        return [
            {
                "type": "function_call",
                "id": f"fc_{index}",
                "call_id": call["id"],
                "name": name,
                "arguments": json.dumps({"city": call["city"]}),
                "status": "completed",
            }
            for index, call in enumerate(self.script["calls"])
        ]

    def counts(self):
        usage = self.usage
        return {
            "input_tokens": usage["input"],
            "input_tokens_details": {"cached_tokens": usage["cached"]},
            "output_tokens": usage["output"],
            "output_tokens_details": {"reasoning_tokens": usage["reasoning"]},
            "total_tokens": usage["input"] + usage["output"],
        }

    def body(self, done=True):
        return {
            "id": "resp_2" if self.answers else "resp_1",
            "object": "response",
            "created_at": 1763700000,
            "status": "completed" if done else "in_progress",
            "error": None,
            "incomplete_details": None,
            "instructions": self.request.get("instructions"),
            "metadata": {},
            "model": self.script["model"],
            "output": self.output() if done else [],
            "parallel_tool_calls": True,
            "temperature": 1.0,
            "tool_choice": "auto",
            "tools": self.request.get("tools", []),
            "top_p": 1.0,
            "usage": self.counts() if done else None,
        }

    def events(self):
        numbered = enumerate(self.typed_events())
        for number, body in numbered:
            yield f"event: {body['type']}\n" + event(body | {"sequence_number": number})

    def typed_events(self):
        yield {"type": "response.created", "response": self.body(done=False)}
        for index, item in enumerate(self.output()):
            begun = item | ({"content": []} if self.answers else {"arguments": ""}) | {"status": "in_progress"}
            yield {"type": "response.output_item.added", "output_index": index, "item": begun}
            yield from self.parts(index, item)
            yield {"type": "response.output_item.done", "output_index": index, "item": item}
        yield {"type": "response.completed", "response": self.body()}

    def parts(self, index, item):
        place = {"item_id": item["id"], "output_index": index}
        if not self.answers:
            kind = "response.function_call_arguments"
            for part in halves(item["arguments"]):
                yield place | {"type": f"{kind}.delta", "delta": part}
            yield place | {"type": f"{kind}.done", "arguments": item["arguments"], "name": item["name"]}
            return
        (text,) = item["content"]
        place |= {"content_index": 0}
        yield place | {"type": "response.content_part.added", "part": text | {"text": ""}}
        for part in halves(text["text"]):
            yield place | {"type": "response.output_text.delta", "delta": part, "logprobs": []}
        yield place | {"type": "response.output_text.done", "text": text["text"], "logprobs": []}
        yield place | {"type": "response.content_part.done", "part": text}


def halves(text):
    middle = len(text) // 2
    return [text[:middle], text[middle:]]


def event(body):
    return f"data: {json.dumps(body)}\n\n"
