//! Entra authentication at the store, as Azure Managed Redis has it: the password of a connection is an Entra token, the user its
//! object id. Redis knows no tokens, so a gate before it verifies them, as Azure does, and makes them passwords.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256;
use azure_emulator::Endpoint;
use azure_emulator::scenario::{CONTOSO, CONTOSO_API, CONTOSO_API_SECRET};
use base::clock::{Clock as _, ManualClock};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::redis::Redis;
use super::{Replicas, until};
use crate::support::eventually;
use crate::support::http::Call;
use crate::support::stack::{Builder, clock, emulator};

/// What docs/shared-cache.md says that a user needs.
const PERMISSIONS: &str = "~acs-token-broker:* -@all +get +getrange +strlen +set +del +pttl +pexpire +eval +evalsha +time +zadd +zcard \
                           +zrange +zrem +zremrangebyscore +hmget +hset";

/// What stands before the store and knows whose tokens are good.
struct Gate {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    store: Arc<Redis>,
    clock: Arc<ManualClock>,
    authority: String,
    // Whether Entra's tokens are let in.
    is_open: AtomicBool,
    connections: AtomicUsize,
    // The user and the end of each token that was let in.
    logins: Mutex<Vec<(String, i64)>>,
}

impl Gate {
    async fn start(store: Arc<Redis>, clock: Arc<ManualClock>, authority: String) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            store,
            clock,
            authority,
            is_open: AtomicBool::new(true),
            connections: AtomicUsize::new(0),
            logins: Mutex::default(),
        });
        let serving = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                serving.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(forward(near, Arc::clone(&serving)));
            }
        });
        Self { address, state }
    }

    fn logins(&self) -> Vec<(String, i64)> {
        self.state.logins.lock().unwrap().clone()
    }

    fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }
}

/// Passes on what comes, each `AUTH` once its token has been looked at.
async fn forward(near: TcpStream, state: Arc<State>) {
    let far = TcpStream::connect(state.store.address()).await.unwrap();
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    let (mut near_in, mut near_out) = near.into_split();
    let (mut far_in, mut far_out) = far.into_split();
    let answers = tokio::spawn(async move { tokio::io::copy(&mut far_in, &mut near_out).await });
    let (mut bytes, mut held) = ([0; 16 * 1024], Vec::new());
    while let Ok(length @ 1..) = near_in.read(&mut bytes).await {
        held.extend_from_slice(&bytes[..length]);
        match login(&held) {
            Login::None => {}
            Login::Cut => continue,
            Login::Whole { user, token } => state.look_at(&user, &token).await,
        }
        if far_out.write_all(&held).await.is_err() {
            break;
        }
        held.clear();
    }
    answers.abort();
}

enum Login {
    None,
    /// The rest is on its way.
    Cut,
    Whole {
        user: String,
        token: String,
    },
}

/// `AUTH` with user and password among commands, in the protocol's form: `$length\r\n…\r\n` for each word.
fn login(commands: &[u8]) -> Login {
    let text = String::from_utf8_lossy(commands);
    let Some((_, rest)) = text.split_once("\r\nAUTH\r\n") else {
        return Login::None;
    };
    let mut lines = rest.split("\r\n");
    let (Some(_), Some(user), Some(_), Some(token), Some(_)) =
        (lines.next(), lines.next(), lines.next(), lines.next(), lines.next())
    else {
        return Login::Cut;
    };
    Login::Whole {
        user: user.to_owned(),
        token: token.to_owned(),
    }
}

impl State {
    /// Makes a good token its user's password.
    async fn look_at(&self, user: &str, token: &str) {
        let Some(claims) = self.verified(token).await else {
            return;
        };
        let now = self.clock.now().as_second();
        let end = claims["exp"].as_i64().unwrap();
        let is_good = claims["aud"] == "https://redis.azure.com"
            && claims["tid"] == CONTOSO.to_string()
            && claims["appid"] == CONTOSO_API.to_string()
            && claims["oid"] == user
            && end > now;
        if !is_good || !self.is_open.load(Ordering::SeqCst) {
            return;
        }
        let password = format!(">{token}");
        let rules = ["ACL", "SETUSER", user, "on", "resetpass", &password];
        let rules: Vec<&str> = rules.into_iter().chain(PERMISSIONS.split_whitespace()).collect();
        assert_eq!(self.store.say(&rules), b"OK\n");
        self.logins.lock().unwrap().push((user.to_owned(), end));
    }

    /// The claims of a token that Entra has signed.
    async fn verified(&self, token: &str) -> Option<Value> {
        let [header, payload, signature] = token.split('.').collect::<Vec<_>>().try_into().ok()?;
        let decoded = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
        let header: Value = serde_json::from_slice(&decoded(header)?).ok()?;
        let keys = Call::new("GET", format!("{}/{CONTOSO}/discovery/v2.0/keys", self.authority));
        let keys = keys.send().await.json();
        let found = keys["keys"]
            .as_array()?
            .iter()
            .find(|key| key["kid"] == header["kid"])?;
        let key = PublicKeyComponents {
            n: decoded(found["n"].as_str()?)?,
            e: decoded(found["e"].as_str()?)?,
        };
        let message = &token.as_bytes()[..token.rfind('.')?];
        key.verify(&RSA_PKCS1_2048_8192_SHA256, message, &decoded(signature)?)
            .ok()?;
        serde_json::from_slice(&decoded(payload)?).ok()
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn a_broker_shows_the_store_an_entra_token() {
    let clock = clock();
    let entra = emulator(&clock).await;
    let origin = entra.origin();
    let store = Arc::new(Redis::start_with(Some("administrator")).await);
    let gate = Gate::start(Arc::clone(&store), Arc::clone(&clock), origin.clone()).await;
    // Their own store is asked for nothing.
    let mut replicas = Replicas::start(0, |builder| builder).await;
    let with_entra = |builder: Builder| {
        builder
            .set("shared_cache.url", format!("redis://{}", gate.address))
            .set("shared_cache.credential", "secret")
            .set("shared_cache.tenant_id", CONTOSO.to_string())
            .set("shared_cache.client_id", CONTOSO_API.to_string())
            .set("shared_cache.client_secret", CONTOSO_API_SECRET)
    };
    replicas
        .add(|builder| with_entra(builder.emulator(entra, &clock)))
        .await;
    replicas.add(with_entra).await;
    let token = replicas.token("alex");
    assert_eq!(replicas.broker(0).post_token(&token).await.cache(), "miss");
    assert_eq!(replicas.broker(1).post_token(&token).await.cache(), "hit");
    assert_eq!(store.values().len(), 1);
    // One token for each broker, whose user is the app's service principal.
    assert_eq!(replicas.broker(0).emulator.count(Endpoint::ClientCredentials), 2);
    let [(user, first), (other, second)] = gate.logins().try_into().unwrap();
    assert_eq!(user, other);
    let clients = String::from_utf8(store.say(&["CLIENT", "LIST"])).unwrap();
    assert_eq!(clients.matches(&format!("user={user} ")).count(), 2, "{clients}");
    // Three minutes before its end each shows another one, on the connection that it has. Entra's tokens live for 60 to 90 minutes.
    let connections = gate.connections();
    for (shown, end) in [(3, first.min(second)), (4, first.max(second))] {
        let left = u64::try_from(end - replicas.broker(0).now()).unwrap();
        replicas.broker(0).advance(left.saturating_sub(170));
        eventually("shown again", async || gate.logins().len() >= shown).await;
    }
    let again = &gate.logins()[2..];
    assert!(
        again.iter().all(|(by, end)| *by == user && *end > first.max(second)),
        "{again:?}"
    );
    assert_eq!(gate.connections(), connections);
    let token = replicas.token("adele");
    assert_eq!(replicas.broker(0).post_token(&token).await.cache(), "miss");
    assert_eq!(replicas.broker(1).post_token(&token).await.cache(), "hit");
    // An identity that loses its access is cut off. Each broker goes on by itself, and comes back once it has it again.
    gate.state.is_open.store(false, Ordering::SeqCst);
    store.say(&["ACL", "DELUSER", &user]);
    for broker in &replicas.brokers {
        until(broker, "away", |degraded| degraded).await;
    }
    let token = replicas.token("diego");
    for number in [0, 1] {
        assert_eq!(replicas.broker(number).post_token(&token).await.cache(), "miss");
    }
    gate.state.is_open.store(true, Ordering::SeqCst);
    for broker in &replicas.brokers {
        until(broker, "reachable", |degraded| !degraded).await;
    }
    let token = replicas.token("isaiah");
    assert_eq!(replicas.broker(0).post_token(&token).await.cache(), "miss");
    assert_eq!(replicas.broker(1).post_token(&token).await.cache(), "hit");
}
