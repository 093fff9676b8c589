"""A jaild and a jailagent of a test's own, and what asks them."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

BIN = ""  # where the programs lie


class Service:
    """A jaild and a jailagent of their own."""

    def __init__(self, keys=None, key=None):
        self.dir = tempfile.mkdtemp(prefix="service-test-")
        self.jaild_socket = os.path.join(self.dir, "jaild")
        self.unix = os.path.join(self.dir, "http")
        self.log = open(os.path.join(self.dir, "log"), "w+")
        self.key = key
        self.keys = keys or os.path.join(self.dir, "keys.json")
        self.jaild = subprocess.Popen([os.path.join(BIN, "jaild"), "--socket", self.jaild_socket],
                                      stdout=self.log, stderr=self.log)
        self.start_agent()
        deadline = time.monotonic() + 60
        while self.ask("POST", "/v1/run", {"code": "1"})[0] != 200:
            assert time.monotonic() < deadline, "no jail in a minute"
        # What was for one request ends after its reply.
        while self.ask("GET", "/health")[1]["active_sessions"] != 0:
            assert time.monotonic() < deadline, "the session of a run does not end"

    def start_agent(self):
        self.agent = subprocess.Popen(
            [os.path.join(BIN, "jailagent"), "serve", "--listen", "127.0.0.1:0", "--unix", self.unix,
             "--jaild", self.jaild_socket, "--store", os.path.join(self.dir, "store"),
             "--record", os.path.join(self.dir, "record.db"),
             "--execute-policy", "python", "--keys", self.keys],
            stdout=subprocess.PIPE, stderr=self.log, text=True)
        line = self.agent.stdout.readline()
        self.port = int(re.search(r":(\d+)$", line.strip()).group(1))

    def end_agent(self, number):
        self.agent.send_signal(number)
        self.agent.wait(30)
        self.agent.stdout.close()

    def end(self):
        self.agent.send_signal(signal.SIGTERM)
        status = self.agent.wait(30)
        self.agent.stdout.close()
        self.jaild.send_signal(signal.SIGTERM)
        self.jaild.wait(30)
        self.log.flush()
        if os.environ.get("SHOW_LOG"):
            print(open(os.path.join(self.dir, "log")).read(), file=sys.stderr)
        self.log.close()
        shutil.rmtree(self.dir)
        return status

    def ask(self, method, path, body=None, headers=None, raw=False):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        headers = dict(headers or {})
        if self.key:
            headers.setdefault("Authorization", "Bearer " + self.key)
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        connection.request(method, path, body, headers)
        reply = connection.getresponse()
        content = reply.read()
        connection.close()
        self.headers = {name.lower(): value for name, value in reply.getheaders()}
        return reply.status, content if raw else json.loads(content or b"null")

    def bytes(self, text):
        """What the service says to these bytes, until it ends the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(text)
            connection.shutdown(socket.SHUT_WR)
            reply = b""
            while part := connection.recv(65536):
                reply += part
            return reply

    def session(self, **body):
        status, reply = self.ask("POST", "/v1/sessions", body)
        assert status == 201, reply
        return "/v1/sessions/" + reply["id"]


class ServiceTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.service = Service()

    @classmethod
    def tearDownClass(cls):
        assert cls.service.end() == 0

    def value(self, session, code, **more):
        status, reply = self.service.ask("POST", session + "/execute", {"code": code, **more})
        self.assertEqual((status, reply["outcome"]), (200, "ok"), reply)
        return reply["displays"][-1]["data"]["text/plain"] if reply["displays"] else None
