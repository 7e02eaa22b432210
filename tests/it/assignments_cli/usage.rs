//! What is refused before anything is asked of ACS, and how the resource is chosen.

use azure_emulator::Endpoint;
use azure_emulator::scenario::{CONTOSO, CONTOSO_APP, FABRIKAM};
use serde_json::json;

use super::{Desk, KEY, NEW, OTHER_APP, user};
use crate::support::forge::ALEX;
use crate::support::process::Process;

#[tokio::test]
async fn usage_and_configuration() {
    let desk = Desk::open().await;
    let fabrikam = FABRIKAM.to_string();
    let bad = desk.write("bad.json", r#"{"assignments":[{"objectId":"alice"}]}"#);
    let foreign = desk.write("wanted.yaml", "assignments: []");
    let app = CONTOSO_APP.to_string();
    let mut contoso = user(ALEX, &[&app]);
    contoso["tenantId"] = json!(CONTOSO.to_string());
    let two = json!({"assignments": [user(ALEX, &[&app]), contoso]});
    let two = desk.write("two.json", &two.to_string());
    let set = |id, tenant, kind, client| {
        vec![
            "set",
            id,
            "--tenant-id",
            tenant,
            "--principal-type",
            kind,
            "--client-id",
            client,
        ]
    };
    for (arguments, said) in [
        (vec![], "Usage"),
        (vec!["show"], "show"),
        (vec!["get"], "OBJECT_ID"),
        (vec!["get", "alice"], "not a GUID"),
        (vec!["remove", "alice"], "not a GUID"),
        (set("alice", &fabrikam, "user", OTHER_APP), "not a GUID"),
        (set(NEW, "fabrikam.com", "user", OTHER_APP), "not a GUID"),
        (set(NEW, &fabrikam, "user", "app"), "not a GUID"),
        (set(NEW, &fabrikam, "device", OTHER_APP), "device"),
        (set(NEW, &fabrikam, "user", OTHER_APP)[..6].to_vec(), "--client-id"),
        (vec!["list", "--output", "yaml"], "yaml"),
        (vec!["list", "--resource", "emea"], "no resource of that name"),
        (vec!["apply"], "FILE"),
        (vec!["apply", &bad], "assignments[0].objectId: is not a GUID"),
        (vec!["apply", "/no/such/file.json"], "/no/such/file.json"),
        (vec!["diff", &bad], "assignments[0].objectId: is not a GUID"),
        (vec!["apply", &foreign], "must end in .toml or .json"),
        (vec!["apply", &two], "two tenants"),
    ] {
        let ended = desk.run(&arguments).await;
        assert_eq!(ended.code, Some(2), "{arguments:?} {ended:?}");
        assert!(ended.stderr.contains(said), "{arguments:?} {ended:?}");
        assert!(ended.stdout.is_empty(), "{arguments:?} {ended:?}");
    }
    let no_key = desk.run_with(&["list"], &[]).await;
    assert_eq!(no_key.code, Some(2), "{no_key:?}");
    assert!(no_key.stderr.contains("assignments.acs.access_key"), "{no_key:?}");
    let no_base64 = desk.run_with(&["list"], &[(KEY, "?")]).await;
    assert_eq!(no_base64.code, Some(2), "{no_base64:?}");
    let file = desk.write("key", "?\n");
    let environment = [("ACS_TOKEN_BROKER__ASSIGNMENTS__ACS__ACCESS_KEY_FILE", &*file)];
    for command in [&["list"][..], &["list", "--output", "json"]] {
        let ended = desk.run_with(command, &environment).await;
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains("not base64"), "{ended:?}");
    }
    let checked = Process::run(&["check-config", "--config", &desk.config], &environment).await;
    assert_eq!(checked.code, Some(2), "{checked:?}");
    assert!(
        checked
            .stderr
            .contains("assignments.acs.access_key_file: the access key is not base64"),
        "{checked:?}"
    );
    assert_eq!(desk.emulator.count(Endpoint::Assignments), 0);
    // The same key, good, from a file.
    desk.write("key", &format!("{}\n", desk.key));
    assert_eq!(desk.run_with(&["list"], &environment).await.code, Some(0));
    let checked = Process::run(&["check-config", "--config", &desk.config], &environment).await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    let nowhere = Process::run(&["assignments", "list", "--config", "/no/such/file.toml"], &[]).await;
    assert_eq!(nowhere.code, Some(2), "{nowhere:?}");
}

#[tokio::test]
async fn the_resource_is_chosen_by_name() {
    let desk = Desk::open().await;
    let origin = desk.emulator.origin();
    let key = desk.write("key", &desk.key);
    let resource = |name: &str, endpoint: &str, more: &str| {
        format!("[[resources]]\nname = \"{name}\"\nexchange = {{ endpoint = \"{endpoint}\" }}\n{more}")
    };
    let text = format!(
        "[entra]\nauthority = \"{origin}\"\ntenants = [{{ id = \"{FABRIKAM}\" }}]\n{}{}",
        resource(
            "emea",
            &origin,
            &format!("tenants = [\"{FABRIKAM}\"]\nassignments.acs.access_key_file = \"{key}\"\n")
        ),
        resource("apac", "http://127.0.0.1:1", "assignments.file = \"missing.json\"\n"),
    );
    let config = desk.write("several.toml", &text);
    for (more, code, said) in [
        (&[][..], 2, "emea, apac"),
        (&["--resource", "amer"], 2, "emea, apac"),
        (&["--resource", "apac"], 2, "resources[1].assignments.acs.access_key"),
        (&["--resource", "emea"], 0, ""),
    ] {
        let arguments = [&["assignments", "--config", &config, "list"], more].concat();
        let ended = Process::run(&arguments, &[]).await;
        assert_eq!(ended.code, Some(code), "{more:?} {ended:?}");
        assert!(ended.stderr.contains(said), "{more:?} {ended:?}");
    }
    // The files of every resource are looked into.
    desk.write("missing.json", "{}");
    let checked = Process::run(&["check-config", "--config", &config], &[]).await;
    assert_eq!(checked.code, Some(2), "{checked:?}");
    assert!(
        checked.stderr.contains("missing.json: file: has neither"),
        "{checked:?}"
    );
}

#[tokio::test]
async fn schema_is_the_committed_one() {
    let ended = Process::run(&["assignments", "schema"], &[]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/assignments.schema.json");
    assert_eq!(ended.stdout, std::fs::read_to_string(committed).unwrap());
}

#[tokio::test]
async fn bad_usage_is_one_json_value_too_for_who_asks_for_json() {
    for arguments in [
        &["assignments", "get", "zzz", "--output", "json"][..],
        &["assignments", "--output=json", "get"],
        &["assignments", "bogus", "--output", "json"],
    ] {
        let ended = Process::run(arguments, &[]).await;
        assert_eq!(ended.code, Some(2), "{ended:?}");
        let json: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(json["error"]["code"], "Usage", "{ended:?}");
        assert!(!ended.stderr.is_empty());
    }
    let help = Process::run(&["assignments", "--help", "--output", "json"], &[]).await;
    assert_eq!(help.code, Some(0), "{help:?}");
}
