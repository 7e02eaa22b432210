#!/usr/bin/env bash
# Makes clients out of openapi.yaml with the generators, commands and code of docs/clients.md, compiles them, and calls
# `acs-token-broker dev` with each: a 200, a 403 and a 429 must be read with types, and no generator may warn. Then runs the
# recipes for OAuth libraries on `POST /oauth2/token`, and once more with client authentication, which is refused.
#
# BROKER=target/debug/acs-token-broker tests/clients.sh [js|python|go|jvm]...      all without a name
#
# Wants Node.js 20.19 or later with npm, Python 3.11, Go, a JDK 17 or later and Maven; the rest comes from their registries, in
# the versions of the files in tests/clients, and stays in target/clients.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
binary=${BROKER:-${CARGO_TARGET_DIR:-target}/debug/acs-token-broker}
if [[ ! -x $binary ]]; then
    echo "there is no $binary; build it (cargo build --all-features) or name one: BROKER=…" >&2
    exit 1
fi
binary=$(realpath "$binary")
work=$root/target/clients
mkdir -p "$work"
dev='' said=$(mktemp -d)
finish() {
    stop_dev
    rm -rf "$said"
}
stop_dev() {
    if [[ -z $dev ]]; then return; fi
    kill "$dev" 2>/dev/null || true
    wait "$dev" || true
    dev=
}
trap finish EXIT

need() {
    local tool
    for tool in "$@"; do
        command -v "$tool" >/dev/null || { echo "tests/clients.sh needs $tool" >&2; exit 1; }
    done
}

# A stack of its own for each client: no cache and no pause of another.
start_dev() {
    stop_dev
    : >"$said/dev"
    "$binary" dev --listen 127.0.0.1:0 --management-listen 127.0.0.1:0 --emulator-listen 127.0.0.1:0 >"$said/dev" 2>&1 </dev/null &
    dev=$!
    for _ in {1..600}; do
        if grep -q '^Stop with' "$said/dev" || ! kill -0 "$dev" 2>/dev/null; then break; fi
        sleep 0.1
    done
    broker=$(awk '$1 == "broker" { print $2 }' "$said/dev")
    emulator=$(awk '$1 == "emulator" { print $2 }' "$said/dev")
    if [[ -z $broker || -z $emulator ]]; then
        cat "$said/dev" >&2
        exit 1
    fi
}
# send METHOD PATH [BODY]: a control of the emulator.
send() { curl --noproxy '*' --silent --show-error --fail -X "$1" "$emulator/_emulator/$2" --data "${3:-}"; }
sign_in() { send POST "users/$1/token" | sed 's/.*"access_token":"\([^"]*\)".*/\1/'; }

# Lays tests/clients/NAME and the blocks of the docs that belong there, and openapi.yaml, at target/clients/NAME. A block
# belongs to a file if the line before it is <!-- file: PATH -->, and is run if that is <!-- run: FOLDER -->.
lay() {
    local name=$1 folder
    mkdir -p "$work/$name"
    cp -r "tests/clients/$name/." "$work/$name"
    awk -v work="$work" -v name="$name" '
        /^<!-- (file|run): .* -->$/ { path = $3; kind = $2; next }
        /^```/ && inside { close(out); inside = 0; path = ""; next }
        /^```/ && path != "" && index(path "/", name "/") == 1 {
            out = kind == "run:" ? work "/" path "/commands.sh" : work "/" path
            # Commands of one folder come one after the other.
            if (kind == "file:" || !(out in seen)) printf "" >out
            seen[out] = 1; inside = 1; next
        }
        inside { print >>out }' docs/clients.md
    while read -r folder; do
        cp openapi.yaml "$(dirname "$folder")"
    done < <(find "$work/$name" -name commands.sh -not -path '*/node_modules/*')
}

# generate FOLDER: the commands of the docs. What a generator says on its way must have no warning in it.
generate() {
    local folder=$work/$1
    rm -rf "$folder/broker" "$folder/broker.d.ts"
    if ! (cd "$folder" && bash -euo pipefail commands.sh) >"$said/generator" 2>&1 || grep -inE '\bwarn(ing)?s?\b|⚠|\berrors?:' "$said/generator"; then
        cat "$said/generator" >&2
        echo "a generator of $1 failed or warned: see above" >&2
        exit 1
    fi
}

# expect WORDS COMMAND...: what the command prints. `200` stands for a token in three parts that has not ended.
expect() {
    local words=$1 printed status parts end
    shift
    printed=$("$@") || { echo "failed: ${words}" >&2; exit 1; }
    if [[ $words == 200 ]]; then
        read -r status parts end <<<"$printed"
        if [[ $status == 200 && $parts == 3 && $end -gt $(date +%s) ]]; then return; fi
    elif [[ $printed == "$words"* ]]; then
        return
    fi
    printf 'expected %s\ngot      %s\n' "$words" "$printed" >&2
    exit 1
}

# client NAME COMMAND...: calls that are answered with 200, 403 and 429, by a generated client.
client() {
    local name=$1
    shift
    start_dev
    expect 200 "$@" "$broker" "$(sign_in adele)"
    expect '403 ExchangeForbidden - -' "$@" "$broker" "$(sign_in megan)"
    send PUT faults '{"exchange":{"status":429,"retry_after":7}}' >/dev/null
    expect '429 TooManyRequests UpstreamLimit 7' "$@" "$broker" "$(sign_in diego)"
    echo "$name: 200, 403 and 429 read with types"
}

# recipe NAME COMMAND...: an OAuth library without client authentication, and with it.
recipe() {
    local name=$1
    shift
    start_dev
    expect 200 "$@" none "$broker" "$(sign_in adele)"
    expect "401 invalid_client $refusal" "$@" basic "$broker" "$(sign_in adele)"
    echo "$name: a token with none, 401 invalid_client with Basic"
}
refusal=$(sed -n '/^{"error":"invalid_client"/s/.*"error_description":"\([^"]*\)".*/\1/p' docs/clients.md)

js() {
    need node npm
    lay js
    cd "$work/js"
    if ! cmp -s package-lock.json node_modules/installed.json; then
        npm ci --no-audit --no-fund --ignore-scripts --engine-strict=false --loglevel=error
        cp package-lock.json node_modules/installed.json
    fi
    cd "$root"
    generate js
    (cd "$work/js" && rm -rf built && npx tsc)
    client openapi-fetch node "$work/js/built/call.js" openapi-fetch
    client hey-api node "$work/js/built/call.js" hey-api
    recipe openid-client node "$work/js/recipe.mjs"
    expect 200 node "$work/js/recipe.mjs" post "$broker" "$(sign_in adele)"
}

python() {
    need python3
    lay python
    local venv=$work/python/venv
    if ! cmp -s "$work/python/requirements.txt" "$venv/installed.txt"; then
        rm -rf "$venv"
        python3 -m venv "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$work/python/requirements.txt"
        cp "$work/python/requirements.txt" "$venv/installed.txt"
    fi
    PATH=$venv/bin:$PATH generate python
    (cd "$work/python" && "$venv/bin/mypy" --strict --follow-imports=silent --no-error-summary call.py)
    client openapi-python-client "$venv/bin/python" "$work/python/call.py"
    recipe Authlib "$venv/bin/python" "$work/python/recipe.py"
}

go_client() {
    need go
    lay go
    generate go
    (cd "$work/go" && go vet ./... && go build -o call .)
    client oapi-codegen "$work/go/call"
}

# Says nothing unless it fails; by itself it writes colours even where nothing is said.
maven() {
    if ! mvn --batch-mode --quiet "$@" >"$said/maven" 2>&1; then
        cat "$said/maven" >&2
        exit 1
    fi
}

jvm() {
    need java javac mvn
    lay jvm
    local pom=$work/jvm/pom.xml version jar language
    version=$(sed -n 's/.*<openapi-generator.version>\(.*\)<.*/\1/p' "$pom")
    jar=$work/openapi-generator-cli-$version.jar
    if [[ ! -f $jar ]]; then
        maven org.apache.maven.plugins:maven-dependency-plugin:3.11.0:copy \
            -Dartifact="org.openapitools:openapi-generator-cli:$version" -DoutputDirectory="$work"
    fi
    for language in java kotlin; do
        cp "$jar" "$work/jvm/$language/openapi-generator-cli.jar"
        generate "jvm/$language"
    done
    maven --file "$pom" compile
    local java kotlin
    java=$work/jvm/java/target/classes:$(<"$work/jvm/java/target/classpath.txt")
    kotlin=$work/jvm/kotlin/target/classes:$(<"$work/jvm/kotlin/target/classpath.txt")
    client 'openapi-generator, Java' java -cp "$java" Call
    client 'openapi-generator, Kotlin' java -cp "$kotlin" CallKt
    recipe 'Spring Security' java -cp "$java" Recipe
}

need curl
if [[ $# == 0 ]]; then set -- js python go jvm; fi
for ecosystem in "$@"; do
    case $ecosystem in
    js | python | jvm) "$ecosystem" ;;
    go) go_client ;;
    *) echo "there is no $ecosystem; there are js, python, go and jvm" >&2; exit 2 ;;
    esac
done
