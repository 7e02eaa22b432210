use super::{BACK, Fields, STEP_UP, refusal, sent_back, value};
use crate::tests::support::{Answer, claims, stage};

fn text(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    String::from_utf8(answer.body.clone()).unwrap()
}

#[tokio::test]
async fn the_page_offers_the_users_and_says_what_happens_to_each() {
    let stage = stage().await;
    let answer = stage.authorize("common", &[("prompt", ""), ("login_hint", "")]).await;
    let page = text(&answer);
    for (name, line) in [
        (
            "Adele Vance",
            "Gets a token: is in the assigned group Fabrikam Callers.",
        ),
        ("Alex Wilber", "Gets a token: has an assignment of their own."),
        ("Megan Bowen", "Is refused (403): no assignment covers this user."),
        (
            "Grady Archie",
            "Is refused (403): the group Fabrikam Marketing is not assigned.",
        ),
        ("Lidia Holloway", "one of more groups than a token can list."),
        (
            "Nestor Wilke",
            "is in Fabrikam Night Shift, which is a member of the assigned group Fabrikam Callers.",
        ),
        (
            "Joni Sherman",
            "On behalf of the user only after more proof, context c1 (AADSTS50076).",
        ),
        ("Diego Siciliani", "Gets a token: the whole tenant is assigned."),
    ] {
        let (_, rest) = page.split_once(name).unwrap_or_else(|| panic!("{name} is not offered"));
        assert!(rest.split_once("</button>").unwrap().0.contains(line), "{name}");
    }
    assert!(!page.contains("Contoso Nightly Job"));
    let policy = answer.header("content-security-policy").unwrap();
    for part in [
        "default-src 'none'",
        "frame-ancestors 'none'",
        "form-action 'self' http://localhost:3000",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains("script-src"), "{policy}");
    assert_eq!(answer.header("referrer-policy"), Some("same-origin"));
    assert_eq!(answer.header("x-frame-options"), Some("DENY"));
    // One tenant's users, and those of the domain that is hinted at.
    for (tenant, hint) in [("fabrikam.com", ""), ("common", "fabrikam.com")] {
        let changes = [("prompt", "select_account"), ("domain_hint", hint)];
        let page = text(&stage.authorize(tenant, &changes).await);
        assert!(page.contains("Adele Vance") && !page.contains("Diego Siciliani"));
    }
}

#[tokio::test]
async fn what_a_client_sends_stays_text() {
    let stage = stage().await;
    let evil = "\"><script>alert(1)</script>";
    let page = text(&stage.authorize("common", &[("prompt", "login"), ("state", evil)]).await);
    assert!(!page.contains("<script") && page.contains("&quot;&gt;&lt;script&gt;"));
    let posted = stage
        .authorize("common", &[("response_mode", "form_post"), ("state", evil)])
        .await;
    let page = text(&posted);
    assert_eq!(page.matches("<script").count(), 1);
    assert!(page.contains(&format!("action=\"{BACK}\"")) && page.contains("name=\"code\""));
    let policy = posted.header("content-security-policy").unwrap();
    assert!(policy.contains("script-src 'sha256-") && policy.contains("form-action http://localhost:3000"));
    // A silent sign-in may be framed.
    assert!(!policy.contains("frame-ancestors") && posted.header("x-frame-options").is_none());
}

#[tokio::test]
async fn a_chosen_user_is_sent_back() {
    let stage = stage().await;
    let choose = [("prompt", "select_account"), ("login_hint", ""), ("_user", "alex")];
    let code = sent_back(&stage.post_page(&choose).await);
    let body = stage.redeem("common", value(&code, "code").unwrap(), &[]).await.json();
    assert_eq!(
        claims(body["id_token"].as_str().unwrap())["preferred_username"],
        "alex@fabrikam.com"
    );
    for nobody in ["app-only", "who"] {
        let page = stage.post_page(&[("prompt", ""), ("_user", nobody)]).await;
        assert!(text(&page).contains("Choose who you are"));
    }
    // Only a form chooses: a link cannot.
    let page = stage.authorize("common", &[("prompt", ""), ("_user", "alex")]).await;
    assert!(text(&page).contains("Choose who you are"));
    let cancelled = stage.post_page(&[("prompt", ""), ("_cancel", "yes")]).await;
    assert_eq!(value(&sent_back(&cancelled), "error_subcode"), Some("cancel"));
    assert_eq!(
        refusal(&cancelled),
        ("access_denied".to_owned(), "AADSTS65004".to_owned())
    );
}

#[tokio::test]
async fn consent_more_proof_and_blocks_have_pages() {
    let stage = stage().await;
    let set = async |body: &str| stage.send("PUT", "/_emulator/users/joni", &[], body).await;
    set(r#"{"consent":"required"}"#).await;
    let joni: Fields<'_> = &[("prompt", ""), ("claims", STEP_UP), ("_user", "joni")];
    let with = |more: Fields<'static>| [joni, more].concat();
    let page = text(&stage.post_page(joni).await);
    assert!(page.contains("Permissions requested") && page.contains("https://communication.azure.com/clients/VoIP"));
    let page = text(&stage.post_page(&with(&[("_consent", "given")])).await);
    assert!(page.contains("More proof is needed") && page.contains("<code>c1</code>"));
    let returned = sent_back(
        &stage
            .post_page(&with(&[("_consent", "given"), ("_verified", "yes")]))
            .await,
    );
    let body = stage
        .redeem("common", value(&returned, "code").unwrap(), &[])
        .await
        .json();
    assert_eq!(claims(body["access_token"].as_str().unwrap())["acrs"][0], "c1");
    // It was given once and for all.
    let page = text(&stage.post_page(joni).await);
    assert!(page.contains("More proof is needed"));
    let again = [("prompt", "consent"), ("_user", "alex")];
    assert!(text(&stage.post_page(&again).await).contains("Permissions requested"));
    set(r#"{"conditional_access":"blocked"}"#).await;
    let page = text(&stage.post_page(joni).await);
    assert!(page.contains("AADSTS53003") && page.contains("Back to the application"));
}

#[tokio::test]
async fn logout_sends_back_to_this_machine_only() {
    let stage = stage().await;
    let get = async |query: &str| stage.get(&format!("/common/oauth2/v2.0/logout?{query}")).await;
    let answer = get("post_logout_redirect_uri=http://localhost:3000/bye&state=x%26y").await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (302, Some("http://localhost:3000/bye?state=x%26y"))
    );
    for query in ["", "post_logout_redirect_uri=https://evil.example/"] {
        let answer = get(query).await;
        assert!(text(&answer).contains("You signed out") && answer.header("location").is_none());
    }
    assert_eq!(stage.get("/nobody/oauth2/v2.0/logout").await.status, 400);
}
