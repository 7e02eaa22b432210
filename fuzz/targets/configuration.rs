//! A configuration: the name of a variable and its value in two lines, in which `$` stands for a secret, then the file. A problem
//! names what it is about and tells no secret; what is accepted is read the same again.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use acs_token_broker_fuzz::{SECRET, is_a_line};
use config::load::{Environment, load};
use libfuzzer_sys::fuzz_target;

/// In memory where the system has such a place.
static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let folder = if memory.is_dir() { memory } else { std::env::temp_dir() };
    let folder = folder.join(format!("acs-token-broker-fuzz-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    folder.join("config.toml")
});

fuzz_target!(|data: &[u8]| {
    let mut lines = data.splitn(3, |byte| *byte == b'\n');
    let [name, value, file] = [(); 3].map(|()| lines.next().unwrap_or_default());
    let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value)) else {
        return;
    };
    fs::write(&*FILE, file).expect("a file");
    let variable = (format!("ACS_TOKEN_BROKER__{name}"), value.replace('$', SECRET));
    let environment: Environment = [variable].into_iter().collect();
    // A problem may repeat the name of a key.
    let is_secret = |text: &str| !text.to_lowercase().contains(SECRET);
    let holds = is_secret(name) && is_secret(&String::from_utf8_lossy(file)) && !value.contains(['{', '=']);
    let is_harmless = |message: &str| {
        is_a_line(message);
        assert!(!(holds && message.contains(SECRET)), "{message}");
    };
    match load(Some(FILE.as_path()), &environment) {
        Ok(loaded) => {
            loaded.warnings.iter().for_each(|warning| is_harmless(warning));
            let again = load(Some(FILE.as_path()), &environment).expect("the same");
            assert_eq!(format!("{:?}", loaded.config), format!("{:?}", again.config));
        }
        Err(problems) => {
            assert!(!problems.0.is_empty());
            for problem in problems.0 {
                assert!(!problem.key.is_empty() && !problem.reason.is_empty());
                is_harmless(&problem.to_string());
            }
        }
    }
});
