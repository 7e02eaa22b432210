//! Networks and servers that fail in the middle of an answer: whatever happens on the way to an upstream, in every mode, the
//! caller has a right answer within the time limit, the upstream few requests, and the next caller is served.
//!
//! What the emulator can do wrong by itself (`exchange`, `teams_user`, `entra_refusals`, `key_sets`) and connections that
//! die while nobody uses them (`dead_connections`) are tried elsewhere.

use std::io::Write as _;
use std::time::Duration;

use azure_emulator::scenario::{CONTOSO_API, CONTOSO_API_SECRET};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::key_sets::KEYS_UNAVAILABLE;
use crate::support::eventually;
use crate::support::http::Answer;
use crate::support::modes::{for_api, own_api, with_secret};
use crate::support::saboteur::{Sabotage, Saboteur};
use crate::support::stack::{self, Builder, Stack};

/// How long an upstream may take.
const LIMIT: &str = "800ms";
/// How long a caller waits at most: two attempts, and what a busy machine adds.
const PATIENCE: Duration = Duration::from_secs(5);
const UNAVAILABLE: &str = "503 UpstreamUnavailable";
const INVALID: &str = "502 UpstreamInvalidResponse";
const TIMEOUT: &str = "504 UpstreamTimeout";
const LIMITED: &str = "429 TooManyRequests/UpstreamLimit";

/// What goes wrong, what callers in need of an exchange are answered, and how often the upstream is asked.
struct Fault {
    name: &'static str,
    sabotage: Sabotage,
    answer: &'static str,
    calls: usize,
}

/// An answer with this head and body.
fn message(head: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{head}\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn limited(retry_after: &str) -> Sabotage {
    let head = "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\ncontent-length: 2";
    Sabotage::Bytes(format!("{head}\r\nretry-after: {retry_after}\r\n\r\n{{}}").into_bytes())
}

/// Ten megabytes in ten kilobytes.
fn bomb() -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&vec![b' '; 10 << 20]).unwrap();
    encoder.finish().unwrap()
}

fn faults(now: Timestamp) -> Vec<Fault> {
    let fault = |name, sabotage, answer, calls| Fault {
        name,
        sabotage,
        answer,
        calls,
    };
    let bomb = bomb();
    let packed = format!("content-encoding: gzip\r\ncontent-length: {}\r\n", bomb.len());
    let soon = now + jiff::SignedDuration::from_secs(20);
    let date = soon.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let field = b"x-field: 0123456789012345678901234567890123456789\r\n".to_vec();
    vec![
        fault("silence", Sabotage::Silence, TIMEOUT, 1),
        fault("reset", Sabotage::Reset, UNAVAILABLE, 2),
        fault("flapping", Sabotage::Flapping, "200", 2),
        fault("closed", Sabotage::Bytes(Vec::new()), UNAVAILABLE, 2),
        fault(
            "no http",
            Sabotage::Bytes(b"SSH-2.0-OpenSSH_9.9\r\n".to_vec()),
            UNAVAILABLE,
            2,
        ),
        fault(
            "half a head",
            Sabotage::Bytes(b"HTTP/1.1 200 OK\r\ncontent-".to_vec()),
            UNAVAILABLE,
            2,
        ),
        fault(
            "half a body",
            Sabotage::Bytes(message("content-length: 1000\r\n", b"{\"identity\":{\"id\"")),
            UNAVAILABLE,
            2,
        ),
        fault(
            "a head that drips",
            Sabotage::Drip(b"HTTP/1.1 200 OK\r\nx-drip: ".to_vec()),
            TIMEOUT,
            1,
        ),
        fault(
            "a body that drips",
            Sabotage::Drip(message("content-length: 10000\r\n", b"{")),
            TIMEOUT,
            1,
        ),
        fault(
            "a flood of headers",
            Sabotage::Flood(b"HTTP/1.1 200 OK\r\n".to_vec(), field.repeat(100)),
            UNAVAILABLE,
            2,
        ),
        fault(
            "a body without end",
            Sabotage::Flood(message("", b"{"), vec![b' '; 64 * 1024]),
            INVALID,
            1,
        ),
        fault("a gzip bomb", Sabotage::Bytes(message(&packed, &bomb)), INVALID, 1),
        fault("429 in seconds", limited("20"), LIMITED, 1),
        fault("429 with a date", limited(&date), LIMITED, 1),
    ]
}

/// Short limits, and no circuit: each fault is met by itself.
fn patient(builder: Builder) -> Builder {
    builder
        .set("exchange.timeout", LIMIT)
        .set("graph.timeout", LIMIT)
        .set("upstream.breaker", "off")
        .set("upstream.max_response_bytes", "64KiB")
}

/// A caller who needs the upstream: never the same twice, with a token that is not cached.
type Asking = for<'s> fn(&'s Stack, u128) -> stack::User<'s>;

fn somebody(stack: &Stack, number: u128) -> stack::User<'_> {
    let id = uuid::Uuid::from_u128(0x0fa1_0000_0000_4000_8000_0000_0000_0000 + number);
    stack.user("diego").claim("oid", id.to_string().into())
}

/// Every fault in turn; after each, the next caller is served.
async fn each(stack: &Stack, saboteur: &Saboteur, asking: Asking, expected: impl Fn(&Fault) -> &'static str) {
    let mut wrong = Vec::new();
    for (number, fault) in faults(Timestamp::from_second(stack.now()).unwrap())
        .into_iter()
        .enumerate()
    {
        let number = number as u128 * 2;
        saboteur.set(Some(fault.sabotage.clone()));
        // The flapping one begins with a reset.
        if saboteur.seen() % 2 == 1 {
            let _ = asking(stack, 1000 + number).post().await;
        }
        let (before, begun) = (saboteur.seen(), Instant::now());
        let answer: Answer = asking(stack, number).post().await;
        let (took, calls) = (begun.elapsed(), saboteur.seen() - before);
        saboteur.set(None);
        let expected = expected(&fault);
        if answer.outcome() != expected || calls > fault.calls || took > PATIENCE {
            wrong.push(format!(
                "{}: {} after {calls} calls and {took:?}",
                fault.name,
                answer.outcome()
            ));
        }
        // The pause that a 429 asks for is over.
        stack.advance(31);
        let next = asking(stack, number + 1).post().await.outcome();
        if next != "200" {
            wrong.push(format!("{}: then {next}", fault.name));
        }
        // What was learnt on the way is not remembered for the next fault.
        stack.advance(31);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn acs_in_passthrough_mode() {
    let clock = stack::clock();
    let emulator = stack::emulator(&clock).await;
    let saboteur = Saboteur::start(&emulator.origin(), "/access/entra/").await;
    let builder = patient(Stack::builder().emulator(emulator, &clock));
    let stack = builder.endpoint(&saboteur.origin()).start().await;
    each(&stack, &saboteur, somebody, |fault| fault.answer).await;
}

#[tokio::test]
async fn acs_on_behalf_of_a_user() {
    let clock = stack::clock();
    let emulator = stack::emulator(&clock).await;
    let saboteur = Saboteur::start(&emulator.origin(), "/access/entra/").await;
    let builder = patient(with_secret().emulator(emulator, &clock));
    let stack = builder.endpoint(&saboteur.origin()).start().await;
    each(&stack, &saboteur, of_another_token, |fault| fault.answer).await;
}

/// On behalf of a user each token is exchanged by itself.
fn of_another_token(stack: &Stack, number: u128) -> stack::User<'_> {
    let user = stack.user("diego").with(for_api);
    user.claim("sid", serde_json::json!(number.to_string()))
}

#[tokio::test]
async fn acs_in_identity_mode() {
    let clock = stack::clock();
    let emulator = stack::emulator(&clock).await;
    let key = emulator.expected_access_key();
    let saboteur = Saboteur::start(&emulator.origin(), "/identities").await;
    let builder = patient(own_api(Stack::builder().emulator(emulator, &clock)))
        .set("exchange.mode", "identity")
        .set("exchange.identity.access_key", key);
    let stack = builder.endpoint(&saboteur.origin()).start().await;
    each(
        &stack,
        &saboteur,
        |stack, number| somebody(stack, number).with(for_api),
        |fault| fault.answer,
    )
    .await;
}

#[tokio::test]
async fn acs_for_teams_users() {
    let clock = stack::clock();
    let emulator = stack::emulator(&clock).await;
    let key = emulator.expected_access_key();
    let saboteur = Saboteur::start(&emulator.origin(), "/teamsUser/").await;
    let builder = patient(Stack::builder().emulator(emulator, &clock))
        .set("exchange.mode", "teams_user")
        .set("exchange.teams_user.access_key", key);
    let stack = builder.endpoint(&saboteur.origin()).start().await;
    let asking: Asking = |stack, number| {
        somebody(stack, number).with(|request| {
            request.audience = Some("teams".to_owned());
            request.scopes = Some(vec!["Teams.ManageCalls".to_owned()]);
        })
    };
    each(&stack, &saboteur, asking, |fault| fault.answer).await;
}

#[tokio::test]
async fn entras_token_endpoint() {
    let clock = stack::clock();
    let emulator = stack::emulator(&clock).await;
    let saboteur = Saboteur::start(&emulator.origin(), "/oauth2/v2.0/token").await;
    let builder = patient(with_secret().emulator(emulator, &clock));
    let stack = builder.authority(&saboteur.origin()).start().await;
    each(&stack, &saboteur, of_another_token, |fault| fault.answer).await;
}

/// Nobody whom only Graph can decide about is let in, or told that they may not come, whatever is wrong with it.
#[tokio::test]
async fn graph() {
    let clock = stack::clock();
    let emulator = stack::emulator(&clock).await;
    let saboteur = Saboteur::start(&emulator.origin(), "/v1.0/").await;
    let builder = patient(Stack::builder().emulator(emulator, &clock))
        .set("assignments.unknown_groups", "graph")
        .set("graph.endpoint", saboteur.origin())
        .set("graph.cache_ttl", "1s")
        .set("graph.client_id", CONTOSO_API.to_string())
        .set("graph.credential", "secret")
        .set("graph.client_secret", CONTOSO_API_SECRET);
    let stack = builder.start().await;
    let asking: Asking = |stack, _| stack.user("adele");
    // How long Graph may take is no part of what callers are told.
    let expected = |fault: &Fault| {
        if fault.answer == TIMEOUT {
            UNAVAILABLE
        } else {
            fault.answer
        }
    };
    each(&stack, &saboteur, asking, expected).await;
}

/// An upstream that cannot be reached at all, or not for certain.
#[tokio::test]
async fn names_and_certificates() {
    let folder = tempfile::tempdir().unwrap();
    crate::tls::write_certificates(folder.path());
    let file = |name: &str| folder.path().join(name);
    let certificate = ::serve::ReloadingCertificate::load(&file("server.pem"), &file("server-key.pem")).unwrap();
    let clock = stack::clock();
    let shared: base::clock::SharedClock = std::sync::Arc::clone(&clock) as base::clock::SharedClock;
    let tls = Some(certificate.server_config());
    let far = azure_emulator::Emulator::start(
        azure_emulator::Scenario::demo(),
        ([127, 0, 0, 1], 0).into(),
        tls,
        shared,
    );
    let far = far.await.unwrap();
    let plain = stack::emulator(&clock).await;
    let no_tls = plain.origin().replace("http://", "https://");
    for (name, endpoint) in [
        ("a name that nobody has", "https://acs.invalid".to_owned()),
        ("a certificate of an unknown authority", far.tls_origin().unwrap()),
        ("no TLS", no_tls),
    ] {
        let stack = patient(Stack::builder()).endpoint(&endpoint).start().await;
        let begun = Instant::now();
        let answer = stack.user("diego").post().await;
        assert_eq!(answer.outcome(), UNAVAILABLE, "{name}");
        assert!(begun.elapsed() < PATIENCE, "{name}: {:?}", begun.elapsed());
        assert_eq!(far.count(azure_emulator::Endpoint::Exchange), 0, "{name}");
    }
}

/// Whatever is wrong with Entra's keys, tokens of a known key are good, and who has a new one is told to come again; a crowd of these
/// asks no more often than one.
#[tokio::test]
async fn entras_keys() {
    let now = base::clock::Clock::now(&*stack::clock());
    // Those that hang do so until the fetch's own limit, and therefore all at a time.
    let (hanging, quick): (Vec<Fault>, Vec<Fault>) = faults(now).into_iter().partition(|fault| fault.answer == TIMEOUT);
    let mut wrong = Vec::new();
    for fault in quick {
        wrong.extend(with_keys_that(fault).await);
    }
    let hanging = futures_util::future::join_all(hanging.into_iter().map(with_keys_that)).await;
    wrong.extend(hanging.concat());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

async fn with_keys_that(fault: Fault) -> Vec<String> {
    let clock = stack::clock();
    let emulator = stack::emulator(&clock).await;
    let saboteur = Saboteur::start(&emulator.origin(), "/discovery/v2.0/keys").await;
    let builder = Stack::builder().emulator(emulator, &clock);
    let builder = builder.authority(&saboteur.origin());
    let stack = builder.set("entra.jwks_wait", LIMIT).start().await;
    let known: Vec<String> = (0..3).map(|number| somebody(&stack, number).token()).collect();
    stack.emulator.rotate_keys(Some("Contoso")).unwrap();
    let new: Vec<String> = (100..110).map(|number| somebody(&stack, number).token()).collect();
    saboteur.set(Some(fault.sabotage));
    // A fetch that failed at the start, as on a busy machine, has a cool-down.
    stack.advance(31);
    let (before, begun) = (saboteur.seen(), Instant::now());
    assert_eq!(
        before, 2,
        "once for each tenant, so the flapping one begins with a reset"
    );
    let answers = known.iter().chain(&new).map(|token| stack.post_token(token));
    let answers = futures_util::future::join_all(answers).await;
    let took = begun.elapsed();
    let mut wrong = Vec::new();
    for (number, answer) in answers.iter().enumerate() {
        let expected = if number < known.len() { "200" } else { KEYS_UNAVAILABLE };
        if answer.outcome() != expected {
            wrong.push(format!("{}: {number}: {}", fault.name, answer.outcome()));
        }
    }
    eventually("the keys are asked for", async || saboteur.seen() > before).await;
    let calls = saboteur.seen() - before;
    if calls > fault.calls || took > PATIENCE {
        wrong.push(format!("{}: {calls} calls and {took:?}", fault.name));
    }
    saboteur.set(None);
    // The cool-down passes.
    eventually("the new key is known", async || {
        stack.advance(1);
        stack.post_token(&new[0]).await.outcome() == "200"
    })
    .await;
    wrong
}
