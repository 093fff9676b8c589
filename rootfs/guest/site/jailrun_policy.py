"""What a policy gives to Python and asks of code: its `python` block (jail/spec/policy.proto).

It arrives as JSON in JAILRUN_PYTHON. Names that code finds without an import; modules that a warm
interpreter imports early; rules for code, looked for in its syntax tree before it runs. The rules
are advice to whoever writes the code, never the boundary: that is the jail.

A cold start comes here by sitecustomize, a warm one by zygote.py, a cell by jailrun_session.py.
"""

import contextlib
import importlib
import json
import os
import re
import sys

PACKAGES = "/packages"
RULES = json.loads(os.environ.get("JAILRUN_PYTHON") or "{}")
CODE = RULES.get("code", {})
SQL = RULES.get("language") == "sql"


class CodeRefused(SyntaxError):
    """Code that breaks a rule of its policy; nothing of it has run."""


CodeRefused.__module__ = "builtins"  # as a person should read it


def add_packages():
    """Puts the layers of approved packages on the path, behind the image: its versions win."""
    if os.stat(PACKAGES).st_nlink > 2:
        sys.path += [f"{PACKAGES}/{name}" for name in sorted(os.listdir(PACKAGES))]


# --- names ----------------------------------------------------------------------------------------


def offered():
    """{name: (module, attribute or None)} of the policy's import statements."""
    names = {}
    for statement in RULES.get("imports", ()):
        words = statement.replace(",", " , ").split()
        module = words[1] if words[0] == "from" else None
        rest = " ".join(words[3 if module else 1 :])
        for part in rest.split(","):
            what, _, alias = part.strip().partition(" as ")
            if module:
                names[alias or what] = (module, what)
            elif alias:
                names[alias] = (what, None)
            else:
                names[what.partition(".")[0]] = (what.partition(".")[0], None)
    return names


def give(names, text=None):
    """Puts what is offered into a namespace; of `text`, only what it mentions: imports take time."""
    words = None if text is None else set(re.findall(r"\w+", text))
    for name, (module, attribute) in offered().items():
        if words is not None and name not in words:
            continue
        with contextlib.suppress(ImportError, AttributeError):  # then it is a NameError, if used
            found = importlib.import_module(module)
            names[name] = getattr(found, attribute) if attribute else found
    return names


def preload():
    """For the zygote: imports early; gives the names that every child shall have."""
    for module in RULES.get("preload", ()):
        importlib.import_module(module)
    return give({})


# --- code -----------------------------------------------------------------------------------------


def as_text(source):
    if isinstance(source, str):
        return source
    import importlib.util

    return importlib.util.decode_source(source)


def parse(source, filename, show=False):
    """The tree of a script or cell and its warnings. Raises CodeRefused at the first broken rule.

    In a policy whose language is SQL the tree is that of a call that executes it.
    """
    import ast

    if SQL:
        call = f"__import__('jailrun_csv').{'query' if show else 'answer'}('')"
        tree = ast.parse(call)
        tree.body[0].value.args[0].value = as_text(source)
        return tree, []
    tree = compile(source, filename, "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
    if not CODE:
        return tree, []
    import jailrun_rules

    text = as_text(source)
    check_size(text, filename)
    return tree, jailrun_rules.check(tree, text, filename, CODE, RULES["policy"], offered())


def check_size(text, filename):
    size, most = len(text.encode()), CODE.get("bytes", 0)
    if most and size > most:
        policy = RULES["policy"]
        message = f"Code too long: {size} bytes; policy {policy} takes {most} (python.code.bytes)"
        raise CodeRefused(message, (filename, 1, None, None))


def warn(warnings):
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


def compiled(source, filename):
    """Code of a whole script."""
    tree, warnings = parse(source, filename)
    warn(warnings)
    return compile(tree, filename, "exec", dont_inherit=True)


def cold():
    """A script that Python is about to run by itself: rules and names before its first line."""
    add_packages()
    path = sys.orig_argv[1] if len(sys.orig_argv) > 1 else ""
    if not RULES or not path.startswith("/run/"):
        return
    with open(path, "rb") as file:
        source = file.read()
    if CODE or SQL:
        status = 0
        try:
            code = compiled(source, path)
            if SQL:
                exec(code, {})
                status = None
        except CodeRefused as refused:
            refused.__traceback__ = None  # frames of ours
            sys.excepthook(type(refused), refused, None)
            status = 1
        except SystemExit as leave:
            status = leave.code or 0
        except SyntaxError:  # Python says it itself, as it always does
            return
        if status != 0:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status or 0)
    with contextlib.suppress(SyntaxError, UnicodeDecodeError):
        give(sys.modules["__main__"].__dict__, as_text(source))
