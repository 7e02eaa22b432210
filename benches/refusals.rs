//! What a refusal costs, as a multiple of a signature check: `cargo bench --bench refusals`.
//!
//! Each request goes through the public handler, without a socket. From its time that of an ordinary refusal of the same
//! form is taken away, so that what remains is the work that the sender chose. All cases take turns in short runs, and the
//! shortest run of each counts: on a busy machine the times vary, but their ratios hold.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]
#![expect(clippy::print_stdout, reason = "what it is for")]

mod composed;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use acs_token_broker::route::Routes;
use axum::body::Body;
use azure_emulator::scenario::FABRIKAM;
use azure_emulator::{Emulator, Scenario};
use base::clock::{SharedClock, SystemClock};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Value, json};
use telemetry::metrics::Metrics;
use tokio::time::Instant;

/// Short runs of each case, and requests in a run.
const RUNS: usize = 400;
const REQUESTS: u32 = 5;

/// What a request's head and body may hold.
const MAX_BODY: usize = 64 * 1024;
const MAX_HEAD: usize = 31 * 1024;

const GOOD: &str = "grant_type=urn:ietf:params:oauth:grant-type:token-exchange\
    &subject_token_type=urn:ietf:params:oauth:token-type:access_token&subject_token=a.b.c";

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    runtime.unwrap().block_on(run());
}

async fn run() {
    let clock: SharedClock = Arc::new(SystemClock::default());
    let any_port = ([127, 0, 0, 1], 0).into();
    let emulator = Emulator::start(Scenario::demo(), any_port, None, Arc::clone(&clock));
    let emulator = emulator.await.unwrap();
    let (config, origin) = (composed::config(), emulator.origin().parse().unwrap());
    let tenants = [FABRIKAM.to_string().parse().unwrap()];
    let nowhere = Routes::new(Vec::new());
    let (_, handler) = composed::broker(&config, &origin, &tenants, nowhere, &clock, Metrics::local()).await;
    let check = SignatureCheck::new(&emulator);
    let cases = cases(&emulator);

    for case in &cases {
        let response = handler.answer(case.request()).await;
        let code = response.headers()["x-ms-error-code"].to_str().unwrap();
        assert_eq!(code, case.code, "{}", case.name);
    }
    let mut best = vec![Duration::MAX; cases.len()];
    let mut best_checks = vec![Duration::MAX; cases.len()];
    for _ in 0..RUNS {
        for (index, case) in cases.iter().enumerate() {
            let started = Instant::now();
            for _ in 0..REQUESTS {
                black_box(handler.answer(case.request()).await);
            }
            best[index] = best[index].min(started.elapsed() / REQUESTS);
            let message = &check.message[..case.signed];
            let started = Instant::now();
            for _ in 0..REQUESTS {
                black_box(check.verify(message));
            }
            best_checks[index] = best_checks[index].min(started.elapsed() / REQUESTS);
        }
    }

    println!("{:<74} {:>8} {:>8} {:>7}", "what is sent", "cost", "check", "ratio");
    let mut ordinary = Duration::ZERO;
    for (index, case) in cases.iter().enumerate() {
        if case.is_ordinary {
            ordinary = best[index];
            println!("{:<74} {:>8}", case.name, micros(ordinary));
            continue;
        }
        let cost = best[index].saturating_sub(ordinary);
        let ratio = cost.as_secs_f64() / best_checks[index].as_secs_f64();
        println!(
            "  {:<72} {:>8} {:>8} {ratio:>7.2}",
            case.name,
            micros(cost),
            micros(best_checks[index])
        );
    }
}

fn micros(time: Duration) -> String {
    format!("{:.1}µs", time.as_secs_f64() * 1e6)
}

/// One RS256 check with a key of 2048 bits, as for a forged token of that many bytes.
struct SignatureCheck {
    key: DecodingKey,
    signature: String,
    message: Vec<u8>,
}

impl SignatureCheck {
    fn new(emulator: &Emulator) -> Self {
        let keys = emulator.jwks("Fabrikam").unwrap();
        let part = |name: &str| keys["keys"][0][name].as_str().unwrap().to_owned();
        let token = emulator.sign("Fabrikam", &header(emulator), &json!({})).unwrap();
        Self {
            key: DecodingKey::from_rsa_components(&part("n"), &part("e")).unwrap(),
            signature: token.rsplit('.').next().unwrap().to_owned(),
            message: vec![b'a'; MAX_BODY],
        }
    }

    fn verify(&self, message: &[u8]) -> bool {
        jsonwebtoken::crypto::verify(&self.signature, message, &self.key, Algorithm::RS256).unwrap()
    }
}

/// A request that is refused.
struct Case {
    name: String,
    path: &'static str,
    authorization: Option<HeaderValue>,
    content: Option<(&'static str, Bytes)>,
    // The code of the refusal, so that a case is what its name says.
    code: &'static str,
    // The bytes of the signature check that it is compared with.
    signed: usize,
    // What the following ones are compared with.
    is_ordinary: bool,
}

impl Case {
    fn new(name: impl Into<String>, path: &'static str, code: &'static str) -> Self {
        Self {
            name: name.into(),
            path,
            authorization: None,
            content: None,
            code,
            signed: 1024,
            is_ordinary: false,
        }
    }

    fn form(name: &str, content: impl Into<String>) -> Self {
        let content = cut(content.into());
        Self {
            content: Some(("application/x-www-form-urlencoded", content.into())),
            ..Self::new(name, "/oauth2/token", "InvalidRequest")
        }
    }

    fn json(name: &str, content: impl Into<String>) -> Self {
        Self {
            content: Some(("application/json", cut(content.into()).into())),
            ..Self::head(name, b"Bearer a.b.c", "InvalidRequest")
        }
    }

    fn head(name: &str, authorization: &[u8], code: &'static str) -> Self {
        Self {
            authorization: Some(HeaderValue::from_bytes(authorization).unwrap()),
            ..Self::new(name, "/token", code)
        }
    }

    fn token(name: &str, token: &str) -> Self {
        Self {
            signed: token.len(),
            ..Self::head(
                &format!("{name} ({} KB)", token.len().div_ceil(1000)),
                format!("Bearer {token}").as_bytes(),
                "InvalidToken",
            )
        }
    }

    fn ordinary(self) -> Self {
        Self {
            is_ordinary: true,
            ..self
        }
    }

    fn request(&self) -> Request<Body> {
        let mut request = Request::post(self.path);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let body = match &self.content {
            Some((media, content)) => {
                request = request.header(CONTENT_TYPE, *media);
                Body::from(content.clone())
            }
            None => Body::empty(),
        };
        request.body(body).unwrap()
    }
}

/// No more than is read of a body.
fn cut(mut text: String) -> String {
    let end = (0..=MAX_BODY.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap());
    text
}

/// `make` of 0, 1, 2, …: as many as fit into `bytes`.
fn filled(bytes: usize, make: impl Fn(usize) -> String) -> String {
    let mut text = String::new();
    for number in 0.. {
        let part = make(number);
        if text.len() + part.len() > bytes {
            break;
        }
        text.push_str(&part);
    }
    text
}

fn header(emulator: &Emulator) -> Value {
    json!({"typ": "JWT", "alg": "RS256", "kid": emulator.current_kid("Fabrikam").unwrap()})
}

fn cases(emulator: &Emulator) -> Vec<Case> {
    let mut cases = forms();
    cases.extend(bodies());
    cases.extend(heads());
    cases.extend(tokens(emulator));
    cases
}

fn forms() -> Vec<Case> {
    let plain = "a".repeat(MAX_BODY);
    let names = |name: &str| {
        let names: Vec<String> = (0..16).map(|n| format!("{}{n:02}=1&", name.repeat(84))).collect();
        names.concat()
    };
    let scopes = |scope: String| format!("{GOOD}&requested_token_type=x&scope={scope}");
    vec![
        Case::form("an ordinary form: a parameter is missing", "a=1").ordinary(),
        Case::form("64 KiB in one plain value", format!("x={plain}")),
        Case::form("64 KiB in one plain value that is used", format!("grant_type={plain}")),
        Case::form("64 KiB in one name", plain.clone()),
        Case::form("thousands of parameters", filled(MAX_BODY, |n| format!("p{n}=1&"))),
        Case::form("64 KiB of &", "&".repeat(MAX_BODY)),
        Case::form(
            "as many & as are taken, and 64 KiB in a value",
            format!("{}x={plain}", "&".repeat(256)),
        ),
        Case::form(
            "percent-encoded, 64 KiB",
            format!("grant_type={}", "%41".repeat(21_000)),
        ),
        Case::form(
            "percent-encoded as far as is taken (4 KiB), and 60 KiB in a value",
            format!("grant_type={}&x={plain}", "%41".repeat(1_361)),
        ),
        Case::form(
            "the same, of what is no UTF-8 once decoded",
            format!("grant_type={}&x={plain}", "%ff".repeat(1_361)),
        ),
        Case::form("the same, +", format!("grant_type={}&x={plain}", "+".repeat(4_083))),
        Case::form("raw UTF-8, 64 KiB", format!("grant_type={}", "é".repeat(32_000))),
        Case::form(
            "raw UTF-8 as far as is taken, and 60 KiB in a value",
            format!("grant_type={}&x={plain}", "é".repeat(2_040)),
        ),
        Case::form("16 long names", names("abc")),
        Case::form("16 long names that are percent-encoded", names("%41")),
        Case::form(
            "a list of 64 scopes",
            scopes(filled(1_000, |n| format!("s{n:03}{} ", "a".repeat(11)))),
        ),
        Case::form(
            "a list of a thousand scopes",
            scopes(filled(2_000, |_| "a ".to_owned())),
        ),
        Case::form("64 KiB of scopes", scopes(filled(MAX_BODY, |_| "a ".to_owned()))),
        Case::form(
            "a resource of 300 bytes that is none of ours",
            format!("{GOOD}&resource=https://{}.example", "a.".repeat(140)),
        ),
        Case::form(
            "the same, in a script that needs Punycode",
            format!("{GOOD}&resource=https://{}example", "é.".repeat(92)),
        ),
        Case::form(
            "the same, and as much percent-encoded as is taken",
            format!(
                "{}&subject_token={}&resource=https://{}example",
                GOOD.trim_end_matches("&subject_token=a.b.c"),
                "%ff".repeat(1_260),
                "é.".repeat(92)
            ),
        ),
        Case::form(
            "6 resources, the last none of ours",
            format!(
                "{GOOD}{}&resource=https://b.example",
                "&resource=https://contoso.communication.azure.com".repeat(5)
            ),
        ),
    ]
}

fn bodies() -> Vec<Case> {
    vec![
        Case::json("an ordinary JSON body: []", "[]").ordinary(),
        Case::json("JSON of 64 KiB, nested", "[".repeat(MAX_BODY)),
        Case::json("JSON of 64 KiB, wide", filled(MAX_BODY, |n| format!("{{\"m{n}\":1,"))),
        Case::json(
            "64 KiB of blanks and one wrong character",
            format!("{}x", " ".repeat(MAX_BODY - 1)),
        ),
    ]
}

fn heads() -> Vec<Case> {
    let long = |before: &str, text: &str, after: &str| {
        let repeated = text.repeat(MAX_HEAD / text.len());
        format!("{before}{repeated}{after}").into_bytes()
    };
    vec![
        Case::head(
            "an ordinary head: a token that is none",
            b"Bearer a.b.c",
            "InvalidToken",
        )
        .ordinary(),
        Case::head(
            "a token of 31 KiB in one part",
            &long("Bearer ", "a", ""),
            "InvalidToken",
        ),
        Case::head("a token of 31 KiB of dots", &long("Bearer ", ".", ""), "InvalidToken"),
        Case::head(
            "a token of 31 KiB and another",
            &long("Bearer ", "a", " b"),
            "InvalidRequest",
        ),
        Case::head("31 KiB of spaces", &long("Bearer ", " ", ""), "AuthenticationRequired"),
        Case::head("31 KiB of Basic", &long("Basic ", "a", ""), "AuthenticationRequired"),
        Case::head("31 KiB without a scheme", &long("", "a", ""), "AuthenticationRequired"),
        Case::head(
            "31 KiB and a byte that is not ASCII",
            &{
                let mut value = long("Bearer ", "a", "");
                value.push(0xff);
                value
            },
            "InvalidRequest",
        ),
    ]
}

fn tokens(emulator: &Emulator) -> Vec<Case> {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let unsigned = |payload: &str| format!("{}.{}.", encode(r#"{"alg":"none","kid":"k"}"#), encode(payload));
    let forged = |groups: usize| {
        let groups: Vec<String> = (0..groups)
            .map(|n| format!("{n:08x}-0000-4000-8000-000000000000"))
            .collect();
        let claims = json!({"tid": FABRIKAM.to_string(), "groups": groups, "name": "a".repeat(300)});
        let token = emulator.sign("Fabrikam", &header(emulator), &claims).unwrap();
        let (signing_input, _) = token.rsplit_once('.').unwrap();
        format!("{signing_input}.{}", URL_SAFE_NO_PAD.encode([1; 256]))
    };
    // Base64 makes four characters of three bytes.
    let payload = 22_500;
    let object = |make: &dyn Fn(usize) -> String| format!("{{{}\"tid\":\"t\"}}", filled(payload, make));
    let some = |count: usize, make: &dyn Fn(usize) -> String| (0..count).map(make).collect::<String>();
    let groups = some(560, &|n| format!("\"{n:08x}-0000-4000-8000-000000000000\","));
    vec![
        Case::head(
            "an ordinary head: a token that is none",
            b"Bearer a.b.c",
            "InvalidToken",
        )
        .ordinary(),
        Case::token("a forged token, as Entra's are: one check is part of it", &forged(0)),
        Case::token("a forged token with 200 groups: one check is part of it", &forged(200)),
        Case::token(
            "unsigned, thousands of members",
            &unsigned(&object(&|n| format!("\"m{n}\":1,"))),
        ),
        Case::token(
            "unsigned, 250 long members",
            &unsigned(&format!(
                "{{{}\"tid\":\"t\"}}",
                some(250, &|n| format!("\"m{n}{}\":1,", "a".repeat(78)))
            )),
        ),
        Case::token(
            "unsigned, every name escaped",
            &unsigned(&object(&|n| format!("\"\\u006d{n}\":1,"))),
        ),
        Case::token(
            "unsigned, 560 groups",
            &unsigned(&format!("{{\"groups\":[{groups}\"x\"],\"tid\":\"t\"}}")),
        ),
        Case::token(
            "unsigned, one text of escapes",
            &unsigned(&format!("{{\"name\":\"{}\",\"tid\":\"t\"}}", "\\u0041".repeat(3_700))),
        ),
        Case::token(
            "unsigned, 120 nested objects",
            &unsigned(&format!(
                "{{{}1{}}}",
                some(120, &|n| format!("\"{n}\":{{\"a\":")),
                "}".repeat(120)
            )),
        ),
        Case::token(
            "unsigned, 1,000 empty objects in a list",
            &unsigned(&format!("{{\"a\":[{}1],\"tid\":\"t\"}}", "{},".repeat(1_000))),
        ),
        Case::token("unsigned, nesting beyond any bound", &unsigned(&"[".repeat(payload))),
    ]
}
