//! Consent: an address, and a text to send. It is never given here.

use std::collections::BTreeSet;

use base::ids::{ClientAppId, ObjectId, TenantId};
use config::Config;

use super::super::needs::{AcsApi, AppNeed, Needs};
use super::super::rules::entra::consent_url;
use super::super::rules::graph::{Consent, Looked, TenantGraph, consent_of, own_api_consent_of};
use super::{Action, Step};

/// The consent to permissions of an API of ACS's that is missing.
pub(super) fn consent(
    config: &Config,
    needs: &Needs,
    app: ClientAppId,
    (api, scopes): (AcsApi, &BTreeSet<String>),
    tenant: &TenantGraph,
) -> Option<Step> {
    let seen = seen(&consent_of(app, (api, scopes), tenant))?;
    let groups: Vec<String> = needs
        .groups
        .iter()
        .filter(|_| api == AcsApi::Clients)
        .filter(|(group, of)| **of == tenant.tenant && !is_assigned(**group, tenant))
        .map(|(group, _)| group.to_string())
        .collect();
    let asks = format!(
        "It asks for these delegated permissions of \"{}\":\n\
         {}. They let it make calls in the name of a user who has signed in, and nothing else.",
        api.name(),
        names(scopes)
    );
    let url = consent_url(config, tenant.tenant, app);
    let text = message(app, tenant.tenant, &asks, url.as_str(), &groups);
    Some(step(app, tenant, seen, text, url.as_str()))
}

/// The consents to permissions of the broker's own APIs that are missing. An API comes to a tenant by a consent to its own
/// application: the broker's, which therefore comes first.
pub(super) fn own_api_consents(config: &Config, needs: &Needs, tenants: &[TenantGraph]) -> Vec<Step> {
    let (mut apis, mut clients) = (BTreeSet::new(), Vec::new());
    for tenant in tenants {
        for (app, need) in needs
            .apps
            .iter()
            .filter(|(_, need)| need.tenants.contains(&tenant.tenant))
        {
            for (api, scopes) in &need.apis {
                let known = own_api_consent_of(*app, (*api, scopes), tenant, tenants);
                let Some(seen) = seen(&known) else { continue };
                // An app with permissions of ACS has a step for them.
                let has_own_step = needs.apps.get(api).is_some_and(AppNeed::is_client);
                if matches!(known, Ok(Consent::NoApi)) && !has_own_step {
                    apis.insert((tenant.tenant, *api));
                }
                let asks = format!(
                    "It asks for this delegated permission of our service {api}: {}. It lets it call that service in the\n\
                     name of a user who has signed in, and nothing else.",
                    names(scopes)
                );
                let url = consent_url(config, tenant.tenant, *app);
                let text = message(*app, tenant.tenant, &asks, url.as_str(), &[]);
                clients.push(step(*app, tenant, seen, text, url.as_str()));
            }
        }
    }
    let of_tenant = |id: TenantId| tenants.iter().find(move |tenant| tenant.tenant == id);
    let apis = apis.into_iter().filter_map(|(id, api)| {
        let asks = "It is the service that the application calls. It asks for nothing itself.";
        let url = consent_url(config, id, api);
        let text = message(api, id, asks, url.as_str(), &[]);
        Some(step(
            api,
            of_tenant(id)?,
            "the tenant does not know it",
            text,
            url.as_str(),
        ))
    });
    apis.chain(clients).collect()
}

/// How the consent stands, if it is missing.
fn seen(known: &Looked<Consent>) -> Option<&'static str> {
    Some(match known {
        Ok(Consent::Everyone | Consent::PreAuthorized) => return None,
        Ok(Consent::SomeUsers) => "only single users consented so far",
        Ok(Consent::Missing | Consent::MissingUnlessPreAuthorized | Consent::NoApi) => "there is none so far",
        Err(_) => "whether it is done could not be looked up",
    })
}

fn step(app: ClientAppId, tenant: &TenantGraph, seen: &str, message: String, url: &str) -> Step {
    let who = tenant.administrator(app);
    let summary = format!(
        "an administrator of tenant {} consents to app {app} ({seen})",
        tenant.tenant
    );
    let mut step = Step::new("graph.consent", tenant.tenant, who, Action::None, summary);
    step.message = Some(message);
    step.url = Some(url.to_owned());
    step
}

fn names(scopes: &BTreeSet<String>) -> String {
    scopes.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn is_assigned(group: ObjectId, tenant: &TenantGraph) -> bool {
    matches!(&tenant.assigned, Ok(assigned) if assigned.iter().any(|each| each.principal_id == group))
}

/// A text for the administrator of the other company, ready to be sent. `asks` says what the app asks for.
pub(super) fn message(app: ClientAppId, tenant: TenantId, asks: &str, url: &str, groups: &[String]) -> String {
    let mut text = format!(
        "Hello,\n\nfor your users to make calls with our application, an administrator of your Microsoft Entra tenant\n\
         {tenant} (Global, Application or Cloud Application Administrator) has to consent to it once:\n\n  {url}\n\n\
         The application's id is {app}. {asks}\n"
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
