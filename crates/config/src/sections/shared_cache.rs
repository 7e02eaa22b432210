//! `[shared_cache]`

use std::time::Duration;

use super::acs_auth::IdentityFields;
use super::{Context, app, file, positive};
use crate::reader::Field;
use crate::section::Section;
use crate::shared_cache::{SentinelConfig, SharedCacheConfig, StoreAuth, StoreKind};
use crate::units::{self, StoreUrl};
use crate::{SecretSource, validate, value};

/// `kind` by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumString, strum::VariantNames)]
#[strum(serialize_all = "lowercase")]
enum Kind {
    Single,
    Cluster,
    Sentinel,
}

/// Reads the section; `None` where there is none.
pub(super) fn shared_cache(section: &mut Section<'_, '_>, context: Context<'_>) -> Option<SharedCacheConfig> {
    let (url, is_list) = match section.text_or_list("url", units::store_url) {
        Field::Absent => (None, false),
        field => field
            .given()
            .map_or((None, false), |(urls, is_list)| (Some(urls), is_list)),
    };
    let kind = section.field_or("kind", value::choice, Kind::Single);
    let sentinel = sentinel(section, context, kind);
    let auth = auth(section, context);
    let ca_file = section.field("ca_file", |raw| file(raw, context.folder)).given();
    let tls_name = section
        .field("tls_name", |raw| validate::host_name(&value::text(raw)?))
        .given();
    // Not read here: without it the store counts as away, which is no reason not to start.
    let encryption_keys_file = section.field("encryption_keys_file", |raw| {
        value::text(raw).map(|file| context.folder.join(file))
    });
    let connect_timeout = section.field_or("connect_timeout", positive, Duration::from_secs(2));
    let timeout = section.field_or("timeout", positive, Duration::from_millis(50));
    let prefix = section.field_or(
        "prefix",
        |raw| validate::store_prefix(value::text(raw)?),
        "acs-token-broker:".to_owned(),
    );
    if !section.is_given() {
        return None;
    }
    for (key, is_absent) in [
        ("url", !section.was_given("url")),
        ("encryption_keys_file", matches!(encryption_keys_file, Field::Absent)),
    ] {
        if is_absent {
            section.missing(key, "is required");
        }
    }
    let (path, kind_path) = (section.path_of("url"), section.path_of("kind"));
    section.rule(
        &path,
        &[&kind_path],
        !is_list || kind != Kind::Single,
        "must be one URL with kind = \"single\"; a list is for \"cluster\" and \"sentinel\"",
    );
    let url = url?;
    let tls = url.first().is_some_and(|url| url.tls);
    section.rule(
        &path,
        &[],
        url.iter().all(|url| url.tls == tls),
        "must be rediss throughout, or redis",
    );
    secure(section, &path, &url, context.allow_insecure);
    Some(SharedCacheConfig {
        servers: url.into_iter().map(|url| url.server).collect(),
        tls,
        kind: match kind {
            Kind::Single => StoreKind::Single,
            Kind::Cluster => StoreKind::Cluster,
            Kind::Sentinel => StoreKind::Sentinel(sentinel?),
        },
        auth: auth?,
        ca_file,
        tls_name,
        encryption_keys_file: encryption_keys_file.given()?,
        connect_timeout,
        timeout,
        prefix,
    })
}

/// Values are sealed, but who reads the connection can use the password, and knows when somebody signs in.
fn secure(section: &mut Section<'_, '_>, path: &str, urls: &[StoreUrl], allow_insecure: bool) {
    let is_insecure = urls.iter().any(|url| !url.tls && !url.server.is_loopback());
    section.rule(
        path,
        &["allow_insecure_upstreams"],
        !is_insecure || allow_insecure,
        "must be rediss; plain redis is for loopback addresses only, unless allow_insecure_upstreams = true",
    );
    if is_insecure {
        section.warn(format!(
            "{path}: is used without TLS; anyone on the way can read the password and change what is sent"
        ));
    }
}

fn sentinel(section: &mut Section<'_, '_>, context: Context<'_>, kind: Kind) -> Option<SentinelConfig> {
    let master = section.field("sentinel_master", value::text);
    let username = section.field("sentinel_username", value::text).given();
    let password = app::secret(section, "sentinel_password", context, |_| Ok(()));
    if kind == Kind::Sentinel {
        if matches!(master, Field::Absent) {
            section.missing("sentinel_master", "is required");
        }
    } else {
        let kind_path = section.path_of("kind");
        for key in [
            "sentinel_master",
            "sentinel_username",
            "sentinel_password",
            "sentinel_password_file",
        ] {
            let path = section.path_of(key);
            let given = section.was_given(key);
            section.rule(&path, &[&kind_path], !given, "belongs to kind = \"sentinel\"");
        }
    }
    Some(SentinelConfig {
        master: master.given()?,
        username,
        password,
    })
}

fn auth(section: &mut Section<'_, '_>, context: Context<'_>) -> Option<StoreAuth> {
    let username = section.field("username", value::text).given();
    let password: Option<SecretSource> = app::secret(section, "password", context, |_| Ok(()));
    let identity = IdentityFields::read(section, context);
    match (password, identity.credential.kind) {
        (Some(_), Some(_)) => {
            section.problem("password", "is set beside credential; set one of them");
            None
        }
        (password, None) => Some(StoreAuth::Password { username, password }),
        (None, Some(kind)) => Some(StoreAuth::Token {
            username,
            identity: identity.chosen(section, kind)?,
        }),
    }
}
