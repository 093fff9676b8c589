#!/usr/bin/env python3
"""Who may ask jailagent, and what comes over the wire: keys, names, origins, bounds; HTTP by hand where it matters.

    access_test.py BIN_DIR [unittest arguments]     BIN_DIR holds jaild and jailagent
"""

import gzip
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest

import daemons
from daemons import Service, ServiceTest


class Keys(unittest.TestCase):
    def check_narrow_keys(self, service, verb):
        """Keys that are made while the service runs, for less than everything."""
        def key(*options):
            made = subprocess.run([*verb, "add", "narrow", *options], check=True, capture_output=True, text=True)
            return {"Authorization": "Bearer " + made.stdout.strip()}

        look, slow = key("--scope", "read"), key("--scope", "use", "--scope", "read", "--rate", "2")
        self.assertEqual(service.ask("GET", "/sessions", headers=look)[0], 200)
        self.assertEqual(service.ask("POST", "/v1/run", {"code": "1"}, headers=look)[0], 403)
        self.assertEqual(service.ask("GET", "/metrics", headers=slow)[0], 403)
        statuses = [service.ask("GET", "/sessions", headers=slow)[0]]
        while statuses[-1] == 200 and len(statuses) < 100:
            statuses.append(service.ask("GET", "/sessions", headers=slow)[0])
        self.assertEqual((statuses[0], statuses[-1]), (200, 429))
        self.assertEqual(service.headers["retry-after"], "1")
        self.assertEqual(service.ask("GET", "/sessions")[0], 200)  # the others are not slower for it

    def test_a_key_is_needed_once_there_is_one(self):
        folder = tempfile.mkdtemp(prefix="service-keys-")
        self.addCleanup(shutil.rmtree, folder)
        path = os.path.join(folder, "keys.json")
        verb = [os.path.join(daemons.BIN, "jailagent"), "keys", "--keys", path]
        keys = [subprocess.run([*verb, "add", name], check=True, capture_output=True, text=True).stdout.strip()
                for name in ("one", "two")]
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        self.assertNotIn(keys[0], open(path).read())
        service = Service(path, key=keys[0])
        try:
            self.assertEqual(service.ask("POST", "/execute", {"session_id": "s", "code": "x = 1"})[0], 200)
            wrong = {"Authorization": "Bearer " + keys[0][:-1] + ("0" if keys[0][-1] != "0" else "1")}
            self.assertEqual(service.ask("GET", "/sessions", headers=wrong)[0], 401)
            self.assertEqual(service.ask("GET", "/healthz", headers=wrong)[0], 200)
            self.assertEqual(service.ask("GET", "/sessions")[1]["count"], 1)
            other = {"Authorization": "Bearer " + keys[1]}
            self.assertEqual(service.ask("GET", "/sessions", headers=other)[1]["count"], 0)
            self.assertEqual(service.ask("DELETE", "/sessions/s", headers=other)[0], 404)
            self.check_narrow_keys(service, verb)
            # Taken back: it opens nothing any more, and an emptied file does not open everything.
            rows = subprocess.run([*verb, "ls"], check=True, capture_output=True, text=True).stdout.splitlines()
            for row in rows:
                subprocess.run([*verb, "rm", row.split()[0]], check=True)
                self.assertEqual(service.ask("GET", "/sessions", headers=other if " one" in row else None)[0],
                                 200 if " one" in row else 401)
            self.assertEqual(service.ask("GET", "/sessions")[0], 401)
            self.assertEqual(service.ask("GET", "/", headers={"Authorization": ""}, raw=True)[0], 200)
        finally:
            self.assertEqual(service.end(), 0)

    def test_without_a_key_it_is_for_loopback_alone(self):
        done = subprocess.run([os.path.join(daemons.BIN, "jailagent"), "serve", "--listen", "0.0.0.0:0", "--keys", "/nonexistent/k"],
                              capture_output=True, text=True, timeout=20)
        self.assertEqual(done.returncode, 125)
        self.assertIn("loopback alone", done.stderr)


class Wire(ServiceTest):
    def status(self, text):
        reply = self.service.bytes(text)
        return int(reply.split(b" ")[1]) if reply else 0

    def test_long_text_is_packed_for_who_takes_it(self):
        ask = self.service.ask
        status, plain = ask("GET", "/openapi.json", raw=True)
        self.assertNotIn("content-encoding", self.service.headers)
        for accepted, packed in (("gzip, deflate, br", True), ("br", False), ("gzip;q=0", False)):
            status, body = ask("GET", "/openapi.json", headers={"Accept-Encoding": accepted}, raw=True)
            self.assertEqual(self.service.headers.get("content-encoding"), "gzip" if packed else None)
            self.assertEqual(gzip.decompress(body) if packed else body, plain)
            self.assertEqual(self.service.headers["vary"], "Accept-Encoding")
        ask("GET", "/healthz", headers={"Accept-Encoding": "gzip"})
        self.assertNotIn("content-encoding", self.service.headers)

    def test_pages_of_other_sites_are_refused(self):
        get = b"GET /sessions HTTP/1.1\r\nHost: %s\r\n%s\r\n"
        self.assertEqual(self.status(get % (b"localhost", b"")), 200)
        self.assertEqual(self.status(get % (b"evil.example", b"")), 421)
        self.assertEqual(self.status(get % (b"127.0.0.1.evil.example:80", b"")), 421)
        self.assertEqual(self.status(get % (b"localhost", b"Origin: https://evil.example\r\n")), 403)
        self.assertEqual(self.status(get % (b"localhost", b"Origin: null\r\n")), 403)
        self.assertEqual(self.status(get % (b"localhost:8000", b"Origin: http://localhost:8000\r\n")), 200)

    def test_nothing_is_smuggled(self):
        post = b"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        for fields in (b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
                       b"Content-Length: 2\r\nContent-Length: 3\r\n",
                       b"Transfer-Encoding: chunked, identity\r\n",
                       b"Transfer-Encoding: xchunked\r\n",
                       b"Content-Length: -1\r\n", b"Content-Length : 2\r\n", b"Host: other\r\n"):
            self.assertEqual(self.status(post + fields + b"\r\n{}"), 400, fields)
        self.assertEqual(self.status(b"GET /healthz HTTP/1.1\r\n\r\n"), 400)
        self.assertEqual(self.status(b"GET /%00 HTTP/1.1\r\nHost: localhost\r\n\r\n"), 400)
        chunked = post + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
        self.assertEqual(self.status(chunked), 422)  # its twin: well-formed, and read

    def test_heads_bodies_and_connections_are_bounded(self):
        self.assertEqual(self.status(b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"), 431)
        many = b"".join(b"X-%d: y\r\n" % i for i in range(5000))
        self.assertEqual(self.status(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + many + b"\r\n"), 431)
        self.assertEqual(self.status(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello"), 413)
        idle = [socket.create_connection(("127.0.0.1", self.service.port)) for _ in range(200)]
        self.assertEqual(self.service.ask("GET", "/healthz")[0], 200)
        for each in idle:
            each.close()

    def test_one_connection_serves_many_requests(self):
        one = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        self.assertEqual(self.service.bytes(one * 5).count(b"HTTP/1.1 200 OK"), 5)

    def test_the_unix_socket_is_served_too(self):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self.service.unix)
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: whatever\r\nConnection: close\r\n\r\n")
            self.assertIn(b'{"status":"ok"}', connection.recv(65536))
        self.assertEqual(os.stat(self.service.unix).st_mode & 0o777, 0o660)


if __name__ == "__main__":
    daemons.BIN = sys.argv.pop(1)
    unittest.main(verbosity=1)
