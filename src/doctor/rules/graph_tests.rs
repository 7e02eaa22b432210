//! Each `graph.*` check as it passes and as it does not.

use azure::azure_error::AzureError;
use base::untrusted::Untrusted;
use config::load::{Environment, load};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::super::super::check::Status;
use super::super::super::needs::{ACS_CLIENTS, ACS_TEAMS, AppNeed};
use super::*;

const CONTOSO: &str = "11111111-0000-4000-8000-00000000000c";
const FABRIKAM: &str = "11111111-0000-4000-8000-00000000000f";
const APP: &str = "22222222-0000-4000-8000-000000000001";
const GROUP: &str = "33333333-0000-4000-8000-000000000001";
const APP_PRINCIPAL: &str = "44444444-0000-4000-8000-000000000001";
const ACS_PRINCIPAL: &str = "44444444-0000-4000-8000-000000000002";

fn read<T: DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn config() -> Config {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broker.toml");
    let text = format!(
        "entra.tenants = [{{ id = \"{CONTOSO}\" }}, {{ id = \"{FABRIKAM}\" }}]\nassignments.file = \"assignments.toml\"\n\
         exchange.endpoint = \"https://contoso.communication.azure.com\"\n"
    );
    std::fs::write(&file, text).unwrap();
    load(Some(&file), &Environment::default()).unwrap().config
}

fn needs() -> Needs {
    let need = AppNeed {
        tenants: [FABRIKAM.parse().unwrap()].into(),
        scopes: ["VoIP".to_owned(), "VoIP.Join".to_owned()].into(),
        signs_in: true,
        ..AppNeed::default()
    };
    Needs {
        apps: [(APP.parse().unwrap(), need)].into(),
        groups: [(GROUP.parse().unwrap(), FABRIKAM.parse().unwrap())].into(),
    }
}

fn application() -> Application {
    read(
        json!({"id": "55555555-0000-4000-8000-000000000001", "appId": APP, "signInAudience": "AzureADMultipleOrgs",
        "spa": {"redirectUris": ["https://app.contoso.com"]},
        "requiredResourceAccess": [{"resourceAppId": ACS_CLIENTS, "resourceAccess": [{"id": "v", "type": "Scope"}]}]}),
    )
}

fn tenant(id: &str, is_home: bool) -> TenantGraph {
    let app: ClientAppId = APP.parse().unwrap();
    TenantGraph {
        tenant: id.parse().unwrap(),
        token: TokenLook::Have("a token"),
        acs_clients: Ok(Some(read(json!({"id": ACS_PRINCIPAL, "appId": ACS_CLIENTS,
            "oauth2PermissionScopes": [{"id": "v", "value": "VoIP"}, {"id": "j", "value": "VoIP.Join"}]})))),
        acs_teams: Err(Missed::NotAsked("not needed".to_owned())),
        assigned: Ok(vec![read(json!({"principalId": GROUP}))]),
        registrations: [(app, Ok(is_home.then(application)))].into(),
        principals: [(
            app,
            Ok(Some(read(
                json!({"id": APP_PRINCIPAL, "appId": APP, "appOwnerOrganizationId": CONTOSO}),
            ))),
        )]
        .into(),
        grants: [(
            app,
            Ok(vec![read(
                json!({"clientId": APP_PRINCIPAL, "consentType": "AllPrincipals",
            "resourceId": ACS_PRINCIPAL, "scope": "VoIP openid"}),
            )]),
        )]
        .into(),
        groups: [(GROUP.parse().unwrap(), Ok(Some(read(json!({"id": GROUP})))))].into(),
        nested: [(GROUP.parse().unwrap(), Ok(false))].into(),
        skus: Ok(vec![read(
            json!({"capabilityStatus": "Enabled", "servicePlans": [{"servicePlanName": "AAD_PREMIUM"}]}),
        )]),
    }
}

fn world() -> [TenantGraph; 2] {
    [tenant(CONTOSO, true), tenant(FABRIKAM, false)]
}

fn checked(tenants: &[TenantGraph]) -> Vec<Check> {
    let checks = checks(&config(), &needs(), tenants);
    for check in &checks {
        if check.status == Status::Fail {
            assert!(check.fix.is_some() && check.who.is_some(), "{check:?}");
        }
    }
    checks
}

/// The one check of that id and tenant or group that `change` brings about.
fn after(id: CheckId, change: impl FnOnce(&mut [TenantGraph; 2])) -> Check {
    let mut world = world();
    change(&mut world);
    let mut found = checked(&world).into_iter().filter(|check| check.id == id);
    let worst = |status| matches!(status, Status::Fail | Status::Warn | Status::Skip);
    let first = found.next().unwrap();
    std::iter::once(first.clone())
        .chain(found)
        .find(|check| worst(check.status))
        .unwrap_or(first)
}

fn forbidden<T>() -> Looked<T> {
    Err(Missed::Failed(AdminError::Forbidden(Some(AzureError {
        code: Untrusted::new("Authorization_RequestDenied"),
        message: Untrusted::new("Insufficient privileges to complete the operation."),
    }))))
}

#[test]
fn a_good_world_passes() {
    let checks = checked(&world());
    assert!(checks.iter().all(|check| check.status == Status::Pass), "{checks:#?}");
    let ids: std::collections::BTreeSet<_> = checks.iter().map(|check| check.id).collect();
    let all = CheckId::ALL
        .iter()
        .copied()
        .filter(|id| id.name().starts_with("graph."));
    assert_eq!(ids, all.collect());
}

#[test]
fn each_step_that_is_missing_is_named_with_who_must_do_it() {
    let app: ClientAppId = APP.parse().unwrap();
    let group: ObjectId = GROUP.parse().unwrap();
    let registration = |world: &mut [TenantGraph; 2], change: fn(&mut Application)| {
        let mut registration = application();
        change(&mut registration);
        world[0].registrations.insert(app, Ok(Some(registration)));
    };
    let fails = [
        (
            after(CheckId::GraphAcsClientsPrincipal, |world| {
                world[0].acs_clients = Ok(None);
            }),
            Who::AppTenantAdmin,
            CONTOSO,
        ),
        (
            after(CheckId::GraphAcsClientsPrincipal, |world| {
                world[1].acs_clients = Ok(None);
            }),
            Who::UserTenantAdmin,
            FABRIKAM,
        ),
        (
            after(CheckId::GraphAppAccountType, |world| {
                registration(world, |app| app.sign_in_audience = Some("AzureADMyOrg".to_owned()));
            }),
            Who::AppTenantAdmin,
            CONTOSO,
        ),
        (
            after(CheckId::GraphAppPermissions, |world| {
                registration(world, |app| app.required_resource_access.clear());
            }),
            Who::AppTenantAdmin,
            CONTOSO,
        ),
        (
            after(CheckId::GraphConsent, |world| {
                world[1].grants.insert(app, Ok(Vec::new()));
            }),
            Who::UserTenantAdmin,
            FABRIKAM,
        ),
        (
            after(CheckId::GraphConsent, |world| {
                world[1].principals.insert(app, Ok(None));
            }),
            Who::UserTenantAdmin,
            FABRIKAM,
        ),
        (
            after(CheckId::GraphGroupExists, |world| {
                world[1].groups.insert(group, Ok(None));
            }),
            Who::Operator,
            GROUP,
        ),
        (
            after(CheckId::GraphGroupAssigned, |world| world[1].assigned = Ok(Vec::new())),
            Who::UserTenantAdmin,
            GROUP,
        ),
        (
            after(CheckId::GraphLicense, |world| world[1].skus = Ok(Vec::new())),
            Who::UserTenantAdmin,
            FABRIKAM,
        ),
        (
            after(CheckId::GraphToken, |world| {
                world[1].acs_clients = Err(Missed::Failed(AdminError::Unauthorized(None)));
            }),
            Who::Operator,
            FABRIKAM,
        ),
    ];
    for (check, who, subject) in fails {
        assert_eq!(check.status, Status::Fail, "{check:?}");
        assert_eq!(
            (check.who, check.subject.as_deref()),
            (Some(who), Some(subject)),
            "{check:?}"
        );
    }
}

#[test]
fn what_may_break_warns() {
    let app: ClientAppId = APP.parse().unwrap();
    let group: ObjectId = GROUP.parse().unwrap();
    for check in [
        after(CheckId::GraphAppRedirectUris, |world| {
            let mut registration = application();
            registration.spa = None;
            world[0].registrations.insert(app, Ok(Some(registration)));
        }),
        after(CheckId::GraphConsent, |world| {
            let one = json!({"clientId": APP_PRINCIPAL, "consentType": "Principal", "resourceId": ACS_PRINCIPAL, "scope": "VoIP"});
            world[1].grants.insert(app, Ok(vec![read(one)]));
        }),
        after(CheckId::GraphGroupAssigned, |world| {
            world[1].nested.insert(group, Ok(true));
        }),
        after(CheckId::GraphLicense, |world| {
            world[1].skus = Err(Missed::Failed(AdminError::Upstream(UpstreamFailure::Timeout)));
        }),
    ] {
        assert_eq!(check.status, Status::Warn, "{check:?}");
    }
}

#[test]
fn consent_to_something_else_is_none() {
    let app: ClientAppId = APP.parse().unwrap();
    for grant in [
        json!({"clientId": APP_PRINCIPAL, "consentType": "AllPrincipals", "resourceId": APP_PRINCIPAL, "scope": "VoIP"}),
        json!({"clientId": APP_PRINCIPAL, "consentType": "AllPrincipals", "resourceId": ACS_PRINCIPAL, "scope": "Chat"}),
    ] {
        let check = after(CheckId::GraphConsent, |world| {
            world[1].grants.insert(app, Ok(vec![read(grant)]));
        });
        assert_eq!(check.status, Status::Fail, "{check:?}");
    }
}

const API: &str = "22222222-0000-4000-8000-000000000002";
const API_PRINCIPAL: &str = "44444444-0000-4000-8000-000000000003";

/// `graph.consent` of an app that gets tokens for the broker's own API, which `change` finds consented to. Contoso is the
/// API's home.
fn own_api_consent(change: impl FnOnce(&mut [TenantGraph; 2])) -> Check {
    let (app, api): (ClientAppId, ClientAppId) = (APP.parse().unwrap(), API.parse().unwrap());
    let registration = json!({"id": "55555555-0000-4000-8000-000000000002", "appId": API,
        "api": {"oauth2PermissionScopes": [{"id": "a", "value": "access"}], "preAuthorizedApplications": []}});
    let mut world = world();
    for tenant in &mut world {
        let principal = json!({"id": API_PRINCIPAL, "appId": API, "appOwnerOrganizationId": CONTOSO});
        tenant.principals.insert(api, Ok(Some(read(principal))));
        tenant.registrations.insert(api, Ok(None));
        tenant
            .grants
            .insert(app, Ok(vec![read(grant("AllPrincipals", API_PRINCIPAL, "access"))]));
    }
    world[0].registrations.insert(api, Ok(Some(read(registration))));
    change(&mut world);
    let need = AppNeed {
        tenants: [FABRIKAM.parse().unwrap()].into(),
        signs_in: true,
        apis: [(api, ["access".to_owned()].into())].into(),
        ..AppNeed::default()
    };
    let needs = Needs {
        apps: [(app, need), (api, AppNeed::default())].into(),
        ..Needs::default()
    };
    let checks = checks(&config(), &needs, &world);
    let mut found = checks.into_iter().filter(|check| check.id == CheckId::GraphConsent);
    let check = found.next().unwrap();
    assert!(found.next().is_none());
    assert_eq!(check.subject.as_deref(), Some(FABRIKAM), "{check:?}");
    if check.status != Status::Skip {
        assert!(check.summary.contains(API) && check.summary.contains(APP), "{check:?}");
    }
    check
}

fn grant(kind: &str, resource: &str, scope: &str) -> serde_json::Value {
    json!({"clientId": APP_PRINCIPAL, "consentType": kind, "resourceId": resource, "scope": scope})
}

#[test]
fn the_consent_to_the_own_api_is_another_than_that_to_acs() {
    let (app, api): (ClientAppId, ClientAppId) = (APP.parse().unwrap(), API.parse().unwrap());
    let granted = |grant| {
        own_api_consent(|world| {
            world[1].grants.insert(app, Ok(vec![read(grant)]));
        })
    };
    let none = |world: &mut [TenantGraph; 2]| {
        world[1].grants.insert(app, Ok(Vec::new()));
    };
    assert_eq!(own_api_consent(|_| {}).status, Status::Pass);
    assert_eq!(
        granted(grant("Principal", API_PRINCIPAL, "access")).status,
        Status::Warn
    );
    for wrong in [
        grant("AllPrincipals", ACS_PRINCIPAL, "access"),
        grant("AllPrincipals", API_PRINCIPAL, "other"),
    ] {
        let check = granted(wrong);
        assert_eq!(
            (check.status, check.who),
            (Status::Fail, Some(Who::UserTenantAdmin)),
            "{check:?}"
        );
        assert!(
            check
                .fix
                .unwrap()
                .contains(&format!("/{FABRIKAM}/adminconsent?client_id={APP} and consents"))
        );
    }
    // The API comes first where the tenant does not know it.
    let check = own_api_consent(|world| {
        world[1].principals.insert(api, Ok(None));
    });
    assert_eq!(check.status, Status::Fail, "{check:?}");
    assert!(check.fix.unwrap().contains(&format!("client_id={API} and then ")));
    // Its registration can make the consent needless, and only a look at it can show that.
    let authorized = json!({"id": "55555555-0000-4000-8000-000000000002", "appId": API,
        "api": {"oauth2PermissionScopes": [{"id": "a", "value": "access"}],
            "preAuthorizedApplications": [{"appId": APP, "delegatedPermissionIds": ["a"]}]}});
    let check = own_api_consent(|world| {
        none(world);
        world[0].registrations.insert(api, Ok(Some(read(authorized))));
    });
    assert_eq!(check.status, Status::Pass, "{check:?}");
    let check = own_api_consent(|world| {
        none(world);
        world[0].registrations.insert(api, Ok(None));
    });
    assert_eq!(check.status, Status::Warn, "{check:?}");
    let check = own_api_consent(|world| {
        world[1].grants.insert(app, forbidden());
    });
    assert_eq!(check.status, Status::Skip, "{check:?}");
}

#[test]
fn a_permission_that_is_missing_is_named() {
    let app: ClientAppId = APP.parse().unwrap();
    let group: ObjectId = GROUP.parse().unwrap();
    for (check, permission) in [
        (
            after(CheckId::GraphAcsClientsPrincipal, |world| {
                world[1].acs_clients = forbidden();
            }),
            APPLICATIONS,
        ),
        (
            after(CheckId::GraphAppPermissions, |world| {
                world[0].registrations.insert(app, forbidden());
                world[1].registrations.insert(app, forbidden());
            }),
            "--graph-token-file",
        ),
        (
            after(CheckId::GraphConsent, |world| {
                world[1].grants.insert(app, forbidden());
            }),
            DIRECTORY,
        ),
        (
            after(CheckId::GraphGroupExists, |world| {
                world[1].groups.insert(group, forbidden());
            }),
            DIRECTORY,
        ),
        (
            after(CheckId::GraphGroupAssigned, |world| world[1].assigned = forbidden()),
            APPLICATIONS,
        ),
        (
            after(CheckId::GraphLicense, |world| world[1].skus = forbidden()),
            LICENSES,
        ),
    ] {
        assert_eq!(check.status, Status::Skip, "{check:?}");
        assert!(check.summary.contains(permission), "{check:?}");
    }
}

#[test]
fn an_app_of_elsewhere_is_looked_up_with_a_token_from_there() {
    let app: ClientAppId = APP.parse().unwrap();
    let check = after(CheckId::GraphAppPermissions, |world| {
        world[0]
            .registrations
            .insert(app, Err(Missed::NotAsked("x".to_owned())));
    });
    assert_eq!(check.status, Status::Skip);
    assert!(
        check.summary.contains(CONTOSO) && check.summary.contains("--graph-token-file"),
        "{check:?}"
    );
}

/// The same steps for the API of Teams users: another application, other permissions, and no group.
#[test]
fn teams_users_need_the_api_for_teams() {
    use CheckId::{GraphAcsClientsPrincipal as Principal, GraphAppPermissions as Permissions, GraphConsent};
    let app: ClientAppId = APP.parse().unwrap();
    let principal = "44444444-0000-4000-8000-000000000003";
    let need = AppNeed {
        tenants: [FABRIKAM.parse().unwrap()].into(),
        teams_scopes: ["Teams.ManageCalls".to_owned()].into(),
        signs_in: true,
        ..AppNeed::default()
    };
    let needs = Needs {
        apps: [(app, need)].into(),
        groups: BTreeMap::new(),
    };
    let mut world = world();
    for tenant in &mut world {
        tenant.acs_teams = Ok(Some(read(json!({"id": principal, "appId": ACS_TEAMS,
            "oauth2PermissionScopes": [{"id": "t", "value": "Teams.ManageCalls"}]}))));
    }
    let found = |world: &[TenantGraph]| -> Vec<(CheckId, Status)> {
        let checks = checks(&config(), &needs, world);
        let ids = [Principal, Permissions, GraphConsent];
        for check in &checks {
            let text = format!("{} {}", check.summary, check.fix.as_deref().unwrap_or_default());
            assert!(
                !text.contains(ACS_CLIENTS) && !text.contains("Services Clients"),
                "{text}"
            );
        }
        let wanted = checks.iter().filter(|check| ids.contains(&check.id));
        wanted.map(|check| (check.id, check.status)).collect()
    };
    // The permissions and the consent that are there are of ACS Clients.
    assert_eq!(
        found(&world),
        [
            (Principal, Status::Pass),
            (Principal, Status::Pass),
            (Permissions, Status::Fail),
            (GraphConsent, Status::Fail)
        ]
    );
    if let Some(Ok(Some(registration))) = world[0].registrations.get_mut(&app) {
        registration.required_resource_access =
            vec![json!({"resourceAppId": ACS_TEAMS, "resourceAccess": [{"id": "t", "type": "Scope"}]})];
    }
    let grant = json!({"clientId": APP_PRINCIPAL, "consentType": "AllPrincipals", "resourceId": principal,
        "scope": "Teams.ManageCalls"});
    world[1].grants.insert(app, Ok(vec![read(grant)]));
    world[0].acs_teams = Ok(None);
    assert_eq!(
        found(&world),
        [
            (Principal, Status::Fail),
            (Principal, Status::Pass),
            (Permissions, Status::Pass),
            (GraphConsent, Status::Pass)
        ]
    );
}
