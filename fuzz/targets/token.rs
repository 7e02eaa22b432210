//! A token as it is presented. What is read is what stands there, written in the one way that there is; and nothing but
//! the token that was signed verifies.
#![no_main]

use acs_token_broker_fuzz::is_a_line;
use base::secret::BearerToken;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use broker::authenticate::MAX_TOKEN_BYTES;
use broker::authenticate::fuzzing::Unverified;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const SIGNED: &str = include_str!("../seeds/token/signed");
/// The modulus and the exponent of the key that signed it.
const MODULUS: &str = include_str!("../seeds/modulus.txt");
const EXPONENT: &str = "AQAB";

fuzz_target!(|text: &str| {
    let token = BearerToken::new(text);
    let parts: Vec<&str> = text.split('.').collect();
    let unverified = match Unverified::parse(&token) {
        Ok(unverified) => unverified,
        Err(rejection) => {
            assert_ne!(text, SIGNED);
            let message = rejection.to_string();
            is_a_line(&message);
            let is_decodable = |part: &&&str| part.len() > 16 && URL_SAFE_NO_PAD.decode(part).is_ok();
            let signature = parts.get(2).filter(is_decodable);
            assert!(signature.is_none_or(|signature| !message.contains(signature)));
            return;
        }
    };
    assert!(text.len() <= MAX_TOKEN_BYTES && parts.len() == 3);
    let decoded: Vec<Vec<u8>> = parts
        .iter()
        .map(|part| URL_SAFE_NO_PAD.decode(part).expect("a part that is base64url"))
        .collect();
    for (part, decoded) in parts.iter().zip(&decoded) {
        assert_eq!(URL_SAFE_NO_PAD.encode(decoded), *part, "two ways of writing one token");
    }
    let read = |part: &[u8]| serde_json::from_slice::<Value>(part).expect("a part that is JSON");
    let (header, payload) = (read(&decoded[0]), read(&decoded[1]));
    assert_eq!(header["alg"], unverified.algorithm());
    assert_eq!(header["kid"], unverified.kid());
    assert_eq!(payload["tid"], unverified.tid());
    assert!(header.get("crit").is_none());
    assert_eq!(unverified.verify(MODULUS, EXPONENT).is_some(), text == SIGNED);
});
