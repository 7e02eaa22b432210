//! Who sends.

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{ResourceDetector as _, TelemetryResourceDetector};

use super::reader::{Reader, decode};
use crate::SCHEMA_URL;
use base::build_info;

const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";
const RESOURCE_ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";

/// This process. The name in `OTEL_SERVICE_NAME` goes before that among the attributes, which go before the broker's
/// own; which SDK it is, is the SDK's to say.
pub(super) fn read(reader: &Reader<'_>) -> Resource {
    let mut resource = vec![
        KeyValue::new("service.name", build_info::NAME),
        KeyValue::new("service.version", build_info::VERSION),
        KeyValue::new("service.instance.id", uuid::Uuid::new_v4().to_string()),
    ];
    let mut set = |own: KeyValue| {
        resource.retain(|other| other.key != own.key);
        resource.push(own);
    };
    let configured = reader.first(&[RESOURCE_ATTRIBUTES], attributes);
    configured
        .into_iter()
        .flat_map(|(_, attributes)| attributes)
        .for_each(&mut set);
    if let Some(name) = reader.get(SERVICE_NAME) {
        set(KeyValue::new("service.name", name));
    }
    for (key, value) in &TelemetryResourceDetector.detect() {
        set(KeyValue::new(key.clone(), value.clone()));
    }
    Resource::builder_empty().with_schema_url(resource, SCHEMA_URL).build()
}

/// The specification has the whole value discarded if a part of it is malformed.
fn attributes(text: &str) -> Result<Vec<KeyValue>, &'static str> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let attributes = pairs.map(|pair| {
        let (key, value) = pair
            .split_once('=')
            .filter(|(key, _)| !key.trim().is_empty())
            .ok_or("not a list of key=value; all of it is ignored")?;
        let decoded = |text: &str| decode(text.trim()).ok_or("malformed percent encoding; all of it is ignored");
        Ok(KeyValue::new(decoded(key)?, decoded(value)?))
    });
    attributes.collect()
}
