//! What the broker asks of ACS in its own name: the emulated ACS verifies each signature by a reading of its own.

use std::sync::Arc;
use std::time::Duration;

use azure::Upstream;
use azure::acs::read_grant;
use azure::acs_assignments::{AcsAssignments, AssignmentPatch, AssignmentsError, EntraAssignment, PrincipalType, Put};
use azure::acs_identities::{AcsIdentities, IdentityRequest, is_grant};
use azure::acs_signing::{AcsAuth, Refused, SignedAcs};
use azure::credential::ReloadingSecret;
use azure_emulator::scenario::{CONTOSO_APP, FABRIKAM};
use azure_emulator::{Emulator, Endpoint};
use base::clock::SharedClock;
use config::{IdentityScope, NoProxy, SecretSource, UpstreamConfig};
use tokio::time::Instant;
use url::Url;

use crate::support::forge::ALEX;
use crate::support::stack::{API_VERSION, clock, emulator};

const LIMIT: Duration = Duration::from_secs(5);

fn signed(clock: &SharedClock, key: &str) -> SignedAcs {
    let config = UpstreamConfig {
        ca_file: None,
        proxy: None,
        environment_proxy: None,
        no_proxy: NoProxy::default(),
        max_response_bytes: 1 << 20,
        breaker: None,
    };
    let key = ReloadingSecret::new(SecretSource::Value(key.into()), Arc::clone(clock));
    let upstream = Upstream::new(&config, LIMIT).unwrap();
    SignedAcs::new(upstream, AcsAuth::AccessKey(Arc::new(key)), Arc::clone(clock))
}

async fn start() -> (Emulator, SharedClock, Url) {
    let clock = clock();
    let emulator = emulator(&clock).await;
    let endpoint = Url::parse(&emulator.origin()).unwrap();
    (emulator, clock, endpoint)
}

#[tokio::test]
async fn an_identity_with_a_token() {
    let (emulator, clock, endpoint) = start().await;
    let key = emulator.expected_access_key();
    let ask = async |key: &str, api_version: &str, custom_id: &str| {
        let identities = AcsIdentities::new(signed(&clock, key), &endpoint, api_version);
        let request = IdentityRequest {
            custom_id,
            scopes: &[IdentityScope::Chat, IdentityScope::VoipJoin],
            expires_in_minutes: 60,
        };
        identities
            .send(request, Refused::Keep, Instant::now() + LIMIT)
            .await
            .unwrap()
    };
    let first = ask(&key, API_VERSION, "fabrikam/alex").await;
    assert_eq!(first.status.as_u16(), 201);
    let granted = read_grant(&first).unwrap();
    assert_eq!((granted.expires_on - clock.now()).as_secs(), 3600);
    // The same custom id is the same identity; another is another's.
    let again = ask(&key, API_VERSION, "fabrikam/alex").await;
    assert_eq!(again.status.as_u16(), 200);
    assert_eq!(read_grant(&again).unwrap().identity_id, granted.identity_id);
    let other = read_grant(&ask(&key, API_VERSION, "fabrikam/adele").await).unwrap();
    assert_ne!(other.identity_id, granted.identity_id);
    for (key, api_version, status) in [("QW5vdGhlcg==", API_VERSION, 401), (&*key, "2025-06-30", 400)] {
        let refused = ask(key, api_version, "fabrikam/alex").await;
        assert_eq!(refused.status.as_u16(), status);
        assert!(!is_grant(refused.status));
    }
}

#[tokio::test]
async fn each_operation_on_assignments() {
    let (emulator, clock, endpoint) = start().await;
    let client = |key: &str| AcsAssignments::new(signed(&clock, key), &endpoint, API_VERSION, LIMIT);
    let acs = client(&emulator.expected_access_key());
    let alex = ALEX.parse().unwrap();
    let new = EntraAssignment {
        object_id: "0ca11e60-0000-4000-8000-0000000000aa".parse().unwrap(),
        tenant_id: FABRIKAM.to_string().parse().unwrap(),
        principal_type: PrincipalType::Group,
        client_ids: vec![CONTOSO_APP.to_string().parse().unwrap()],
    };
    assert_eq!(acs.get(new.object_id).await, Err(AssignmentsError::NotFound));
    assert_eq!(acs.put(&new).await, Ok((new.clone(), Put::Created)));
    assert_eq!(acs.put(&new).await, Ok((new.clone(), Put::Replaced)));
    assert_eq!(acs.get(new.object_id).await, Ok(new.clone()));
    assert_eq!(acs.list().await.unwrap().len(), emulator.assignments().len());
    assert_eq!(acs.delete(new.object_id).await, Ok(()));

    // All of it in one call; removing alone is answered without a body.
    let patch = AssignmentPatch::from([(new.object_id, Some(new.clone())), (alex, None)]);
    assert_eq!(acs.patch(&patch).await, Ok(()));
    assert_eq!(acs.get(new.object_id).await, Ok(new.clone()));
    assert_eq!(acs.get(alex).await, Err(AssignmentsError::NotFound));
    assert_eq!(acs.patch(&AssignmentPatch::from([(new.object_id, None)])).await, Ok(()));
    assert_eq!(acs.get(new.object_id).await, Err(AssignmentsError::NotFound));

    let before = emulator.count(Endpoint::Assignments);
    let stranger = client("QW5vdGhlcg==").list().await;
    assert!(
        matches!(stranger, Err(AssignmentsError::Refused { .. })),
        "{stranger:?}"
    );
    // A refused key is not tried twice, and one that is none is not tried at all.
    assert!(matches!(client("?").list().await, Err(AssignmentsError::AccessKey(_))));
    assert_eq!(emulator.count(Endpoint::Assignments), before + 1);
}
