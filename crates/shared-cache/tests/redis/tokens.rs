//! Authentication by access tokens, as Azure Managed Redis does it: the user is the token's object id, the password the token.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use config::{ServiceIdentity, SharedCacheConfig, StoreAuth};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use shared_cache::{AccessToken, Failure, Found, TokenError, TokenSource};

use crate::server::Server;
use crate::support::{Replica, entry, eventually, settings};

/// Gives these tokens, each from when the one before has been asked for; the last one again and again.
#[derive(Default)]
struct Tokens(Mutex<VecDeque<Result<AccessToken, TokenError>>>);

impl TokenSource for Tokens {
    fn token(&self, fresh_for: Duration) -> BoxFuture<'_, Result<AccessToken, TokenError>> {
        assert_eq!(fresh_for, Duration::from_secs(180));
        let mut tokens = self.0.lock().unwrap();
        let next = if tokens.len() > 1 {
            tokens.pop_front()
        } else {
            tokens.front().cloned()
        };
        Box::pin(async move { next.unwrap_or_else(|| Err(TokenError("Entra is away".to_owned()))) })
    }
}

/// A token of that user which ends in so many seconds by the replicas' clocks.
fn token(oid: &str, ends_in: i64) -> AccessToken {
    let claims = format!(r#"{{"oid":"{oid}","aud":"https://redis.azure.com"}}"#);
    AccessToken {
        token: Arc::new(SecretString::from(format!(
            "e30.{}.c2ln",
            URL_SAFE_NO_PAD.encode(claims)
        ))),
        expires_on: Timestamp::from_second(1_800_000_000 + ends_in).unwrap(),
    }
}

async fn server(tokens: &[(&str, &AccessToken)]) -> Server {
    let server = Server::with_password("administrator").await;
    for (oid, token) in tokens {
        let password = format!(">{}", token.token.expose_secret());
        server
            .say::<()>(&["ACL", "SETUSER", oid, "on", &password, "~*", "+@all"])
            .await;
    }
    server
}

async fn replica(server: &Server, username: Option<&str>, tokens: &Arc<Tokens>) -> Replica {
    let config = SharedCacheConfig {
        auth: StoreAuth::Token {
            username: username.map(str::to_owned),
            identity: ServiceIdentity::ManagedIdentity { client_id: None },
        },
        ..settings(vec![server.node()])
    };
    Replica::with_tokens(config, Some(Arc::clone(tokens) as Arc<dyn TokenSource>)).await
}

/// The connections of the broker: id and user of each.
async fn connections(server: &Server) -> Vec<(String, String)> {
    let list: String = server.say(&["CLIENT", "LIST"]).await;
    let field = |line: &str, name: &str| {
        let mut fields = line.split(' ');
        fields
            .find_map(|field| field.strip_prefix(name))
            .unwrap_or_default()
            .to_owned()
    };
    let ours = list.lines().filter(|line| !field(line, "user=").starts_with("default"));
    ours.map(|line| (field(line, "id="), field(line, "user="))).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn the_user_is_the_tokens_object_id_or_the_one_that_is_set() {
    let good = token("1f2e3d4c", 3600);
    let server = server(&[("1f2e3d4c", &good), ("named", &good)]).await;
    let tokens = Arc::new(Tokens(Mutex::new([Ok(good)].into())));
    for (username, expected) in [(None, "1f2e3d4c"), (Some("named"), "named")] {
        let replica = replica(&server, username, &tokens).await.connected().await;
        let users: Vec<_> = connections(&server).await.into_iter().map(|(_, user)| user).collect();
        assert!(users.contains(&expected.to_owned()), "{users:?}");
        assert_eq!(replica.cache.get(&entry("alice")).await, Found::Absent);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn a_live_connection_is_authenticated_again_three_minutes_before_its_tokens_end() {
    // Of another user each, by which the server tells them apart.
    let (first, second) = (token("first", 182), token("second", 3600));
    let server = server(&[("first", &first), ("second", &second)]).await;
    // Entra is away when it is first asked for another.
    let tokens = [Ok(first), Err(TokenError("Entra is away".to_owned())), Ok(second)];
    let tokens = Arc::new(Tokens(Mutex::new(tokens.into())));
    let replica = replica(&server, None, &tokens).await.connected().await;
    let before = connections(&server).await;
    assert_eq!(
        before.iter().map(|(_, user)| user.as_str()).collect::<Vec<_>>(),
        ["first"]
    );
    replica.clock.advance(Duration::from_secs(2));
    eventually("authenticated again", async || {
        assert_eq!(replica.cache.get(&entry("alice")).await, Found::Absent);
        connections(&server).await.iter().any(|(_, user)| user == "second")
    })
    .await;
    // The same connection.
    assert_eq!(connections(&server).await, [(before[0].0.clone(), "second".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: tests/shared-cache.sh"]
async fn without_a_token_the_store_is_away() {
    let good = token("1f2e3d4c", 3600);
    let server = server(&[("1f2e3d4c", &good)]).await;
    let tokens = Arc::new(Tokens::default());
    let replica = replica(&server, None, &tokens).await;
    let failure = replica.cache.status().failure.unwrap();
    assert!(
        matches!(&failure, Failure::Credential(_)) && failure.to_string().contains("Entra is away"),
        "{failure}"
    );
    let opaque = AccessToken {
        token: Arc::new(SecretString::from("opaque")),
        ..good.clone()
    };
    *tokens.0.lock().unwrap() = [Ok(opaque)].into();
    eventually("told", async || {
        let failure = replica.cache.status().failure.unwrap().to_string();
        failure.contains("oid") && !failure.contains("opaque")
    })
    .await;
    *tokens.0.lock().unwrap() = [Ok(good)].into();
    replica.until_reachable().await;
}
