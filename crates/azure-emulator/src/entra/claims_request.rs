//! The `claims` parameter (OpenID Connect Core 5.5), of which the authentication contexts count here.

use serde_json::Value;

use super::error::{EntraError, shortened};

/// The authentication contexts that a client asks for, as a claims challenge demands:
/// `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`, or `values` with several.
/// <https://learn.microsoft.com/entra/identity-platform/developer-guide-conditional-access-authentication-context>
pub(super) fn requested_contexts(claims: Option<&str>) -> Result<Vec<String>, EntraError> {
    let Some(text) = claims else {
        return Ok(Vec::new());
    };
    let claims: Value = serde_json::from_str(text)
        .ok()
        .filter(Value::is_object)
        .ok_or_else(|| {
            let text = format!("The 'claims' parameter is not valid JSON: '{}'.", shortened(text));
            EntraError::bad_request("invalid_request", 9_002_313, text)
        })?;
    let acrs = &claims["access_token"]["acrs"];
    let several = acrs["values"].as_array().into_iter().flatten();
    Ok(several
        .chain([&acrs["value"]])
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_read_in_both_forms() {
        let cases = [
            (None, vec![]),
            (Some("{}"), vec![]),
            (Some(r#"{"access_token":{"xms_cc":{"values":["CP1"]}}}"#), vec![]),
            (
                Some(r#"{"access_token":{"acrs":{"essential":true,"value":"c1"}}}"#),
                vec!["c1"],
            ),
            (
                Some(r#"{"access_token":{"acrs":{"values":["c1","c2"]}}}"#),
                vec!["c1", "c2"],
            ),
            (Some(r#"{"access_token":{"acrs":null},"id_token":{}}"#), vec![]),
        ];
        for (claims, expected) in cases {
            assert_eq!(requested_contexts(claims).unwrap(), expected, "{claims:?}");
        }
        for claims in ["", "c1", "[]"] {
            assert!(requested_contexts(Some(claims)).is_err(), "{claims}");
        }
    }
}
