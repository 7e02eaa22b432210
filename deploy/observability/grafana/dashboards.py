#!/usr/bin/env python3
"""Writes dashboards/*.json. `dashboards.py --check` only says whether they are up to date.

The JSON is what Grafana loads and what users copy; it is kept, so that nobody needs this script to use it. What is reviewed
is this file: one line or two a panel, and no two panels that differ by accident.
"""

import json
import pathlib
import sys
from urllib.parse import quote

FOLDER = pathlib.Path(__file__).parent / "dashboards"
TAG = "acs-token-broker"

PROMETHEUS = {"type": "prometheus", "uid": "${datasource}"}
LOKI = {"type": "loki", "uid": "${logs}"}
TEMPO = {"type": "tempo", "uid": "${traces}"}

# What is common to the selectors. $resource is only where the metric has that label.
SELECTED = 'job="$job",instance=~"$instance"'
RESOURCE = SELECTED + ',acs_broker_resource_name=~"$resource"'
# The requests of the objectives, as in prometheus/rules.yaml.
TOKENS = SELECTED + ',http_request_method="POST",http_route=~"/token|/oauth2/token|/access/.+"'

GREEN_IS_LOW = "green below"
GREEN_IS_HIGH = "green above"


def thresholds(kind, *steps):
    """Colours at two bounds: green, orange, red if low is good; red, orange, green if high is."""
    colours = ["green", "orange", "red"] if kind == GREEN_IS_LOW else ["red", "orange", "green"]
    return {
        "mode": "absolute",
        "steps": [{"color": colour, "value": value} for colour, value in zip(colours, (None, *steps))],
    }


def query(expr, legend="", **more):
    return {"expr": expr, "legendFormat": legend or "__auto", **more}


def panel(kind, title, description, targets, width=8, height=8, datasource=PROMETHEUS, **field):
    """A panel without its place; `field` are defaults of its fields: unit, min, max, thresholds ..."""
    options = field.pop("options", {})
    custom = field.pop("custom", {})
    overrides = field.pop("overrides", [])
    if isinstance(targets, (str, dict)):
        targets = [targets]
    targets = [target if isinstance(target, dict) else query(target) for target in targets]
    for reference, target in zip("ABCDEFGH", targets):
        target.update({"refId": reference, "datasource": datasource})
    if "thresholds" in field and kind == "timeseries":
        custom = {"thresholdsStyle": {"mode": "dashed"}, **custom}
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": datasource,
        "targets": targets,
        "fieldConfig": {"defaults": {**field, **({"custom": custom} if custom else {})}, "overrides": overrides},
        "options": options,
        "gridPos": {"w": width, "h": height},
    }


def stat(title, description, expr, width=4, **field):
    field.setdefault("thresholds", {"mode": "absolute", "steps": [{"color": "text", "value": None}]})
    targets = query(expr, instant=True, range=False)
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value",
        "graphMode": "none",
    }
    return panel("stat", title, description, targets, width, 4, options=options, **field)


def lines(title, description, targets, width=8, stacked=False, **field):
    custom = {"lineWidth": 1, "fillOpacity": 10, "showPoints": "never"}
    if stacked:
        custom.update({"fillOpacity": 40, "stacking": {"mode": "normal", "group": "A"}})
    options = {
        "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    if field.setdefault("min", 0) is None:
        del field["min"]
    return panel("timeseries", title, description, targets, width, options=options, custom=custom, **field)


def row(title):
    return {"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": {"w": 24, "h": 1}}


def variable(name, label, expr, several=True):
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": PROMETHEUS,
        "query": {"query": expr, "refId": name},
        "refresh": 2,  # with the time range: replicas come and go
        "sort": 1,
        **(
            {"multi": True, "includeAll": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"}}
            if several
            else {"current": {"text": TAG, "value": TAG}}
        ),
    }


def source(name, label, kind):
    return {"type": "datasource", "name": name, "label": label, "query": kind, "current": {"text": kind.title(), "value": kind}}


def explore(title, tooltip, datasource, target):
    pane = {"a": {"datasource": datasource, "queries": [{"refId": "A", **target}], "range": {"from": "now-1h", "to": "now"}}}
    return {
        "type": "link",
        "title": title,
        "tooltip": tooltip,
        "icon": "external link",
        # Grafana puts the variable in, so its braces stay as they are.
        "url": "/explore?schemaVersion=1&panes=" + quote(json.dumps(pane), safe="${}"),
        "targetBlank": True,
    }


def dashboard(name, title, description, panels):
    """Gives the panels ids and places, from left to right."""
    x = y = height = 0
    for number, each in enumerate(panels, 1):
        place = each["gridPos"]
        if x + place["w"] > 24:
            x, y, height = 0, y + height, 0
        place.update({"x": x, "y": y})
        x, height = x + place["w"], max(height, place["h"])
        each["id"] = number
    return {
        "uid": name,
        "title": "ACS token broker / " + title,
        "description": description,
        "tags": [TAG],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,  # one crosshair for all panels
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "links": [
            {
                "type": "dashboards",
                "title": "",
                "tags": [TAG],
                "asDropdown": False,
                "includeVars": True,
                "keepTime": True,
            },
            explore(
                "Failed traces",
                "Requests that ended in an error, in Tempo",
                "${traces}",
                {"queryType": "traceql", "query": FAILED_TRACES},
            ),
        ],
        "annotations": {
            "list": [
                {
                    "name": "New version",
                    "enable": True,
                    "iconColor": "blue",
                    "datasource": PROMETHEUS,
                    "expr": 'count by (version) (acs_broker_build_info{job="$job"})'
                    ' unless count by (version) (acs_broker_build_info{job="$job"} offset 5m)',
                    "titleFormat": "{{version}}",
                }
            ]
        },
        "templating": {
            "list": [
                source("datasource", "Metrics", "prometheus"),
                source("logs", "Logs", "loki"),
                source("traces", "Traces", "tempo"),
                variable("job", "Job", "label_values(acs_broker_build_info, job)", several=False),
                variable("instance", "Replica", 'label_values(acs_broker_build_info{job="$job"}, instance)'),
                variable(
                    "resource",
                    "Resource",
                    'label_values(acs_broker_cache_requests_total{job="$job"}, acs_broker_resource_name)',
                ),
            ]
        },
        "panels": panels,
    }


def rate(metric, labels, by="", more=""):
    inner = f"rate({metric}{{{labels}{',' + more if more else ''}}}[$__rate_interval])"
    return f"sum by ({by}) ({inner})" if by else f"sum({inner})"


def share(part, whole):
    return f"{part}\n/\n{whole}"


def quantile(q, metric, labels, by=""):
    return f"histogram_quantile({q}, {rate(metric + '_bucket', labels, by + ', le' if by else 'le')})"


def or_zero(expr, whole):
    """0 rather than nothing, where series come into being with the first failure."""
    return f"({expr} or 0 * {whole})"


FAILED_TRACES = '{resource.service.name="acs-token-broker" && kind=server && status=error}'
SLOW_TRACES = '{resource.service.name="acs-token-broker" && kind=server && duration > 1s}'
SERVER = "http_server_request_duration_seconds"
CLIENT = "http_client_request_duration_seconds"
STORE, STORE_HIT = "acs_broker_shared_cache", 'acs_broker_outcome="hit"'
EXCHANGE = "acs_broker_exchange_duration_seconds"

# Without a status: the client left before it was answered.
ALL = rate(SERVER + "_count", TOKENS, more='http_response_status_code!=""')
FAILED = or_zero(rate(SERVER + "_count", TOKENS, more='http_response_status_code=~"5.."'), ALL)


def service():
    traces = {"queryType": "traceql", "tableType": "traces", "limit": 20}
    return dashboard(
        "acs-broker-service",
        "Service",
        "Start here: rate, errors and duration of requests for tokens, and what is full.",
        [
            row("Now"),
            stat("Requests", "POSTs for tokens that were answered.", ALL, unit="reqps"),
            stat("Failing", "Share of 5xx, ours and Azure's. The objective is 0.1 % over 30 days.", share(FAILED, ALL),
                 unit="percentunit", decimals=2, thresholds=thresholds(GREEN_IS_LOW, 0.001, 0.0144)),
            stat("p99", "99 % of the successes are answered within this time. The objective is 1 s.",
                 quantile(0.99, SERVER, TOKENS + ',http_response_status_code=~"2.."'),
                 unit="s", thresholds=thresholds(GREEN_IS_LOW, 0.5, 1)),
            stat("Ready replicas", "Replicas whose /readyz is 200.", f"sum(acs_broker_ready{{{SELECTED}}})",
                 unit="short", thresholds=thresholds(GREEN_IS_HIGH, 1, 2)),
            stat("Error budget left", "Of 30 days, all replicas. Below 0 the objective was missed.",
                 'acs_broker:slo_error_budget:remaining30d{job="$job"}',
                 unit="percentunit", decimals=1, thresholds=thresholds(GREEN_IS_HIGH, 0, 0.25)),
            stat("Fullest replica", "Requests in flight, as share of server.max_in_flight.",
                 f"max(acs_broker_requests_in_flight{{{SELECTED}}} / acs_broker_requests_limit{{{SELECTED}}})",
                 unit="percentunit", decimals=1, thresholds=thresholds(GREEN_IS_LOW, 0.6, 0.8)),
            row("Rate, errors, duration"),
            lines("Requests by status", "All requests, with those that are refused: 4xx are the callers' affair. No status: the client left unanswered.",
                  query(rate(SERVER + "_count", SELECTED, "http_route, http_response_status_code"),
                        "{{http_response_status_code}} {{http_route}}"), unit="reqps", stacked=True),
            lines("Failures by status", "What counts against the objective. 500 is a bug here; 502 and 504 come from Azure; 503 from either.",
                  [query(rate(SERVER + "_count", TOKENS, "http_response_status_code, error_type", 'http_response_status_code=~"5.."'),
                         "{{http_response_status_code}} {{error_type}}")], unit="reqps", stacked=True),
            lines("Share that fails", "5xx of the requests for tokens. The lines: the objective, and the rate that pages.",
                  query(share(FAILED, ALL), "failing"), unit="percentunit", thresholds=thresholds(GREEN_IS_LOW, 0.001, 0.0144)),
            lines("Duration", "Of requests for tokens. Points are exemplars where there are any; each leads to its trace.",
                  [query(quantile(q, SERVER, TOKENS), name, exemplar=True) for q, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))],
                  unit="s", thresholds=thresholds(GREEN_IS_LOW, 0.5, 1)),
            panel("heatmap", "Distribution of duration", "Hits take milliseconds, exchanges what ACS takes: two bands.",
                  query(rate(SERVER + "_bucket", TOKENS, "le"), "{{le}}", format="heatmap"),
                  options={"calculate": False, "yAxis": {"unit": "s"}, "color": {"scheme": "Blues", "mode": "scheme"}, "cellGap": 1}),
            lines("Requests by replica", "Uneven? Then one is new, slow or alone.",
                  query(rate(SERVER + "_count", SELECTED, "instance"), "{{instance}}"), unit="reqps"),
            row("Saturation"),
            lines("Requests in flight", "Share of server.max_in_flight. At 1, callers get 503 Overloaded.",
                  query(f"acs_broker_requests_in_flight{{{SELECTED}}} / acs_broker_requests_limit{{{SELECTED}}}", "{{instance}}"),
                  unit="percentunit", max=1, thresholds=thresholds(GREEN_IS_LOW, 0.6, 0.8)),
            lines("Connections", "Share of server.max_connections.",
                  query(f"acs_broker_connections_open{{{SELECTED}}} / acs_broker_connections_limit{{{SELECTED}}}", "{{instance}}"),
                  unit="percentunit", max=1, thresholds=thresholds(GREEN_IS_LOW, 0.6, 0.8)),
            lines("Refused unheard", "Before anything was decided about a token: overload, shutdown, limits, oversized or slow requests.",
                  query(rate("acs_broker_refusals_total", SELECTED, "acs_broker_reason"), "{{acs_broker_reason}}"),
                  unit="reqps", stacked=True),
            lines("Requests not answered yet", "All requests of the public listener, those that wait for keys or a slow body too.",
                  query(f"sum by (instance) (http_server_active_requests{{{SELECTED}}})", "{{instance}}"), unit="short"),
            lines("Ready", "1 while /readyz is 200.", query(f"acs_broker_ready{{{SELECTED}}}", "{{instance}}"), unit="short", max=1),
            lines("Telemetry dropped", "Spans, metrics and log lines that did not get out. Harmless to callers.",
                  query(rate("acs_broker_telemetry_dropped_total", SELECTED, "acs_broker_signal"), "{{acs_broker_signal}}"), unit="cps"),
            row("Which ones"),
            panel("table", "Failed requests", "A trace of each; its exchange, key fetch or Graph call says where it failed. From Tempo.",
                  {"query": FAILED_TRACES, **traces}, 12, datasource=TEMPO),
            panel("table", "Slow requests", "Traces of requests that took over 1 s. From Tempo.",
                  {"query": SLOW_TRACES, **traces}, 12, datasource=TEMPO),
            panel("logs", "Failures in the log", "Access lines of 5xx and everything at ERROR, with code and cause. From Loki.",
                  {"expr": '{service_name="acs-token-broker"} | http_response_status_code >= 500 or detected_level = `error`'}, 24, 10,
                  datasource=LOKI, options={"showTime": True, "wrapLogMessage": True, "enableLogDetails": True, "sortOrder": "Descending"}),
            panel("table", "Replicas", "What runs where.", query(f"acs_broker_build_info{{{SELECTED}}}", format="table", instant=True, range=False),
                  24, 5, overrides=[{"matcher": {"id": "byRegexp", "options": "Time|Value|__name__|job"},
                                     "properties": [{"id": "custom.hidden", "value": True}]}]),
        ],
    )


def pipeline():
    presented = rate("acs_broker_authentication_total", SELECTED)
    decided = rate("acs_broker_authorization_total", RESOURCE)
    asked = rate("acs_broker_cache_requests_total", RESOURCE)

    def outcome(metric, labels, value, whole):
        return share(rate(metric, labels, more=f'acs_broker_outcome="{value}"'), whole)

    return dashboard(
        "acs-broker-pipeline",
        "Token pipeline",
        "The stages in their order: authentication, authorization, exchange; and what they stand on: keys and assignments.",
        [
            row("Stage by stage"),
            stat("Tokens presented", "Entra tokens that were looked at.", presented, 6, unit="cps"),
            stat("Accepted", "Of those: verified.", outcome("acs_broker_authentication_total", SELECTED, "accepted", presented), 6,
                 unit="percentunit", decimals=1, thresholds=thresholds(GREEN_IS_HIGH, 0.5, 0.9)),
            stat("Permitted", "Of those verified: covered by an assignment.", outcome("acs_broker_authorization_total", RESOURCE, "permitted", decided), 6,
                 unit="percentunit", decimals=1, thresholds=thresholds(GREEN_IS_HIGH, 0.5, 0.9)),
            stat("Served", "Of those permitted: got an ACS token.",
                 share(rate("acs_broker_cache_requests_total", RESOURCE, more='acs_broker_cache_outcome!="failed"'), asked), 6,
                 unit="percentunit", decimals=1, thresholds=thresholds(GREEN_IS_HIGH, 0.9, 0.99)),
            row("Authentication"),
            lines("Tokens by outcome", "Undecided: the keys could not be had, which is no fault of the token.",
                  query(rate("acs_broker_authentication_total", SELECTED, "acs_broker_outcome"), "{{acs_broker_outcome}}"), unit="cps", stacked=True),
            lines("Refused tokens by reason", "Expired: front ends that do not renew. InvalidSignature, Malformed: somebody tries.",
                  query(rate("acs_broker_authentication_total", SELECTED, "acs_broker_reason", 'acs_broker_outcome!="accepted"'), "{{acs_broker_reason}}"),
                  unit="cps", stacked=True),
            lines("Age of keys", "By tenant, the oldest of the replicas. Renewed each hour; at 24 h they serve no longer.",
                  query(f"max by (acs_broker_tenant_id) (acs_broker_jwks_age_seconds{{{SELECTED}}})", "{{acs_broker_tenant_id}}"),
                  unit="s", thresholds=thresholds(GREEN_IS_LOW, 10800, 72000)),
            lines("Tenants with usable keys", "Below the number of tenants, some have no keys: their users get 503.",
                  [query(f"sum by (instance) (acs_broker_jwks_usable{{{SELECTED}}})", "{{instance}}"),
                   query(f"max(count by (instance) (acs_broker_jwks_usable{{{SELECTED}}}))", "tenants")], unit="short"),
            lines("Key refreshes", "unknown_kid: a token named a key that was not known. Many of them: a rotation, or made-up tokens.",
                  query(f"sum by (acs_broker_outcome, acs_broker_jwks_cause) (increase(acs_broker_jwks_refreshes_total{{{SELECTED}}}[$__rate_interval]))",
                        "{{acs_broker_outcome}} {{acs_broker_jwks_cause}}"), unit="short", stacked=True),
            lines("Key refreshes that failed, by tenant", "The last good keys serve meanwhile.",
                  query(f'sum by (acs_broker_tenant_id) (increase(acs_broker_jwks_refreshes_total{{{SELECTED},acs_broker_outcome="failed"}}[$__rate_interval]))',
                        "{{acs_broker_tenant_id}}"), unit="short"),
            row("Authorization"),
            lines("Permitted by", "The kind of assignment that covered the caller; acs: ACS was left to decide.",
                  query(rate("acs_broker_authorization_total", RESOURCE, "acs_broker_assignment_kind", 'acs_broker_outcome="permitted"'),
                        "{{acs_broker_assignment_kind}}"), unit="cps", stacked=True),
            lines("Not permitted by reason", "NotLoaded, MembershipUnknown: undecided, since a source or Graph is away.",
                  query(rate("acs_broker_authorization_total", RESOURCE, "acs_broker_outcome, acs_broker_reason", 'acs_broker_outcome!="permitted"'),
                        "{{acs_broker_outcome}} {{acs_broker_reason}}"), unit="cps", stacked=True),
            lines("Group membership", "Questions that only Graph, or what it said before, could answer.",
                  query(rate("acs_broker_membership_requests_total", SELECTED, "acs_broker_outcome"), "{{acs_broker_outcome}}"), unit="cps", stacked=True),
            lines("Assignments", "In force, by source. Replicas that differ have not read the same file.",
                  query(f"acs_broker_assignments_entries{{{RESOURCE}}}",
                        "{{instance}} {{acs_broker_resource_name}} {{acs_broker_assignments_source}}"), unit="short"),
            lines("Age of assignments", "Time since a source was last read well. From ACS: every 5 minutes, dropped after an hour.",
                  query(f"max by (acs_broker_resource_name, acs_broker_assignments_source) (acs_broker_assignments_age_seconds{{{RESOURCE}}})",
                        "{{acs_broker_resource_name}} {{acs_broker_assignments_source}}"), unit="s"),
            lines("Sources that fail", "1: the last look at the source failed, and the last good set is in force.",
                  query(f"max by (acs_broker_resource_name, acs_broker_assignments_source) (acs_broker_assignments_failing{{{RESOURCE}}})",
                        "{{acs_broker_resource_name}} {{acs_broker_assignments_source}}"), unit="short", max=1),
            row("Exchange"),
            lines("Exchanges by outcome", "granted, or what ACS or Entra said. broker_refused: the credential of the broker is no good.",
                  query(rate(EXCHANGE + "_count", RESOURCE, "acs_broker_outcome"), "{{acs_broker_outcome}}"), unit="cps", stacked=True),
            lines("Duration of exchanges", "Entra's part and a retry included.",
                  [query(quantile(q, EXCHANGE, RESOURCE, "acs_broker_exchange_mode"), "{{acs_broker_exchange_mode}} " + name)
                   for q, name in ((0.5, "p50"), (0.99, "p99"))], unit="s", thresholds=thresholds(GREEN_IS_LOW, 1, 5)),
            lines("Exchanges, awaited and ahead", "ahead: renewals in the background, for which nobody waits.",
                  query(rate(EXCHANGE + "_count", RESOURCE, "acs_broker_exchange_ahead"), "ahead {{acs_broker_exchange_ahead}}"), unit="cps", stacked=True),
        ],
    )


def upstreams():
    asked = rate("acs_broker_cache_requests_total", RESOURCE)
    hits = rate("acs_broker_cache_requests_total", RESOURCE, more='acs_broker_cache_outcome=~"hit|shared"')
    calls = rate(CLIENT + "_count", SELECTED, "acs_broker_upstream")
    stored = f"({rate(STORE + '_operations_total', SELECTED, more=STORE_HIT)} or vector(0))"
    limited = rate(CLIENT + "_count", SELECTED, "acs_broker_upstream", 'http_response_status_code="429"')
    return dashboard(
        "acs-broker-upstreams",
        "Upstreams and cache",
        "Entra, Graph and ACS as the broker sees them, and how much of the load the cache keeps from them.",
        [
            row("Upstreams"),
            lines("Calls by upstream", "Single HTTP calls, retries too.", query(calls, "{{acs_broker_upstream}}"), unit="reqps"),
            lines("Failures by upstream", "Share of calls with no answer, a 5xx or a broken one, over 5 minutes, all replicas. Over 10 % alerts.",
                  query('acs_broker:upstream_errors:ratio_rate5m{job="$job"}', "{{acs_broker_upstream}}"),
                  unit="percentunit", max=1, thresholds=thresholds(GREEN_IS_LOW, 0.01, 0.1)),
            lines("429 by upstream", "Azure limits us, and the broker pauses as it is asked to.",
                  query(or_zero(limited, calls), "{{acs_broker_upstream}}"), unit="reqps"),
            lines("Duration by upstream", "p50 and p99 of single calls.",
                  [query(quantile(q, CLIENT, SELECTED, "acs_broker_upstream"), "{{acs_broker_upstream}} " + name, exemplar=True)
                   for q, name in ((0.5, "p50"), (0.99, "p99"))], unit="s", thresholds=thresholds(GREEN_IS_LOW, 1, 2)),
            lines("Answers by status", "No status: no answer; error_type says why.",
                  query(rate(CLIENT + "_count", SELECTED, "acs_broker_upstream, http_response_status_code, error_type"),
                        "{{acs_broker_upstream}} {{http_response_status_code}} {{error_type}}"), unit="reqps", stacked=True),
            lines("Use of ACS's limit", "Calls to ACS in 30 s, all replicas. ACS takes 500 exchanges in 30 s for a resource.",
                  query("30 * " + rate(CLIENT + "_count", SELECTED, "server_address", 'acs_broker_upstream="acs"'), "{{server_address}}"),
                  unit="short", thresholds=thresholds(GREEN_IS_LOW, 350, 500)),
            lines("Budget of exchanges", "Requests that an ACS endpoint could be sent now, of the budget in force. At 0 first-time callers wait.",
                  [query(f"acs_broker_exchange_budget{{{RESOURCE}}}", "{{instance}} {{acs_broker_resource_name}} free"),
                   query(f"acs_broker_exchange_budget_limit{{{RESOURCE}}}", "{{instance}} {{acs_broker_resource_name}} in force")], unit="short"),
            lines("Who waits", "First-time callers who wait for a place in the budget.",
                  query(f"acs_broker_exchange_queue{{{RESOURCE}}}", "{{instance}} {{acs_broker_resource_name}}"), unit="short"),
            lines("Refused by limits", "429 by the settings of [limits].",
                  query(rate("acs_broker_limits_refused_total", SELECTED, "acs_broker_limit"), "{{acs_broker_limit}}"), unit="reqps", stacked=True),
            lines("Circuits", "0 closed, 1 half-open, 2 open: the upstream fails and is left alone.",
                  query(f"max by (acs_broker_upstream, acs_broker_resource_name, acs_broker_tenant_id) (acs_broker_circuit_state{{{SELECTED}}})",
                        "{{acs_broker_upstream}} {{acs_broker_resource_name}} {{acs_broker_tenant_id}}"), unit="short", max=2),
            row("Cache"),
            stat("Hits now", "Served without a call to ACS: hit or shared.", share(hits, asked), 6,
                 unit="percentunit", decimals=1, thresholds=thresholds(GREEN_IS_HIGH, 0.3, 0.6)),
            stat("Hits in 30 minutes", "All replicas.", 'acs_broker:cache_hits:ratio_rate30m{job="$job",acs_broker_resource_name=~"$resource"}', 6,
                 unit="percentunit", decimals=1, thresholds=thresholds(GREEN_IS_HIGH, 0.3, 0.6)),
            stat("Entries", "In the caches of all replicas.", f"sum(acs_broker_cache_entries{{{SELECTED}}})", 6, unit="short"),
            stat("Fullest cache", "Share of cache.max_bytes. Each entry weighs at least max_bytes / max_entries, so this stands for both bounds.",
                 f"max(acs_broker_cache_size_bytes{{{SELECTED}}} / acs_broker_cache_size_limit_bytes{{{SELECTED}}})", 6,
                 unit="percentunit", decimals=1, thresholds=thresholds(GREEN_IS_LOW, 0.8, 0.95)),
            lines("Cache outcomes", "shared: waited for an exchange that another request had begun. failed: no token.",
                  query(rate("acs_broker_cache_requests_total", RESOURCE, "acs_broker_cache_outcome"), "{{acs_broker_cache_outcome}}"),
                  unit="reqps", stacked=True),
            lines("Hit ratio", "Half an hour against a day. Half of the day's alerts.",
                  [query('acs_broker:cache_hits:ratio_rate30m{job="$job",acs_broker_resource_name=~"$resource"}', "{{acs_broker_resource_name}} 30m"),
                   query('acs_broker:cache_hits:ratio_rate1d{job="$job",acs_broker_resource_name=~"$resource"}', "{{acs_broker_resource_name}} 1d")],
                  unit="percentunit", max=1),
            lines("Hit ratio by replica", "A new replica has an empty cache, and fills it within the hour.",
                  query(share(rate("acs_broker_cache_requests_total", RESOURCE, "instance", 'acs_broker_cache_outcome=~"hit|shared"'),
                              rate("acs_broker_cache_requests_total", RESOURCE, "instance")), "{{instance}}"), unit="percentunit", max=1),
            lines("Cache entries", "At cache.max_entries what is used least goes.",
                  [query(f"acs_broker_cache_entries{{{SELECTED}}}", "{{instance}}"),
                   query(f"max(acs_broker_cache_entries_limit{{{SELECTED}}})", "limit")], 12, unit="short"),
            lines("Cache size", "At cache.max_bytes what is used least goes.",
                  [query(f"acs_broker_cache_size_bytes{{{SELECTED}}}", "{{instance}}"),
                   query(f"max(acs_broker_cache_size_limit_bytes{{{SELECTED}}})", "limit")], 12, unit="bytes"),
            row("Shared cache"),
            lines("Where tokens come from", "Memory, the store that replicas share, or an exchange. Without a shared cache the second is 0.",
                  [query(f"clamp_min({hits} - {stored}, 0)", "memory"), query(stored, "store"),
                   query(rate("acs_broker_cache_requests_total", RESOURCE, more='acs_broker_cache_outcome="miss"'), "exchange")], unit="reqps", stacked=True),
            lines("Shared cache operations", "timeout and error: it does not answer. skipped: it is away and not asked. rejected: a value that is not the broker's.",
                  query(rate(STORE + "_operations_total", SELECTED, "acs_broker_outcome"), "{{acs_broker_outcome}}"), unit="ops", stacked=True),
            lines("Shared cache duration", "p50 and p99. At shared_cache.timeout, 50 ms, an operation is given up.",
                  [query(quantile(q, STORE + "_operation_duration_seconds", SELECTED, "acs_broker_shared_cache_operation"), "{{acs_broker_shared_cache_operation}} " + name)
                   for q, name in ((0.5, "p50"), (0.99, "p99"))], unit="s", thresholds=thresholds(GREEN_IS_LOW, 0.025, 0.05)),
            lines("Shared cache failures", "Share of operations that fail or are not begun, over 5 minutes, all replicas. Over half alerts.",
                  query('acs_broker:shared_cache_failures:ratio_rate5m{job="$job"}', "failures"), unit="percentunit", max=1, thresholds=thresholds(GREEN_IS_LOW, 0.1, 0.5)),
            lines("Shared cache hit ratio", "Of what was not in memory, over half an hour. Each exchange looks twice, so a half is good; near 0 the replicas do not find each other's.",
                  query('acs_broker:shared_cache_hits:ratio_rate30m{job="$job"}', "hits"), unit="percentunit", max=1),
            lines("Budget used", "Share of the budget of exchanges in force, at the replica that sees most of it. With a shared cache it is all replicas'. Over 80 % alerts.",
                  query(f"1 - min by (acs_broker_resource_name) (acs_broker_exchange_budget{{{RESOURCE}}} / acs_broker_exchange_budget_limit{{{RESOURCE}}})", "{{acs_broker_resource_name}}"),
                  unit="percentunit", max=1, thresholds=thresholds(GREEN_IS_LOW, 0.8, 1)),
        ],
    )


def objectives():
    def burn(recorded, budget):
        return [query(f'acs_broker:{recorded}:ratio_rate{window}{{job="$job"}} / {budget}', window) for window in ("5m", "1h", "6h", "3d")]

    marks = thresholds(GREEN_IS_LOW, 1, 14.4)
    return dashboard(
        "acs-broker-slo",
        "SLO",
        "Availability: 99.9 % of the POSTs for tokens in 30 days do not end in a 5xx. Latency: 99 % of the successes take at most 1 s.",
        [
            row("30 days"),
            stat("Availability", "Share of POSTs for tokens without a 5xx. Objective: 99.9 %.", '1 - acs_broker:slo_errors:ratio_rate30d{job="$job"}', 6,
                 unit="percentunit", decimals=3, thresholds=thresholds(GREEN_IS_HIGH, 0.999, 0.9995)),
            stat("Error budget left", "1 is all of it; below 0 the objective was missed.", 'acs_broker:slo_error_budget:remaining30d{job="$job"}', 6,
                 unit="percentunit", decimals=1, thresholds=thresholds(GREEN_IS_HIGH, 0, 0.25)),
            stat("In time", "Share of successes within 1 s. Objective: 99 %.", '1 - acs_broker:slo_slow:ratio_rate30d{job="$job"}', 6,
                 unit="percentunit", decimals=2, thresholds=thresholds(GREEN_IS_HIGH, 0.99, 0.995)),
            stat("Latency budget left", "1 is all of it; below 0 the objective was missed.", 'acs_broker:slo_latency_budget:remaining30d{job="$job"}', 6,
                 unit="percentunit", decimals=1, thresholds=thresholds(GREEN_IS_HIGH, 0, 0.25)),
            row("Budgets"),
            lines("Error budget over time", "How it went down, and came back as bad days left the window.",
                  query('acs_broker:slo_error_budget:remaining30d{job="$job"}', "errors"), 12, unit="percentunit", min=None,
                  max=1, thresholds=thresholds(GREEN_IS_HIGH, 0, 0.25)),
            lines("Latency budget over time", "The same for slow answers.",
                  query('acs_broker:slo_latency_budget:remaining30d{job="$job"}', "latency"), 12, unit="percentunit", min=None,
                  max=1, thresholds=thresholds(GREEN_IS_HIGH, 0, 0.25)),
            lines("Error burn rate", "1 uses up 30 days' budget in 30 days. Pages at 14.4 (1h and 5m) and 6 (6h and 30m), tickets at 3 (1d and 2h) and 1 (3d and 6h).",
                  burn("slo_errors", "(1 - 0.999)"), 12, unit="none", thresholds=marks),
            lines("Latency burn rate", "The same for slow answers.", burn("slo_slow", "(1 - 0.99)"), 12, unit="none", thresholds=marks),
            row("What spends them"),
            lines("Requests that count", "POSTs for tokens, all replicas.", query('acs_broker:slo_requests:rate5m{job="$job"}', "requests"), unit="reqps"),
            lines("Failures by status", "In the range that is shown.",
                  query(rate(SERVER + "_count", TOKENS, "http_response_status_code, error_type", 'http_response_status_code=~"5.."'),
                        "{{http_response_status_code}} {{error_type}}"), unit="reqps", stacked=True),
            lines("Duration", "Recorded, all replicas. The objective is 1 s.",
                  [query(f'acs_broker:request_duration_seconds:{q}_5m{{job="$job"}}', q) for q in ("p50", "p95", "p99")],
                  unit="s", thresholds=thresholds(GREEN_IS_LOW, 0.5, 1)),
            panel("table", "Failures in this range", "How many requests of the range ended how.",
                  query(f'round(sum by (http_route, http_response_status_code, error_type) (increase({SERVER}_count{{{TOKENS},http_response_status_code=~"5.."}}[$__range])))',
                        format="table", instant=True, range=False), 12),
            panel("alertlist", "Alerts", "Of the broker, pending and firing. Each has a runbook.", [], 12,
                  options={"alertInstanceLabelFilter": '{alertname=~"AcsBroker.*"}', "viewMode": "list", "sortOrder": 3, "maxItems": 20,
                           "stateFilter": {"firing": True, "pending": True, "normal": False, "noData": False, "error": True}}),
        ],
    )


def main():
    stale = False
    for made in (service(), pipeline(), upstreams(), objectives()):
        path = FOLDER / (made["uid"].removeprefix("acs-broker-") + ".json")
        text = json.dumps(made, indent=2, ensure_ascii=False) + "\n"
        if "--check" not in sys.argv:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            print(f"{path} is not what dashboards.py writes")
            stale = True
    return stale


if __name__ == "__main__":
    sys.exit(main())
