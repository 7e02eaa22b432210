#!/usr/bin/env bash
# Brings docker-compose.yml up without Docker, by podman-compose, and uses it as a front-end team would: from the host, at the
# ports that it publishes. As root; after tests/image.sh, which builds the image.
#
# tests/compose.sh              all of it, with both profiles and the images that the file names
# tests/compose.sh --stand-ins  where no registry can be reached: socat, Python, Prometheus, Alertmanager, haproxy and, for Valkey,
#                               Redis from Debian's packages under those names. There are none of Grafana, Tempo, Loki and the
#                               collector, which are left out
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [[ $(id -u) -ne 0 ]]; then
    echo "run it as root" >&2
    exit 1
fi
if [[ -z ${OWN_MOUNTS:-} && -d /sys/fs/cgroup/unified ]]; then
    OWN_MOUNTS=1 exec unshare --mount sh -c 'umount /sys/fs/cgroup/unified && exec "$@"' sh "$0" "$@"
fi
stand_ins=
if [[ ${1:-} == --stand-ins ]]; then stand_ins=1; fi
packages=(podman catatonit buildah golang-github-containernetworking-plugin-dnsname iptables curl)
if [[ -n $stand_ins ]]; then packages+=(socat python3-minimal libpython3-stdlib prometheus prometheus-alertmanager haproxy redis-server); fi
missing=()
for package in "${packages[@]}"; do dpkg --status "$package" >/dev/null 2>&1 || missing+=("$package"); done
if [[ ${#missing[@]} -gt 0 ]]; then
    # Nothing is to be started as a service: a policy that says so, unless there is one.
    if [[ ! -e /usr/sbin/policy-rc.d ]]; then
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
        printf '#!/bin/sh\nexit 101\n' | install -m 755 /dev/stdin /usr/sbin/policy-rc.d
    fi
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends "${missing[@]}" >/dev/null
    if [[ -n $(trap -p EXIT) ]]; then rm -f /usr/sbin/policy-rc.d; fi
    trap - EXIT
fi
python=target/podman-compose
[[ -x $python/bin/podman-compose ]] || { python3 -m venv "$python" && "$python/bin/pip" install --quiet podman-compose==1.6.0; }

work=$(mktemp -d)
storage=(--root "$PWD/target/image" --runroot /run/acs-token-broker-image --storage-driver "${STORAGE_DRIVER:-overlay}")
# The storage of tests/image.sh, and what a machine without systemd takes.
cat >"$work/podman" <<END
#!/bin/sh
case \$1 in
run | create) verb=\$1; shift; set -- "\$verb" --cgroups disabled --ulimit nofile=4096:4096 --ulimit nproc=1024:1024 "\$@" ;;
esac
exec podman ${storage[*]@Q} "\$@"
END
chmod +x "$work/podman"
compose=("$python/bin/podman-compose" --podman-path "$work/podman" --project-name acs-compose --in-pod false)
finish() {
    "${compose[@]}" --profile observability --profile replicas down --volumes --timeout 5 >"$work/down.log" 2>&1 || cat "$work/down.log" >&2
    rm -rf "$work"
}
trap finish EXIT
fail() {
    echo "FAILED: $*" >&2
    for name in emulator broker emulator-door load prometheus broker-1 valkey load-balancer; do
        "$work/podman" logs --tail 8 "acs-compose_${name}_1" >&2 2>/dev/null || true
    done
    exit 1
}
ok() { echo "ok  $*"; }

# stand_in IMAGE ENTRYPOINT FILE...: an image of these files and of the libraries that the programs among them need.
stand_in() {
    local image=$1 entry=$2 root=$work/root file
    shift 2
    mkdir -p "$root/tmp" "$root/etc" "$root/prometheus" "$root/alertmanager"
    chmod 1777 "$root"/{tmp,prometheus,alertmanager}
    printf 'root:x:0:0::/:\nnobody:x:65534:65534::/:\n' >"$root/etc/passwd"
    for file in "$@"; do
        echo "$file"
        if [[ -f $file && -x $file ]]; then ldd "$file" | grep --only-matching '/[^ ]*'; fi
    done | sed 's|^/||' | sort --unique |
        tar --create --directory / --dereference --files-from - | tar --extract --directory "$root"
    # As the real ones have it.
    if [[ -e $root/usr/bin/python3 ]]; then ln -s python3 "$root/usr/bin/python"; fi
    if [[ -e $root/usr/bin/redis-server ]]; then ln -s redis-server "$root/usr/bin/valkey-server"; fi
    printf 'FROM scratch\nADD root /\nENV PATH=/usr/bin:/usr/sbin\n%s\n' "$entry" >"$work/Containerfile"
    buildah "${storage[@]}" bud --quiet --tag "$image" --file "$work/Containerfile" "$work" >/dev/null
    rm -rf "$root"
    ok "a stand-in for $image"
}
image_of() { sed -n "/^  $1:/,/^  [a-z]/s/^    image: //p" docker-compose.yml; }

services=()
if [[ -n $stand_ins ]]; then
    services=(emulator broker emulator-door load alertmanager prometheus)
    stand_in "docker.io/$(image_of emulator-door)" 'ENTRYPOINT ["socat"]' /usr/bin/socat
    # Debian's Python has its modules in C built in, but for a few.
    stand_in "docker.io/library/$(image_of load)" 'ENV PYTHONDONTWRITEBYTECODE=1' \
        /usr/bin/python3 /usr/lib/python3.11 /usr/lib/x86_64-linux-gnu/libssl.so.3 /usr/lib/x86_64-linux-gnu/libcrypto.so.3
    stand_in "docker.io/$(image_of prometheus)" $'USER 65534\nENTRYPOINT ["prometheus"]' /usr/bin/prometheus
    stand_in "docker.io/$(image_of valkey)" '' /usr/bin/redis-server
    stand_in "docker.io/library/$(image_of load-balancer)" '' /usr/sbin/haproxy
    stand_in "docker.io/$(image_of alertmanager)" $'USER 65534\nENTRYPOINT ["prometheus-alertmanager"]' /usr/bin/prometheus-alertmanager
fi

ask() { curl --silent --noproxy '*' --max-time 5 "$@"; }
status() { ask --output /dev/null --write-out '%{http_code}' "$@" || true; }
until_it_says() {
    local what=$1 wants=$2
    shift 2
    for _ in {1..120}; do
        if ask "$@" 2>/dev/null | grep --quiet "$wants"; then
            ok "$what"
            return
        fi
        sleep 0.5
    done
    fail "$what: $(ask "$@" | head -c 600)"
}
token() { ask --request POST "http://127.0.0.1:8090/_emulator/users/$1/token" | sed 's/.*"access_token":"\([^"]*\)".*/\1/'; }

# --- docker compose up -----------------------------------------------------------------------------------------------

"${compose[@]}" up --detach --no-build >"$work/up.log" 2>&1 || { tail -n 40 "$work/up.log" >&2; fail "up"; }
until_it_says "the broker is ready" '"status":"ready"' http://127.0.0.1:8081/readyz
until_it_says "the emulator is reached from the host" adele http://127.0.0.1:8090/_emulator/users
answer=$(ask --request POST http://127.0.0.1:8080/token --header "Authorization: Bearer $(token adele)")
[[ $answer == '{"identity":{"id":"8:acs:'* ]] || fail "POST /token: $answer"
ok "POST /token: an ACS token for adele"
[[ $(status --request POST http://127.0.0.1:8080/token --header "Authorization: Bearer $(token megan)") == 403 ]] || fail "megan"
ok "POST /token: 403 for megan"

# --- docker compose --profile replicas up ------------------------------------------------------------------------------

replicas=(valkey broker-1 broker-2 broker-3 load-balancer)
"${compose[@]}" --profile replicas up --detach --no-build "${replicas[@]}" >"$work/up.log" 2>&1 || {
    tail -n 40 "$work/up.log" >&2
    fail "up with the replicas"
}
exchanges() { ask http://127.0.0.1:8090/_emulator/journal | grep --only-matching '"endpoint":"exchange"' | wc -l; }
cache_of() { ask --request POST http://127.0.0.1:8070/token --header "Authorization: Bearer $1" --output /dev/null --dump-header - | tr -d '\r' | sed -n 's/^x-cache: //Ip'; }
until_it_says "the load balancer has a broker" AuthenticationRequired --request POST http://127.0.0.1:8070/token
sleep 3 # and all three
alex=$(token alex)
before=$(exchanges)
seen=$(for _ in {1..6}; do cache_of "$alex"; done | sort | uniq -c | tr -s ' \n' ' ')
[[ $seen == " 5 hit 1 miss " && $(exchanges) == $((before + 1)) ]] || fail "six requests at three brokers:$seen, $(exchanges) exchanges after $before"
ok "three brokers behind the load balancer: one exchange for six requests"
"$work/podman" restart --time 10 acs-compose_broker-2_1 >/dev/null
"$work/podman" kill acs-compose_broker-3_1 >/dev/null
for _ in {1..20}; do
    [[ $(cache_of "$alex") == hit ]] || fail "a broker was restarted and another was killed, and a request was no hit"
    sleep 0.2
done
[[ $(exchanges) == $((before + 1)) ]] || fail "exchanges after a restart: $(exchanges)"
ok "one broker restarted, another killed: hits, and no exchange more"
"$work/podman" kill acs-compose_valkey_1 >/dev/null
for name in alex adele; do
    [[ $(status --request POST http://127.0.0.1:8070/token --header "Authorization: Bearer $(token "$name")") == 200 ]] || fail "$name without the store"
done
ok "without the store: tokens all the same"
"${compose[@]}" --profile replicas stop --timeout 10 "${replicas[@]}" >"$work/stop.log" 2>&1 || fail "stop: $(cat "$work/stop.log")"

# --- docker compose --profile observability up ------------------------------------------------------------------------

"${compose[@]}" --profile observability up --detach --no-build "${services[@]}" >"$work/up.log" 2>&1 || {
    tail -n 40 "$work/up.log" >&2
    fail "up with the profile"
}
until_it_says "Prometheus scrapes the broker" '"value":\[[^]]*"1"' --get http://127.0.0.1:9090/api/v1/query \
    --data-urlencode 'query=up{job="acs-token-broker"}'
# Far more than what was asked above.
until_it_says "the load shows in its metrics" '"value":\[[^]]*"[0-9]' --get http://127.0.0.1:9090/api/v1/query \
    --data-urlencode 'query=sum(acs_broker_cache_requests_total) > 20'
until_it_says "the rules are in force" '"value"' --get http://127.0.0.1:9090/api/v1/query \
    --data-urlencode 'query={__name__=~"acs_broker:.*|job:.*|acs_token_broker:.*"}'
until_it_says "Prometheus knows Alertmanager" '9093' http://127.0.0.1:9090/api/v1/alertmanagers
# Beside it the replicas again, of which the load balancer tells.
"${compose[@]}" --profile replicas up --detach --no-build "${replicas[@]}" >"$work/up.log" 2>&1 || {
    tail -n 40 "$work/up.log" >&2
    fail "up with the replicas beside the observability"
}
until_it_says "Prometheus scrapes the three replicas too" '"value":\[[^]]*"4"' --get http://127.0.0.1:9090/api/v1/query \
    --data-urlencode 'query=count(up{job="acs-token-broker"} == 1)'
if [[ -z $stand_ins ]]; then
    until_it_says "Grafana has the dashboards" acs-token-broker 'http://127.0.0.1:3000/api/search?type=dash-db'
fi
echo "docker-compose.yml comes up and works"
