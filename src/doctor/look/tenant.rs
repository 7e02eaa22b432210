//! One tenant at Entra.

use azure::SendError;
use base::ids::TenantId;
use jiff::SignedDuration;
use telemetry::metrics::labels::Peer;
use url::Url;

use super::{CALL_LIMIT, Looker};
use crate::authenticate::{Authority, ListedTenant, Unpublished, published};
use crate::doctor::rules::entra::TenantLook;

impl Looker<'_> {
    /// Looks at the documents and keys of `tenant`, and at the time that Entra says it is.
    pub(super) async fn tenant(&self, tenant: TenantId) -> (TenantLook, Option<SignedDuration>) {
        let settings = self.config.entra.tenants.iter().find(|listed| listed.id == tenant);
        let own = settings.and_then(|settings| settings.authority.clone());
        let origin = own.clone().unwrap_or_else(|| self.config.entra.authority.clone());
        let listed = ListedTenant {
            id: tenant,
            authority: own.map_or_else(|| Authority::common(origin.clone()), Authority::own),
            app: settings.and_then(|settings| settings.app_id_for_keys),
        };
        let published = tokio::time::timeout(CALL_LIMIT, published(self.upstream.clone(), listed));
        let (asked, published) = tokio::join!(self.ask_discovery(&origin, tenant), published);
        let published = published.unwrap_or_else(|_| {
            Err(Unpublished {
                of_keys: false,
                cause: "no complete answer in time".to_owned(),
            })
        });
        let (unreachable, difference) = match asked {
            Ok(difference) => (None, difference),
            Err(error) => (Some(error), None),
        };
        let look = TenantLook {
            tenant,
            authority: origin,
            unreachable,
            published,
        };
        (look, difference)
    }

    /// Whether anything answers, and what time it says.
    async fn ask_discovery(&self, origin: &Url, tenant: TenantId) -> Result<Option<SignedDuration>, SendError> {
        let mut url = origin.clone();
        url.set_path(&format!("/{tenant}/v2.0/.well-known/openid-configuration"));
        Ok(self.ask(Peer::EntraKeys, url).await?.1)
    }
}
