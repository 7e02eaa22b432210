//! Where a challenge sends the client to sign its user in.
//!
//! Microsoft identity platform, "Claims challenges": with the common endpoint the realm is empty, otherwise it is the
//! tenant, which `authorization_uri` then contains.

use std::collections::HashMap;

use url::Url;

use base::ids::TenantId;

/// `realm` and `authorization_uri` of challenges, by tenant.
#[derive(Debug, Clone)]
pub struct SignIn {
    common: Box<str>,
    own: HashMap<TenantId, Box<str>>,
}

impl SignIn {
    /// At `authority` for all tenants but those with an authority of their own.
    #[must_use]
    pub fn new<'u>(authority: &Url, own: impl IntoIterator<Item = (TenantId, &'u Url)>) -> Self {
        let own = own.into_iter().map(|(tenant, authority)| {
            let text = parameters(&tenant.to_string(), authority, &tenant.to_string());
            (tenant, text)
        });
        Self {
            own: own.collect(),
            common: parameters("", authority, "common"),
        }
    }

    /// Both parameters, for a user of `tenant`.
    pub(super) fn parameters(&self, tenant: TenantId) -> &str {
        self.own.get(&tenant).unwrap_or(&self.common)
    }
}

fn parameters(realm: &str, authority: &Url, path_tenant: &str) -> Box<str> {
    let mut uri = authority.clone();
    uri.set_path(&format!("/{path_tenant}/oauth2/v2.0/authorize"));
    format!("realm=\"{realm}\", authorization_uri=\"{uri}\"").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_with_an_authority_of_its_own_is_signed_in_there() {
        let id = |text: &str| -> TenantId { text.parse().unwrap() };
        let (own, other) = (
            id("11111111-0000-4000-8000-00000000abcd"),
            id("11111111-0000-4000-8000-00000000ffff"),
        );
        let url = |text: &str| Url::parse(text).unwrap();
        let external = url("https://contoso.ciamlogin.com");
        let sign_in = SignIn::new(&url("https://login.microsoftonline.com"), [(own, &external)]);
        assert_eq!(
            sign_in.parameters(own),
            format!("realm=\"{own}\", authorization_uri=\"https://contoso.ciamlogin.com/{own}/oauth2/v2.0/authorize\"")
        );
        assert_eq!(
            sign_in.parameters(other),
            "realm=\"\", authorization_uri=\"https://login.microsoftonline.com/common/oauth2/v2.0/authorize\""
        );
    }
}
