"""Prints what must differ from jail to jail, one a line."""
import os
import random
import tempfile
import uuid

import numpy

print("random", random.getrandbits(64))
print("numpy.random", numpy.random.randint(1 << 62))
print("numpy generator", numpy.random.default_rng().integers(1 << 62))
print("SystemRandom", random.SystemRandom().getrandbits(64))
print("urandom", os.urandom(8).hex())
print("uuid4", uuid.uuid4())
print("uuid1", uuid.uuid1())
print("tempfile", tempfile.mktemp())
