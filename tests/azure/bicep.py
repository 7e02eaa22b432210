"""Reads Bicep, and works out what a template deploys for given parameters, as far as deploy/azure needs it.

There is no Bicep compiler to be had from PyPI, npm, crates.io or Debian. This knows the part of the language that is used
here and refuses the rest; tree-sitter's grammar is the second opinion (static.py).
"""

import json
import re


class Problem(Exception):
    pass


TOKEN = re.compile(r"""
    (?P<space>[ \t]+|//[^\n]*|/\*.*?\*/)
  | (?P<newline>\n)
  | (?P<number>\d+)
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<operator>=>|==|!=|=~|!~|<=|>=|&&|\|\||\?\?|\.\?|::|\.\.\.|[-+*/%!<>?:.,=@(){}\[\]|])
""", re.X | re.S)
ESCAPES = {"\\": "\\", "'": "'", "n": "\n", "r": "\r", "t": "\t", "$": "$"}
PRIORITY = {"??": 1, "||": 2, "&&": 3, "==": 4, "!=": 4, "=~": 4, "!~": 4, "<": 5, "<=": 5, ">": 5, ">=": 5, "+": 6, "-": 6, "*": 7, "/": 7, "%": 7}


class Parser:
    """Nodes are tuples of a kind and its parts. Statements are dictionaries."""

    def __init__(self, text, where="", line=1):
        self.text, self.where, self.position, self.line, self.token = text, where, 0, line, None
        self.next()

    def fail(self, what):
        raise Problem(f"{self.where}:{self.line}: {what}")

    def next(self):
        before = self.token
        self.token = self.scan()
        return before

    def scan(self):
        while self.position < len(self.text):
            if self.text.startswith("'''", self.position):
                self.fail("multi-line strings are not used here")
            if self.text[self.position] == "'":
                return self.string()
            match = TOKEN.match(self.text, self.position)
            if not match:
                self.fail(f"what is {self.text[self.position]!r}?")
            self.position = match.end()
            kind = match.lastgroup
            if kind == "space":
                self.line += match[0].count("\n")
                continue
            token = (kind, match[0], self.line)
            if kind == "newline":
                self.line += 1
            return token
        return ("end", "", self.line)

    def string(self):
        """A token with the parts of a string: texts, and expressions already read."""
        start, parts, text = self.line, [], ""
        self.position += 1
        while True:
            if self.position >= len(self.text) or self.text[self.position] == "\n":
                self.fail("a string that does not end")
            character = self.text[self.position]
            if character == "'":
                self.position += 1
                return ("string", [*parts, text], start)
            if character == "\\":
                escaped = self.text[self.position + 1]
                if escaped not in ESCAPES:
                    self.fail(f"\\{escaped} is no escape")
                text += ESCAPES[escaped]
                self.position += 2
            elif self.text.startswith("${", self.position):
                inner = Parser.__new__(Parser)
                inner.text, inner.where, inner.position, inner.line, inner.token = self.text, self.where, self.position + 2, self.line, None
                inner.next()
                parts += [text, inner.expression()]
                if inner.token[1] != "}":
                    inner.fail("an interpolation that does not end")
                self.position, text = inner.position, ""
            else:
                text += character
                self.position += 1

    def at(self, *values):
        return self.token[0] in ("operator", "name") and self.token[1] in values

    def take(self, value):
        if not self.at(value):
            self.fail(f"{value!r} expected, not {self.token[1]!r}")
        return self.next()

    def name(self):
        if self.token[0] != "name":
            self.fail(f"a name expected, not {self.token[1]!r}")
        return self.next()[1]

    def lines(self):
        while self.token[0] == "newline":
            self.next()

    def ahead(self, value):
        """Whether `value` comes next, beyond any line ends."""
        if self.at(value):
            return True
        kept = (self.position, self.line, self.token)
        self.lines()
        if self.at(value):
            return True
        self.position, self.line, self.token = kept
        return False

    # Expressions

    def expression(self):
        condition = self.binary(1)
        if not self.ahead("?"):
            return condition
        self.next()
        then = self.expression()
        if not self.ahead(":"):
            self.fail("':' expected")
        self.next()
        return ("if", condition, then, self.expression())

    def binary(self, least):
        left = self.unary()
        while self.token[0] == "operator" and PRIORITY.get(self.token[1], 0) >= least:
            operator = self.next()[1]
            left = ("binary", operator, left, self.binary(PRIORITY[operator] + 1))
        return left

    def unary(self):
        if self.at("!", "-"):
            return ("unary", self.next()[1], self.unary())
        return self.member(self.primary())

    def member(self, node):
        while True:
            if self.at(".", ".?"):
                kind = {".": "member", ".?": "maybe"}[self.next()[1]]
                name = self.name()
                node = ("call", name, self.arguments(), node) if self.at("(") else (kind, node, name)
            elif self.at("["):
                self.next()
                node = ("index", node, self.expression())
                self.take("]")
            elif self.at("!"):
                self.next()
                node = ("sure", node)
            else:
                return node

    def arguments(self):
        self.take("(")
        found = []
        self.lines()
        while not self.at(")"):
            found.append(self.expression())
            self.lines()
            if not self.at(")"):
                self.take(",")
                self.lines()
        self.next()
        return found

    def primary(self):
        kind, value, line = self.token
        if kind == "number":
            self.next()
            return ("value", int(value))
        if kind == "string":
            self.next()
            return ("value", value[0]) if len(value) == 1 else ("text", value)
        if kind == "name":
            self.next()
            if value in ("true", "false", "null"):
                return ("value", {"true": True, "false": False, "null": None}[value])
            if self.at("=>"):
                self.next()
                return ("lambda", value, self.expression())
            if self.at("("):
                return ("call", value, self.arguments(), None)
            return ("name", value, line)
        if self.at("("):
            self.next()
            node = self.expression()
            self.take(")")
            return node
        if self.at("["):
            return self.array()
        if self.at("{"):
            return self.object()
        self.fail(f"an expression expected, not {value!r}")

    def separated(self, closing):
        self.lines()
        while not self.at(closing):
            yield
            if not self.at(closing):
                if self.at(","):
                    self.next()
                elif self.token[0] != "newline":
                    self.fail(f"a line end, ',' or {closing!r} expected, not {self.token[1]!r}")
            self.lines()
        self.next()

    def array(self):
        self.take("[")
        if self.at("for"):
            self.fail("loops are not used here")
        items = []
        for _ in self.separated("]"):
            items.append(self.expression())
        return ("array", items)

    def object(self, nested=None):
        self.take("{")
        properties = []
        for _ in self.separated("}"):
            line = self.token[2]
            if self.at("resource") and nested is not None:
                nested.append(self.resource({}))
                continue
            if self.token[0] == "string":
                parts = self.next()[1]
                key = ("value", parts[0]) if len(parts) == 1 else ("text", parts)
            else:
                key = ("value", self.name())
            self.take(":")
            properties.append((key, self.expression(), line))
        return ("object", properties)

    # Types

    def type(self):
        found = [self.single_type()]
        while self.at("|"):
            self.next()
            found.append(self.single_type())
        return found[0] if len(found) == 1 else ("union", found)

    def single_type(self):
        if self.token[0] == "string":
            node = ("literal", self.next()[1][0])
        elif self.at("("):
            self.next()
            node = self.type()
            self.take(")")
        elif self.at("{"):
            self.next()
            members, rest = {}, None
            for _ in self.separated("}"):
                marks = self.decorators()
                if self.at("*"):
                    self.next()
                    self.take(":")
                    rest = self.type()
                else:
                    name = self.name()
                    self.take(":")
                    members[name] = (self.type(), marks)
            node = ("members", members, rest)
        else:
            node = ("named", self.name())
        while self.at("[", "?"):
            if self.next()[1] == "[":
                self.take("]")
                node = ("list", node)
            else:
                node = ("optional", node)
        return node

    # Statements

    def decorators(self):
        found = {}
        while self.at("@"):
            self.next()
            name = self.name()
            found[name] = self.arguments()
            self.lines()
        return found

    def resource(self, marks):
        line = self.token[2]
        self.next()
        name = self.name()
        kind = self.next()
        if kind[0] != "string" or len(kind[1]) != 1:
            self.fail("the type of a resource, or the file of a module, expected")
        existing = self.at("existing") and bool(self.next())
        self.take("=")
        condition = None
        if self.at("if"):
            self.next()
            self.take("(")
            condition = self.expression()
            self.take(")")
        nested = []
        body = self.object(nested)
        return {"kind": "resource", "name": name, "type": kind[1][0], "existing": existing, "condition": condition, "body": body,
                "nested": nested, "line": line, "decorators": marks}

    def file(self):
        statements = []
        self.lines()
        while self.token[0] != "end":
            marks = self.decorators()
            line, word = self.token[2], self.token[1]
            if self.at("resource"):
                statement = self.resource(marks)
            elif self.at("module"):
                statement = {**self.resource(marks), "kind": "module"}
                if statement["nested"] or statement["existing"]:
                    self.fail("a module has no such thing")
            elif self.at("extension"):
                self.next()
                statement = {"kind": word, "name": self.name()}
            elif self.at("using"):
                self.next()
                statement = {"kind": word, "name": self.next()[1][0]}
            elif self.at("targetScope"):
                self.next()
                self.take("=")
                statement = {"kind": word, "name": word, "value": self.expression()}
            elif self.at("param", "var", "output", "metadata", "type"):
                self.next()
                statement = {"kind": word, "name": self.name(), "type": None, "value": None}
                if word == "type":
                    self.take("=")
                    statement["type"] = self.type()
                else:
                    if not self.at("="):
                        statement["type"] = self.type()
                    if self.at("="):
                        self.next()
                        statement["value"] = self.expression()
            else:
                self.fail(f"a statement expected, not {word!r}")
            statements.append({"decorators": marks, "line": line, **statement})
            if self.token[0] not in ("newline", "end"):
                self.fail(f"a line end expected, not {self.token[1]!r}")
            self.lines()
        return statements


class File:
    def __init__(self, path):
        self.path = path
        self.statements = Parser(path.read_text(), path.name).file()

    def of(self, *kinds):
        return {each["name"]: each for each in self.statements if each["kind"] in kinds}

    def resources(self):
        """All of them, nested ones by the names of their parents: (type, statement)."""
        def down(statement, prefix):
            kind = statement["type"] if not prefix else f"{prefix.split('@')[0]}/{statement['type']}"
            yield kind, statement
            for child in statement["nested"]:
                yield from down(child, kind)
        for each in self.of("resource").values():
            yield from down(each, "")


def walk(node):
    """Every expression in one, itself included."""
    if isinstance(node, tuple):
        yield node
        for part in node[1:]:
            yield from walk(part)
    elif isinstance(node, list):
        for part in node:
            yield from walk(part)
    elif isinstance(node, dict):
        for part in node.values():
            yield from walk(part)


class Deployed:
    """A resource or module as others see it. What only Azure could tell is made up by `azure`, by the property's name."""

    def __init__(self, name, active, body, azure):
        self.name, self.active, self.body, self.azure = name, active, body, azure

    def get(self, name):
        if isinstance(self.body, dict) and name in self.body:
            value = self.body[name]
            return Deployed(f"{self.name}.{name}", True, value, self.azure) if isinstance(value, dict) else value
        if name in self.azure:
            return self.azure[name]
        if name == "id":
            return f"/id/of/{self.name}"
        if name in ("properties", "outputs", "configuration", "ingress"):
            return Deployed(f"{self.name}.{name}", True, {}, self.azure)
        raise Problem(f"nobody knows {self.name}.{name}")


class Template:
    """A file with values for its parameters."""

    readers = {}

    def __init__(self, file, given, azure):
        self.file, self.azure, self.known, self.busy = file, azure, {}, set()
        self.parameters = file.of("param")
        self.symbols = file.of("param", "var", "resource", "module")
        self.types = file.of("type")
        self.given = given
        for name in given:
            if name not in self.parameters:
                raise Problem(f"{file.path.name}: there is no parameter {name}")
        for name, each in self.parameters.items():
            value = self.symbol(name)
            self.fits(value, each["type"], f"{file.path.name}: {name}", each["decorators"])

    def fits(self, value, kind, where, marks):
        def wrong(what):
            raise Problem(f"{where}: {json.dumps(value, default=str)[:80]} {what}")
        shape = kind[0]
        if shape == "optional":
            return value is None or self.fits(value, kind[1], where, marks)
        if shape == "union":
            if value not in [each[1] for each in kind[1]]:
                wrong("is none of those allowed")
        elif shape == "list":
            if not isinstance(value, list):
                wrong("is no list")
            for each in value:
                self.fits(each, kind[1], where, {})
        elif shape == "members":
            if not isinstance(value, dict):
                wrong("is no object")
            for name in value:
                if name not in kind[1] and kind[2] is None:
                    wrong(f"has no member {name}")
            for name, (each, inner) in kind[1].items():
                if name not in value and each[0] != "optional":
                    wrong(f"lacks {name}")
                self.fits(value.get(name), each, f"{where}.{name}", inner)
            for name in value:
                if name not in kind[1]:
                    self.fits(value[name], kind[2], f"{where}.{name}", {})
        elif kind[1] in self.types:
            return self.fits(value, self.types[kind[1]]["type"], where, marks)
        else:
            python = {"string": str, "int": int, "bool": bool, "object": dict, "array": list}[kind[1]]
            if not isinstance(value, python) or (python is int and isinstance(value, bool)):
                wrong(f"is no {kind[1]}")
        plain = {name: [self.value(each) for each in arguments] for name, arguments in marks.items()}
        if "allowed" in plain and value not in plain["allowed"][0]:
            wrong("is none of those allowed")
        size = len(value) if isinstance(value, (str, list)) else value
        if ("minLength" in plain and size < plain["minLength"][0]) or ("minValue" in plain and size < plain["minValue"][0]):
            wrong("is too small")
        if ("maxLength" in plain and size > plain["maxLength"][0]) or ("maxValue" in plain and size > plain["maxValue"][0]):
            wrong("is too large")
        return True

    def symbol(self, name):
        if name in self.known:
            return self.known[name]
        if name in self.busy:
            raise Problem(f"{self.file.path.name}: {name} depends on itself")
        self.busy.add(name)
        statement = self.symbols[name]
        kind = statement["kind"]
        if kind == "param":
            if name in self.given:
                value = self.given[name]
            elif statement["value"] is not None:
                value = self.value(statement["value"])
            elif statement["type"][0] == "optional":
                value = None
            else:
                raise Problem(f"{self.file.path.name}: the parameter {name} is missing")
        elif kind == "var":
            value = self.value(statement["value"])
        elif kind == "resource":
            value = self.resource(statement)
        else:
            value = self.module(statement)
        self.busy.discard(name)
        self.known[name] = value
        return value

    def active(self, statement):
        return statement["condition"] is None or self.value(statement["condition"])

    def resource(self, statement):
        if not self.active(statement):
            return Deployed(statement["name"], False, {}, self.azure)
        body = self.value(statement["body"], {})
        return Deployed(statement["name"], True, body, self.azure)

    def module(self, statement):
        if not self.active(statement):
            return Deployed(statement["name"], False, {}, self.azure)
        body = self.value(statement["body"], {})
        inner = Template(File(self.file.path.parent / statement["type"]), body.get("params", {}), self.azure)
        module = Deployed(statement["name"], True, {"outputs": inner.outputs()}, self.azure)
        module.template = inner
        return module

    def outputs(self):
        return {name: self.value(each["value"]) for name, each in self.file.of("output").items()}

    def value(self, node, local=None):
        local = local or {}
        kind = node[0]
        if kind == "value":
            return node[1]
        if kind == "text":
            return "".join(part if isinstance(part, str) else self.as_text(self.value(part, local)) for part in node[1])
        if kind == "name":
            if node[1] in local:
                return local[node[1]]
            if node[1] not in self.symbols:
                raise Problem(f"{self.file.path.name}:{node[2]}: there is no {node[1]}")
            return self.symbol(node[1])
        if kind == "if":
            return self.value(node[2] if self.value(node[1], local) else node[3], local)
        if kind == "array":
            return [self.value(each, local) for each in node[1]]
        if kind == "object":
            return {self.value(key, local): self.value(value, local) for key, value, _ in node[1]}
        if kind == "sure":
            return self.value(node[1], local)
        if kind in ("member", "maybe", "index"):
            return self.part(node, local)
        if kind == "unary":
            value = self.value(node[2], local)
            return not value if node[1] == "!" else -value
        if kind == "binary":
            return self.binary(node, local)
        if kind == "lambda":
            return lambda value: self.value(node[2], {**local, node[1]: value})
        if kind == "call":
            return self.call(node, local)
        raise Problem(f"{self.file.path.name}: what is {kind}?")

    def part(self, node, local):
        whole = self.value(node[1], local)
        key = self.value(node[2], local) if node[0] == "index" else node[2]
        if isinstance(whole, Deployed):
            if not whole.active:
                raise Problem(f"{self.file.path.name}: {whole.name}.{key} is asked for, but {whole.name} is not deployed")
            return whole.get(key)
        try:
            return whole[key]
        except (KeyError, IndexError, TypeError):
            if node[0] == "maybe":
                return None
            raise Problem(f"{self.file.path.name}: there is no {key} in {json.dumps(whole, default=str)[:80]}") from None

    def binary(self, node, local):
        left = self.value(node[2], local)
        operator = node[1]
        if operator == "&&":
            return left and self.value(node[3], local)
        if operator == "||":
            return left or self.value(node[3], local)
        if operator == "??":
            return self.value(node[3], local) if left is None else left
        right = self.value(node[3], local)
        return {"==": lambda: left == right, "!=": lambda: left != right, "+": lambda: left + right, "-": lambda: left - right,
                ">": lambda: left > right, "<": lambda: left < right}[operator]()

    def refuse(self, reason):
        raise Problem(f"{self.file.path.name}: {reason}")

    @staticmethod
    def as_text(value):
        if isinstance(value, bool):
            return "True" if value else "False"
        if isinstance(value, (dict, list)):
            return json.dumps(value)
        if isinstance(value, Deployed):
            raise Problem(f"{value.name} is no text")
        return str(value)

    def call(self, node, local):
        name, nodes, owner = node[1], node[2], node[3]
        arguments = [self.value(each, local) for each in nodes]
        if owner is not None and name == "listKeys":
            return {"primaryKey": "the primary key", "secondaryKey": "the secondary key"}
        functions = {
            "map": lambda items, function: [function(each) for each in items],
            "filter": lambda items, function: [each for each in items if function(each)],
            "join": lambda items, between: between.join(self.as_text(each) for each in items),
            "concat": lambda *lists: [each for one in lists for each in one],
            "union": lambda *objects: {key: value for one in objects for key, value in one.items()},
            "items": lambda whole: [{"key": key, "value": whole[key]} for key in sorted(whole)],
            "empty": lambda value: not value,
            "length": len,
            "fail": self.refuse,
            "contains": lambda whole, one: one in whole,
            "replace": lambda text, old, new: text.replace(old, new),
            "string": self.as_text,
            "json": json.loads,
            "guid": lambda *parts: "guid of " + " ".join(parts),
            "uniqueString": lambda *parts: "unique0string",
            "resourceGroup": lambda *name: {"id": "/resource/group", "name": name[0] if name else "contoso", "location": "westeurope"},
            "subscriptionResourceId": lambda *parts: "/".join(parts),
            "tenant": lambda: {"tenantId": "c0a50000-0000-4000-8000-000000000001"},
            "environment": lambda: {"authentication": {"loginEndpoint": "https://login.microsoftonline.com/"}},
        }
        functions |= self.readers
        if name not in functions:
            raise Problem(f"{self.file.path.name}: the function {name} is not known here")
        return functions[name](*arguments)


class Parameters(Template):
    """A parameter file. Its functions read files beside it, and variables from `environment`."""

    def __init__(self, file, environment):
        self.file, self.symbols = file, {}
        self.readers = {
            "loadTextContent": lambda path: (file.path.parent / path).read_text(),
            "readEnvironmentVariable": lambda name: environment[name],
        }

    def values(self):
        return {name: self.value(each["value"]) for name, each in self.file.of("param").items()}
