//! Where a tenant is looked up: the authority of all tenants, or its own.

use url::Url;

use base::ids::TenantId;

/// Where External ID tenants stand: `{name}.ciamlogin.com`, and under their ids.
const EXTERNAL_ID: &str = "ciamlogin.com";

/// The origin at which a tenant's documents and keys are fetched.
#[derive(Debug, Clone)]
pub struct Authority {
    origin: Url,
    is_own: bool,
}

impl Authority {
    /// That of all tenants (`entra.authority`): both discovery documents are there.
    #[must_use]
    pub fn common(origin: Url) -> Self {
        Self { origin, is_own: false }
    }

    /// A tenant's own (`entra.tenants[].authority`), as External ID tenants have one. Its v1 document may not be had.
    #[must_use]
    pub fn own(origin: Url) -> Self {
        Self { origin, is_own: true }
    }

    /// Whether it is the tenant's own.
    pub(super) fn is_own(&self) -> bool {
        self.is_own
    }

    /// `path` of `tenant` there.
    pub(super) fn path(&self, tenant: TenantId, path: &str) -> Url {
        let mut url = self.origin.clone();
        url.set_path(&format!("/{tenant}/{path}"));
        url
    }

    /// An address from a document of `tenant`, if it is the authority's: it shares the origin and holds no credentials.
    ///
    /// An External ID tenant has a second host besides `{name}.ciamlogin.com`, which documents may name:
    /// `{tenant id}.ciamlogin.com`. It counts as the authority's for that very tenant, over https.
    pub(super) fn address(&self, text: &str, tenant: TenantId) -> Option<Url> {
        let url = Url::parse(text).ok()?;
        let is_there = url.origin() == self.origin.origin() || self.is_second_host(&url, tenant);
        (is_there && url.username().is_empty() && url.password().is_none()).then_some(url)
    }

    fn is_second_host(&self, url: &Url, tenant: TenantId) -> bool {
        let at_external_id = |host: &str| {
            host.strip_suffix(EXTERNAL_ID)
                .is_some_and(|name| name.len() > 1 && name.ends_with('.'))
        };
        self.is_own
            && self.origin.host_str().is_some_and(at_external_id)
            && Url::parse(&format!("https://{tenant}.{EXTERNAL_ID}"))
                .is_ok_and(|second| second.origin() == url.origin())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = "11111111-0000-4000-8000-00000000abcd";
    const OTHER: &str = "11111111-0000-4000-8000-00000000ffff";

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn an_external_id_tenant_has_two_hosts_of_its_own_and_no_third() {
        let tenant: TenantId = TENANT.parse().unwrap();
        let own = |origin: &str| Authority::own(url(origin));
        let (by_name, by_id) = (
            "https://contoso.ciamlogin.com",
            format!("https://{TENANT}.ciamlogin.com"),
        );
        let good = [
            (own(by_name), format!("{by_name}/{TENANT}/discovery/v2.0/keys")),
            (own(by_name), format!("{by_id}/{TENANT}/discovery/v2.0/keys")),
            (own(by_name), format!("{}/keys", by_id.to_uppercase())),
            (own(&by_id), format!("{by_id}/keys")),
            (
                own("https://login.contoso.com"),
                "https://login.contoso.com/keys".to_owned(),
            ),
        ];
        for (authority, address) in good {
            assert_eq!(
                authority.address(&address, tenant),
                Some(url(&address)),
                "{authority:?}"
            );
        }
        let bad = [
            (own(by_name), "https://fabrikam.ciamlogin.com/keys".to_owned()),
            (own(by_name), format!("https://{OTHER}.ciamlogin.com/keys")),
            (own(by_name), format!("http://{TENANT}.ciamlogin.com/keys")),
            (own(by_name), format!("https://{TENANT}.ciamlogin.com:8443/keys")),
            (own(by_name), format!("https://u:p@{TENANT}.ciamlogin.com/keys")),
            (
                own(by_name),
                format!("https://{TENANT}.ciamlogin.com.evil.example/keys"),
            ),
            (own(by_name), format!("https://{TENANT}.evilciamlogin.com/keys")),
            (own(by_name), "https://login.microsoftonline.com/keys".to_owned()),
            // Nobody else's authority leads there.
            (own("https://login.contoso.com"), format!("{by_id}/keys")),
            (own("https://contoso.evilciamlogin.com"), format!("{by_id}/keys")),
            (own("https://ciamlogin.com"), format!("{by_id}/keys")),
            (Authority::common(url(by_name)), format!("{by_id}/keys")),
            (
                Authority::common(url("https://login.microsoftonline.com")),
                format!("{by_id}/keys"),
            ),
        ];
        for (authority, address) in bad {
            assert_eq!(authority.address(&address, tenant), None, "{authority:?} {address}");
        }
    }
}
