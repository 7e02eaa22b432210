//! A connection to a server that is known to be well, and the credential that it is made with.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::credentials::{Authentication, CredentialError, Login};
use crate::failure::Failure;
use crate::link::Link;
use crate::settings::Node;
use crate::store::Store;
use crate::topology::Topology;

/// How long before its end an access token is replaced on connections that live.
pub(crate) const RENEW_BEFORE: Duration = Duration::from_secs(180);
/// How long a credential may take to be had. Nothing else is looked after meanwhile.
const LOGIN_LIMIT: Duration = Duration::from_secs(10);

/// A connection to that server that is well: the one that there is, or a new one. Beside a failure a connection may be left
/// that is worth another probe.
pub(crate) async fn connected(
    store: &Store,
    before: &Topology,
    node: &Node,
    known_as: &str,
    probe_key: &str,
    logins: &Logins<'_>,
) -> Result<Arc<Link>, (Option<Arc<Link>>, Failure)> {
    if let Some(link) = before.existing(node) {
        match link.probe(probe_key, &store.settings).await {
            Ok(()) => return Ok(link),
            Err(failure) if !link.is_lost() => return Err((Some(link), failure)),
            // What is to be told is why a new connection fails, too.
            Err(_) => {}
        }
    }
    let login = logins.get().await.map_err(|failure| (None, failure))?;
    let link = store
        .dialer
        .dial(node, known_as, login)
        .await
        .map_err(|failure| (None, failure))?;
    let link = Arc::new(link);
    match link.probe(probe_key, &store.settings).await {
        Ok(()) => Ok(link),
        Err(failure) => Err((Some(link).filter(|link| !link.is_lost()), failure)),
    }
}

/// The credential of one round, had once and only if it is needed.
pub(crate) struct Logins<'a> {
    authentication: &'a Authentication,
    held: OnceCell<Option<Login>>,
}

impl<'a> Logins<'a> {
    pub(crate) fn new(authentication: &'a Authentication) -> Self {
        Self {
            authentication,
            held: OnceCell::new(),
        }
    }

    pub(crate) async fn get(&self) -> Result<Option<&Login>, Failure> {
        let had = self.held.get_or_try_init(async || {
            let login = timeout(LOGIN_LIMIT, self.authentication.login(RENEW_BEFORE)).await;
            login.unwrap_or(Err(CredentialError::TooLate))
        });
        Ok(had.await?.as_ref())
    }
}
