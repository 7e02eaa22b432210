//! Whether the token is what Entra signed: its form, its algorithm, its tenant, its key, its signature.

use base::ids::TenantId;
use base::untrusted::Untrusted;

use super::super::super::check::{Check, CheckId, Who};
use super::{Claims, Seen, TokenLook, gate, listing};

impl TokenLook<'_> {
    /// One of the gates up to the signature.
    pub(super) fn until_signature(&self, id: CheckId) -> Check {
        let refused = match &self.seen {
            Seen::Refused(rejection) if gate(rejection) == id => Some(rejection.to_string()),
            _ => None,
        };
        let claims = self.claims.as_ref();
        match id {
            CheckId::TokenWellFormed => match (refused, claims) {
                (None, Some(_)) => Check::pass(id, "the token is a signed JWT in three parts"),
                (refused, _) => Check::fail(
                    id,
                    Who::Developer,
                    refused.unwrap_or_else(|| "not a signed JWT in three parts".to_owned()),
                    "send the access token as Entra issued it: not an ID token in another form, not cut, without `Bearer `",
                ),
            },
            CheckId::TokenAlgorithm => {
                let algorithm = claims.map_or("", Claims::algorithm);
                if algorithm == "RS256" && refused.is_none() {
                    Check::pass(id, "the token is signed with RS256")
                } else {
                    Check::fail(
                        id,
                        Who::Developer,
                        format!("`alg` is `{}`; RS256 alone is accepted", Untrusted::new(algorithm)),
                        "send an access token that Entra issued",
                    )
                }
            }
            CheckId::TokenTenant => self.tenant(claims.and_then(|claims| claims.text("tid")).unwrap_or_default()),
            CheckId::TokenKey => match (refused, &self.seen) {
                (Some(why), _) => Check::fail(
                    id,
                    Who::Operator,
                    why,
                    "see entra.keys; if the app has signing keys of its own (claims mapping), set the tenant's app_id_for_keys",
                ),
                (None, Seen::KeyNotLookedFor) => Check::skip(id, "keys are not fetched offline"),
                (None, _) => Check::pass(
                    id,
                    format!(
                        "the tenant publishes key `{}`",
                        Untrusted::new(claims.map_or("", Claims::kid))
                    ),
                ),
            },
            _ => match (refused, &self.seen) {
                (Some(why), _) => Check::fail(
                    id,
                    Who::Developer,
                    why,
                    "send the token unchanged; one for Microsoft Graph cannot be verified by anyone else",
                ),
                (None, Seen::KeyNotLookedFor) => Check::skip(id, "the signature is not verified offline"),
                (None, _) => Check::pass(id, "the signature verifies"),
            },
        }
    }

    fn tenant(&self, tid: &str) -> Check {
        let id = CheckId::TokenTenant;
        let tenants = &self.config.entra.tenants;
        let listed = tid
            .parse::<TenantId>()
            .ok()
            .and_then(|tid| tenants.iter().find(|tenant| tenant.id == tid));
        match listed {
            Some(tenant) => Check::pass(id, format!("`tid` is {}, which is listed", tenant.id)).about(tenant.id),
            None => Check::fail(
                id,
                Who::Operator,
                format!(
                    "`tid` is `{}`; [[entra.tenants]] lists {}",
                    Untrusted::new(tid),
                    listing(tenants.iter().map(|tenant| tenant.id.to_string()))
                ),
                "list the tenant under [[entra.tenants]] if its users shall be served",
            ),
        }
    }
}
