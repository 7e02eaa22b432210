#!/usr/bin/env bash
# Builds both images of the Dockerfile and runs them, without Docker: buildah builds, podman runs. As root, since neither
# needs a daemon or a user namespace then. Some ten minutes on two cores.
#
# tests/image.sh              with the bases that the Dockerfile names, from their registries
# tests/image.sh --stand-ins  where no registry can be reached: bases of those names are made from Debian's packages and
#                             this machine's Rust toolchain; they stand in for the real ones and are not them
#
# BUILD=guided builds the one for production as it is released, in three times the time.
#
# Installs Debian's buildah, podman and debootstrap if they are missing. The images stay, in target/image:
# localhost/acs-token-broker:production and :dev. KEEP=1 does not build them again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [[ $(id -u) -ne 0 ]]; then
    echo "run it as root" >&2
    exit 1
fi
# podman refuses a mixed layout of cgroups; in a mount namespace of our own there is none.
if [[ -z ${OWN_MOUNTS:-} && -d /sys/fs/cgroup/unified ]]; then
    OWN_MOUNTS=1 exec unshare --mount sh -c 'umount /sys/fs/cgroup/unified && exec "$@"' sh "$0" "$@"
fi
.ci/install buildah podman debootstrap curl

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)-image
commit=$(git rev-parse HEAD)
production=localhost/acs-token-broker:production
development=localhost/acs-token-broker:dev
limit=$((30 * 1000 * 1000))
work=$(mktemp -d)
# A storage of its own, which both use; STORAGE_DRIVER=vfs where the kernel has no overlays to give.
store=(--root "$PWD/target/image" --runroot /run/acs-token-broker-image --storage-driver "${STORAGE_DRIVER:-overlay}")
buildah() { command buildah "${store[@]}" "$@"; }
podman() { command podman "${store[@]}" "$@"; }
run=(podman run --read-only --cap-drop all --security-opt no-new-privileges --cgroups disabled
    --ulimit nofile=4096:4096 --ulimit nproc=1024:1024 --image-volume ignore
    --no-healthcheck)
containers=(acs-image-broker acs-image-emulator acs-image-files)
# The broker's container lives in the emulator's network, so that one goes last; what podman cannot remove fails the run.
remove() { podman rm --force --ignore --depend --time 0 "${containers[@]}"; }
finish() {
    local code=$?
    trap - EXIT
    if ! remove >"$work/removed" 2>&1; then
        cat "$work/removed" >&2
        code=1
    fi
    rm -rf "$work"
    exit "$code"
}
trap finish EXIT
# Bash runs the trap above for these only once it exits by itself.
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

fail() {
    echo "FAILED: $*" >&2
    podman logs acs-image-broker >&2 2>/dev/null || true
    exit 1
}
ok() { echo "ok  $*"; }

# --- bases -----------------------------------------------------------------------------------------------------------

base() { sed -n "s/^ARG $1=//p" Dockerfile; }

rust_stand_in() {
    local root=$work/rust
    debootstrap --variant=minbase --include=gcc,libc6-dev,make,ca-certificates bookworm "$root" >"$work/debootstrap.log"
    mkdir -p "$root/usr/local/rustup/toolchains" "$root/usr/local/cargo/bin"
    # Where the image of the Rust project has them. A network with a CA of its own needs that one too.
    local sysroot
    sysroot=$(rustc --print sysroot)
    cp --archive "$(realpath "$sysroot")" "$root/usr/local/rustup/toolchains/$(basename "$sysroot")"
    rm -rf "$root/usr/local/rustup/toolchains/$(basename "$sysroot")/share/doc"
    cp --archive --dereference "$(command -v rustup)" "$root/usr/local/cargo/bin/rustup"
    for proxy in cargo rustc; do ln -s rustup "$root/usr/local/cargo/bin/$proxy"; done
    printf 'version = "12"\ndefault_toolchain = "%s"\n' "$(basename "$sysroot")" >"$root/usr/local/rustup/settings.toml"
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
    cat >"$work/Containerfile" <<'END'
FROM scratch
ADD rust /
ENV RUSTUP_HOME=/usr/local/rustup CARGO_HOME=/usr/local/cargo \
    PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt CARGO_HTTP_CAINFO=/etc/ssl/certs/ca-certificates.crt
END
    buildah bud --quiet --isolation chroot --tag "$(base RUST_IMAGE)" --file "$work/Containerfile" "$work" >/dev/null
    rm -rf "$root"
}

# What distroless/static has: trust anchors, users, a place for temporary files.
runtime_stand_in() {
    local root=$work/static
    mkdir -p "$root"/{etc/ssl/certs,home/nonroot,tmp}
    chmod 1777 "$root/tmp"
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    printf 'root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n' \
        >"$root/etc/passwd"
    printf 'FROM scratch\nADD static /\nENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt\nUSER 65532\n' \
        >"$work/Containerfile"
    buildah bud --quiet --isolation chroot --tag "$(base RUNTIME_IMAGE)" --file "$work/Containerfile" "$work" >/dev/null
    rm -rf "$root"
}

pull=--pull
if [[ ${1:-} == --stand-ins ]]; then
    pull=--pull-never
    buildah inspect --type image "$(base RUST_IMAGE)" >/dev/null 2>&1 || rust_stand_in
    buildah inspect --type image "$(base RUNTIME_IMAGE)" >/dev/null 2>&1 || runtime_stand_in
    ok "stand-ins for $(base RUST_IMAGE) and $(base RUNTIME_IMAGE)"
fi

# --- build -----------------------------------------------------------------------------------------------------------

build() {
    local target=$1 image=$2 start=$SECONDS
    # HEALTHCHECK is Docker's; OCI's format has no place for it.
    buildah bud "$pull" --layers --format docker --isolation chroot --target "$target" --tag "$image" \
        --build-arg VERSION="$version" --build-arg COMMIT="$commit" --build-arg BUILD="${BUILD:-build}" . >"$work/build.log" 2>&1 || {
        tail -n 60 "$work/build.log" >&2
        fail "$image is not built"
    }
    ok "$image built in $((SECONDS - start)) s"
}
if [[ -n ${KEEP:-} ]]; then
    commit=$(podman image inspect --format '{{index .Config.Labels "org.opencontainers.image.revision"}}' "$production")
else
    build production "$production"
    build dev "$development"
fi

# --- what the image is -----------------------------------------------------------------------------------------------

of() { podman image inspect --format "$1" "$production"; }
expect() {
    local what=$1 has=$2 wants=$3
    [[ $has == "$wants" ]] || fail "$what is '$has', not '$wants'"
    ok "$what: $has"
}
expect "user" "$(of '{{.Config.User}}')" 65532:65532
expect "stop signal" "$(of '{{.Config.StopSignal}}')" SIGTERM
expect "entry point" "$(of '{{.Config.Entrypoint}} {{.Config.Cmd}}')" "[/usr/local/bin/acs-token-broker] [serve]"
expect "health check" "$(of '{{.Config.Healthcheck.Test}}')" "[CMD /usr/local/bin/acs-token-broker healthcheck]"
expect "ports that docker run -P publishes" "$(of "{{json .Config.ExposedPorts}}")" '{"8080/tcp":{}}'
expect "label of the version" "$(of '{{index .Config.Labels "org.opencontainers.image.version"}}')" "$version"
expect "label of the commit" "$(of '{{index .Config.Labels "org.opencontainers.image.revision"}}')" "$commit"
size=$(of '{{.Size}}')
[[ $size -lt $limit ]] || fail "the image has $size bytes, over $limit"
ok "size: $size bytes"

# The broker is the only program: no shell, nothing to run one with.
podman create --no-healthcheck --name acs-image-files "$production" >/dev/null
podman export acs-image-files | tar --list --verbose >"$work/files"
podman rm acs-image-files >/dev/null
programs=$(awk '$1 ~ /^-/ && $1 ~ /x/ { print $NF }' "$work/files")
expect "programs" "$programs" usr/local/bin/acs-token-broker
if "${run[@]}" --rm --network none --entrypoint /bin/sh "$production" -c true >/dev/null 2>&1; then fail "there is a shell"; fi
ok "no shell"

# --- the emulator is in one of them only ------------------------------------------------------------------------------

"${run[@]}" --rm --network none "$development" dev --help >/dev/null || fail "the development image has no emulator"
if "${run[@]}" --rm --network none "$production" dev --help >/dev/null 2>"$work/dev"; then fail "the image has the emulator"; fi
refusal=$(grep --max-count 1 "unexpected argument 'dev'\|unrecognized subcommand 'dev'" "$work/dev") || fail "dev: $(cat "$work/dev")"
ok "no emulator: $refusal"
expect "--version" "$("${run[@]}" --rm --network none "$production" --version)" "acs-token-broker $version (commit $commit)"

# --- the main job ----------------------------------------------------------------------------------------------------

remove >/dev/null 2>&1 || true # a run that was killed left them
# In a network of their own that has loopback only, so that nothing here is open to anyone.
"${run[@]}" --detach --name acs-image-emulator --network none --tmpfs /tmp "$development" \
    dev --listen 127.0.0.1:18080 --management-listen 127.0.0.1:18081 --emulator-listen 127.0.0.1:8090 >/dev/null
# Its health check is asked for here, not by systemd.
"${run[@]/--no-healthcheck/--health-interval=disable}" --detach --name acs-image-broker --network container:acs-image-emulator \
    --volume "$PWD/deploy/observability/assignments.toml:/etc/acs-token-broker/assignments.toml:ro" \
    --env ACS_TOKEN_BROKER__ENTRA__AUTHORITY=http://127.0.0.1:8090 \
    --env 'ACS_TOKEN_BROKER__ENTRA__TENANTS=[{id = "c0a50000-0000-4000-8000-000000000001"}, {id = "fab00000-0000-4000-8000-000000000002"}]' \
    --env ACS_TOKEN_BROKER__EXCHANGE__ENDPOINT=http://127.0.0.1:8090 \
    --env ACS_TOKEN_BROKER__SERVER__DRAIN_DELAY=3s \
    "$production" >/dev/null
pid() { podman inspect --format '{{.State.Pid}}' "$1"; }
inside=(nsenter --net --target "$(pid acs-image-emulator)")
ask() { "${inside[@]}" curl --silent --noproxy '*' --max-time 5 "$@"; }
status() { ask --output /dev/null --write-out '%{http_code}' "$@" || true; }
for _ in {1..100}; do
    [[ $(status http://127.0.0.1:8081/readyz) != 200 ]] || break
    sleep 0.1
done
expect "/readyz" "$(status http://127.0.0.1:8081/readyz)" 200
token=$(ask --request POST http://127.0.0.1:8090/_emulator/users/adele/token | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
ask --include --request POST http://127.0.0.1:8080/token --header "Authorization: Bearer $token" >"$work/answer"
grep --quiet '^HTTP/1.1 200' "$work/answer" || fail "POST /token: $(cat "$work/answer")"
grep --quiet '"identity":{"id":"8:acs:' "$work/answer" || fail "POST /token: $(cat "$work/answer")"
ok "POST /token: 200, an ACS token for adele"
expect "POST /token without a token" "$(status --request POST http://127.0.0.1:8080/token)" 401
podman logs acs-image-broker >"$work/log" 2>&1
grep --quiet "\"message\":\"listening\".*\"version\":\"$version\".*\"commit\":\"$commit\"" "$work/log" || fail "no start line"
grep --quiet '"public":"0.0.0.0:8080".*"management":"0.0.0.0:8081"' "$work/log" || fail "it does not listen on 0.0.0.0"
ok "start line: $(grep --only-matching '"message":"listening".*' "$work/log")"
ask http://127.0.0.1:8081/metrics >"$work/metrics"
grep --quiet "acs_broker_build_info{.*commit=\"$commit\".*version=\"$version\"" "$work/metrics" || fail "no build_info"
ok "$(grep '^acs_broker_build_info' "$work/metrics")"
podman healthcheck run acs-image-broker || fail "the health check fails"
ok "health check"

process=/proc/$(pid acs-image-broker)
expect "uid" "$(awk '/^Uid:/ { print $2, $3, $4 }' "$process/status")" "65532 65532 65532"
expect "capabilities" "$(awk '/^CapEff:/ { print $2 }' "$process/status")" 0000000000000000
expect "no new privileges" "$(awk '/^NoNewPrivs:/ { print $2 }' "$process/status")" 1
expect "root file system" "$(awk '$5 == "/" { split($6, options, ","); print options[1] }' "$process/mountinfo")" ro
ok "memory: $(awk '/^VmRSS:/ { print $2, $3 }' "$process/status") resident"

# --- its end ---------------------------------------------------------------------------------------------------------

began=$(date +%s%N)
podman stop --time 30 acs-image-broker >/dev/null &
stopping=$!
for _ in {1..30}; do
    [[ $(status http://127.0.0.1:8081/readyz) != 503 ]] || break
    sleep 0.05
done
expect "/readyz while it drains" "$(status http://127.0.0.1:8081/readyz)" 503
expect "POST /token while it drains" \
    "$(status --request POST http://127.0.0.1:8080/token --header "Authorization: Bearer $token")" 200
if podman healthcheck run acs-image-broker >/dev/null 2>&1; then fail "the health check passes while it drains"; fi
wait "$stopping"
took=$((($(date +%s%N) - began) / 1000000))
[[ $took -ge 3000 && $took -lt 10000 ]] || fail "it ended after $took ms, with a drain_delay of 3 s"
expect "exit code" "$(podman inspect --format '{{.State.ExitCode}}' acs-image-broker)" 0
ok "ended $took ms after SIGTERM, drain_delay 3 s"
if podman logs acs-image-broker 2>&1 | grep --quiet eyJ; then fail "a token is in the log"; fi
echo "all checks of the image passed"
