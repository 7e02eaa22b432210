//! What a tenant publishes now, looked at once: for a command that checks it, by the rules that the service has.

use url::Url;

use super::ListedTenant;
use super::fetch::{FetchError, KeyFetcher};
use azure::Upstream;

/// What the service takes from a tenant's documents.
#[derive(Debug, Clone)]
pub struct Published {
    /// The issuers whose tokens the keys verify.
    pub issuers: Vec<Box<str>>,
    /// How many keys can be used.
    pub keys: usize,
    /// Where tokens are asked for, if the discovery document says so.
    pub token_endpoint: Option<Url>,
}

/// Why it takes nothing.
#[derive(Debug, Clone)]
pub struct Unpublished {
    /// Whether the documents are good and the key set is not.
    pub of_keys: bool,
    /// What is wrong.
    pub cause: String,
}

/// Fetches both discovery documents and the key set of `tenant`.
pub async fn published(upstream: Upstream, tenant: ListedTenant) -> Result<Published, Unpublished> {
    let fetched = KeyFetcher { upstream, tenant }
        .fetch()
        .await
        .map_err(|error| Unpublished {
            of_keys: error.is_of_keys(),
            cause: error.to_string(),
        })?;
    Ok(Published {
        issuers: fetched.keys.issuers().to_vec(),
        keys: fetched.keys.len(),
        token_endpoint: fetched.keys.token_endpoint().cloned(),
    })
}

impl FetchError {
    /// Whether it is about the key set, and not a discovery document.
    fn is_of_keys(&self) -> bool {
        match self {
            Self::Send { url, .. } | Self::Status { url, .. } | Self::Keys { url, .. } => {
                !url.path().ends_with("/.well-known/openid-configuration")
            }
            Self::NoKeySet(_) => true,
        }
    }
}
