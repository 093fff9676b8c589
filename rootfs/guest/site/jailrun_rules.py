"""Rules of a policy for code, looked for in its syntax tree (policy.proto, message CodeRules).

Names are followed through import statements, so `import os as o; o.system("x")` is a call of
os.system; what is computed at run time is not seen, and need not be: the jail is the boundary.
Text in strings and comments breaks no rule.
"""

import ast
import fnmatch

from jailrun_policy import CodeRefused

HUGE = 100_000_000  # steps of a range() that is worth a warning
NOTES = 5


def matches(name, patterns):
    return next((one for one in patterns if fnmatch.fnmatchcase(name, one)), None)


def letters(line, offset):
    """A column as SyntaxError counts it, of an offset in bytes."""
    return len(line.encode()[:offset].decode("utf-8", "ignore")) + 1


class Finder(ast.NodeVisitor):
    def __init__(self, tree, rules, policy, offered):
        self.rules, self.policy = rules, policy
        self.found = []  # (node, what, why)
        self.warnings = []
        self.origin = {  # what a name stands for
            name: module + (f".{attribute}" if attribute else "")
            for name, (module, attribute) in offered.items()
        }
        self.own = set()  # names that the code itself defines
        for node in ast.walk(tree):
            self.learn(node)

    def learn(self, node):
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.asname or alias.name.partition(".")[0]
                self.origin[name] = alias.name if alias.asname else name
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                self.origin[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            self.own.add(node.id)
        elif isinstance(node, ast.arg):
            self.own.add(node.arg)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            self.own.add(node.name)

    def break_rule(self, node, what, why):
        self.found.append((node, what, why))

    # --- imports ----------------------------------------------------------------------------------

    def check_import(self, node, name):
        only, refused = self.rules.get("only_imports"), self.rules.get("imports", ())
        top = name.partition(".")[0]
        prefixes = [name[:i] for i, c in enumerate(name) if c == "."] + [name]
        if any(matches(one, refused) for one in prefixes):
            self.break_rule(node, f"Blocked import: {name}", "refused_imports")
        elif only and top not in only:
            why = f"only_imports: {', '.join(only)}"
            self.break_rule(node, f"Blocked import: {name}", why)

    def visit_Import(self, node):
        for alias in node.names:
            self.check_import(node, alias.name)

    def visit_ImportFrom(self, node):
        module = "." * node.level + (node.module or "")
        before = len(self.found)
        self.check_import(node, module)
        for alias in node.names if len(self.found) == before else ():
            full = f"{module}.{alias.name}"
            if matches(full, self.rules.get("imports", ())):
                self.break_rule(node, f"Blocked import: {full}", "refused_imports")
            elif matches(full, self.rules.get("calls", ())):
                self.break_rule(node, f"Blocked call: {full}", "refused_calls")

    # --- calls and attributes ---------------------------------------------------------------------

    def dotted(self, node):
        """The "os.path.join" of a chain of attributes, by what its first name stands for."""
        parts = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return None
        first = self.origin.get(node.id, node.id)
        return ".".join([first, *reversed(parts)])

    def visit_Name(self, node):
        # Not only where it is called: `f = eval` would be the way around.
        if isinstance(node.ctx, ast.Load) and node.id not in self.own:
            full = self.origin.get(node.id, node.id)
            if matches(full, self.rules.get("calls", ())):
                self.break_rule(node, f"Blocked call: {full}", "refused_calls")

    def visit_Attribute(self, node):
        full = self.dotted(node)
        if full and "." in full and matches(full, self.rules.get("calls", ())):
            self.break_rule(node, f"Blocked call: {full}", "refused_calls")
        else:
            self.check_attribute(node, node.attr)
        self.generic_visit(node)

    def check_attribute(self, node, name):
        if matches(name, self.rules.get("attributes", ())):
            self.break_rule(node, f"Blocked attribute: {name}", "refused_attributes")

    def visit_Call(self, node):
        by_name = ("getattr", "setattr", "hasattr", "delattr")
        if isinstance(node.func, ast.Name) and node.func.id in by_name and len(node.args) > 1:
            name = node.args[1]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                self.check_attribute(name, name.value)
        if self.rules.get("warn") and isinstance(node.func, ast.Name) and node.func.id == "range":
            self.check_range(node)
        self.generic_visit(node)

    # --- warnings ---------------------------------------------------------------------------------

    def check_range(self, node):
        values = []
        for argument in node.args:
            try:
                values.append(ast.literal_eval(argument))
            except ValueError:
                power = isinstance(argument, ast.BinOp) and isinstance(argument.op, ast.Pow)
                two = power and [argument.left, argument.right]
                if not power or not all(isinstance(one, ast.Constant) for one in two):
                    return
                left, right = (one.value for one in two)
                if not all(isinstance(one, int) and 0 <= one < 1000 for one in (left, right)):
                    return
                values.append(left**right)
        if values and all(isinstance(value, int) for value in values):
            try:
                steps = len(range(*values))
            except OverflowError:
                steps = HUGE
            except (TypeError, ValueError):
                return
            if steps >= HUGE:
                self.warnings.append(f"line {node.lineno}: {ast.unparse(node)} takes long")

    def visit_While(self, node):
        endless = isinstance(node.test, ast.Constant) and node.test.value
        if self.rules.get("warn") and endless:
            inside = [each for part in node.body for each in ast.walk(part)]
            if not any(isinstance(one, (ast.Break, ast.Return, ast.Raise)) for one in inside):
                ends = "ends only at the wall limit"
                self.warnings.append(f"line {node.lineno}: `while True` without a break {ends}")
        self.generic_visit(node)


def check(tree, text, filename, rules, policy, offered):
    """Warnings about a tree. Raises CodeRefused, the other broken rules in its notes."""
    finder = Finder(tree, rules, policy, offered)
    finder.visit(tree)
    if not finder.found:
        return finder.warnings
    found = sorted(finder.found, key=lambda one: (one[0].lineno, one[0].col_offset))
    node, what, why = found[0]
    line = text.splitlines()[node.lineno - 1] if node.lineno <= text.count("\n") + 1 else ""
    start, end = letters(line, node.col_offset), len(line) + 1
    if node.end_lineno == node.lineno:
        end = letters(line, node.end_col_offset)
    place = (filename, node.lineno, start, line, node.lineno, end)
    error = CodeRefused(f"{what}; policy {policy} refuses it (python.code.{why})", place)
    for other, what, _ in found[1 : NOTES + 1]:
        error.add_note(f"line {other.lineno}: {what}")
    if len(found) > NOTES + 1:
        error.add_note(f"and {len(found) - NOTES - 1} more")
    raise error
