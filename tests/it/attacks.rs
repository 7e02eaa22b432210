//! Tokens made to deceive: each is refused for the right reason, none ever causes a 500 or a call elsewhere.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256};
use azure_emulator::scenario::{CONTOSO, FABRIKAM};
use serde_json::{Value, json};

use crate::support::fake::{Fake, Reply};
use crate::support::forge::{Key, assemble, b64, change, good_claims, good_header, with_claims, with_header};
use crate::support::stack::{Stack, clock, emulator};

const MALFORMED: &str = "401 InvalidToken/Malformed";
const ALGORITHM: &str = "401 InvalidToken/UnsupportedAlgorithm";
const SIGNATURE: &str = "401 InvalidToken/InvalidSignature";
const UNKNOWN_KEY: &str = "401 InvalidToken/UnknownKey";

/// A stack whose Fabrikam also publishes `key` as `ours`, so that any text can be signed with a trusted key.
async fn trusting(key: &Key) -> (Stack, Fake) {
    let clock = clock();
    let emulator = emulator(&clock).await;
    let fake = Fake::start().await;
    let keys = [emulator.jwks("Fabrikam").unwrap()["keys"][0].clone(), key.jwk("ours")];
    fake.play_entra(&emulator, FABRIKAM, &keys);
    let builder = Stack::builder().tenants(&[FABRIKAM]).authority(&fake.origin());
    (builder.emulator(emulator, &clock).start().await, fake)
}

#[tokio::test]
async fn other_algorithms() {
    let stack = Stack::start().await;
    let claims = good_claims(&stack).to_string();
    let kid = good_header(&stack)["kid"].clone();
    let header = |alg: &str| json!({"typ": "JWT", "alg": alg, "kid": kid}).to_string();
    let pem = stack.emulator.public_key_pem("Fabrikam").unwrap();
    let key = Key::generate();
    let hmac_with = |secret: &[u8]| {
        let signed = format!("{}.{}", b64(header("HS256")), b64(&claims));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
        format!("{signed}.{}", b64(tag))
    };
    let mut cases = vec![
        ("the public key as an HMAC secret", hmac_with(pem.as_bytes())),
        ("its trimmed text as a secret", hmac_with(pem.trim().as_bytes())),
        ("an empty secret", hmac_with(b"")),
        ("RS512", key.sign_as(&RSA_PKCS1_SHA512, header("RS512"), &claims)),
        ("RS384", key.sign_as(&RSA_PKCS1_SHA384, header("RS384"), &claims)),
        ("PS256", key.sign_as(&RSA_PSS_SHA256, header("PS256"), &claims)),
        ("ES256", assemble(header("ES256"), &claims, [7; 64])),
        ("ES256 of zeros", assemble(header("ES256"), &claims, [0; 64])),
        ("EdDSA", assemble(header("EdDSA"), &claims, [7; 64])),
    ];
    for alg in ["none", "None", "NONE", "nOnE"] {
        cases.push(("none, unsigned", assemble(header(alg), &claims, "")));
        cases.push(("none, signed", assemble(header(alg), &claims, [7; 256])));
        cases.push((
            "none, with the tenant's signature",
            with_header(&stack, |header| change(header, "alg", json!(alg))),
        ));
    }
    for (name, token) in cases {
        assert_eq!(stack.post_token(&token).await.outcome(), ALGORITHM, "{name}");
    }
    assert_eq!(stack.exchanges(), 0);
}

#[tokio::test]
async fn other_algorithms_under_a_trusted_key() {
    let key = Key::generate();
    let (stack, _entra) = trusting(&key).await;
    let claims = good_claims(&stack).to_string();
    let header = |alg: &str| json!({"alg": alg, "kid": "ours"}).to_string();
    let good = key.sign_as(&RSA_PKCS1_SHA256, header("RS256"), &claims);
    // Accepted here: only the emulated ACS does not know this key.
    assert_eq!(
        stack.post_token(&good).await.outcome(),
        "401 InvalidToken/RejectedUpstream"
    );
    let says_other = key.sign_as(&RSA_PKCS1_SHA512, header("RS512"), &claims);
    assert_eq!(stack.post_token(&says_other).await.outcome(), ALGORITHM);
    // Good signatures of another algorithm under a header that says RS256.
    assert_eq!(
        stack
            .post_token(&key.sign_as(&RSA_PKCS1_SHA512, header("RS256"), &claims))
            .await
            .outcome(),
        SIGNATURE
    );
    assert_eq!(
        stack
            .post_token(&key.sign_as(&RSA_PSS_SHA256, header("RS256"), &claims))
            .await
            .outcome(),
        SIGNATURE
    );
    let secret = hmac::Key::new(hmac::HMAC_SHA256, key.pem().as_bytes());
    let signed = format!("{}.{}", b64(header("RS256")), b64(&claims));
    let tag = hmac::sign(&secret, signed.as_bytes());
    assert_eq!(
        stack.post_token(&format!("{signed}.{}", b64(tag))).await.outcome(),
        SIGNATURE
    );
}

#[tokio::test]
async fn members_named_twice_under_a_trusted_signature() {
    let key = Key::generate();
    let (stack, _entra) = trusting(&key).await;
    let claims = good_claims(&stack).to_string();
    let header = r#"{"alg":"RS256","kid":"ours"}"#;
    let with = |member: &str| format!("{},{member}}}", claims.strip_suffix('}').unwrap());
    let header_with = |member: &str| format!("{},{member}}}", header.strip_suffix('}').unwrap());
    assert_eq!(
        stack.post_token(&key.sign(header, with(r#""x":1"#))).await.outcome(),
        "401 InvalidToken/RejectedUpstream",
        "the base case is good"
    );
    for payload in [
        with(r#""oid":"fab00000-0000-4000-8000-0000000ade1e""#),
        with(r#""\u006fid":"fab00000-0000-4000-8000-0000000ade1e""#),
        with(r#""tid":"x""#),
        with(r#""exp":1"#),
        with(r#""x":1,"x":1"#),
        with(r#""x":{"y":1,"y":1}"#),
        with(r#""x":[{"y":1,"\u0079":1}]"#),
        format!("{claims}{claims}"),
        format!("{claims} x"),
        format!("[{claims}]"),
        format!("\"{}\"", b64(&claims)),
        "null".to_owned(),
        "{".to_owned(),
        with("\"x\":\"\u{1}\""),
        with(&format!("\"x\":{}{}", "[".repeat(2000), "]".repeat(2000))),
        format!("\u{feff}{claims}"),
    ] {
        assert_eq!(
            stack.post_token(&key.sign(header, &payload)).await.outcome(),
            MALFORMED,
            "{payload}"
        );
    }
    for header in [
        header_with(r#""alg":"RS256""#),
        header_with(r#""kid":"ours""#),
        header_with(r#""\u0061lg":"none""#),
        header_with(r#""x":{"y":1,"y":2}"#),
        header_with(r#""crit":["b64"],"b64":false"#),
        header_with(r#""crit":null"#),
    ] {
        assert_eq!(
            stack.post_token(&key.sign(&header, &claims)).await.outcome(),
            MALFORMED,
            "{header}"
        );
    }
    let not_utf8 = key.sign(header, b"{\"tid\":\"\xff\"}");
    assert_eq!(stack.post_token(&not_utf8).await.outcome(), MALFORMED);
    assert_eq!(stack.exchanges(), 1);
}

#[tokio::test]
async fn keys_that_the_token_brings_itself() {
    let stack = Stack::start().await;
    let trap = Fake::start().await;
    let key = Key::generate();
    trap.on("/keys", Reply::json(&json!({"keys": [key.jwk("trap")]})));
    let url = format!("{}/keys", trap.origin());
    let claims = good_claims(&stack);
    let kid = good_header(&stack)["kid"].clone();
    for member in [
        json!({"jku": url}),
        json!({"x5u": url}),
        json!({"jwk": key.jwk("trap")}),
        json!({"x5c": ["MIIB"]}),
        json!({"jku": url, "jwk": key.jwk("trap"), "x5u": url, "x5c": ["MIIB"]}),
    ] {
        for (kid, expected) in [(json!("trap"), UNKNOWN_KEY), (kid.clone(), SIGNATURE)] {
            let mut header = json!({"typ": "JWT", "alg": "RS256", "kid": kid});
            header
                .as_object_mut()
                .unwrap()
                .extend(member.as_object().unwrap().clone());
            let token = key.sign(header.to_string(), claims.to_string());
            assert_eq!(stack.post_token(&token).await.outcome(), expected, "{member}");
        }
        // Nor does it do harm in a good token.
        let good = with_header(&stack, |header| {
            header
                .as_object_mut()
                .unwrap()
                .extend(member.as_object().unwrap().clone());
        });
        assert_eq!(stack.post_token(&good).await.outcome(), "200", "{member}");
    }
    for kid in [url.as_str(), "../../etc/passwd", "' OR 1=1 --", "\u{0}", "kid\r\nx: y"] {
        let token = with_header(&stack, |header| change(header, "kid", json!(kid)));
        assert_eq!(stack.post_token(&token).await.outcome(), UNKNOWN_KEY, "{kid:?}");
    }
    // The claim sources of an overage are never asked either.
    let overage = with_claims(&stack, |claims| {
        change(claims, "_claim_names", json!({"groups": "src1"}));
        change(claims, "_claim_sources", json!({"src1": {"endpoint": url}}));
    });
    assert_eq!(stack.post_token(&overage).await.outcome(), "200");
    assert_eq!(trap.calls().len(), 0, "nothing was fetched from where a token said");
}

#[tokio::test]
async fn another_tenants_key_and_tenant() {
    let stack = Stack::start().await;
    let claims = good_claims(&stack);
    let sign = |signer: &str, kid_of: &str, claims: &Value| {
        let kid = stack.emulator.current_kid(kid_of).unwrap();
        let header = json!({"typ": "JWT", "alg": "RS256", "kid": kid});
        stack.emulator.sign(signer, &header, claims).unwrap()
    };
    // Contoso's administrator can make Contoso tokens, and must not be able to make Fabrikam's.
    assert_eq!(
        stack.post_token(&sign("Contoso", "Contoso", &claims)).await.outcome(),
        UNKNOWN_KEY
    );
    assert_eq!(
        stack.post_token(&sign("Contoso", "Fabrikam", &claims)).await.outcome(),
        SIGNATURE
    );
    let mut as_contoso = claims.clone();
    as_contoso["tid"] = json!(CONTOSO.to_string());
    assert_eq!(
        stack
            .post_token(&sign("Fabrikam", "Fabrikam", &as_contoso))
            .await
            .outcome(),
        UNKNOWN_KEY
    );
    assert_eq!(
        stack
            .post_token(&sign("Contoso", "Contoso", &as_contoso))
            .await
            .outcome(),
        "401 InvalidToken/InvalidIssuer"
    );
    assert_eq!(stack.exchanges(), 0);
}

#[tokio::test]
async fn tampered_parts() {
    let stack = Stack::start().await;
    let good = with_claims(&stack, |_| {});
    let parts: Vec<&str> = good.split('.').collect();
    let [header, payload, signature] = parts[..] else {
        panic!()
    };
    let mut claims = good_claims(&stack);
    claims["oid"] = json!("fab00000-0000-4000-8000-0000000ade1e");
    let other = b64(claims.to_string());
    let flipped = |text: &str, at: usize| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).unwrap()
    };
    // 256 bytes are 342 characters, the last of which has four bits to spare.
    let last = signature.chars().last().unwrap();
    let table = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let index = table.find(last).unwrap();
    let trailing = format!("{}{}", &signature[..signature.len() - 1], &table[index + 1..=index + 1]);
    for (name, token, outcome) in [
        ("another payload", format!("{header}.{other}.{signature}"), SIGNATURE),
        (
            "a flipped signature",
            format!("{header}.{payload}.{}", flipped(signature, 5)),
            SIGNATURE,
        ),
        (
            "a short signature",
            format!("{header}.{payload}.{}", &signature[..300]),
            SIGNATURE,
        ),
        (
            "a long signature",
            format!("{header}.{payload}.{}", b64([7; 300])),
            SIGNATURE,
        ),
        ("no signature", format!("{header}.{payload}."), SIGNATURE),
        ("trailing bits", format!("{header}.{payload}.{trailing}"), MALFORMED),
        ("padding", format!("{header}.{payload}.{signature}=="), MALFORMED),
        (
            "padding in the header",
            format!("{header}=.{payload}.{signature}"),
            MALFORMED,
        ),
        (
            "standard alphabet",
            format!("{header}.{payload}.{}", "+/".repeat(171)),
            MALFORMED,
        ),
        ("empty header", format!(".{payload}.{signature}"), MALFORMED),
        ("empty payload", format!("{header}..{signature}"), MALFORMED),
        ("two parts", format!("{header}.{payload}"), MALFORMED),
        ("four parts", format!("{good}."), MALFORMED),
        ("a JWE", format!("{header}.a.b.c.d"), MALFORMED),
        ("one word", "opaque".to_owned(), MALFORMED),
        ("dots", "..".to_owned(), MALFORMED),
        ("a point before", format!(".{good}"), MALFORMED),
        ("not base64", format!("{header}.{payload}.!!!!"), MALFORMED),
        ("JSON serialization", json!({"payload": payload}).to_string(), MALFORMED),
    ] {
        assert_eq!(stack.post_token(&token).await.outcome(), outcome, "{name}");
    }
    // Blanks cannot be inside a token.
    let blank = format!("{header}. {payload}.{signature}");
    let outcome = stack.post_token(&blank).await.outcome();
    assert_eq!(outcome, "400 InvalidRequest");
    for blank in ["\n", " ", "\r\n", "\t"] {
        let token = format!("{header}.{payload}.{blank}{signature}");
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("subject_token", token.as_str()),
        ];
        assert_eq!(
            stack.post_form(&form).await.outcome(),
            "400 invalid_request InvalidToken",
            "{blank:?}"
        );
    }
}

#[tokio::test]
async fn sizes() {
    let stack = Stack::start().await;
    let padded = |bytes: usize| with_claims(&stack, |claims| change(claims, "x", json!("x".repeat(bytes))));
    assert_eq!(stack.post_token(&padded(16 * 1024)).await.outcome(), "200");
    let form = |token: String| {
        let stack = &stack;
        async move {
            let form = [
                ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
                ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
                ("subject_token", token.as_str()),
            ];
            stack.post_form(&form).await.outcome()
        }
    };
    // In a header it hits the bound of the header section first; in a form its own.
    assert_eq!(
        stack.post_token(&padded(30 * 1024)).await.outcome(),
        "431 HeadersTooLarge"
    );
    let answer = form(padded(30 * 1024)).await;
    assert_eq!(answer, "400 invalid_request InvalidToken");
    let many = (0..3000).map(|n| format!("\"m{n}\":1,")).collect::<Vec<_>>().concat();
    let wide = assemble(format!("{{{many}\"alg\":\"RS256\",\"kid\":\"k\"}}"), "{}", "");
    assert_eq!(form(wide).await, "400 invalid_request InvalidToken");
}

/// Mutations of a good token, the same ones in every run: refused, never a fault of the broker.
#[tokio::test]
async fn mutations_never_cause_a_fault() {
    let stack = Stack::start().await;
    let good = with_claims(&stack, |_| {});
    let mut random = fastrand::Rng::with_seed(20_261_124);
    let alphabet: Vec<char> = "ABCxyz019-_.=+/~%{}".chars().collect();
    for _ in 0..300 {
        let mut token: Vec<char> = good.chars().collect();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..token.len());
            match random.u8(..4) {
                0 => token[at] = *random.choice(&alphabet).unwrap(),
                1 => token.truncate(at.max(1)),
                2 => token.insert(at, *random.choice(&alphabet).unwrap()),
                _ => {
                    token.remove(at);
                }
            }
        }
        let token: String = token.into_iter().collect();
        if token == good {
            continue;
        }
        let answer = stack.post_token(&token).await;
        assert!([400, 401].contains(&answer.status), "{token}: {}", answer.outcome());
    }
    assert_eq!(stack.exchanges(), 0);
}
