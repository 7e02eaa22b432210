//! What the reader's refusals say of the values that it takes.

/// What stands for a default where a problem says that there is none.
pub(super) fn required(reason: &str) -> Option<String> {
    if let Some(other) = reason.strip_prefix("or ") {
        let other = other.split(' ').next()?;
        return Some(format!("*required*, or `{other}`"));
    }
    let rest = reason.strip_prefix("is required")?;
    Some(match rest {
        rest if rest.contains("AZURE_FEDERATED") => "`AZURE_FEDERATED_TOKEN_FILE`".to_owned(),
        rest if rest.contains("beside credential") => "*required* beside `credential`".to_owned(),
        _ => "*required*".to_owned(),
    })
}

/// What a refusal says of the values that are taken.
pub(super) fn in_words(path: &str, reason: &str) -> String {
    if reason.starts_with("names a file that cannot be read") {
        return "a file that can be read".to_owned();
    }
    if reason.starts_with("is a secret") {
        return "a secret, from its variable alone".to_owned();
    }
    if let Some(credential) = reason.strip_prefix("belongs to credential = ") {
        return format!("only with credential = {credential}");
    }
    if let Some(kind) = reason.strip_prefix("belongs to kind = ") {
        return format!("only with kind = {kind}");
    }
    let first = |reason: &str| reason.split_once("; ").map_or(reason, |(first, _)| first).to_owned();
    for (start, words) in [
        ("must not be empty", ""),
        ("is longer than 366 days", ""),
        ("must be https", "https, beyond loopback addresses"),
        ("must have ", ""),
        ("must be ", ""),
        ("must hold ", ""),
    ] {
        if let Some(rest) = reason.strip_prefix(start) {
            return match (start, words) {
                ("must be " | "must have " | "must hold ", _) => first(rest),
                (_, words) => words.to_owned(),
            };
        }
    }
    if let Some(rest) = reason.strip_prefix("must end in ") {
        return format!("a file name that ends in {rest}");
    }
    if let Some(rest) = reason.strip_prefix("is not ") {
        return match rest.split_once("; an origin is ") {
            Some((_, form)) => format!("an origin, {form}"),
            None => rest
                .replace("; there are", ", one of")
                .replace("; it is written as", ","),
        };
    }
    panic!("{path}: `{reason}` is a refusal that this test cannot turn round")
}
