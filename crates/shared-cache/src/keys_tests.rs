use jiff::Timestamp;
use proptest::prelude::*;

use super::*;

fn line(name: &str, byte: u8) -> String {
    format!("{name} {}\n", STANDARD.encode([byte; KEY_BYTES]))
}

fn keys(lines: &[(&str, u8)]) -> EncryptionKeys {
    let text: String = lines.iter().map(|(name, byte)| line(name, *byte)).collect();
    EncryptionKeys::parse(&text).unwrap()
}

fn value() -> StoredValue {
    StoredValue {
        payload: Zeroizing::new(b"the token of a user".to_vec()),
        expires_on: "2026-11-30T13:00:00.123456789Z".parse().unwrap(),
        exchanged_at: "2026-11-30T12:00:00.5Z".parse().unwrap(),
    }
}

fn id(user: &str) -> EntryId {
    EntryId::new(&[("user", user.as_bytes())])
}

#[test]
fn files_of_keys() {
    let good = format!("\u{feff}# the new one\n\n{}  {}", line("new", 1), line("old", 2));
    let parsed = EncryptionKeys::parse(&good).unwrap();
    assert_eq!(parsed.names().collect::<Vec<_>>(), ["new", "old"]);
    assert_eq!(format!("{parsed:?}"), r#"["new", "old"]"#);
    let long = "n".repeat(65);
    let short = format!("a {}", STANDARD.encode([1; 31]));
    let cases = [
        (String::new(), KeyFileError::NoKey),
        ("# none\n".to_owned(), KeyFileError::NoKey),
        ("only".to_owned(), KeyFileError::Form(1)),
        (format!("{} extra", line("a", 1).trim()), KeyFileError::Form(1)),
        (line(&long, 1), KeyFileError::LongName(1)),
        (short, KeyFileError::Key(1)),
        ("a not+base64!".to_owned(), KeyFileError::Key(1)),
        (line("a", 1) + &line("a", 2), KeyFileError::Twice(2)),
        (line("a", 1) + &line("b", 1), KeyFileError::Twice(2)),
    ];
    for (text, expected) in cases {
        let error = EncryptionKeys::parse(&text).unwrap_err();
        assert_eq!(error, expected, "{text}");
        assert!(!error.to_string().contains("AQEB"), "{error}");
    }
}

#[test]
fn what_is_sealed_opens_at_its_place_alone() {
    let keys = keys(&[("new", 1), ("old", 2)]);
    let alice = keys.entry_names(&id("alice"));
    let bob = keys.entry_names(&id("bob"));
    assert!(alice[0].text() != alice[1].text() && alice[0].text() != bob[0].text());
    assert_eq!(alice[0].text().len(), 43);
    let sealed = keys.seal(&alice[0], &value()).unwrap();
    assert_eq!(keys.open(&alice[0], &sealed), Ok(value()));
    // One user's value under another's name; under the name that another key gives.
    assert_eq!(keys.open(&bob[0], &sealed), Err(Unopened));
    assert_eq!(keys.open(&alice[1], &sealed), Err(Unopened));
    // Twice the same is not the same twice.
    assert_ne!(keys.seal(&alice[0], &value()).unwrap(), sealed);
    assert!(!sealed.windows(5).any(|part| part == b"token"));
}

#[test]
fn what_is_altered_or_foreign_does_not_open() {
    let keys = keys(&[("new", 1)]);
    let name = &keys.entry_names(&id("alice"))[0];
    let sealed = keys.seal(name, &value()).unwrap();
    for at in 0..sealed.len() {
        let mut altered = sealed.clone();
        altered[at] ^= 1;
        assert_eq!(keys.open(name, &altered), Err(Unopened), "byte {at}");
        assert_eq!(keys.open(name, &sealed[..at]), Err(Unopened), "cut at {at}");
    }
    assert_eq!(keys.open(name, &[&sealed[..], &[0]].concat()), Err(Unopened));
    assert_eq!(keys.open(name, b"{\"token\":\"foreign\"}"), Err(Unopened));
}

#[test]
fn a_rotated_key_opens_what_it_sealed_and_a_renamed_one_does_not() {
    let before = keys(&[("old", 1)]);
    let sealed = before.seal(&before.entry_names(&id("alice"))[0], &value()).unwrap();
    let during = keys(&[("new", 2), ("old", 1)]);
    let names = during.entry_names(&id("alice"));
    assert_eq!(names[1].text(), before.entry_names(&id("alice"))[0].text());
    assert_eq!(during.open(&names[1], &sealed), Ok(value()));
    // The key's name is authenticated.
    let renamed = keys(&[("renamed", 1)]);
    let name = &renamed.entry_names(&id("alice"))[0];
    assert_eq!(renamed.open(name, &sealed), Err(Unopened));
}

#[test]
fn a_file_that_is_no_longer_good_leaves_the_last_keys() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    let file = KeyFile::new(path.clone());
    let names = || {
        file.look();
        let keys = file.current()?;
        Some(keys.names().map(str::to_owned).collect::<Vec<_>>())
    };
    assert_eq!(names(), None);
    std::fs::write(&path, "broken").unwrap();
    assert_eq!(names(), None);
    std::fs::write(&path, line("first", 1)).unwrap();
    assert_eq!(names().unwrap(), ["first"]);
    std::fs::write(&path, "broken").unwrap();
    assert_eq!(names().unwrap(), ["first"]);
    std::fs::write(&path, line("second", 2) + &line("first", 1)).unwrap();
    assert_eq!(names().unwrap(), ["second", "first"]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(names().unwrap(), ["second", "first"]);
}

proptest! {
    #[test]
    fn nothing_opens_that_was_not_sealed(found in proptest::collection::vec(any::<u8>(), 0..200)) {
        let keys = keys(&[("new", 1)]);
        let name = &keys.entry_names(&id("alice"))[0];
        prop_assert_eq!(keys.open(name, &found), Err(Unopened));
        let versioned = [&[VERSION], &found[..]].concat();
        prop_assert_eq!(keys.open(name, &versioned), Err(Unopened));
    }

    #[test]
    fn what_is_sealed_comes_back(payload in proptest::collection::vec(any::<u8>(), 0..200), at in any::<i32>(), nanosecond in 0..1_000_000_000) {
        let keys = keys(&[("new", 1)]);
        let name = &keys.entry_names(&id("alice"))[0];
        let time = Timestamp::new(at.into(), nanosecond).unwrap();
        let value = StoredValue { payload: Zeroizing::new(payload), expires_on: time, exchanged_at: time };
        prop_assert_eq!(keys.open(name, &keys.seal(name, &value).unwrap()), Ok(value));
    }

    #[test]
    fn no_text_of_a_key_file_is_told(text in "[a-zA-Z0-9+/= #\n]{0,120}") {
        if let Err(error) = EncryptionKeys::parse(&text) {
            let told = error.to_string();
            let longest = text.split_whitespace().filter(|word| word.len() > 12);
            for word in longest {
                prop_assert!(!told.contains(word), "{told}");
            }
        }
    }
}
