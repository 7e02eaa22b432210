# The steps of .ci/run, quick ones first. `just` lists them; `just NAME` runs one. .ci/run needs no just.

[private]
default:
    @just --list --unsorted

# Write the code as rustfmt wants it
format:
    cargo fmt --all

# Compile, without a binary: the fastest answer while you write
compile:
    cargo check --all-features --all-targets

# Formatting
fmt: (step "fmt")

# Scripts, by shellcheck
scripts: (step "scripts")

# Links between the documents, and the files they quote
links: (step "links")

# No gendered pronouns in source and documents
wording: (step "wording")

# The OpenAPI description
openapi: (step "openapi")

# The Dockerfile, by hadolint
dockerfile: (step "dockerfile")

# The simulation behind docs/scale.md
scale: (step "scale")

# The systemd unit
systemd: (step "systemd")

# .github: workflows by actionlint and zizmor, dependabot, release notes
workflows: (step "workflows")

# Dependencies: advisories, licences, sources
deny: (step "deny")

# Lints, with all features
clippy: (step "clippy")

# Lints of what production compiles
clippy-bare: (step "clippy-bare")

# The API documentation of the crate
doc: (step "doc")

# All tests, or those whose name holds a word: just test reload
test *name:
    @{{ if name == "" { ".ci/run test" } else { "cargo test --all-features " + name } }}

# deploy/kubernetes: schemas, references, and what the pods run
kubernetes: (step "build") (step "kubernetes")

# deploy/azure
azure: (step "build") (step "azure")

# deploy/observability and docker-compose.yml
observability: (step "build") (step "observability")

# Requests made out of openapi.yaml against a running broker
schemathesis: (step "build") (step "schemathesis")

# A real OpenTelemetry collector
collector: (step "build") (step "collector")

# Three replicas with one store, of which brokers and the store are killed; a budget that they share
replicas: (step "build") (step "replicas")

# Instructions of a request, against benches/instructions.json
instructions: (step "instructions")

# Fuzz targets, for some seconds each: just fuzz 60 token
fuzz seconds="3" *targets:
    tests/fuzz.sh {{ seconds }} {{ targets }}

# All that needs no compiled broker
quick: (step "quick")

# Everything: what a change must pass
ci:
    .ci/run

[private]
step name:
    @.ci/run {{ name }}
