"""Checks of the Bicep of deploy/azure what the compiler and its linter do not: that everything is described and used, that secrets
stay secrets on their way into modules, that the parameter files name each parameter. And its syntax, for want of a compiler."""

import re

from bicep import HOME, File, at, broken, properties, text

# Ids that Microsoft gave out, by the names of their variables.
IDS = {
    "pullRole": "7f951dda-4ed3-4680-a7ca-43fe172d538d",  # AcrPull
    "secretsUserRole": "4633458b-17de-408a-b874-0445c86b69e6",  # Key Vault Secrets User
    "ownerRole": "09976791-48a7-449e-bb21-39d1a415f350",  # Communication and Email Service Owner
    "communicationClientsId": "2a04943b-b6a7-4f65-8786-2bb6131b59f6",  # Azure Communication Services Clients
    "communicationTeamsId": "1fd5118e-2576-4263-8130-9503064c837a",  # Azure Communication Services, the API for Teams
    "graphId": "00000003-0000-0000-c000-000000000000",  # Microsoft Graph
}
LOOKS_SECRET = re.compile(r"secret|password|(?<!has)key$|headers$|^assignments$|connectionstring", re.I)
NO_SECRETS = {"accessKey", "holdsAccessKey", "signsWithKey", "hasUserHashKey"}
problems = []


def names(node):
    """What an expression takes its value from. Whether a secret is empty, or how long, may be known."""
    if node.type == "call_expression" and text(node.named_children[0]) in ("empty", "length"):
        return
    if node.type == "identifier":
        yield text(node)
    for child in node.children:
        yield from names(child)


def check(file, files):
    def expect(is_so, problem):
        if not is_so:
            problems.append(f"{file.path.name}: {problem}")

    hidden = {name for name, each in file.of("parameter").items() if "@secure(" in each.decorators}
    for name, each in file.of("variable").items():
        hidden |= {name} if hidden & set(names(each.value)) else set()
        if name.endswith("Role") or name in IDS:
            expect(text(each.value).strip("'") == IDS.get(name), f"{name} is not the id that is meant")
    expect("description" in file.of("metadata"), "says not what it is (metadata description)")
    for name, each in file.of("parameter", "output", "type").items():
        expect("@description(" in each.decorators, f"the {each.kind} {name} has no description")
        if each.kind != "type" and LOOKS_SECRET.search(name) and name not in NO_SECRETS:
            expect("@secure(" in each.decorators, f"the {each.kind} {name} looks like a secret and is not @secure()")
        if each.kind == "output" and "@secure(" not in each.decorators:
            expect(not hidden & set(names(each.value)) and "listKeys" not in text(each.value), f"the output {name} holds a secret")
    for name, each in file.of("module").items():
        parameters = files[(file.path.parent / each.of).resolve()].of("parameter")
        given = properties(at(each.value, "params"))
        expect(given.keys() <= parameters.keys(), f"{name} has no parameter {', '.join(given.keys() - parameters.keys())}")
        for key in given.keys() & parameters.keys():
            secret = hidden & set(names(given[key]))
            expect(not secret or "@secure(" in parameters[key].decorators, f"{name} takes the secret {key} as a plain parameter")


def parameter_file(path, template):
    # Every parameter of the template stands in it, set or commented out, and no other. So both must be good Bicep.
    source = path.read_text()
    named = set(re.findall(r"^(?://\s*)?param (\w+) =", source, re.M)) | {"location", "tags"}
    if named != set(template.of("parameter")):
        problems.append(f"{path.name}: {', '.join(named ^ set(template.of('parameter')))} is in it or in {template.path.name} only")
    for line in {*broken(source), *broken(re.sub(r"^// (?=param |[ }\]]|\{$)", "", source, flags=re.M))}:
        problems.append(f"{path.name}: line {line} cannot be read")


def main():
    files = {path.resolve(): File(path) for path in [*HOME.glob("*.bicep"), *HOME.glob("modules/*.bicep")]}
    for file in files.values():
        problems.extend(f"{file.path.name}: line {line} cannot be read" for line in broken(file.text))
        check(file, files)
    used = {(file.path.parent / each.of).resolve() for file in files.values() for each in file.of("module").values()}
    problems.extend(f"no template uses {path.name}" for path in HOME.glob("modules/*.bicep") if path.resolve() not in used)
    for path in HOME.glob("*.bicepparam"):
        parameter_file(path, files[path.with_suffix(".bicep").resolve()])
    if problems:
        raise SystemExit("\n".join(problems))
    print(f"{len(files)} Bicep files and their parameter files are sound")


main()
