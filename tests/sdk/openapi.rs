//! `openapi.yaml` against the running service, both ways: every answer is as described, and everything described
//! that can be brought about here is answered.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::description::Description;
use crate::dev::Dev;
use crate::http::Request;

const TOKEN: &str = "/token";
const OAUTH: &str = "/oauth2/token";
const ACS: &str = "/access/entra/:exchangeAccessToken";
const TEAMS: &str = "/access/teamsExtension/:exchangeAccessToken";
/// Each described path with a target that it answers at.
const TARGETS: [(&str, &str); 2] = [
    (TOKEN, "/token"),
    (ACS, "/access/entra/:exchangeAccessToken?api-version=2025-03-02-preview"),
];

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";
const GRANT: &str = "grant_type=urn:ietf:params:oauth:grant-type:token-exchange\
                     &subject_token_type=urn:ietf:params:oauth:token-type:access_token";

/// What `dev`, which limits no caller, cannot be brought to answer within seconds. Everything else that is described must be seen.
const NOT_SEEN: [&str; 7] = [
    "500",
    "AssignmentsUnavailable",
    "BrokerLimit",
    "InternalError",
    "KeysUnavailable",
    "Overloaded",
    "ShuttingDown",
];

#[test]
fn the_service_and_its_description_agree() {
    let mut check = Check::start(&[
        ("ACS_TOKEN_BROKER__SERVER__REQUEST_TIMEOUT", "2s"),
        ("ACS_TOKEN_BROKER__EXCHANGE__TIMEOUT", "1s"),
    ]);
    check.tokens();
    check.malformed_requests();
    check.refused_tokens();
    check.forms();
    check.limits();
    check.upstream_trouble();
    // A caller that only a group could let in is refused where ACS is not asked about them.
    check.restart(&[], &[("ACS_TOKEN_BROKER__ASSIGNMENTS__UNKNOWN_GROUPS", "refuse")]);
    let megan = check.entra_token("megan", &json!({}));
    check.both(403, "NotAssigned GroupsUnknown", |target| {
        Request::post(target).bearer(&megan)
    });
    check.teams_extension();
    check.on_behalf_of();
    check.everything_described_was_seen();
    assert!(check.problems.is_empty(), "\n{}", check.problems.join("\n"));
}

#[test]
fn client_generators_can_read_the_description() {
    let problems = Description::load().unreadable_by_generators();
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

struct Check {
    dev: Dev,
    description: Description,
    statuses: BTreeSet<(&'static str, String)>,
    codes: BTreeSet<String>,
    problems: Vec<String>,
}

impl Check {
    fn start(environment: &[(&str, &str)]) -> Self {
        Self {
            dev: Dev::start(&[], environment),
            description: Description::load(),
            statuses: BTreeSet::new(),
            codes: BTreeSet::new(),
            problems: Vec::new(),
        }
    }

    fn restart(&mut self, arguments: &[&str], environment: &[(&str, &str)]) {
        self.dev = Dev::start(arguments, environment);
    }

    /// Holds an answer against the description. `codes` are those that must be there: the error code and the inner
    /// one, or OAuth's `error`.
    fn expect(&mut self, path: &'static str, status: u16, codes: &str, request: &Request) {
        let answer = request.send(&self.dev.broker);
        let error = &answer.body["error"];
        let found: Vec<&str> = [&error["code"], &error["innererror"]["code"], error]
            .into_iter()
            .filter_map(Value::as_str)
            .collect();
        let case = format!("{path} {status} {codes}");
        if (answer.status, found.join(" ").as_str()) != (status, codes) {
            self.problems
                .push(format!("{case}: got {} {}", answer.status, answer.body));
        }
        for problem in self.description.problems(path, &answer) {
            self.problems.push(format!("{case}: {problem}; {}", answer.body));
        }
        self.statuses.insert((path, answer.status.to_string()));
        self.codes.extend(found.into_iter().map(str::to_owned));
        self.codes.extend(answer.header("x-ms-error-code").map(str::to_owned));
    }

    /// The same at both paths.
    fn both(&mut self, status: u16, codes: &str, request: impl Fn(&str) -> Request) {
        for (path, target) in TARGETS {
            self.expect(path, status, codes, &request(target));
        }
    }

    /// A form, at the path that is described for it and at the other that accepts it.
    fn form(&mut self, status: u16, error: &str, body: impl Into<String>) {
        let body = body.into();
        self.expect(OAUTH, status, error, &Request::post(OAUTH).body(FORM, body.clone()));
        let answer = Request::post(TOKEN).body(FORM, body).send(&self.dev.broker);
        let outcome = answer.body["error"].as_str().unwrap_or_default();
        if (answer.status, outcome) != (status, error) {
            self.problems.push(format!(
                "{TOKEN} {status} {error}: got {} {}",
                answer.status, answer.body
            ));
        }
    }

    /// A demo user's token, which may be asked to be other than usual.
    fn entra_token(&self, user: &str, asked: &Value) -> String {
        let request = Request::post(&format!("/_emulator/users/{user}/token")).body(JSON, asked.to_string());
        let answer = request.send(&self.dev.emulator);
        let token = answer.body["access_token"].as_str();
        token.unwrap_or_else(|| panic!("no token: {}", answer.body)).to_owned()
    }

    fn exchange_fault(&self, fault: &Value) {
        let request = Request::new("PUT", "/_emulator/faults").body(JSON, json!({"exchange": fault}).to_string());
        let answer = request.send(&self.dev.emulator);
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    fn tokens(&mut self) {
        let alex = self.entra_token("alex", &json!({}));
        self.both(200, "", |target| Request::post(target).bearer(&alex));
        self.both(200, "", |target| {
            let request = Request::post(target).header("x-ms-client-request-id", "mine-1");
            request.bearer(&alex).body(JSON, "{}")
        });
        self.form(200, "", format!("{GRANT}&subject_token={alex}"));
    }

    fn malformed_requests(&mut self) {
        let alex = self.entra_token("alex", &json!({}));
        self.both(400, "InvalidRequest", |target| {
            Request::post(target).bearer(&alex).bearer(&alex)
        });
        self.both(400, "InvalidRequest", |target| {
            Request::post(target).bearer(&alex).body(JSON, "[]")
        });
        let at = |target: &str| Request::post(target).bearer(&alex);
        self.expect(ACS, 400, "MissingApiVersionParameter", &at(ACS));
        self.expect(
            ACS,
            400,
            "UnsupportedApiVersionValue",
            &at(&format!("{ACS}?api-version=1")),
        );
        for (path, _) in TARGETS {
            self.expect(path, 404, "NotFound", &at(&format!("{path}/more")));
        }
        self.both(405, "MethodNotAllowed", |target| Request::new("GET", target));
        self.both(405, "MethodNotAllowed", |target| Request::new("OPTIONS", target));
        self.both(415, "UnsupportedMediaType", |target| {
            at(target).body("text/plain", "{}")
        });
        self.both(415, "UnsupportedMediaType", |target| {
            at(target).header("Content-Encoding", "gzip").body(JSON, "{}")
        });
    }

    fn refused_tokens(&mut self) {
        self.both(401, "AuthenticationRequired", Request::post);
        self.both(401, "AuthenticationRequired", |target| {
            Request::post(target).header("Authorization", "Basic YTpi")
        });
        let alex = self.entra_token("alex", &json!({}));
        let (signed, signature) = alex.rsplit_once('.').expect("a JWT");
        let (_, claims) = signed.split_once('.').expect("a JWT");
        let another = self.entra_token("alex", &json!({}));
        let (_, signature_of_another) = another.rsplit_once('.').expect("a JWT");
        // Headers of {"alg":"none","kid":"x"} and {"alg":"RS256","kid":"x"}.
        let unsigned = format!("eyJhbGciOiJub25lIiwia2lkIjoieCJ9.{claims}.{signature}");
        let unknown_key = format!("eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.{claims}.{signature}");
        let tampered = format!("{signed}.{signature_of_another}");
        let stranger = "00000000-0000-4000-8000-000000000009";
        let elsewhere = format!("https://login.example/{stranger}/v2.0");
        let of = |asked: Value| self.entra_token("alex", &asked);
        let cases = [
            ("Malformed", "x".to_owned()),
            ("UnsupportedAlgorithm", unsigned),
            ("UnknownKey", unknown_key),
            ("InvalidSignature", tampered),
            ("UnknownTenant", of(json!({"claims": {"tid": stranger}}))),
            ("MissingClaim", of(json!({"claims": {"oid": null}}))),
            ("InvalidIssuer", of(json!({"claims": {"iss": elsewhere}}))),
            ("InvalidAudience", of(json!({"audience": "api://another"}))),
            ("Expired", of(json!({"lifetime": -3600}))),
            ("NotYetValid", of(json!({"claims": {"nbf": 32_503_680_000_i64}}))),
            ("NotDelegated", self.entra_token("app-only", &json!({}))),
        ];
        for (inner, token) in cases {
            self.both(401, &format!("InvalidToken {inner}"), |target| {
                Request::post(target).bearer(&token)
            });
        }
        let chat = self.entra_token("alex", &json!({"scopes": "Chat"}));
        self.both(403, "InsufficientScope", |target| Request::post(target).bearer(&chat));
        let grady = self.entra_token("grady", &json!({"groups": "listed"}));
        self.both(403, "NotAssigned NoAssignment", |target| {
            Request::post(target).bearer(&grady)
        });
        let megan = self.entra_token("megan", &json!({}));
        self.both(403, "ExchangeForbidden", |target| Request::post(target).bearer(&megan));
    }

    fn forms(&mut self) {
        let alex = self.entra_token("alex", &json!({}));
        let megan = self.entra_token("megan", &json!({}));
        let good = format!("{GRANT}&subject_token={alex}");
        self.form(400, "invalid_request", GRANT);
        self.form(400, "invalid_request", format!("{good}&subject_token={alex}"));
        self.form(400, "invalid_request", format!("{GRANT}&subject_token=x"));
        self.form(400, "invalid_request", format!("{GRANT}&subject_token={megan}"));
        self.form(400, "invalid_scope", format!("{good}&scope=VoIP"));
        self.form(400, "invalid_target", format!("{good}&resource=https://other.example"));
        self.form(
            400,
            "unsupported_grant_type",
            good.replace("token-exchange", "jwt-bearer"),
        );
        let beside = Request::post(OAUTH).bearer(&alex).body(FORM, &good);
        self.expect(OAUTH, 400, "invalid_request", &beside);
        let client = Request::post(OAUTH)
            .header("Authorization", "Basic YTpi")
            .body(FORM, &good);
        self.expect(OAUTH, 401, "invalid_client", &client);
        let json = Request::post(OAUTH).body(JSON, "{}");
        self.expect(OAUTH, 415, "invalid_request", &json);
        self.expect(OAUTH, 415, "invalid_request", &Request::post(OAUTH));
        self.form(400, "invalid_request", "");
    }

    fn limits(&mut self) {
        let long = "x".repeat(33 * 1024);
        self.both(431, "HeadersTooLarge", |target| {
            Request::post(target).header("x-long", &long)
        });
        self.both(413, "PayloadTooLarge", |target| {
            Request::post(target).body(JSON, "{}").announcing(64 * 1024 + 1)
        });
        self.both(408, "RequestTimeout", |target| {
            Request::post(target).body(JSON, "{").announcing(2)
        });
        let announced = Request::post(OAUTH).body(FORM, "").announcing(64 * 1024 + 1);
        self.expect(OAUTH, 413, "invalid_request", &announced);
        let slow = Request::post(OAUTH).body(FORM, "grant_type=").announcing(20);
        self.expect(OAUTH, 408, "invalid_request", &slow);
        let long_form = Request::post(OAUTH).header("x-long", &long).body(FORM, "a=b");
        self.expect(OAUTH, 431, "invalid_request", &long_form);
    }

    fn upstream_trouble(&mut self) {
        let cases = [
            (
                json!({"status": 401}),
                401,
                "InvalidToken RejectedUpstream",
                400,
                "invalid_request",
            ),
            (
                json!({"broken_json": true}),
                502,
                "UpstreamInvalidResponse",
                502,
                "server_error",
            ),
            (
                json!({"latency_ms": 10_000}),
                504,
                "UpstreamTimeout",
                504,
                "temporarily_unavailable",
            ),
            (
                json!({"status": 500}),
                503,
                "UpstreamUnavailable",
                503,
                "temporarily_unavailable",
            ),
            // The last one: no exchange is tried again until its Retry-After has passed.
            (
                json!({"status": 429}),
                429,
                "TooManyRequests UpstreamLimit",
                429,
                "temporarily_unavailable",
            ),
        ];
        for (fault, status, codes, form_status, error) in cases {
            self.exchange_fault(&fault);
            // A new token each time: a refusal is remembered for the one that it was about.
            let adele = self.entra_token("adele", &json!({}));
            let request = |target: &str| Request::post(target).bearer(&adele);
            let form = format!("{GRANT}&subject_token={adele}");
            self.both(status, codes, request);
            self.form(form_status, error, &form);
        }
    }

    /// The third path, which differs in what its tokens are for, and in its version.
    fn teams_extension(&mut self) {
        self.restart(
            &[],
            &[
                (
                    "ACS_TOKEN_BROKER__ENTRA__AUDIENCES",
                    "https://auth.msft.communication.azure.com,1fd5118e-2576-4263-8130-9503064c837a",
                ),
                ("ACS_TOKEN_BROKER__ENTRA__REQUIRED_SCOPES", "TeamsExtension.ManageCalls"),
            ],
        );
        let good = format!("{TEAMS}?api-version=2025-06-30");
        let diego = self.entra_token("diego", &json!({"audience": "teams"}));
        let alex = self.entra_token("alex", &json!({"audience": "teams"}));
        let at = |target: &str, token: &str| Request::post(target).bearer(token);
        self.expect(TEAMS, 200, "", &at(&good, &diego));
        self.expect(TEAMS, 200, "", &at(&format!("{TEAMS}?api-version=2026-09-23"), &diego));
        self.expect(TEAMS, 403, "ExchangeForbidden", &at(&good, &alex));
        self.expect(TEAMS, 401, "AuthenticationRequired", &Request::post(&good));
        self.expect(TEAMS, 400, "MissingApiVersionParameter", &at(TEAMS, &diego));
        let other = format!("{TEAMS}?api-version=2025-03-02-preview");
        self.expect(TEAMS, 400, "UnsupportedApiVersionValue", &at(&other, &diego));
        self.expect(TEAMS, 405, "MethodNotAllowed", &Request::new("GET", &good));
        self.expect(TEAMS, 415, "UnsupportedMediaType", &at(&good, &diego).body(FORM, "a=b"));
    }

    /// What only another mode can tell.
    fn on_behalf_of(&mut self) {
        self.restart(&["--mode", "on_behalf_of"], &[]);
        let joni = self.entra_token("joni", &json!({"audience": "api"}));
        self.both(401, "InsufficientClaims", |target| Request::post(target).bearer(&joni));
        self.form(400, "interaction_required", format!("{GRANT}&subject_token={joni}"));
        let alex = self.entra_token("alex", &json!({"audience": "api"}));
        self.both(200, "", |target| Request::post(target).bearer(&alex));
        let app = "/_emulator/apps/c0a5a991-0000-4000-8000-000000000005/secrets";
        let secrets = Request::new("PUT", app).body(JSON, json!({"secrets": [{"value": "another"}]}).to_string());
        assert_eq!(secrets.send(&self.dev.emulator).status, 204);
        let diego = self.entra_token("diego", &json!({"audience": "api"}));
        self.both(502, "UpstreamRejectedBroker", |target| {
            Request::post(target).bearer(&diego)
        });
        self.form(502, "server_error", format!("{GRANT}&subject_token={diego}"));
    }

    fn everything_described_was_seen(&mut self) {
        assert_eq!(self.description.paths(), BTreeSet::from([TOKEN, OAUTH, ACS, TEAMS]));
        let unseen = |text: &&&str| !NOT_SEEN.contains(*text);
        for path in [TOKEN, OAUTH, ACS] {
            for status in self.description.statuses(path).iter().filter(unseen) {
                if !self.statuses.contains(&(path, (*status).to_owned())) {
                    self.problems
                        .push(format!("{path}: {status} is described, and was never answered"));
                }
            }
        }
        for schema in ["ErrorCode", "InnerErrorCode", "OAuthError/properties/error"] {
            for code in self.description.listed(schema).iter().filter(unseen) {
                if !self.codes.contains(*code) {
                    self.problems
                        .push(format!("{schema}: {code} is described, and was never seen"));
                }
            }
        }
    }
}
