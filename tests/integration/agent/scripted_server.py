"""A server that speaks Chat Completions and plays a script: no model, but the real protocol.

    with ScriptedServer([reply, ...]) as server:   # server.url is for OPENAI_BASE_URL
        ...
    server.requests                                # the JSON of every accepted request

A reply is a dict made by text() or calls(), or a pair (status, headers) to refuse with. Every request is
checked as a strict server would; what is wrong with it is a 400 and an entry in server.faults.
"""

import http.server
import json
import threading


def text(content):
    return {"role": "assistant", "content": content}


def calls(*codes, finish=None):
    """One turn that calls run_python for each program, and perhaps finish."""
    made = [("run_python", {"code": code}) for code in codes]
    if finish is not None:
        made.append(("finish", {"answer": finish}))
    return {"role": "assistant", "content": None, "tool_calls": [
        {"id": f"call_{i}_{name}", "type": "function",
         "function": {"name": name, "arguments": json.dumps(arguments)}}
        for i, (name, arguments) in enumerate(made)]}


def faults_of(request, headers, key):
    """What the protocol forbids in a request; empty if nothing."""
    faults = []
    if headers.get("Authorization") != f"Bearer {key}":
        faults.append("wrong Authorization")
    if headers.get("Content-Type") != "application/json":
        faults.append("wrong Content-Type")
    if not isinstance(request.get("model"), str) or not request["model"]:
        faults.append("no model")
    tools = [tool["function"]["name"] for tool in request.get("tools", []) if tool.get("type") == "function"]
    if tools != ["run_python", "finish"]:
        faults.append(f"tools are {tools}")
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


class ScriptedServer:
    def __init__(self, script, key="sk-test-0123456789", hold=None):
        self.key, self.requests, self.faults = key, [], []
        self.received = threading.Event()  # set at the first request
        outer, rest = self, list(script)

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.received.set()
                if hold is not None:
                    hold.wait(60)
                found = faults_of(body, self.headers, outer.key)
                if self.path != "/v1/chat/completions":
                    found.append(f"path {self.path}")
                if found:
                    outer.faults += found
                    return self.send(400, {"error": {"message": "; ".join(found)}})
                if not rest:
                    outer.faults.append("more requests than the script has replies")
                    return self.send(400, {"error": {"message": "the script has ended"}})
                reply = rest.pop(0)
                if isinstance(reply, tuple):
                    return self.send(reply[0], {"error": {"message": "scripted"}}, reply[1])
                outer.requests.append(body)
                self.send(200, {"id": "x", "object": "chat.completion", "model": body["model"],
                                "choices": [{"index": 0, "message": reply, "finish_reason": "stop"}],
                                "usage": {"prompt_tokens": 90, "completion_tokens": 10, "total_tokens": 100}})

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

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
