//! The Azure side: what Entra publishes, tokens as it signs them, and an ACS that grants each exchange.
//!
//! Not the emulator, whose start makes keys: a tool that counts instructions slows that down fiftyfold. Here there is one key,
//! which can come from a file.

use std::future::ready;
use std::path::Path;
use std::sync::OnceLock;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use axum::extract::OriginalUri;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::Url;

/// The audience of v2 tokens for ACS.
pub(crate) const AUDIENCE: &str = "2a04943b-b6a7-4f65-8786-2bb6131b59f6";
/// The client app that users sign in to.
pub(crate) const APP: &str = "5ca1ea99-0000-4000-8000-000000000001";
/// When it all takes place, in seconds since 1970.
pub(crate) const NOW: i64 = 1_795_608_000;
/// When each token ends, so that one ACS token serves all of a user's.
const END: i64 = NOW + 4_500;
/// The same as ACS writes it.
const END_TEXT: &str = "2026-11-25T13:15:00.0000000+00:00";
/// All tenants have the same issuer but for their ids, wherever their keys are published.
const ISSUER: &str = "https://login.example";
const KID: &str = "one-for-all-tenants";

static KEY: OnceLock<KeyPair> = OnceLock::new();

/// Takes the key from the file, which is made first if it is missing.
pub(crate) fn use_key_of(file: &Path) {
    if !file.exists() {
        let key: Pkcs8V1Der<'_> = key().as_der().unwrap();
        std::fs::write(file, key.as_ref()).unwrap();
    }
    KEY.get_or_init(|| KeyPair::from_pkcs8(&std::fs::read(file).unwrap()).unwrap());
}

fn key() -> &'static KeyPair {
    KEY.get_or_init(|| KeyPair::generate(KeySize::Rsa2048).unwrap())
}

/// The id of a tenant.
pub(crate) fn tenant_id(tenant: u64) -> String {
    format!("7e4a0000-0000-4000-8000-{tenant:012x}")
}

/// The object id of a user.
pub(crate) fn user_id(user: u64) -> String {
    format!("10ad0000-0000-4000-8000-{user:012x}")
}

/// An Entra token, about as long as a real one. No two numbers have the same.
pub(crate) fn token(tenant: u64, user: u64, number: u64) -> String {
    let tenant = tenant_id(tenant);
    let header = json!({"typ": "JWT", "alg": "RS256", "kid": KID});
    let claims = json!({
        "aud": AUDIENCE, "iss": format!("{ISSUER}/{tenant}/v2.0"), "iat": NOW, "nbf": NOW, "exp": END,
        "aio": "AXQAi/8TAAAAh9hWJ2bFp0x".repeat(5), "azp": APP, "azpacr": "0", "name": "Isaiah Langer", "oid": user_id(user),
        "preferred_username": "isaiah@contoso.example", "rh": "0.AXwAAQClwAAAAECAAAAAAAAAAQ".repeat(2), "scp": "VoIP Chat",
        "sub": "a".repeat(43), "tid": tenant, "uti": format!("{number:022}"), "ver": "2.0",
    });
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let signed = format!("{}.{}", encode(&header), encode(&claims));
    let mut signature = vec![0; key().public_modulus_len()];
    let random = SystemRandom::new();
    key()
        .sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature)
        .unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Serves Entra, for whatever tenant, and ACS. Gives its origin.
pub(crate) async fn start() -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let of_answers = origin.clone();
    let router = Router::new().fallback(move |uri: OriginalUri| ready(Json(answer(&of_answers, uri.path()))));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    origin.parse().unwrap()
}

fn answer(origin: &str, path: &str) -> Value {
    if path == "/keys" {
        // RSAPublicKey (RFC 8017 A.1.1) of a 2048-bit key: the modulus stands at a fixed place.
        let modulus = URL_SAFE_NO_PAD.encode(&key().public_key().as_ref()[9..265]);
        return json!({"keys": [{"kty": "RSA", "use": "sig", "kid": KID, "n": modulus, "e": "AQAB"}]});
    }
    if path.ends_with("/openid-configuration") {
        let tenant = path.split('/').nth(1).unwrap();
        return json!({"issuer": format!("{ISSUER}/{tenant}/v2.0"), "jwks_uri": format!("{origin}/keys")});
    }
    json!({
        "identity": {"id": format!("8:acs:5ca1eacc-0000-4000-8000-000000000002_wf_{}_{}", tenant_id(0), user_id(0))},
        "accessToken": {"token": "e".repeat(900), "expiresOn": END_TEXT},
    })
}
