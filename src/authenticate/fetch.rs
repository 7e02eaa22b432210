//! One fetch of everything that a tenant publishes: both discovery documents and the key set.

use std::time::Duration;

use http::{Method, StatusCode};
use tokio::time::Instant;
use url::Url;

use super::keys::{Discovery, KeysError, TenantKeys};
use crate::ids::{ClientAppId, TenantId};
use crate::telemetry::metrics::labels::Peer;
use crate::upstream::{SendError, Upstream};

/// The longest that one fetch, three requests, may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// Asks Entra for the keys of listed tenants.
#[derive(Clone)]
pub(super) struct KeyFetcher {
    pub(super) upstream: Upstream,
    pub(super) authority: Url,
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
}

impl KeyFetcher {
    /// Fetches the keys of `tenant`; with `app`, those that sign for that app alone too.
    pub(super) async fn fetch(&self, tenant: TenantId, app: Option<ClientAppId>) -> Result<TenantKeys, FetchError> {
        let deadline = Instant::now() + FETCH_TIMEOUT;
        let (v1, v2) = tokio::try_join!(
            self.discovery(tenant, ".well-known/openid-configuration", app, deadline),
            self.discovery(tenant, "v2.0/.well-known/openid-configuration", app, deadline),
        )?;
        let (v2_url, v2) = v2;
        let url = v2.jwks_uri.ok_or(FetchError::NoKeySet(v2_url))?;
        let body = self.get(&url, deadline).await?;
        let keys = TenantKeys::read(&body, tenant, [v1.1.issuer, v2.issuer])
            .map_err(|source| FetchError::Keys { url, source })?;
        let token_endpoint = v2.token_endpoint.inspect_err(|fault| {
            // Not all ways of exchange need it, so the keys count.
            tracing::warn!(acs_broker.tenant.id = %tenant, %fault, "no token can be asked for at this tenant");
        });
        Ok(keys.with_token_endpoint(token_endpoint.ok()))
    }

    /// `appid` is Microsoft's own addition, for apps with signing keys of their own (claims mapping).
    async fn discovery(
        &self,
        tenant: TenantId,
        path: &str,
        app: Option<ClientAppId>,
        deadline: Instant,
    ) -> Result<(Url, Discovery), FetchError> {
        let mut url = self.authority.clone();
        url.set_path(&format!("/{tenant}/{path}"));
        if let Some(app) = app {
            url.query_pairs_mut().append_pair("appid", &app.to_string());
        }
        let body = self.get(&url, deadline).await?;
        match Discovery::read(&body, tenant, &self.authority) {
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

    use super::*;

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
        let fetcher = KeyFetcher {
            upstream: Upstream::plain(FETCH_TIMEOUT, 1 << 20).unwrap(),
            authority: Url::parse(&origin).unwrap(),
        };
        let keys = fetcher.fetch(tenant, Some(app)).await.unwrap();
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
        let keys = fetcher.fetch(tenant, None).await.unwrap();
        assert_eq!((keys.token_endpoint(), keys.len()), (None, 1));
        assert!(seen.lock().unwrap().iter().all(|path| !path.contains("appid")));
    }
}
