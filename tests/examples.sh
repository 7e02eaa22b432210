#!/usr/bin/env bash
# Builds and runs the applications of examples/ with the broker and its emulator (`dev --tls`): examples/web, and a page that
# signs in with @azure/identity, in headless Chromium, those for Node, Python and Java as console programs, and the Kotlin of examples/android, compiled against the
# Android libraries and run with ACS's own credential. Those in C# and Swift are not built: there is no compiler for them here.
# Everything is on loopback and on free ports. Installs Debian's packages that are missing.
#
# BROKER=target/debug/acs-token-broker tests/examples.sh [web|console|android]...
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
broker=$(.ci/broker)
parts=("$@")
if [[ $# == 0 ]]; then parts=(web console android); fi
chosen() { [[ " ${parts[*]} " == *" $1 "* ]]; }

.ci/install chromium certutil=libnss3-tools javac=default-jdk-headless mvn=maven unzip

# Copies, so that the checkout stays as it is.
work=$PWD/target/examples
rm -rf "$work"
mkdir -p "$work"
cp -R examples/. tests/examples "$work"
logs=$work/logs
mkdir -p "$logs"

# What is started is waited for by a line of its log, which colours would cut up; some tools colour a log where they see a CI.
unset FORCE_COLOR CLICOLOR_FORCE
export NO_COLOR=1

started=()
finish() {
    local code=$?
    if [[ ${#started[@]} -gt 0 ]]; then kill "${started[@]}" 2>/dev/null || true; fi
    wait || true
    if [[ $code != 0 ]]; then tail -n 40 "$logs"/* >&2 || true; fi
}
trap finish EXIT

# Starts something that goes on, and waits until its log says a word.
start() {
    local name=$1 word=$2
    shift 2
    : >"$logs/$name"
    "$@" >"$logs/$name" 2>&1 &
    started+=("$!")
    for _ in {1..300}; do
        if grep -q "$word" "$logs/$name"; then return; fi
        kill -0 "$!" 2>/dev/null || break
        sleep 0.1
    done
    echo "$name did not start" >&2
    return 1
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
declare -A port
port[passthrough]=$(free_port)
port[on_behalf_of]=$(free_port)

# Starts `dev` in a mode, for pages of that port.
dev() {
    ACS_TOKEN_BROKER__SERVER__CORS__ALLOWED_ORIGINS="http://localhost:${port[$1]}" start "$1" "^Stop with" "$broker" dev --tls --mode "$1" \
        --listen 127.0.0.1:0 --management-listen 127.0.0.1:0 --emulator-listen 127.0.0.1:0
}
address() { sed -n "s/^$2 *\(https:[^ ]*\).*/\1/p" "$logs/$1" | head -n 1; }
dev passthrough
dev on_behalf_of
PASSTHROUGH="$(address passthrough broker) $(address passthrough emulator)"
ON_BEHALF_OF="$(address on_behalf_of broker) $(address on_behalf_of emulator)"
export PASSTHROUGH ON_BEHALF_OF
# Each has a CA of its own, by the same name; so whoever calls one is told of that one's.
authority() { sed -n 's/^CA file *//p' "$logs/$1"; }
for mode in passthrough on_behalf_of; do
    keytool -importcert -noprompt -alias dev -file "$(authority "$mode")" -keystore "$work/$mode.p12" -storetype PKCS12 \
        -storepass changeit 2>>"$logs/keytool"
done
# A dev whose clock can be moved has come with --ca-dir.
if "$broker" dev --help | grep -q -e --ca-dir; then export CLOCK=shared; fi
# Runs something that trusts the CA of a mode. Not npm and pip, which know their registries otherwise.
trusting() {
    NODE_EXTRA_CA_CERTS=$(authority "$1") REQUESTS_CA_BUNDLE=$(authority "$1") \
        JAVA_TRUST="-Djavax.net.ssl.trustStore=$work/$1.p12" "${@:2}"
}

maven() { mvn --batch-mode --quiet -Dstyle.color=never --file "$1/pom.xml" "${@:2}"; }
copy_dependencies=org.apache.maven.plugins:maven-dependency-plugin:3.11.0:copy-dependencies

web() {
    (cd "$work/web" && npm ci --loglevel=error --no-audit --no-fund)
    (cd "$work/examples" && npm ci --loglevel=error --no-audit --no-fund)
    local mode addresses scope
    for mode in passthrough on_behalf_of; do
        addresses=$PASSTHROUGH scope=https://communication.azure.com/clients/VoIP
        if [[ $mode == on_behalf_of ]]; then
            addresses=$ON_BEHALF_OF scope=api://c0a5a991-0000-4000-8000-000000000005/access
        fi
        (
            cd "$work/web"
            VITE_BROKER=${addresses% *} VITE_AUTHORITY=${addresses#* }/organizations VITE_SCOPE=$scope \
                npm run --silent build -- --outDir "dist-$mode" >"$logs/build-$mode" 2>&1
        )
        start "preview-$mode" "localhost:${port[$mode]}" env --chdir="$work/web" \
            node_modules/.bin/vite preview --outDir "dist-$mode" --port "${port[$mode]}"
    done
    # Chromium trusts what stands in the NSS database of its user.
    mkdir -p "$work/home/.pki/nssdb"
    certutil -N --empty-password -d "sql:$work/home/.pki/nssdb"
    for mode in passthrough on_behalf_of; do
        certutil -A -t C,, -n "$mode" -i "$(authority "$mode")" -d "sql:$work/home/.pki/nssdb"
    done
    (
        cd "$work/examples/identity"
        VITE_BROKER=${PASSTHROUGH% *} VITE_AUTHORITY=${PASSTHROUGH#* } ../node_modules/.bin/vite build --logLevel warn >"$logs/build-identity" 2>&1
    )
    local page
    page=$(free_port)
    start preview-identity "localhost:$page" env --chdir="$work/examples/identity" ../node_modules/.bin/vite preview --port "$page"
    trusting passthrough node "$work/examples/identity.mjs" "http://localhost:$page/" "$work/home"
    trusting passthrough node "$work/examples/browser.mjs" "http://localhost:${port[passthrough]}/" "http://localhost:${port[on_behalf_of]}/" "$work/home"
}

console() {
    (cd "$work/node" && npm ci --loglevel=error --no-audit --no-fund)
    (cd "$work/examples" && npm ci --loglevel=error --no-audit --no-fund)
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes --requirement "$work/python/requirements.txt"
    maven "$work/java" compile
    maven "$work/java" "$copy_dependencies" -DincludeScope=runtime "-DoutputDirectory=$work/java/libraries"
    export JAVA_CLASSPATH="$work/java/libraries/*"
    trusting passthrough node "$work/examples/console.mjs" passthrough "$work" "$work/venv/bin/python"
    trusting on_behalf_of node "$work/examples/console.mjs" on_behalf_of "$work" "$work/venv/bin/python"
}

android() {
    local here=$work/examples/android libraries=$work/examples/android/libraries classes=$work/examples/android/classes archive
    maven "$here" "$copy_dependencies" "-DoutputDirectory=$libraries"
    for archive in "$libraries"/*.aar; do
        unzip -qp "$archive" classes.jar >"${archive%.aar}-classes.jar"
    done
    javac -d "$classes" "$here"/device/android/util/*.java
    java -cp "$libraries/*" org.jetbrains.kotlin.cli.jvm.K2JVMCompiler -Werror -no-stdlib -no-reflect -jvm-target 17 \
        -classpath "$(printf '%s:' "$libraries"/*.jar)" -d "$classes" \
        "$work/android/app/src/main/kotlin" "$here/Main.kt" "$here/device/Generated.kt"
    # The mode, its addresses, whose tokens, for which API, and what is to be said.
    refresher() {
        local said
        said=$(java "-Djavax.net.ssl.trustStore=$work/$1.p12" -Djavax.net.ssl.trustStorePassword=changeit \
            -cp "$classes:$libraries/*" MainKt "${2% *}" "${2#* }/_emulator/users/$3/token" "$4") || true
        if [[ ! $said =~ $5 ]]; then
            echo "android as $3: $said" >&2
            return 1
        fi
        echo "ok  android: BrokerTokenRefresher as $3"
    }
    refresher passthrough "$PASSTHROUGH" adele acs "^ACS token until 20"
    refresher passthrough "$PASSTHROUGH" megan acs "ExchangeForbidden"
    refresher on_behalf_of "$ON_BEHALF_OF" joni api "^asked for .*acrs.*ACS token until 20"
}

for part in web console android; do
    if chosen "$part"; then "$part"; fi
done
