"""Checks the Bicep of deploy/azure without Azure: its form by two parsers, and much of what the compiler and its linter
would say. Whether properties exist is checked in properties.py, what is deployed in configuration.py."""

import json
import re

import tree_sitter
import tree_sitter_bicep

from bicep import File, Problem, walk
from common import HOME, files

GRAMMAR = tree_sitter.Parser(tree_sitter.Language(tree_sitter_bicep.language()))
DECORATORS = {"description", "allowed", "secure", "minLength", "maxLength", "minValue", "maxValue"}
# Built-in roles, by the names of their variables.
ROLES = {
    "pullRole": "7f951dda-4ed3-4680-a7ca-43fe172d538d",  # AcrPull
    "secretsUserRole": "4633458b-17de-408a-b874-0445c86b69e6",  # Key Vault Secrets User
    "ownerRole": "09976791-48a7-449e-bb21-39d1a415f350",  # Communication and Email Service Owner
}
problems = []


def problem(where, text):
    problems.append(f"{where}: {text}")


def broken(text):
    """What tree-sitter's grammar cannot read, by line. It does not know `extension`, nor parameter files: their
    assignments are read as those of variables."""
    text = re.sub(r"^extension .*$", "", text, flags=re.M)
    text = re.sub(r"^param (\w+) = ", r"var \1 = ", text, flags=re.M)
    found, waiting = [], [GRAMMAR.parse(text.encode()).root_node]
    while waiting:
        node = waiting.pop()
        if node.is_error or node.is_missing:
            found.append(node.start_point[0] + 1)
        waiting += node.children
    return sorted(set(found))


def names(node, local=frozenset()):
    """Names that an expression uses, those of its lambdas left out."""
    if isinstance(node, tuple) and node:
        if node[0] == "lambda":
            yield from names(node[2], local | {node[1]})
            return
        if node[0] == "name":
            if node[1] not in local:
                yield node[1]
            return
        if node[0] == "object":
            for key, value, _ in node[1]:
                yield from names(key, local)
                yield from names(value, local)
            return
    if isinstance(node, (tuple, list)):
        for part in node:
            yield from names(part, local)


def statements(file):
    """All, nested resources too."""
    waiting = list(file.statements)
    while waiting:
        each = waiting.pop(0)
        yield each
        waiting += each.get("nested", [])


def expressions(each):
    yield from (part for part in (each.get("value"), each.get("condition"), each.get("body")) if part is not None)
    yield from (argument for arguments in each["decorators"].values() for argument in arguments)


def types_named(kind):
    if kind is None:
        return
    if kind[0] == "named":
        yield kind[1]
    elif kind[0] in ("list", "optional"):
        yield from types_named(kind[1])
    elif kind[0] == "members":
        for each, _ in kind[1].values():
            yield from types_named(each)
        yield from types_named(kind[2])
    elif kind[0] == "union":
        for each in kind[1]:
            yield from types_named(each)


def symbols(file):
    where, defined, used, used_types = file.path.name, {}, set(), set()
    for each in statements(file):
        if each["kind"] in ("param", "var", "resource", "module"):
            if each["name"] in defined:
                problem(where, f"{each['name']} is declared twice")
            defined[each["name"]] = each
    local = {"az", "sys"}
    for each in statements(file):
        for expression in expressions(each):
            for name in names(expression):
                used.add(name)
                if name not in defined and name not in local:
                    problem(where, f"line {each['line']}: {name} is not declared")
        if each["kind"] in ("param", "var", "output", "type"):
            used_types |= set(types_named(each["type"]))
    for name, each in defined.items():
        if each["kind"] in ("param", "var") and name not in used:
            problem(where, f"the {each['kind']} {name} is not used")
        if each["kind"] in ("resource", "module") and each.get("existing") and name not in used:
            problem(where, f"the existing resource {name} is not used")
    own = set(file.of("type"))
    for name in used_types - own - {"string", "int", "bool", "object", "array"}:
        problem(where, f"there is no type {name}")
    for name in own - used_types:
        problem(where, f"the type {name} is not used")
    return defined


def described(file):
    for each in file.statements:
        for name in set(each["decorators"]) - DECORATORS:
            problem(file.path.name, f"line {each['line']}: @{name} is not known here")
        if each["kind"] in ("param", "output", "type") and "description" not in each["decorators"]:
            problem(file.path.name, f"the {each['kind']} {each['name']} has no description")
        if each["kind"] == "param" and each["type"] is None:
            problem(file.path.name, f"the param {each['name']} has no type")
    if "description" not in file.of("metadata"):
        problem(file.path.name, "says not what it is (metadata description)")


def graph(file, aliases):
    wants = any(each["kind"] == "resource" and kind.startswith("Microsoft.Graph/") for kind, each in file.resources())
    has = list(file.of("extension"))
    if wants != bool(has):
        problem(file.path.name, "the extension for Microsoft Graph is " + ("missing" if wants else "not used"))
    for name in has:
        if name not in aliases:
            problem(file.path.name, f"bicepconfig.json has no extension {name}")


def conditional(file, defined):
    """A resource or module that may not be deployed is asked for its properties with `!`, as the compiler wants."""
    for each in statements(file):
        for expression in expressions(each):
            for node in walk(expression):
                if node and node[0] in ("member", "maybe") and isinstance(node[1], tuple) and node[1][0] == "name":
                    target = defined.get(node[1][1])
                    if target and target.get("condition") is not None and node[2] != "id":
                        problem(file.path.name, f"line {node[1][2]}: {node[1][1]} may not be deployed: {node[1][1]}!.{node[2]}")


def modules(file, by_path):
    for name, each in file.of("module").items():
        inner = by_path.get((file.path.parent / each["type"]).resolve())
        if inner is None:
            problem(file.path.name, f"there is no {each['type']}")
            continue
        body = {key[1]: value for key, value, _ in each["body"][1]}
        for key in set(body) - {"name", "scope", "params", "dependsOn"}:
            problem(file.path.name, f"a module has no {key}")
        given = {key[1]: value for key, value, _ in body.get("params", ("object", []))[1]}
        parameters = inner.of("param")
        for missing in [key for key, one in parameters.items() if one["value"] is None and key not in given]:
            problem(file.path.name, f"the module {name} is not given {missing}")
        for key, value in given.items():
            if key not in parameters:
                problem(file.path.name, f"the module {name} has no parameter {key}")
            # Safe stays safe: what is secret here is secret there.
            elif secret(value, file) and "secure" not in parameters[key]["decorators"]:
                problem(file.path.name, f"the module {name} takes the secret {key} as a plain parameter")
    outputs = {name: set(by_path[(file.path.parent / each["type"]).resolve()].of("output"))
               for name, each in file.of("module").items() if (file.path.parent / each["type"]).resolve() in by_path}
    for each in statements(file):
        for expression in expressions(each):
            for node in walk(expression):
                if node and node[0] == "member" and isinstance(node[1], tuple) and node[1][0] == "member" and node[1][2] == "outputs":
                    inner = node[1][1][1] if node[1][1][0] == "sure" else node[1][1]
                    if inner[0] == "name" and inner[1] in outputs and node[2] not in outputs[inner[1]]:
                        problem(file.path.name, f"the module {inner[1]} has no output {node[2]}")


def secret(expression, file):
    """Whether the value of a secret is part of it. Whether there is one may be told."""
    waiting, seen = [expression], set()
    while waiting:
        node = waiting.pop()
        if isinstance(node, tuple) and node and node[0] == "call" and node[1] in ("empty", "length"):
            continue
        if isinstance(node, tuple) and node and node[0] == "call" and node[1].startswith("list"):
            return True
        if isinstance(node, tuple) and node and node[0] == "name":
            each = file.of("param", "var").get(node[1])
            if each and "secure" in each["decorators"]:
                return True
            if each and each["kind"] == "var" and node[1] not in seen:
                seen.add(node[1])
                waiting.append(each["value"])
        elif isinstance(node, (tuple, list)):
            waiting += [part for part in node if isinstance(part, (tuple, list))]
    return False


def secrets(file):
    for name, each in file.of("output").items():
        if secret(each["value"], file):
            problem(file.path.name, f"the output {name} tells a secret")
    for name, each in file.of("param").items():
        if "secure" in each["decorators"]:
            if each["value"] not in (None, ("value", ""), ("object", [])):
                problem(file.path.name, f"the secret {name} has a default")
        elif re.search(r"secret|password|(?<!has)(?<!hashes)key$|headers$|^assignments$", name, re.I) and name not in (
                "accessKey", "holdsAccessKey", "hasUserHashKey"):
            problem(file.path.name, f"the parameter {name} looks like a secret and is not @secure()")


def resources(file):
    for kind, each in file.resources():
        if not re.fullmatch(r"[\w.]+(/[\w]+)+@(\d{4}-\d\d-\d\d(-preview)?|v1\.0)", kind):
            problem(file.path.name, f"{kind} is no type with a version")
    for name, value in file.of("var").items():
        if name.endswith("Role") and value["value"] != ("value", ROLES.get(name)):
            problem(file.path.name, f"{name} is not the role that is meant")


def parameter_file(path, template):
    """Every parameter of the template stands in it, set or commented out, and no other."""
    text = path.read_text()
    named = set(re.findall(r"^(?://\s*)?param (\w+) =", text, re.M))
    parameters = set(template.of("param"))
    for name in parameters - named - {"location", "tags"}:
        problem(path.name, f"says nothing of {name}")
    for name in named - parameters:
        problem(path.name, f"{template.path.name} has no parameter {name}")
    for name, each in File(path).of("param").items():
        if each["value"] is None:
            problem(path.name, f"sets {name} to nothing")
    # What is commented out must be good Bicep too, once somebody takes the marks away.
    example = re.sub(r"^// (?=param |[ }\]]|\{$)", "", text, flags=re.M)
    if broken(example):
        problem(path.name, f"what is commented out cannot be read, line {broken(example)[0]}")
    if list(File(path).of("using")) != [template.path.name]:
        problem(path.name, f"is not for {template.path.name}")


def links(path):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text()):
        if "://" not in target and not (path.parent / target).exists():
            problem(path.name, f"leads to {target}, which is not there")


def main():
    by_path, defined = {}, {}
    for path in [*files(), *sorted(HOME.glob("*.bicepparam"))]:
        for line in broken(path.read_text()):
            problem(path.name, f"line {line}: not Bicep, says tree-sitter")
        try:
            by_path[path.resolve()] = File(path)
        except Problem as error:
            problems.append(str(error))
    config = json.loads((HOME / "bicepconfig.json").read_text())
    templates = [file for file in by_path.values() if file.path.suffix == ".bicep"]
    for file in templates:
        defined = symbols(file)
        described(file)
        graph(file, config["extensions"])
        conditional(file, defined)
        modules(file, by_path)
        secrets(file)
        resources(file)
    used = {(file.path.parent / each["type"]).resolve() for file in templates for each in file.of("module").values()}
    for path in HOME.glob("modules/*.bicep"):
        if path.resolve() not in used:
            problem(path.name, "no template uses it")
    for path in HOME.glob("*.bicepparam"):
        template = by_path.get(path.with_suffix(".bicep").resolve())
        if template and path.resolve() in by_path:
            parameter_file(path, template)
    links(HOME / "README.md")
    if problems:
        raise SystemExit("\n".join(problems))
    print(f"{len(templates)} Bicep files and {len(by_path) - len(templates)} parameter files are sound")


main()
