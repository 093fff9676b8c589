"""The tests that ctest knows, for tables that name them."""

import os
import re

TEST = re.compile(r"[A-Za-z]\w*\.[\w*]+")  # a name as tables have it


def known_tests(build):
    """What CMake and gtest_discover_tests wrote for ctest to read: no second ctest beside the one that runs this."""
    names = set()
    for folder, _, files in os.walk(build):
        for name in files:
            if name == "CTestTestfile.cmake" or name.endswith("_tests.cmake"):
                with open(os.path.join(folder, name)) as file:
                    names.update(re.findall(r"^add_test\((?:\[=*\[)?([^\s\]]+)", file.read(), re.MULTILINE))
    return names
