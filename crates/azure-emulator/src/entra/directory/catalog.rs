//! The apps that service principals can stand for, with the permissions that they publish.
//!
//! Graph's ids are the real ones: <https://learn.microsoft.com/graph/permissions-reference>. Those of ACS's scopes are not
//! published, so that clients must look them up by name, as they should anyway.

use uuid::{Uuid, uuid};

use crate::entra::apis::{
    ACS_CLIENTS_APP, ACS_CLIENTS_URI, GRAPH_APP, GRAPH_URI, TEAMS_EXTENSION_APP, TEAMS_EXTENSION_URI,
};
use crate::jwt::sha256;
use crate::scenario::Scenario;

/// The APIs of ACS whose service principals and permissions users need.
pub(crate) const ACS_APPS: [Uuid; 2] = [ACS_CLIENTS_APP, TEAMS_EXTENSION_APP];
/// The tenant that owns Microsoft's own apps.
const MICROSOFT: Uuid = uuid!("f8cdef31-a31e-4b4a-93e4-5f571e91255a");

const ACS_CLIENTS_SCOPES: [&str; 5] = ["VoIP", "VoIP.Join", "Chat", "Chat.Join", "Chat.Join.Limited"];
const TEAMS_SCOPES: [&str; 3] = ["TeamsExtension.ManageCalls", "Teams.ManageCalls", "Teams.ManageChats"];

const GRAPH_ROLES: [(Uuid, &str); 11] = [
    (uuid!("9a5d68dd-52b0-4cc2-bd40-abcf44ac3a30"), "Application.Read.All"),
    (
        uuid!("1bfefb4e-e0b5-418b-a88f-73c46d2cc8e9"),
        "Application.ReadWrite.All",
    ),
    (
        uuid!("06b708a9-e830-4db3-a914-8e69da51d44f"),
        "AppRoleAssignment.ReadWrite.All",
    ),
    (
        uuid!("8e8e4742-1d95-4f68-9d56-6ee75648c72a"),
        "DelegatedPermissionGrant.ReadWrite.All",
    ),
    (uuid!("7ab1d382-f21e-4acd-a863-ba3e13f7da61"), "Directory.Read.All"),
    (uuid!("19dbc75e-c2e2-444c-a770-ec69d8559fc7"), "Directory.ReadWrite.All"),
    (uuid!("5b567255-7703-4780-807c-7be8301ae99b"), "Group.Read.All"),
    (uuid!("98830695-27a2-44f7-8c18-0c3ebc9698f6"), "GroupMember.Read.All"),
    (
        uuid!("e2f98668-2877-4f38-a2f4-8202e0717aa1"),
        "LicenseAssignment.Read.All",
    ),
    (uuid!("498476ce-e0fe-48b0-b801-37ba7e2685c6"), "Organization.Read.All"),
    (uuid!("df021288-bdef-4463-88db-98f22de89214"), "User.Read.All"),
];
const GRAPH_SCOPES: [(Uuid, &str); 4] = [
    (uuid!("e1fe6dd8-ba31-4d61-89e7-88639da4683d"), "User.Read"),
    (uuid!("37f7f235-527c-4136-accd-4a02d197296e"), "openid"),
    (uuid!("14dad69e-099b-42c9-810b-d002981feec1"), "profile"),
    (uuid!("7427e0e9-2fba-42fe-b0c0-848c9e6a8182"), "offline_access"),
];

/// An app.
#[derive(Debug, Clone)]
pub(crate) struct KnownApp {
    pub(crate) app_id: Uuid,
    pub(crate) name: String,
    /// The tenant that owns it.
    pub(crate) owner: Uuid,
    /// Its App ID URIs.
    pub(crate) uris: Vec<String>,
    /// Delegated permissions.
    pub(crate) scopes: Vec<Permission>,
    /// Application permissions.
    pub(crate) roles: Vec<Permission>,
    pub(crate) is_managed_identity: bool,
}

/// A permission that an app publishes.
#[derive(Debug, Clone)]
pub(crate) struct Permission {
    pub(crate) id: Uuid,
    pub(crate) value: String,
}

impl KnownApp {
    /// The id of a delegated permission.
    pub(crate) fn scope_id(&self, value: &str) -> Option<Uuid> {
        self.scopes
            .iter()
            .find(|scope| scope.value == value)
            .map(|scope| scope.id)
    }

    /// The id of an application permission.
    pub(crate) fn role_id(&self, value: &str) -> Option<Uuid> {
        self.roles.iter().find(|role| role.value == value).map(|role| role.id)
    }
}

/// Every app that the scenario and ACS know.
pub(super) fn catalog(scenario: &Scenario) -> Vec<KnownApp> {
    let home = scenario.resource.tenant_id;
    let (client, api, identity) = (&scenario.client_app, &scenario.api_app, &scenario.managed_identity);
    let app = |app_id: Uuid, name: &str, owner: Uuid, uri: &str, scopes: &[&str]| KnownApp {
        app_id,
        name: name.to_owned(),
        owner,
        uris: vec![uri.to_owned()],
        scopes: scopes.iter().map(|scope| named(app_id, scope)).collect(),
        roles: Vec::new(),
        is_managed_identity: false,
    };
    let listed = |pairs: &[(Uuid, &str)]| -> Vec<Permission> {
        let permission = |(id, value): &(Uuid, &str)| Permission {
            id: *id,
            value: (*value).to_owned(),
        };
        pairs.iter().map(permission).collect()
    };
    let api_scopes: Vec<&str> = api.scopes.iter().map(String::as_str).collect();
    vec![
        app(
            ACS_CLIENTS_APP,
            "Azure Communication Services Clients",
            MICROSOFT,
            ACS_CLIENTS_URI,
            &ACS_CLIENTS_SCOPES,
        ),
        app(
            TEAMS_EXTENSION_APP,
            "Azure Communication Services",
            MICROSOFT,
            TEAMS_EXTENSION_URI,
            &TEAMS_SCOPES,
        ),
        KnownApp {
            scopes: listed(&GRAPH_SCOPES),
            roles: listed(&GRAPH_ROLES),
            ..app(GRAPH_APP, "Microsoft Graph", MICROSOFT, GRAPH_URI, &[])
        },
        app(
            client.client_id,
            &client.name,
            home,
            &format!("api://{}", client.client_id),
            &["access_as_user"],
        ),
        app(api.client_id, &api.name, home, &api.app_id_uri, &api_scopes),
        KnownApp {
            is_managed_identity: true,
            ..app(identity.client_id, &identity.name, identity.tenant_id, "", &[])
        },
    ]
}

fn named(app_id: Uuid, value: &str) -> Permission {
    Permission {
        id: derived_id(&format!("scope\n{app_id}\n{value}")),
        value: value.to_owned(),
    }
}

/// The object id of an app's service principal: another one in each tenant, and always the same.
pub(crate) fn service_principal_id(app_id: Uuid, tenant: Uuid) -> Uuid {
    derived_id(&format!("service principal\n{app_id}\n{tenant}"))
}

/// An id that is always the same for a text.
pub(super) fn derived_id(text: &str) -> Uuid {
    let bytes = sha256(text.as_bytes()).first_chunk::<16>().copied().unwrap_or_default();
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}
