//! `server.base_path`: all public paths stand below it, and nothing elsewhere.

use crate::support::http::Call;
use crate::support::observed::{exported_with, flushed, one, trace, traceparent};
use crate::support::otlp::attribute;
use crate::support::stack::{API_VERSION, Stack};

#[tokio::test]
async fn all_public_paths_stand_below_it_and_nothing_elsewhere() {
    let stack = Stack::builder()
        .set("server.base_path", "/team/broker")
        .set("server.cors.allowed_origins", "https://app.contoso.com")
        .start()
        .await;
    let token = stack.user("alex").token();
    let query = format!("?api-version={API_VERSION}");
    for (path, told) in [
        ("/team/broker/token", "200"),
        ("/team/broker/token?a=b", "200"),
        ("/team/broker/access/entra/:exchangeAccessToken", "200"),
        ("/team/broker//access/entra/%3aexchangeAccessToken", "200"),
        (
            "/team/broker/access/entra/:exchangeAccessToken?",
            "400 MissingApiVersionParameter",
        ),
        ("/team/broker/oauth2/token", "415 invalid_request UnsupportedMediaType"),
        ("/token", "404 NotFound"),
        ("//token", "404 NotFound"),
        ("/access/entra/:exchangeAccessToken", "404 NotFound"),
        ("//team/broker/token", "404 NotFound"),
        ("/team/broker//token", "404 NotFound"),
        ("/team/broker///access/entra/:exchangeAccessToken", "404 NotFound"),
        ("/team/broker", "404 NotFound"),
        ("/team/broker/", "404 NotFound"),
        ("/team/brokers/token", "404 NotFound"),
        ("/team/token", "404 NotFound"),
        ("/Team/broker/token", "404 NotFound"),
        ("/te%61m/broker/token", "404 NotFound"),
        ("/team/broker/team/broker/token", "404 NotFound"),
    ] {
        let query = if path.contains('?') || !path.contains("access") {
            ""
        } else {
            &query
        };
        let answer = Call::new("POST", stack.url(&format!("{path}{query}")))
            .bearer(&token)
            .send()
            .await;
        assert_eq!(answer.outcome(), told, "{path}");
    }
    let form = Call::new("POST", stack.url("/team/broker/oauth2/token"))
        .body("application/x-www-form-urlencoded", format!("grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token={token}&subject_token_type=urn:ietf:params:oauth:token-type:access_token"))
        .send()
        .await;
    assert_eq!((form.outcome().as_str(), form.cache()), ("200", "hit"));
    let get = Call::new("GET", stack.url("/team/broker/token")).send().await;
    assert_eq!(get.outcome(), "405 MethodNotAllowed");
    // A page may read the refusal of a path outside too.
    let outside = Call::new("POST", stack.url("/token"))
        .header("origin", "https://app.contoso.com")
        .send()
        .await;
    assert_eq!(
        outside.header("access-control-allow-origin"),
        Some("https://app.contoso.com")
    );
    // Routes have the same names as without it; the probes have no base path.
    let metrics = stack.probe("/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.body);
    assert!(metrics.contains("http_route=\"/access/entra/:exchangeAccessToken\""));
    assert!(
        metrics.contains("http_route=\"/token\"") && !metrics.contains("team/broker"),
        "{metrics}"
    );
    assert_eq!(stack.probe("/readyz").await.status, 200);
}

/// The route leaves it out, as routes are compared; the path is what was asked for.
#[tokio::test]
async fn traces_name_the_route_without_it() {
    let (broker, collector) = exported_with(&[("ACS_TOKEN_BROKER__SERVER__BASE_PATH", "/broker")]).await;
    let token = broker.token("alex");
    let call = broker.call("/broker/token").header("traceparent", &traceparent(1));
    assert_eq!(call.bearer(&token).send().await.outcome(), "200");
    let outside = broker.call("/token").header("traceparent", &traceparent(2));
    assert_eq!(outside.bearer(&token).send().await.outcome(), "404 NotFound");
    flushed(broker).await;
    let spans = collector.trace(&trace(1));
    let server = one(&spans, "POST /token");
    let of = |name: &str| attribute(server, name);
    assert_eq!(
        (of("http.route").as_deref(), of("url.path").as_deref()),
        (Some("/token"), Some("/broker/token"))
    );
    let spans = collector.trace(&trace(2));
    let server = one(&spans, "POST");
    assert_eq!(
        (attribute(server, "http.route"), attribute(server, "url.path")),
        (None, None)
    );
}
