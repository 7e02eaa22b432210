//! Consent: an address, and a text to send. It is never given here.

use std::collections::BTreeSet;

use base::ids::{ClientAppId, ObjectId, TenantId};
use config::Config;

use super::super::check::Who;
use super::super::needs::{AcsApi, Needs};
use super::super::rules::entra::consent_url;
use super::super::rules::graph::{Consent, TenantGraph, consent_of};
use super::{Action, Step};

/// The consent that is missing.
pub(super) fn consent(
    config: &Config,
    needs: &Needs,
    (app, scopes, api): (ClientAppId, &BTreeSet<String>, AcsApi),
    tenant: &TenantGraph,
) -> Option<Step> {
    let known = consent_of(app, scopes, api, tenant);
    let seen = match known {
        Ok(Consent::Everyone) => return None,
        Ok(Consent::SomeUsers) => "only single users consented so far",
        Ok(Consent::Missing) => "there is none so far",
        Err(_) => "whether it is done could not be looked up",
    };
    let is_home = matches!(tenant.registrations.get(&app), Some(Ok(Some(_))));
    let url = consent_url(config, tenant.tenant, app);
    let groups: Vec<String> = needs
        .groups
        .iter()
        .filter(|_| api == AcsApi::Clients)
        .filter(|(group, of)| **of == tenant.tenant && !is_assigned(**group, tenant))
        .map(|(group, _)| group.to_string())
        .collect();
    let mut step = Step::new(
        "graph.consent",
        tenant.tenant,
        if is_home {
            Who::AppTenantAdmin
        } else {
            Who::UserTenantAdmin
        },
        Action::None,
        format!(
            "an administrator of tenant {} consents to app {app} ({seen})",
            tenant.tenant
        ),
    );
    step.message = Some(message(app, tenant.tenant, (scopes, api), url.as_str(), &groups));
    step.url = Some(url.into());
    Some(step)
}

fn is_assigned(group: ObjectId, tenant: &TenantGraph) -> bool {
    matches!(&tenant.assigned, Ok(assigned) if assigned.iter().any(|each| each.principal_id == group))
}

/// A text for the administrator of the other company, ready to be sent.
pub(super) fn message(
    app: ClientAppId,
    tenant: TenantId,
    (scopes, api): (&BTreeSet<String>, AcsApi),
    url: &str,
    groups: &[String],
) -> String {
    let name = api.name();
    let scopes = scopes.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let mut text = format!(
        "Hello,\n\nfor your users to make calls with our application, an administrator of your Microsoft Entra tenant\n\
         {tenant} (Global, Application or Cloud Application Administrator) has to consent to it once:\n\n  {url}\n\n\
         The application's id is {app}. It asks for these delegated permissions of \"{name}\":\n\
         {scopes}. They let it make calls in the name of a user who has signed in, and nothing else.\n"
    );
    if !groups.is_empty() {
        text.push_str(
            "\nThen, in the Entra admin center (https://entra.microsoft.com), under Enterprise applications, \"Azure\n\
             Communication Services Clients\", Users and groups, please add (this needs Entra ID P1 or P2):\n\n",
        );
        for group in groups {
            text.push_str("  group ");
            text.push_str(group);
            text.push('\n');
        }
    }
    text.push_str("\nThank you.");
    text
}
