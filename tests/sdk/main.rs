//! The official JavaScript SDKs as clients of the built binary, over https, as an application uses them; and what the
//! API description says, held against the answers of the running service.
//!
//! Needs Node.js and npm, and the npm registry when the packages are not installed yet.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod description;
mod dev;
mod http;
mod node;
mod openapi;

/// Only ACS knows that a group covers Adele: the token does not list groups.
#[test]
fn a_user_covered_by_a_group_gets_a_token() {
    node::run("credential.js", &["adele"]);
}

#[test]
fn a_user_with_their_own_assignment_gets_a_token() {
    node::run("credential.js", &["alex"]);
}

#[test]
fn a_user_of_an_assigned_tenant_gets_a_token() {
    node::run("credential.js", &["diego"]);
}

#[test]
fn an_unassigned_user_gets_the_reason() {
    node::run("refused.js", &["megan"]);
}

#[test]
fn the_scopes_asked_for_are_those_of_the_token() {
    node::run("scopes.js", &[]);
}

#[test]
fn a_second_credential_is_served_from_the_cache() {
    node::run("cached.js", &[]);
}

#[test]
fn the_identity_client_works_with_the_emulated_resource() {
    node::run("identity.js", &[]);
}

#[test]
fn the_identity_client_is_refused_with_another_key() {
    node::run("wrong-key.js", &[]);
}

#[test]
fn the_identity_client_works_with_an_entra_credential() {
    node::run("identity-entra.js", &[]);
}

#[test]
fn the_identity_client_exchanges_a_teams_users_token() {
    node::run("teams-user.js", &[]);
}

#[test]
fn msal_acts_on_behalf_of_users_and_for_itself() {
    node::run("msal.js", &[]);
}

#[test]
fn the_graph_client_does_an_administrators_steps() {
    node::run("graph.js", &[]);
}

#[test]
fn msal_signs_users_in() {
    node::run("sign-in.js", &[]);
}

#[test]
fn azure_identitys_credentials_get_tokens() {
    node::run("azure-identity.js", &[]);
}

#[test]
fn an_answer_before_the_body_was_sent_arrives() {
    node::run("early-answers.js", &[]);
    node::run_without_tls("early-answers.js");
}
