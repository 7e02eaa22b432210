//! What the shared store says: the first byte tells what the rest is. A sealed value opens where it was sealed and as it was
//! sealed, or not at all; what is read of a value, of the file of keys and of an answer is what stands there.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use acs_token_broker_fuzz::{SECRET, holds_no_token, is_a_line};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use broker::shared::fuzzing::payload;
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use redis::{RedisError, Value};
use shared_cache::fuzzing::{self, ASKED, Address, Cluster};
use shared_cache::{EncryptionKeys, EntryId, KeyFileError, StoredValue};

/// A file of keys, as a seed has it.
const KEYS: &[u8] = include_bytes!("../seeds/store/keys");
/// A value that was sealed for `alice` by the first of these keys, as a seed has it.
const SEALED: &[u8] = include_bytes!("../seeds/store/sealed");

static THE_KEYS: LazyLock<EncryptionKeys> = LazyLock::new(|| {
    let text = std::str::from_utf8(&KEYS[1..]).expect("text");
    EncryptionKeys::parse(text).expect("keys")
});
static ALICE: LazyLock<EntryId> = LazyLock::new(|| EntryId::new(&[("user", b"alice")]));
static BOB: LazyLock<EntryId> = LazyLock::new(|| EntryId::new(&[("user", b"bob")]));
static NOW: LazyLock<Timestamp> = LazyLock::new(|| "2026-11-30T12:00:00Z".parse().expect("a time"));

const CLOCK_SKEW: Duration = Duration::from_secs(60);
const MARGIN: Duration = Duration::from_secs(300);
const LEASE: Duration = Duration::from_secs(5);
const SLOTS: u32 = 16384;

fuzz_target!(|data: &[u8]| {
    let Some((&kind, rest)) = data.split_first() else {
        return;
    };
    match kind.wrapping_sub(b'0') % 5 {
        0 => opens_only_what_was_sealed(rest),
        1 => opens_only_what_was_sealed(&altered(rest)),
        2 => content(rest),
        3 => key_file(rest),
        _ => answer(rest),
    }
});

fn sealed() -> &'static [u8] {
    &SEALED[1..]
}

fn opens_only_what_was_sealed(found: &[u8]) {
    let opened = fuzzing::open(&THE_KEYS, &ALICE, found);
    assert_eq!(opened[0].is_some(), found == sealed());
    assert!(opened[1..].iter().all(Option::is_none), "by another key");
    let others = fuzzing::open(&THE_KEYS, &BOB, found);
    assert!(others.iter().all(Option::is_none), "under another name");
}

/// The sealed value with edits: pairs of a place and what is changed there; a last byte is how much is cut off.
fn altered(edits: &[u8]) -> Vec<u8> {
    let mut altered = sealed().to_vec();
    let (pairs, cut) = edits.as_chunks::<2>();
    for &[place, change] in pairs {
        let place = usize::from(place) % altered.len();
        altered[place] ^= change;
    }
    let cut = cut.first().copied().unwrap_or_default();
    altered.truncate(altered.len().saturating_sub(cut.into()));
    altered
}

/// What stands in a sealed value, whoever sealed it.
fn content(content: &[u8]) {
    let Some(value) = fuzzing::from_content(content) else {
        return;
    };
    assert_eq!(
        fuzzing::content(&value).as_slice(),
        content,
        "two ways of writing one value"
    );
    for (index, sealed) in fuzzing::seal(&THE_KEYS, &ALICE, &value).enumerate() {
        let opened = fuzzing::open(&THE_KEYS, &ALICE, &sealed);
        for (other, opened) in opened.into_iter().enumerate() {
            assert_eq!(opened, (other == index).then(|| value.clone()));
        }
        let others = fuzzing::open(&THE_KEYS, &BOB, &sealed);
        assert!(others.iter().all(Option::is_none), "under another name");
    }
    is_used_in_its_time(&value);
    let texts = texts(&value.payload);
    let Some((token, written)) = payload(&value.payload, value.expires_on) else {
        assert_eq!(texts, None);
        return;
    };
    let [secret, identity, expires_on, scopes] = texts.expect("four texts");
    assert_eq!(token.grant.token.expose(), secret);
    assert_eq!(*token.grant.identity_id, *identity);
    assert_eq!(*token.grant.expires_on_text, *expires_on);
    assert_eq!(token.grant.expires_on, value.expires_on);
    assert!(
        scopes
            .split(' ')
            .all(|scope| scope.is_empty() || token.scopes.contains(scope))
    );
    assert!(
        token
            .scopes
            .iter()
            .all(|scope| scopes.split(' ').any(|said| said == scope))
    );
    // Scopes are written in their order, each once.
    if token.scopes.to_string() == scopes {
        assert_eq!(*written, *value.payload, "two ways of writing one token");
    }
    let (_, again) = payload(&written, value.expires_on).expect("what was written");
    assert_eq!(again, written);
}

/// The texts of a payload.
fn texts(payload: &[u8]) -> Option<[String; 4]> {
    let mut rest = payload.strip_prefix(&[1])?;
    let mut texts = Vec::new();
    while !rest.is_empty() {
        let length: [u8; 8] = rest.get(..8)?.try_into().ok()?;
        let end = usize::try_from(u64::from_be_bytes(length)).ok()?.checked_add(8)?;
        texts.push(String::from_utf8(rest.get(8..end)?.to_vec()).ok()?);
        rest = &rest[end..];
    }
    texts.try_into().ok()
}

fn is_used_in_its_time(value: &StoredValue) {
    let ahead = value.exchanged_at.duration_since(*NOW);
    match fuzzing::usable(value.clone(), *NOW, CLOCK_SKEW, MARGIN) {
        Some((usable, lifetime)) => {
            assert!(usable.expires_on > *NOW && usable.exchanged_at <= *NOW);
            assert_eq!(usable.exchanged_at, value.exchanged_at.min(*NOW));
            assert_eq!((&usable.payload, usable.expires_on), (&value.payload, value.expires_on));
            assert!(Duration::try_from(ahead).unwrap_or_default() <= CLOCK_SKEW);
            let left = Duration::try_from(value.expires_on.duration_since(*NOW)).expect("a future");
            assert!(lifetime.is_none_or(|lifetime| lifetime + MARGIN == left && lifetime >= Duration::from_millis(1)));
        }
        None => assert!(value.expires_on <= *NOW || Duration::try_from(ahead).is_ok_and(|ahead| ahead > CLOCK_SKEW)),
    }
}

fn key_file(content: &[u8]) {
    let Ok(text) = std::str::from_utf8(content) else {
        return;
    };
    match EncryptionKeys::parse(text) {
        Ok(keys) => {
            let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
            let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
            let pairs: Vec<Vec<&str>> = lines.map(|line| line.split_whitespace().collect()).collect();
            assert!(!pairs.is_empty() && pairs.iter().all(|pair| pair.len() == 2));
            let names: Vec<_> = pairs.iter().map(|pair| pair[0]).collect();
            assert_eq!(keys.names().collect::<Vec<_>>(), names);
            assert_eq!(format!("{keys:?}"), format!("{names:?}"));
            is_without_repetition(&names);
            let bytes: Vec<_> = pairs.iter().map(|pair| STANDARD.decode(pair[1])).collect();
            assert!(
                bytes
                    .iter()
                    .all(|bytes| bytes.as_ref().is_ok_and(|bytes| bytes.len() == 32))
            );
            let in_store = fuzzing::names(&keys, &ALICE);
            assert_eq!(in_store.len(), pairs.len());
            is_without_repetition(&in_store);
            let plain: Vec<_> = pairs.iter().map(|pair| pair.join(" ")).collect();
            let again = EncryptionKeys::parse(&plain.join("\n")).expect("the same keys");
            assert_eq!(fuzzing::names(&again, &ALICE), in_store);
        }
        Err(error) => {
            let message = error.to_string();
            is_a_line(&message);
            let mut long = text.split_whitespace().filter(|word| word.len() >= 20);
            assert!(long.all(|word| !message.contains(word)), "{message}");
            let (KeyFileError::Form(line)
            | KeyFileError::LongName(line)
            | KeyFileError::Key(line)
            | KeyFileError::Twice(line)) = error
            else {
                return;
            };
            let before: Vec<_> = text.lines().take(line - 1).collect();
            assert!(before.len() == line - 1 && text.lines().count() >= line);
            let before = EncryptionKeys::parse(&before.join("\n"));
            assert!(before.is_ok() || before.is_err_and(|error| error == KeyFileError::NoKey));
        }
    }
}

fn is_without_repetition<T: PartialEq>(list: &[T]) {
    for (index, one) in list.iter().enumerate() {
        assert!(!list[..index].contains(one));
    }
}

/// An answer as it comes over the connection.
fn answer(bytes: &[u8]) {
    let Ok(answer) = redis::parse_redis_value(bytes) else {
        return;
    };
    let answer = match answer.extract_error() {
        Ok(answer) => answer,
        Err(error) => return refused(&error),
    };
    if let Value::BulkString(found) = &answer {
        opens_only_what_was_sealed(found);
    }
    budget(&answer);
    if let Some(left) = fuzzing::lease(&answer, LEASE) {
        assert!(left.is_none_or(|left| left <= LEASE));
        if let Some(said) = number(&answer) {
            let said = u64::try_from(said).ok().map(Duration::from_millis);
            assert_eq!(left, said.map(|said| said.min(LEASE)));
        }
    }
    if let Some(((host, port), shown)) = fuzzing::sentinel(&answer) {
        is_a_line(&shown);
        assert!(!host.is_empty());
        if let Value::Array(said) = &answer {
            assert!(
                text(&said[0]).is_none_or(|said| said == host),
                "a host that was not said"
            );
            assert!(
                number(&said[1]).is_none_or(|said| said == port.into()),
                "a port that was not said"
            );
        }
    }
    if let Some(described) = fuzzing::cluster(&answer) {
        cluster(&described, &answer);
    }
}

fn refused(error: &RedisError) {
    let said = fuzzing::error(error);
    holds_no_token(&said.failure);
    assert!(!said.failure.contains(SECRET));
    let code = error.code().unwrap_or_default();
    assert!(said.lacking.is_none() || said.is_refused);
    assert_eq!(said.lacking.is_some(), code == "NOPERM");
    assert!(
        said.lacking
            .is_none_or(|lacking| ["+get", "~prefix:*"].contains(&lacking.as_str()))
    );
    assert_eq!(said.is_wrong_type, code == "WRONGTYPE");
    assert!(!said.is_of_server || code.bytes().all(|byte| byte.is_ascii_uppercase()));
    if let Some((host, port)) = said.redirect {
        assert!(["MOVED", "ASK"].contains(&code) && !host.is_empty());
        let words = error.detail().expect("a detail").split_ascii_whitespace();
        let is_said = |word: &str| {
            word.rsplit_once(':')
                .is_some_and(|(said, at)| at.parse() == Ok(port) && is_host(&host, said))
        };
        assert!(words.into_iter().any(is_said), "an address that was not said");
    }
}

/// Whether `said` means this host.
fn is_host(host: &str, said: &str) -> bool {
    host == said || (host == ASKED.0 && ["", "?"].contains(&said))
}

fn budget(answer: &Value) {
    let Some((what, wait, status)) = fuzzing::budget(answer) else {
        return;
    };
    assert!(status.limit.is_finite() && status.limit >= 0.0);
    assert_eq!(status.paused_for, wait.filter(|_| what == "paused"));
    assert_eq!(wait.is_none(), what == "taken");
    if let Value::Array(said) = answer {
        assert!(text(&said[0]).is_none_or(|said| said == what));
        assert!(number(&said[1]).is_none_or(|said| said == status.used.into()));
        assert!(text(&said[2]).is_none_or(|limit| limit.parse() == Ok(status.limit)));
        let said = number(&said[3]).map(|wait| u64::try_from(wait).map(Duration::from_micros));
        assert!(said.is_none_or(|said| said.is_ok_and(|said| wait.is_none_or(|wait| wait == said))));
    }
}

fn cluster(described: &Cluster, answer: &Value) {
    let Value::Array(said) = answer else {
        panic!("no list of ranges");
    };
    assert_eq!(described.ranges.len(), said.len());
    let mut slots = 0;
    for (index, (first, last, server)) in described.ranges.iter().enumerate() {
        assert!(first <= last && u32::from(*last) < SLOTS);
        slots += u32::from(last - first) + 1;
        let next = described.ranges.get(index + 1);
        assert!(next.is_none_or(|(next, ..)| last < next), "a slot with two servers");
        assert!(
            said.iter().any(|said| is_range(said, *first, *last, server)),
            "a range that was not said"
        );
        assert_eq!(described.server(*first), Some(server));
        assert_eq!(described.server(*last), Some(server));
        let is_followed = next.is_some_and(|(next, ..)| last + 1 == *next);
        assert!(
            is_followed || described.server(last + 1).is_none(),
            "a server of no one's slot"
        );
    }
    assert_eq!(described.is_covered, slots == SLOTS);
}

fn is_range(said: &Value, first: u16, last: u16, (host, port): &Address) -> bool {
    let Value::Array(said) = said else { return false };
    let [from, to, Value::Array(master), ..] = &said[..] else {
        return false;
    };
    let [name, at, ..] = &master[..] else { return false };
    let name = if *name == Value::Nil { Some("") } else { text(name) };
    let numbers = [number(from), number(to), number(at)];
    numbers == [first, last, *port].map(|number| Some(number.into())) && name.is_some_and(|name| is_host(host, name))
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text),
        Value::Okay => Some("OK"),
        _ => None,
    }
}

fn number(value: &Value) -> Option<i128> {
    match value {
        Value::Int(number) => Some((*number).into()),
        value => text(value)?.trim().parse().ok(),
    }
}
