//! How old the keys are and what the assignments hold.

use azure_emulator::scenario::{CONTOSO, FABRIKAM};
use azure_emulator::{Endpoint, Fault};

use super::{AUTHENTICATION, CALLS, REFRESHES, assert_sum, scrape};
use crate::support::eventually;
use crate::support::stack::Stack;

#[tokio::test]
async fn keys_are_fetched_grow_old_and_are_rotated() {
    let stack = Stack::start().await;
    let (contoso, fabrikam) = (CONTOSO.to_string(), FABRIKAM.to_string());
    let of = |tenant: &'static str, cause, outcome| {
        [
            ("acs_broker_tenant_id", tenant),
            ("acs_broker_jwks_cause", cause),
            ("acs_broker_outcome", outcome),
        ]
    };
    let (contoso, fabrikam): (&'static str, &'static str) = (contoso.leak(), fabrikam.leak());
    let scraped = scrape(&stack).await;
    for tenant in [contoso, fabrikam] {
        assert_sum(&scraped, REFRESHES, &of(tenant, "schedule", "good"), 1.0);
        assert_sum(&scraped, REFRESHES, &of(tenant, "unknown_kid", "failed"), 0.0);
        assert_sum(
            &scraped,
            "acs_broker_jwks_age_seconds",
            &[("acs_broker_tenant_id", tenant)],
            0.0,
        );
        assert_sum(
            &scraped,
            "acs_broker_jwks_usable",
            &[("acs_broker_tenant_id", tenant)],
            1.0,
        );
    }
    assert_sum(&scraped, "acs_broker_ready", &[], 1.0);
    stack.advance(40);
    stack.emulator.rotate_keys(Some("Fabrikam")).unwrap();
    assert_eq!(stack.user("alex").post().await.outcome(), "200");
    let scraped = scrape(&stack).await;
    assert_sum(&scraped, REFRESHES, &of(fabrikam, "unknown_kid", "good"), 1.0);
    assert_sum(
        &scraped,
        "acs_broker_jwks_age_seconds",
        &[("acs_broker_tenant_id", fabrikam)],
        0.0,
    );
    assert_sum(
        &scraped,
        "acs_broker_jwks_age_seconds",
        &[("acs_broker_tenant_id", contoso)],
        40.0,
    );
    assert_sum(
        &scraped,
        CALLS,
        &[
            ("acs_broker_upstream", "entra_keys"),
            ("http_response_status_code", "200"),
        ],
        9.0,
    );
    // Entra is away: an unknown key cannot be decided about, and in the end the old ones count no longer.
    stack.advance(40);
    stack.fault(Endpoint::Keys, Fault::status(500));
    stack.emulator.rotate_keys(Some("Fabrikam")).unwrap();
    assert_eq!(stack.user("alex").post().await.outcome(), "503 KeysUnavailable");
    stack.advance(25 * 3600);
    let scraped = scrape(&stack).await;
    assert_sum(&scraped, REFRESHES, &of(fabrikam, "unknown_kid", "failed"), 1.0);
    let undecided = [
        ("acs_broker_outcome", "undecided"),
        ("acs_broker_reason", "KeysUnavailable"),
    ];
    assert_sum(&scraped, AUTHENTICATION, &undecided, 1.0);
    assert_sum(
        &scraped,
        "acs_broker_jwks_usable",
        &[("acs_broker_tenant_id", fabrikam)],
        0.0,
    );
    assert_sum(&scraped, "acs_broker_ready", &[], 0.0);
}

#[tokio::test]
async fn assignments_are_counted_anew_when_the_file_changes() {
    let stack = Stack::start().await;
    let file = [
        ("acs_broker_resource_name", "default"),
        ("acs_broker_assignments_source", "file"),
    ];
    let entries = async || scrape(&stack).await.sum("acs_broker_assignments_entries", &file);
    assert!((entries().await - 3.0).abs() < 1e-9);
    stack.write_assignments(&stack.demo_assignments_without(&[CONTOSO]));
    eventually("two are left", async || (entries().await - 2.0).abs() < 1e-9).await;
    assert_sum(&scrape(&stack).await, "acs_broker_assignments_failing", &file, 0.0);
    stack.write_assignments("no TOML");
    eventually("it fails", async || {
        scrape(&stack).await.sum("acs_broker_assignments_failing", &file) > 0.5
    })
    .await;
    stack.advance(60);
    let scraped = scrape(&stack).await;
    assert_sum(&scraped, "acs_broker_assignments_entries", &file, 2.0);
    assert!(scraped.sum("acs_broker_assignments_age_seconds", &file) >= 60.0);
}
