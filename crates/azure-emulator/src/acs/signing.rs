//! Verifies requests signed with the resource's access key.
//!
//! Written from the contract alone; it shares nothing with the broker's signer, so that one misreading cannot
//! hide behind the other.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use jiff::Timestamp;

use crate::jwt::sha256;

/// How far `x-ms-date` may be from now.
const MAX_SKEW_SECONDS: u64 = 300;
/// What precedes the signature in the header. ACS's clients sign exactly these three headers.
const PREFIX: &str = "HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature=";

/// A request as it arrived.
#[derive(Debug, Clone, Copy)]
pub(super) struct SignedRequest<'a> {
    pub(super) method: &'a str,
    pub(super) path_and_query: &'a str,
    pub(super) host: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
}

/// Why a signature does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum SignatureRefused {
    #[error("no HMAC-SHA256 authorization over x-ms-date, host and x-ms-content-sha256")]
    NoSignature,
    #[error("x-ms-date is missing or not an RFC 1123 date")]
    NoDate,
    #[error("x-ms-date is too far from now")]
    DateOutOfRange,
    #[error("x-ms-content-sha256 is not the body's")]
    ContentHash,
    #[error("the signature is not the access key's over this request")]
    Signature,
}

impl SignatureRefused {
    /// What ACS says of it.
    pub(super) fn public_message(self) -> &'static str {
        match self {
            Self::ContentHash => "Request 'x-ms-content-sha256' differs from generated content hash.",
            Self::NoDate | Self::DateOutOfRange => "The date header 'x-ms-date' is missing or out of range.",
            Self::NoSignature | Self::Signature => "Denied by the resource provider.",
        }
    }
}

/// Verifies the signature over the request exactly as sent.
pub(super) fn verify(request: &SignedRequest<'_>, access_key: &[u8], now: Timestamp) -> Result<(), SignatureRefused> {
    let header = |name: &str| {
        // Two headers of one name leave open which one was signed.
        let mut values = request.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok(),
            _ => None,
        }
    };
    let signature = header("authorization")
        .and_then(|value| value.strip_prefix(PREFIX))
        .and_then(|text| STANDARD.decode(text).ok())
        .ok_or(SignatureRefused::NoSignature)?;
    let date = header("x-ms-date").ok_or(SignatureRefused::NoDate)?;
    let at = httpdate::parse_http_date(date)
        .ok()
        .and_then(|at| Timestamp::try_from(at).ok())
        .ok_or(SignatureRefused::NoDate)?;
    if at.as_second().abs_diff(now.as_second()) > MAX_SKEW_SECONDS {
        return Err(SignatureRefused::DateOutOfRange);
    }
    let stated = header("x-ms-content-sha256").ok_or(SignatureRefused::ContentHash)?;
    let actual = STANDARD.encode(sha256(request.body));
    verify_slices_are_equal(stated.as_bytes(), actual.as_bytes()).map_err(|_| SignatureRefused::ContentHash)?;
    let string_to_sign = format!(
        "{}\n{}\n{date};{};{stated}",
        request.method, request.path_and_query, request.host
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, access_key);
    // Compares in constant time.
    hmac::verify(&key, string_to_sign.as_bytes(), &signature).map_err(|_| SignatureRefused::Signature)
}

/// Signs as ACS's clients do, for tests of what is behind the signature.
#[cfg(test)]
pub(crate) fn sign(method: &str, path_and_query: &str, host: &str, date: &str, body: &[u8], key: &[u8]) -> HeaderMap {
    let hash = STANDARD.encode(sha256(body));
    let text = format!("{method}\n{path_and_query}\n{date};{host};{hash}");
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes());
    let mut headers = HeaderMap::new();
    headers.insert("x-ms-date", date.parse().unwrap());
    headers.insert("x-ms-content-sha256", hash.parse().unwrap());
    let authorization = format!("{PREFIX}{}", STANDARD.encode(tag));
    headers.insert("authorization", authorization.parse().unwrap());
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Thu, 01 Jan 2026 00:00:00 GMT";
    const PATH: &str = "/identities?api-version=2023-10-01";

    fn check(change: impl Fn(&mut SignedRequest<'_>, &mut HeaderMap)) -> Result<(), SignatureRefused> {
        check_at("2026-01-01T00:00:00Z", b"key", change)
    }

    fn check_at(
        now: &str,
        key: &[u8],
        change: impl Fn(&mut SignedRequest<'_>, &mut HeaderMap),
    ) -> Result<(), SignatureRefused> {
        let signed = sign("POST", PATH, "h:1", DATE, b"{}", key);
        let mut headers = signed.clone();
        let mut request = SignedRequest {
            method: "POST",
            path_and_query: PATH,
            host: "h:1",
            headers: &signed,
            body: b"{}",
        };
        change(&mut request, &mut headers);
        let request = SignedRequest {
            headers: &headers,
            ..request
        };
        verify(&request, b"key", now.parse().unwrap())
    }

    #[test]
    fn the_signature_holds_for_the_request_as_signed() {
        assert_eq!(check(|_, _| {}), Ok(()));
    }

    #[test]
    fn anything_changed_breaks_it() {
        use SignatureRefused as R;
        assert_eq!(check(|request, _| request.method = "PUT"), Err(R::Signature));
        assert_eq!(
            check(|request, _| request.path_and_query = "/identities?api-version=2023-10-02"),
            Err(R::Signature)
        );
        assert_eq!(
            check(|request, _| request.path_and_query = "/identities"),
            Err(R::Signature)
        );
        assert_eq!(check(|request, _| request.host = "h"), Err(R::Signature));
        assert_eq!(check(|request, _| request.body = b"{ }"), Err(R::ContentHash));
        let removed = |name: &'static str| check(move |_, headers| drop(headers.remove(name)));
        assert_eq!(removed("authorization"), Err(R::NoSignature));
        assert_eq!(removed("x-ms-date"), Err(R::NoDate));
        assert_eq!(removed("x-ms-content-sha256"), Err(R::ContentHash));
        let replaced = |name: &'static str, value: &'static str| {
            check(move |_, headers| drop(headers.insert(name, value.parse().unwrap())))
        };
        assert_eq!(replaced("x-ms-date", "2026-01-01T00:00:00Z"), Err(R::NoDate));
        assert_eq!(
            replaced("x-ms-date", "Thu, 01 Jan 2026 00:00:01 GMT"),
            Err(R::Signature)
        );
        assert_eq!(replaced("authorization", "Bearer x"), Err(R::NoSignature));
        assert_eq!(
            check(|_, headers| assert!(headers.append("x-ms-date", DATE.parse().unwrap()))),
            Err(R::NoDate)
        );
    }

    #[test]
    fn another_key_and_old_or_future_dates_are_refused() {
        use SignatureRefused as R;
        assert_eq!(check_at("2026-01-01T00:00:00Z", b"other", |_, _| {}), Err(R::Signature));
        for (now, expected) in [
            ("2026-01-01T00:05:00Z", Ok(())),
            ("2026-01-01T00:05:01Z", Err(R::DateOutOfRange)),
            ("2025-12-31T23:55:00Z", Ok(())),
            ("2025-12-31T23:54:59Z", Err(R::DateOutOfRange)),
        ] {
            assert_eq!(check_at(now, b"key", |_, _| {}), expected, "{now}");
        }
    }
}
