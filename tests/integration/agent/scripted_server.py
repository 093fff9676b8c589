"""A server that speaks three protocols of models and plays a script: no model, but the real wire formats.

    with ScriptedServer([reply, ...]) as server:   # server.url is for OPENAI_BASE_URL
        ...
    server.requests                                # the JSON of every accepted request

A reply is a dict made by text() or calls(), in Chat Completions' form whatever the protocol, or a pair
(status, headers) to refuse with. Every request is checked as a strict server would; what is wrong with it is
a 400 and an entry in server.faults.
"""

import http.server
import json
import re
import threading


FRESH_TOOLS = ["run_python", "run_sql", "query_plan", "list_files", "describe_data", "finish"]
SESSION_TOOLS = [*FRESH_TOOLS[:-1], "branch", "rollback", "finish"]


def text(content):
    return {"role": "assistant", "content": content}


def calls(*codes, finish=None, tools=()):
    """One turn that calls run_python for each program, each of the (name, arguments), and perhaps finish."""
    made = [("run_python", {"code": code}) for code in codes] + list(tools)
    if finish is not None:
        made.append(("finish", {"answer": finish}))
    return {"role": "assistant", "content": None, "tool_calls": [
        {"id": f"call_{i}_{name}", "type": "function",
         "function": {"name": name, "arguments": json.dumps(arguments)}}
        for i, (name, arguments) in enumerate(made)]}


def tools_faults(names):
    own = [name for name in names if name not in SESSION_TOOLS]
    rest = [name for name in names if name in SESSION_TOOLS]
    return [] if rest in (FRESH_TOOLS, SESSION_TOOLS) else [f"tools are {names}, {own} of its own"]


def chat_faults(request, headers, key):
    """What Chat Completions forbids in a request; empty if nothing."""
    faults = []
    if headers.get("Authorization") != f"Bearer {key}":
        faults.append("wrong Authorization")
    faults += tools_faults([t["function"]["name"] for t in request.get("tools", []) if t.get("type") == "function"])
    for tool in request.get("tools", []):
        if tool["function"]["parameters"].get("type") != "object":
            faults.append("a tool without an object schema")
    messages = request.get("messages", [])
    if [m.get("role") for m in messages[:2]] != ["system", "user"]:
        faults.append("does not begin with system and user")
    open_calls = set()
    for message in messages:
        role = message.get("role")
        if role == "tool":
            if message.get("tool_call_id") not in open_calls:
                faults.append("a tool message that answers no call")
            open_calls.discard(message.get("tool_call_id"))
        elif open_calls:
            faults.append(f"calls without an answer: {open_calls}")
        if role == "assistant":
            open_calls = {call["id"] for call in message.get("tool_calls", [])}
    if open_calls:
        faults.append(f"calls without an answer: {open_calls}")
    return faults


def chat_reply(message, model):
    return {"id": "x", "object": "chat.completion", "model": model,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 90, "completion_tokens": 10, "total_tokens": 100}}


def messages_faults(request, headers, key):
    faults = []
    if headers.get("x-api-key") != key or headers.get("anthropic-version") != "2023-06-01":
        faults.append("wrong x-api-key or anthropic-version")
    faults += tools_faults([tool["name"] for tool in request.get("tools", [])])
    if not isinstance(request.get("max_tokens"), int) or not request.get("system"):
        faults.append("no max_tokens or no system")
    messages, before = request.get("messages", []), None
    for i, message in enumerate(messages):
        if message["role"] != ("user", "assistant")[i % 2]:
            faults.append("roles do not alternate")
        results = [block["tool_use_id"] for block in message["content"] if block["type"] == "tool_result"]
        if before is not None and results != before:
            faults.append(f"results {results} for calls {before}")
        before = [block["id"] for block in message["content"] if block["type"] == "tool_use"] or None
    return faults


def messages_reply(message, model):
    content = [{"type": "text", "text": message["content"]}] if message["content"] else []
    content += [{"type": "tool_use", "id": call["id"], "name": call["function"]["name"],
                 "input": json.loads(call["function"]["arguments"])} for call in message.get("tool_calls", [])]
    return {"id": "x", "type": "message", "role": "assistant", "model": model, "content": content,
            "stop_reason": "tool_use" if message.get("tool_calls") else "end_turn",
            "usage": {"input_tokens": 90, "output_tokens": 10}}


def responses_faults(request, headers, key):
    faults = []
    if headers.get("Authorization") != f"Bearer {key}" or request.get("store") is not False:
        faults.append("wrong Authorization, or stored")
    faults += tools_faults([tool["name"] for tool in request.get("tools", []) if tool.get("type") == "function"])
    items = request.get("input", [])
    if [item.get("role") for item in items[:2]] != ["developer", "user"]:
        faults.append("does not begin with developer and user")
    made = [item["call_id"] for item in items if item.get("type") == "function_call"]
    answered = [item["call_id"] for item in items if item.get("type") == "function_call_output"]
    return faults if made == answered else [*faults, f"calls {made}, answered {answered}"]


def responses_reply(message, model):
    output = [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": message["content"]}]}
              ] if message["content"] else []
    output += [{"type": "function_call", "call_id": call["id"], **call["function"]}
               for call in message.get("tool_calls", [])]
    return {"id": "x", "object": "response", "model": model, "status": "completed", "output": output,
            "usage": {"input_tokens": 90, "output_tokens": 10}}


PROTOCOLS = {"/v1/chat/completions": (chat_faults, chat_reply), "/v1/messages": (messages_faults, messages_reply),
             "/v1/responses": (responses_faults, responses_reply)}


def faults_of(path, request, headers, key):
    if path not in PROTOCOLS:
        return [f"path {path}"]
    faults = PROTOCOLS[path][0](request, headers, key)
    if headers.get("Content-Type") != "application/json":
        faults.append("wrong Content-Type")
    if not isinstance(request.get("model"), str) or not request["model"]:
        faults.append("no model")
    return faults


class ScriptedServer:
    def __init__(self, script, key="sk-test-0123456789", hold=None):
        self.key, self.requests, self.faults = key, [], []
        self.received = threading.Event()  # set at the first request
        outer, self.rest = self, list(script)

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.received.set()
                if hold is not None:
                    hold.wait(60)
                found = faults_of(self.path, body, self.headers, outer.key)
                if found:
                    outer.faults += found
                    return self.send(400, {"error": {"message": "; ".join(found)}})
                if not outer.rest:
                    outer.faults.append("more requests than the script has replies")
                    return self.send(400, {"error": {"message": "the script has ended"}})
                reply = outer.rest.pop(0)
                if isinstance(reply, tuple):
                    return self.send(reply[0], {"error": {"message": "scripted"}}, reply[1])
                outer.requests.append(body)
                if body.get("stream") and self.path.endswith("/chat/completions"):
                    return self.stream(reply)
                self.send(200, PROTOCOLS[self.path][1](reply, body["model"]))

            def stream(self, message):
                """The text by words, then the calls, as Chat Completions streams them."""
                deltas = [{"content": word} for word in re.findall(r"\S+\s*", message.get("content") or "")]
                deltas += [{"tool_calls": [{"index": i, **call}]} for i, call in enumerate(message.get("tool_calls", []))]
                ends = "tool_calls" if message.get("tool_calls") else "stop"
                chunks = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
                chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": ends}]})
                chunks.append({"choices": [], "usage": {"prompt_tokens": 90, "completion_tokens": 10}})
                data = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                self.wfile.write(data.encode())

            def send(self, status, body, headers=None):
                data = json.dumps(body).encode()
                try:
                    self.send_response(status)
                    for name, value in (headers or {}).items():
                        self.send_header(name, value)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                except ConnectionError:
                    pass  # the client was cancelled

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def play(self, script):
        """Another one from here on."""
        self.rest, self.faults = list(script), []

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
