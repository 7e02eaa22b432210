//! Logs: the same lines on standard output and over OTLP, with the ids of their trace; a level that can change.

use opentelemetry_proto::tonic::logs::v1::LogRecord;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::eventually;
use crate::support::http::{Call, read_to_end};
use crate::support::observed::{exported_with, flushed, lines, one, trace, traceparent};
use crate::support::otlp::{hex, text, value};
use crate::support::process::Served;

fn body(record: &LogRecord) -> String {
    record.body.as_ref().map(text).unwrap_or_default()
}

#[tokio::test]
async fn what_is_written_is_sent_too_and_tells_its_trace() {
    for sampler in ["always_on", "always_off"] {
        let verbose = ("ACS_TOKEN_BROKER__TELEMETRY__LOG_LEVEL", "trace,hyper=trace");
        let (served, collector) = exported_with(&[("OTEL_TRACES_SAMPLER", sampler), verbose]).await;
        let token = served.token_with_groups("grady");
        let call = served
            .call("/token")
            .bearer(&token)
            .header("traceparent", &traceparent(1));
        assert_eq!(call.send().await.outcome(), "403 NotAssigned/NoAssignment");
        let output = flushed(served).await.stdout;
        assert!(collector.bytes().contains("broker-under-test"));
        let logs = collector.logs();
        let (target, access) = logs.iter().find(|(_, record)| body(record) == "request").unwrap();
        assert_eq!(target, "acs_token_broker::api::layers");
        assert_eq!((access.severity_text.as_str(), access.severity_number), ("WARN", 13));
        assert_eq!(hex(&access.trace_id), trace(1));
        let line = lines(&output).find(|line| line["message"] == "request").unwrap();
        assert_eq!(line["span_id"], hex(&access.span_id));
        for name in [
            "http.request.method",
            "http.route",
            "acs_broker.error.code",
            "acs_broker.error.cause",
            "request_id",
        ] {
            assert_eq!(
                value(&access.attributes, name).as_deref(),
                line[name].as_str(),
                "{name}"
            );
        }
        assert_eq!(
            value(&access.attributes, "http.response.status_code").as_deref(),
            Some("403")
        );
        assert!(access.time_unix_nano > 1_700_000_000_000_000_000);
        assert_eq!(access.flags, u32::from(sampler == "always_on"));
        if sampler == "always_on" {
            assert_eq!(one(&collector.trace(&trace(1)), "POST /token").span_id, access.span_id);
        }
        // Nothing of the exporter's own, nor of any other crate: that would cause more to export.
        assert!(logs.iter().all(|(target, _)| target.starts_with("acs_token_broker")));
        // To the last line.
        assert!(logs.iter().any(|(_, record)| body(record) == "stopped"));
        let requests = |name: &str| lines(&output).filter(|line| line["message"] == name).count();
        assert_eq!(
            logs.iter().filter(|(_, record)| body(record) == "request").count(),
            requests("request")
        );
    }
}

#[tokio::test]
async fn logs_can_stay_here() {
    let (served, collector) = exported_with(&[("OTEL_LOGS_EXPORTER", "none")]).await;
    assert_eq!(served.post_token(&served.token("alex")).await.status, 200);
    flushed(served).await;
    assert!(collector.logs().is_empty() && !collector.spans().is_empty());
}

/// Whether a refused request is in the log.
async fn is_heard(served: &Served) -> bool {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1000);
    let n = COUNT.fetch_add(2, std::sync::atomic::Ordering::SeqCst);
    let call = served.call("/nowhere").header("traceparent", &traceparent(n));
    assert_eq!(call.send().await.status, 404);
    // Lines are written in order by a thread of their own. No level keeps an audit event out: what is not there before it
    // does not come any more.
    let call = served.call("/token").bearer(&served.token("alex"));
    let call = call.header("traceparent", &traceparent(n + 1));
    assert_eq!(call.send().await.status, 200);
    eventually("the audit event", async || {
        served.process.stdout().contains(&trace(n + 1))
    })
    .await;
    served.process.stdout().contains(&trace(n))
}

#[tokio::test]
async fn a_change_of_the_level_leaves_a_line() {
    let served = Served::start(None, &[]).await;
    for filter in [
        "off",
        "info",
        "error",
        "off",
        "acs_token_broker[{a=\"\u{202e}\"}]=trace",
    ] {
        let call = Call::new("PUT", format!("{}/loglevel", served.management));
        assert_eq!(call.body("text/plain", filter).send().await.status, 200);
    }
    let output = flushed(served).await.stdout;
    let logged: Vec<_> = lines(&output)
        .filter(|line| line["message"] == "the log level was set")
        .map(|line| {
            format!(
                "{} {}",
                line["level"].as_str().unwrap(),
                line["log_level"].as_str().unwrap()
            )
        })
        .collect();
    let last = "WARN acs_token_broker[{a=\\\"\\u{202e}\\\"}]=trace";
    assert_eq!(logged, ["WARN off", "WARN info", "WARN error", "WARN off", last]);
}

/// A connection with a request whose body is announced and does not come.
async fn half_sent(address: &str, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nin");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn half_sent_bodies_do_not_keep_probes_out() {
    let served = Served::start(None, &[("ACS_TOKEN_BROKER__SERVER__REQUEST_TIMEOUT", "1s")]).await;
    let address = served.management.trim_start_matches("http://");
    // As many as the listener takes at once.
    let mut half = Vec::new();
    for _ in 0..64 {
        half.push(half_sent(address, "/loglevel").await);
    }
    let livez = Call::new("GET", format!("{}/livez", served.management)).send().await;
    assert_eq!(livez.status, 200);
    let answer = read_to_end(&mut half[0]).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains(r#""code":"RequestTimeout""#), "{answer}");
}

#[tokio::test]
async fn a_configuration_that_blocks_its_reader_holds_up_nobody() {
    let served = Served::start(None, &[("TOKIO_WORKER_THREADS", "1")]).await;
    let file = served.folder.path().join("broker.toml");
    std::fs::remove_file(&file).unwrap();
    // A reader that opens a pipe waits for its writer.
    let made = std::process::Command::new("mkfifo").arg(&file).status().unwrap();
    assert!(made.success());
    served.process.signal("HUP");
    // Opening it for writing waits in turn for the reader.
    let writer = tokio::task::spawn_blocking(move || std::fs::OpenOptions::new().write(true).open(file));
    let mut pipe = writer.await.unwrap().unwrap();
    let token = served.token("alex");
    let answer = tokio::time::timeout(std::time::Duration::from_secs(10), served.post_token(&token)).await;
    assert_eq!(answer.expect("an answer").outcome(), "200");
    std::io::Write::write_all(&mut pipe, b"[telemetry]\nlog_level = \"warn\"\n").unwrap();
    drop(pipe);
    eventually("the level is read again", async || {
        let level = Call::new("GET", format!("{}/loglevel", served.management));
        level.send().await.body == "warn\n"
    })
    .await;
    flushed(served).await;
}

#[tokio::test]
async fn the_level_changes_by_put_and_by_sighup() {
    let served = Served::start(None, &[]).await;
    let level = format!("{}/loglevel", served.management);
    let put = async |filter: &str| {
        let call = Call::new("PUT", &level).body("text/plain", filter.to_owned());
        call.send().await
    };
    assert!(is_heard(&served).await);
    assert_eq!(Call::new("GET", &level).send().await.body, "info\n");
    let answer = put("error").await;
    assert_eq!((answer.status, &answer.body[..]), (200, &b"error\n"[..]));
    assert!(!is_heard(&served).await);
    let refused = put("a=b=c").await;
    assert_eq!(refused.status, 400);
    assert_eq!(refused.json()["error"]["code"], "InvalidFilter");
    assert!(!is_heard(&served).await);
    // A field's value is a text. As a regular expression this one would use up the memory.
    let greedy = format!("error,[x{{y=(0|1)*1{}}}]=trace", "(0|1)".repeat(22));
    assert_eq!(put(&greedy).await.status, 200);
    assert!(!is_heard(&served).await);
    // Its place is the management listener alone.
    for method in ["GET", "PUT"] {
        let call = Call::new(method, format!("{}/loglevel", served.public));
        assert_eq!(call.send().await.status, 404);
    }

    // What the file says counts again.
    served.process.signal("HUP");
    eventually("the level is read again", async || is_heard(&served).await).await;
    assert_eq!(Call::new("GET", &level).send().await.body, "info\n");
    let file = served.folder.path().join("broker.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        format!("{text}[telemetry]\nlog_level = \"warn,acs_token_broker=debug\"\n"),
    )
    .unwrap();
    served.process.signal("HUP");
    eventually("the file's level counts", async || {
        Call::new("GET", &level).send().await.body == "warn,acs_token_broker=debug\n"
    })
    .await;
    // A file that is no good changes nothing, nor does one with a slip.
    std::fs::write(&file, format!("{text}[telemetry]\nlog_levl = \"info\"\n")).unwrap();
    served.process.signal("HUP");
    served
        .process
        .line("the refusal is logged", |line| {
            let line: Value = serde_json::from_str(line).ok()?;
            (line["message"] == "the log level stays").then_some(())
        })
        .await;
    assert_eq!(
        Call::new("GET", &level).send().await.body,
        "warn,acs_token_broker=debug\n"
    );
    flushed(served).await;
}

#[tokio::test]
async fn every_signal_says_what_sends_and_by_which_names() {
    let (served, collector) = exported_with(&[("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")]).await;
    assert_eq!(served.post_token(&served.token("alex")).await.status, 200);
    flushed(served).await;
    for (signal, sources) in ["spans", "logs", "metrics"].into_iter().zip(collector.sources()) {
        assert!(!sources.is_empty(), "{signal}");
        for source in sources {
            let attribute = |name| value(&source.resource, name).unwrap_or_else(|| panic!("{signal}: no {name}"));
            assert_eq!(attribute("service.name"), "broker-under-test", "{signal}");
            assert_eq!(attribute("deployment.environment.name"), "test", "{signal}");
            assert_eq!(attribute("telemetry.sdk.name"), "opentelemetry", "{signal}");
            assert_eq!(attribute("telemetry.sdk.language"), "rust", "{signal}");
            assert!(attribute("telemetry.sdk.version").split('.').count() >= 3, "{signal}");
            let schema = "https://opentelemetry.io/schemas/1.37.0";
            assert_eq!(source.schema, schema, "{signal}");
            assert!(
                source.scopes.iter().all(|scope| scope == schema),
                "{signal}: {:?}",
                source.scopes
            );
        }
    }
}

/// Names outside `acs_broker.` are OpenTelemetry's to give.
#[tokio::test]
async fn what_failed_is_reported_by_names_of_our_own() {
    let (served, collector) = exported_with(&[]).await;
    let refused = served.call("/token").bearer("no-token").send().await;
    assert_eq!(refused.outcome(), "401 InvalidToken/Malformed");
    let denied = served.post_token(&served.token_with_groups("grady")).await;
    assert_eq!(denied.outcome(), "403 NotAssigned/NoAssignment");
    let output = flushed(served).await.stdout;
    for (inner, message) in [
        ("Malformed", "request"),
        ("NoAssignment", "request"),
        ("NoAssignment", "token"),
    ] {
        let line = lines(&output)
            .find(|line| line["message"] == message && line["acs_broker.error.inner_code"] == inner)
            .unwrap_or_else(|| panic!("{message} {inner}"));
        assert!(line["acs_broker.error.code"].is_string());
        assert_eq!(
            line["acs_broker.error.cause"].is_string(),
            message == "request",
            "{line}"
        );
    }
    for line in lines(&output) {
        let fields = line.as_object().unwrap();
        let reserved = fields.keys().find(|name| name.starts_with("error."));
        assert_eq!(reserved, None, "{line}");
    }
    let spans = collector.spans();
    let names = spans
        .iter()
        .flat_map(|span| &span.attributes)
        .map(|attribute| attribute.key.as_str());
    let logs = collector.logs();
    let records = logs.iter().flat_map(|(_, record)| &record.attributes);
    for name in names.chain(records.map(|attribute| attribute.key.as_str())) {
        assert!(!name.starts_with("error.") || name == "error.type", "{name}");
    }
}
