#!/usr/bin/env python3
"""Data sets over HTTP: the routes and keys of the replaced service.

    datasets_test.py BIN_DIR [unittest arguments]     BIN_DIR holds jaild, jailagent and jailrun
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import daemons
from daemons import Service


class Datasets(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="service-datasets-")
        os.environ["JAILRUN_DATASETS"] = cls.dir
        subprocess.run([os.path.join(daemons.BIN, "jailrun"), "datasets", "generate", cls.dir], check=True,
                       stdout=subprocess.DEVNULL)
        cls.service = Service()

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.dir)
        assert cls.service.end() == 0

    def test_they_are_listed_with_the_keys_of_the_manual(self):
        status, reply = self.service.ask("GET", "/datasets")
        self.assertEqual((status, list(reply)), (200, ["datasets"]))
        self.assertEqual([row["id"] for row in reply["datasets"][:3]], ["ecommerce", "support", "sensors"])
        for row in reply["datasets"]:
            self.assertEqual(list(row), ["id", "name", "description", "prompts", "version_hash"])
            self.assertRegex(row["version_hash"], "^[0-9a-f]{64}$")

    def test_a_schema_has_its_files_columns_and_three_rows(self):
        status, reply = self.service.ask("GET", "/datasets/support/schema")
        self.assertEqual((status, list(reply)), (200, ["id", "name", "files"]))
        (file,) = reply["files"]
        self.assertEqual(list(file), ["name", "path", "schema", "sample_rows"])
        self.assertEqual((file["name"], file["path"]), ("tickets.csv", "support/tickets.csv"))
        self.assertEqual(list(file["schema"])[:2], ["ticket_id", "created_at"])
        self.assertEqual([row["ticket_id"] for row in file["sample_rows"]], [1, 2, 3])

    def test_what_is_not_there_or_has_changed_is_refused(self):
        for name in ("none", "..%2F..%2Fetc", "%00", "support%2F.."):
            status, reply = self.service.ask("GET", f"/datasets/{name}/schema", raw=name == "%00")
            if name != "%00":
                self.assertEqual((status, reply), (404, {"detail": "Dataset not found"}))
            else:
                self.assertEqual(status, 400)
        path = os.path.join(self.dir, "sensors", "sensors.csv")
        with open(path, "rb") as file:
            content = file.read()
        with open(path, "ab") as file:
            file.write(b"x\n")
        status, reply = self.service.ask("GET", "/datasets/sensors/schema")
        self.assertEqual(status, 409)
        self.assertIn("data set sensors", reply["detail"])
        with open(path, "wb") as file:
            file.write(content)
        self.assertEqual(self.service.ask("GET", "/datasets/sensors/schema")[0], 200)

    def test_what_is_registered_meanwhile_is_there_and_a_broken_registry_is_our_failure(self):
        path = os.path.join(self.dir, "registry.json")
        with open(path) as file:
            text = file.read()
        registry = json.loads(text)
        registry["datasets"].append({**registry["datasets"][1], "id": "again"})
        with open(path, "w") as file:
            json.dump(registry, file)
        self.assertEqual(self.service.ask("GET", "/datasets/again/schema")[0], 200)
        with open(path, "w") as file:
            file.write("{")
        self.assertEqual(self.service.ask("GET", "/datasets")[0], 500)
        with open(path, "w") as file:
            file.write(text)


if __name__ == "__main__":
    daemons.BIN = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=1)
