//! One fetch of everything that a tenant publishes: both discovery documents and the key set.

use std::time::Duration;

use http::{Method, StatusCode};
use tokio::time::Instant;
use url::Url;

use super::ListedTenant;
use super::keys::{Discovery, KeysError, TenantKeys};
use azure::{SendError, Upstream};
use telemetry::metrics::labels::Peer;

/// The longest that one fetch, three requests, may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest that a v1 document is waited for that need not be there: callers with an unknown key wait too, 2 s by default.
const OPTIONAL_TIMEOUT: Duration = Duration::from_millis(1500);

/// Asks Entra for the keys of a listed tenant.
pub(super) struct KeyFetcher {
    pub(super) upstream: Upstream,
    pub(super) tenant: ListedTenant,
}

/// What a good fetch brought.
pub(super) struct Fetched {
    pub(super) keys: TenantKeys,
    // Set where the v1 document could not be asked for, which says nothing about whether it is there.
    v1_unknown: bool,
}

impl Fetched {
    /// The set that follows `previous`, in whose place it steps at `now`: with the keys that are still good for `grace`,
    /// and with the v1 issuer from before if nothing is known of it this time.
    pub(super) fn succeeding(self, previous: Option<&TenantKeys>, now: Duration, grace: Duration) -> TenantKeys {
        let Some(previous) = previous else { return self.keys };
        let keys = self.keys.succeeding(previous, now, grace);
        match previous.v1_issuer() {
            Some(issuer) if self.v1_unknown => keys.with_v1_issuer(issuer),
            _ => keys,
        }
    }
}

/// A fetch that brought no usable keys. What was there before stays.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("{url}: {source}")]
    Send { url: Url, source: SendError },
    #[error("{url}: status {status}")]
    Status { url: Url, status: StatusCode },
    #[error("{url}: {source}")]
    Keys { url: Url, source: KeysError },
    #[error("{0}: names no jwks_uri")]
    NoKeySet(Url),
}

impl FetchError {
    /// Its name in spans: of low cardinality.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Send { .. } => "entra_unavailable",
            Self::Status { .. } => "entra_status",
            Self::Keys { .. } | Self::NoKeySet(_) => "entra_invalid_response",
        }
    }

    /// Whether it may be otherwise a moment later: nothing is known of what was asked for.
    fn is_passing(&self) -> bool {
        match self {
            Self::Status { status, .. } => status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS,
            Self::Send { .. } => true,
            Self::Keys { .. } | Self::NoKeySet(_) => false,
        }
    }

    fn is_foreign_issuer(&self) -> bool {
        matches!(
            self,
            Self::Keys {
                source: KeysError::ForeignIssuer(_),
                ..
            }
        )
    }
}

impl KeyFetcher {
    /// Fetches the tenant's keys; where its app is named, those that sign for that app alone too.
    ///
    /// Both discovery documents are required, but for a tenant with an authority of its own: there the v2 document
    /// alone counts if the v1 document cannot be had, or names a key set elsewhere. An issuer that it states must contain
    /// the tenant's id there too.
    pub(super) async fn fetch(&self) -> Result<Fetched, FetchError> {
        let tenant = self.tenant.id;
        let deadline = Instant::now() + FETCH_TIMEOUT;
        let ((v1_issuer, v1_unknown), (v2_url, v2)) = tokio::try_join!(
            self.v1_issuer(deadline),
            self.discovery("v2.0/.well-known/openid-configuration", deadline),
        )?;
        let url = v2.jwks_uri.ok_or(FetchError::NoKeySet(v2_url))?;
        let body = self.get(&url, deadline).await?;
        let issuers = v1_issuer.into_iter().chain([v2.issuer]).collect();
        let keys = TenantKeys::read(&body, tenant, issuers).map_err(|source| FetchError::Keys { url, source })?;
        let token_endpoint = v2.token_endpoint.inspect_err(|fault| {
            // Not all ways of exchange need it, so the keys count.
            tracing::warn!(acs_broker.tenant.id = %tenant, %fault, "no token can be asked for at this tenant");
        });
        Ok(Fetched {
            keys: keys.with_token_endpoint(token_endpoint.ok()),
            v1_unknown,
        })
    }

    /// The issuer of the v1 document, and whether it is not known that there is none.
    async fn v1_issuer(&self, deadline: Instant) -> Result<(Option<Box<str>>, bool), FetchError> {
        const PATH: &str = ".well-known/openid-configuration";
        if !self.tenant.authority.is_own() {
            return Ok((Some(self.discovery(PATH, deadline).await?.1.issuer), false));
        }
        let deadline = deadline.min(Instant::now() + OPTIONAL_TIMEOUT);
        match self.discovery(PATH, deadline).await {
            Ok((_, v1)) => Ok((Some(v1.issuer), false)),
            Err(error) if error.is_foreign_issuer() => Err(error),
            Err(error) => {
                tracing::debug!(acs_broker.tenant.id = %self.tenant.id, %error, "no v1 document; v2 alone counts");
                Ok((None, error.is_passing()))
            }
        }
    }

    /// `appid` is Microsoft's own addition, for apps with signing keys of their own (claims mapping).
    async fn discovery(&self, path: &str, deadline: Instant) -> Result<(Url, Discovery), FetchError> {
        let ListedTenant { id, authority, app } = &self.tenant;
        let mut url = authority.path(*id, path);
        if let Some(app) = app {
            url.query_pairs_mut().append_pair("appid", &app.to_string());
        }
        let body = self.get(&url, deadline).await?;
        match Discovery::read(&body, *id, authority) {
            Ok(discovery) => Ok((url, discovery)),
            Err(source) => Err(FetchError::Keys { url, source }),
        }
    }

    async fn get(&self, url: &Url, deadline: Instant) -> Result<bytes::Bytes, FetchError> {
        let request = self
            .upstream
            .request(Method::GET, url.clone())
            .header(http::header::ACCEPT, "application/json");
        let response = self
            .upstream
            .send(Peer::EntraKeys, request, deadline)
            .await
            .map_err(|source| FetchError::Send {
                url: url.clone(),
                source,
            })?;
        if response.status == StatusCode::OK {
            Ok(response.body)
        } else {
            Err(FetchError::Status {
                url: url.clone(),
                status: response.status,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::extract::Request;
    use serde_json::json;

    use super::super::Authority;
    use super::*;
    use base::ids::{ClientAppId, TenantId};

    #[tokio::test]
    async fn an_apps_own_keys_are_asked_for_and_a_foreign_token_endpoint_costs_no_keys() {
        let tenant: TenantId = "11111111-0000-4000-8000-00000000abcd".parse().unwrap();
        let app: ClientAppId = "22222222-0000-4000-8000-00000000abcd".parse().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let calls = Arc::clone(&seen);
        let token_endpoint = Arc::new(Mutex::new(format!("{origin}/{tenant}/oauth2/v2.0/token")));
        let named = Arc::clone(&token_endpoint);
        let own = origin.clone();
        let router = Router::new().fallback(async move |request: Request| {
            let path = request.uri().path_and_query().unwrap().to_string();
            calls.lock().unwrap().push(path.clone());
            let keys = json!({"keys": [{"kid": "k", "kty": "RSA", "e": "AQAB", "n": format!("{}w", "v".repeat(341))}]});
            let document = json!({"issuer": format!("{own}/{tenant}/v2.0"), "jwks_uri": format!("{own}/keys"),
                "token_endpoint": *named.lock().unwrap()});
            axum::Json(if path == "/keys" { keys } else { document })
        });
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let fetcher = |app| KeyFetcher {
            upstream: Upstream::plain(FETCH_TIMEOUT, 1 << 20).unwrap(),
            tenant: ListedTenant {
                id: tenant,
                authority: Authority::common(Url::parse(&origin).unwrap()),
                app,
            },
        };
        let keys = fetcher(Some(app)).fetch().await.unwrap().keys;
        assert_eq!(keys.token_endpoint().unwrap().as_str(), *token_endpoint.lock().unwrap());
        let mut paths = std::mem::take(&mut *seen.lock().unwrap());
        paths.sort();
        assert_eq!(
            paths,
            [
                format!("/{tenant}/.well-known/openid-configuration?appid={app}"),
                format!("/{tenant}/v2.0/.well-known/openid-configuration?appid={app}"),
                "/keys".to_owned(),
            ]
        );
        "https://evil.example/token".clone_into(&mut token_endpoint.lock().unwrap());
        let keys = fetcher(None).fetch().await.unwrap().keys;
        assert_eq!((keys.token_endpoint(), keys.len()), (None, 1));
        assert!(seen.lock().unwrap().iter().all(|path| !path.contains("appid")));
    }
}
