use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use p12_keystore::{EncryptionAlgorithm, KeyStore, KeyStoreEntry, PrivateKeyChain};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::app_tokens::AppTokens;
use super::*;
use crate::entra::{EntraClient, EntraError, TokenEndpoints};
use base::clock::ManualClock;
use base::ids::TenantId;
use config::AppConfig;

const APP: &str = "22222222-0000-4000-8000-00000000abcd";
const ENDPOINT: &str = "https://login.example/t/oauth2/v2.0/token";

fn clock() -> Arc<ManualClock> {
    ManualClock::at("2026-11-24T12:00:00Z".parse().unwrap())
}

fn deps(clock: &Arc<ManualClock>) -> CredentialDeps {
    CredentialDeps {
        clock: Arc::clone(clock) as SharedClock,
        upstream: Upstream::plain(Duration::from_secs(2), 1 << 20).unwrap(),
        cloud: Cloud::Public,
    }
}

fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

/// An RSA key with a certificate of its own.
struct Identity {
    key: KeyPair,
    certificate: rcgen::Certificate,
}

impl Identity {
    fn new() -> Self {
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
        let certificate = CertificateParams::new(vec!["app".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        Self { key, certificate }
    }

    fn pkcs1_pem(&self) -> String {
        let info = pkcs8::PrivateKeyInfoRef::try_from(self.key.serialized_der()).unwrap();
        let text = STANDARD.encode(info.private_key.as_bytes());
        format!("-----BEGIN RSA PRIVATE KEY-----\n{text}\n-----END RSA PRIVATE KEY-----\n")
    }

    fn pfx(&self, password: &str, algorithm: EncryptionAlgorithm) -> Vec<u8> {
        let key = p12_keystore::PrivateKey::from_der(self.key.serialized_der()).unwrap();
        let certificate = p12_keystore::Certificate::from_der(self.certificate.der()).unwrap();
        let mut store = KeyStore::new();
        let chain = PrivateKeyChain::new("id", key, [certificate]);
        store.add_entry("app", KeyStoreEntry::PrivateKeyChain(chain));
        let writer = store.writer(password).encryption_algorithm(algorithm);
        writer.encryption_iterations(10).mac_iterations(10).write().unwrap()
    }

    /// Checks the assertion's signature and header, and gives its claims.
    fn claims(&self, assertion: &str) -> Value {
        let public = aws_lc_rs::rsa::KeyPair::from_pkcs8(self.key.serialized_der()).unwrap();
        let public = aws_lc_rs::signature::KeyPair::public_key(&public).as_ref().to_vec();
        let mut validation = Validation::new(Algorithm::PS256);
        validation.validate_exp = false;
        validation.validate_aud = false;
        let decoded =
            jsonwebtoken::decode::<Value>(assertion, &DecodingKey::from_rsa_der(&public), &validation).unwrap();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, self.certificate.der());
        assert_eq!(decoded.header.x5t_s256, Some(URL_SAFE_NO_PAD.encode(digest)));
        assert_eq!(decoded.header.typ.as_deref(), Some("JWT"));
        decoded.claims
    }
}

fn certificate(folder: &TempDir, content: &[u8], password: Option<&str>) -> CredentialConfig {
    let file = folder.path().join("app.pem");
    std::fs::write(&file, content).unwrap();
    CredentialConfig::Certificate {
        file,
        password: password.map(|password| SecretSource::Value(SecretString::from(password))),
    }
}

async fn assertion(credential: &ClientCredential) -> Result<String, CredentialError> {
    let audience = ENDPOINT.parse().unwrap();
    let shown = credential
        .authenticate(APP.parse().unwrap(), &audience, deadline())
        .await?;
    assert!(!format!("{shown:?}").contains("eyJ"));
    match shown {
        ClientAuthentication::Assertion(text) => Ok(text.expose_secret().to_owned()),
        ClientAuthentication::Secret(text) => Ok(format!("secret: {}", text.expose_secret())),
    }
}

#[tokio::test]
async fn a_certificate_signs_in_whatever_form_its_file_is() {
    let (identity, other, folder, clock) = (Identity::new(), Identity::new(), TempDir::new().unwrap(), clock());
    let (cert, key) = (identity.certificate.pem(), identity.key.serialize_pem());
    let pkcs1 = identity.pkcs1_pem();
    let chain = other.certificate.pem();
    let aes = EncryptionAlgorithm::PbeWithHmacSha256AndAes256;
    for (content, password) in [
        (format!("{cert}{key}").into_bytes(), None),
        (format!("{key}{cert}").into_bytes(), None),
        (format!("{pkcs1}{cert}").into_bytes(), None),
        (format!("{key}{chain}{cert}").into_bytes(), None),
        (
            format!("Bag Attributes\n  x: y\n{cert}{chain}{key}").into_bytes(),
            Some("unused"),
        ),
        (identity.pfx("", aes), None),
        (identity.pfx("pass", aes), Some("pass")),
        // As Key Vault exports it.
        (
            identity.pfx("", EncryptionAlgorithm::PbeWithShaAnd3KeyTripleDesCbc),
            None,
        ),
        // As it gives it out as a secret.
        (
            format!("\u{feff}{}\r\n", STANDARD.encode(identity.pfx("", aes))).into_bytes(),
            None,
        ),
        (STANDARD.encode(identity.pfx("pass", aes)).into_bytes(), Some("pass")),
    ] {
        let config = certificate(&folder, &content, password);
        let credential = ClientCredential::new(&config, &deps(&clock)).unwrap();
        credential.check().unwrap();
        let claims = identity.claims(&assertion(&credential).await.unwrap());
        let now = base::clock::Clock::now(&*clock).as_second();
        let jti = claims["jti"].as_str().unwrap();
        assert_eq!(
            claims,
            json!({"aud": ENDPOINT, "iss": APP, "sub": APP, "iat": now, "nbf": now, "exp": now + 300, "jti": jti})
        );
        let again = identity.claims(&assertion(&credential).await.unwrap());
        assert_ne!(again["jti"], claims["jti"]);
    }
}

#[test]
fn what_is_wrong_with_a_certificate_is_reported_without_its_content() {
    let (identity, other, folder) = (Identity::new(), Identity::new(), TempDir::new().unwrap());
    let (cert, key) = (identity.certificate.pem(), identity.key.serialize_pem());
    let elliptic = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let elliptic_cert = CertificateParams::new(vec![]).unwrap().self_signed(&elliptic).unwrap();
    let short = include_str!("testdata/rsa1024.pem");
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let pfx = identity.pfx("pass", EncryptionAlgorithm::PbeWithHmacSha256AndAes256);
    for (content, password, reason) in [
        (
            key.clone().into_bytes(),
            None,
            "holds no certificate, but a private key",
        ),
        (cert.clone().into_bytes(), None, "holds no private key"),
        (
            format!("{cert}{encrypted}").into_bytes(),
            None,
            "holds a private key that is broken",
        ),
        (
            format!("{}{}", elliptic_cert.pem(), elliptic.serialize_pem()).into_bytes(),
            None,
            "is no RSA key, and client assertions are signed with RSA alone",
        ),
        (
            format!("{cert}{short}").into_bytes(),
            None,
            "its RSA key has under 2048 bits",
        ),
        (
            format!("{}{key}", other.certificate.pem()).into_bytes(),
            None,
            "its private key belongs to none of its certificates",
        ),
        (pfx.clone(), None, "is a PFX that needs a password"),
        (pfx.clone(), Some("other"), "is a PFX that the password does not open"),
        (pfx[..pfx.len() / 2].to_vec(), Some("pass"), "is a PFX that is cut off"),
        (b"secret words".to_vec(), None, "is neither PEM nor DER nor a PFX"),
    ] {
        let config = certificate(&folder, &content, password);
        let credential = ClientCredential::new(&config, &deps(&clock())).unwrap();
        let error = credential.check().unwrap_err().to_string();
        assert!(error.contains(reason), "{reason}: {error}");
        assert!(error.contains("app.pem "), "{error}");
        assert!(!error.contains("words"), "{error}");
    }
}

#[tokio::test]
async fn a_certificate_of_version_1_signs_and_one_that_has_ended_is_odd() {
    let folder = TempDir::new().unwrap();
    let version_1 = concat!(
        include_str!("../../../certificates/src/testdata/version-1.pem"),
        include_str!("../../../certificates/src/testdata/version-1-key.pem")
    );
    let clock = ManualClock::at("2036-11-24T12:00:00Z".parse().unwrap());
    let credential = |content: &[u8]| {
        let config = certificate(&folder, content, None);
        ClientCredential::new(&config, &deps(&clock)).unwrap()
    };
    let credential_1 = credential(version_1.as_bytes());
    assert_eq!(credential_1.check(), Ok(None));
    assert!(assertion(&credential_1).await.unwrap().starts_with("eyJ"));
    let mut parameters = CertificateParams::new(vec!["app".to_owned()]).unwrap();
    parameters.not_after = rcgen::date_time_ymd(2035, 1, 1);
    let key = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
    let ended = parameters.self_signed(&key).unwrap().pem() + &key.serialize_pem();
    let oddity = credential(ended.as_bytes()).check().unwrap().unwrap();
    assert!(oddity.contains("has ended"), "{oddity}");
}

#[tokio::test]
async fn a_changed_certificate_is_in_use_soon_and_a_broken_one_never() {
    let (one, two, folder, clock) = (Identity::new(), Identity::new(), TempDir::new().unwrap(), clock());
    let pem = |identity: &Identity| identity.certificate.pem() + &identity.key.serialize_pem();
    let config = certificate(&folder, pem(&one).as_bytes(), None);
    let credential = ClientCredential::new(&config, &deps(&clock)).unwrap();
    one.claims(&assertion(&credential).await.unwrap());
    for (content, signer) in [
        (one.certificate.pem(), &one),
        (one.certificate.pem() + &two.key.serialize_pem(), &one),
        (pem(&two), &two),
        ("nothing".to_owned(), &two),
    ] {
        certificate(&folder, content.as_bytes(), None);
        clock.advance(Duration::from_secs(12));
        signer.claims(&assertion(&credential).await.unwrap());
    }
}

#[tokio::test]
async fn secrets_and_federated_tokens_follow_their_files() {
    let (folder, clock) = (TempDir::new().unwrap(), clock());
    let path = folder.path().join("it");
    let source = SecretSource::File(path.clone());
    let federated = CredentialConfig::WorkloadIdentity {
        federated_token_file: path.clone(),
    };
    for (config, shown) in [(CredentialConfig::Secret(source), "secret: "), (federated, "")] {
        let _ = std::fs::remove_file(&path);
        let credential = ClientCredential::new(&config, &deps(&clock)).unwrap();
        let error = credential.check().unwrap_err();
        assert!(error.to_string().contains("it: "), "{error}");
        assert_eq!(assertion(&credential).await, Err(error));
        for content in ["one", "two"] {
            std::fs::write(&path, format!(" {content}\n")).unwrap();
            clock.advance(Duration::from_secs(12));
            credential.check().unwrap();
            assert_eq!(assertion(&credential).await.unwrap(), format!("{shown}{content}"));
        }
    }
}

#[test]
fn a_managed_identity_is_not_asked_when_it_is_checked() {
    let config = CredentialConfig::ManagedIdentity { client_id: None };
    ClientCredential::new(&config, &deps(&clock()))
        .unwrap()
        .check()
        .unwrap();
}

struct Endpoint(Url);

impl TokenEndpoints for Endpoint {
    fn token_endpoint(&self, _: TenantId) -> Option<Url> {
        Some(self.0.clone())
    }
}

/// App tokens from a fake token endpoint, and how often that was asked.
async fn app_tokens(clock: &Arc<ManualClock>, status: u16) -> (AppTokens, Arc<std::sync::atomic::AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let calls = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let router = Router::new().fallback(async move |_: Request| {
        let call = counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
        let body = json!({"token_type": "Bearer", "expires_in": 3600, "access_token": format!("token {call}"),
            "error": "invalid_client"});
        (http::StatusCode::from_u16(status).unwrap(), axum::Json(body))
    });
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let deps = deps(clock);
    let config = AppConfig {
        client_id: APP.parse().unwrap(),
        credential: CredentialConfig::Secret(SecretSource::Value(SecretString::from("secret"))),
    };
    let entra = EntraClient::new(
        deps.upstream.clone(),
        Arc::new(Endpoint(url)),
        None,
        Arc::clone(&deps.clock),
    );
    let app = EntraApp::new(&config, &deps, Arc::new(entra)).unwrap();
    let tokens = AppTokens::new(app, "https://graph.microsoft.com/.default", Arc::clone(&deps.clock));
    (tokens, calls)
}

fn tenant() -> TenantId {
    "11111111-0000-4000-8000-00000000abcd".parse().unwrap()
}

#[tokio::test]
async fn an_apps_token_is_kept_until_shortly_before_its_end_or_until_it_is_refused() {
    let clock = clock();
    let (tokens, _) = app_tokens(&clock, 200).await;
    let token = async || tokens.token(tenant(), deadline()).await.unwrap();
    let first = token().await;
    assert_eq!(first.access_token.expose(), "token 1");
    assert!(!format!("{first:?}").contains("token 1"));
    clock.advance(Duration::from_secs(3600 - 301));
    assert_eq!(token().await.access_token.expose(), "token 1");
    clock.advance(Duration::from_secs(1));
    let second = token().await;
    assert_eq!(second.access_token.expose(), "token 2");
    // A token that is not in force any more takes nothing with it.
    tokens.discard(tenant(), &first.access_token);
    assert_eq!(token().await.access_token.expose(), "token 2");
    tokens.discard(tenant(), &second.access_token);
    assert_eq!(token().await.access_token.expose(), "token 3");
}

#[tokio::test]
async fn many_wait_for_one_call_whether_it_succeeds_or_fails() {
    for (status, good) in [(200, true), (401, false)] {
        let (tokens, calls) = app_tokens(&clock(), status).await;
        let waiting = (0..20).map(|_| tokens.token(tenant(), deadline()));
        let outcomes = futures_util::future::join_all(waiting).await;
        for outcome in outcomes {
            match outcome {
                Ok(token) => assert_eq!(token.access_token.expose(), "token 1"),
                Err(AppError::Entra(EntraError::BrokerRejected(_))) => assert!(!good),
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(calls.load(std::sync::atomic::Ordering::SeqCst), 1);
        // The next one asks anew unless there is a token.
        let _ = tokens.token(tenant(), deadline()).await;
        let expected = if good { 1 } else { 2 };
        assert_eq!(calls.load(std::sync::atomic::Ordering::SeqCst), expected);
    }
}

#[tokio::test]
async fn a_caller_with_more_time_does_not_share_the_time_out_of_another() {
    let (tokens, calls) = app_tokens(&clock(), 200).await;
    let (hurried, patient) = tokio::join!(
        tokens.token(tenant(), Instant::now()),
        tokens.token(tenant(), deadline())
    );
    let timed_out = matches!(
        hurried,
        Err(AppError::Entra(EntraError::Upstream(UpstreamFailure::Timeout)))
    );
    assert!(timed_out, "{hurried:?}");
    let patient = patient.unwrap();
    assert_eq!(
        patient.access_token.expose(),
        format!("token {}", calls.load(std::sync::atomic::Ordering::SeqCst))
    );
}
