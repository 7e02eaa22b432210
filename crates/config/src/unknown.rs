//! What is said of keys and variables that no setting has.

use std::collections::BTreeSet;

use super::environment::PREFIX;

/// Why a key of the file is refused.
pub(super) fn key(path: &str, known: &BTreeSet<String>) -> String {
    let path = pattern(path);
    match closest(&path, known.iter().map(String::as_str)) {
        Some(other) => format!("unknown key; did you mean {other}?"),
        None => "unknown key".to_owned(),
    }
}

/// Why a variable is refused.
pub(super) fn variable(path: &str, known: &BTreeSet<String>) -> String {
    match closest(
        path,
        known.iter().map(String::as_str).filter(|other| !other.contains('[')),
    ) {
        Some(other) => {
            let other = other.to_ascii_uppercase().replace('.', "__");
            format!("unknown variable; did you mean {PREFIX}{other}?")
        }
        None => "unknown variable".to_owned(),
    }
}

/// The path with `[3]` as `[]`.
pub(super) fn pattern(path: &str) -> String {
    let mut pattern = String::with_capacity(path.len());
    let mut in_brackets = false;
    for c in path.chars() {
        in_brackets = c == '[' || in_brackets && c.is_ascii_digit();
        if !in_brackets || c == '[' {
            pattern.push(c);
        }
    }
    pattern
}

/// The known path that was probably meant: one that differs by a slip, else the only one with the same last key.
fn closest<'k>(path: &str, known: impl Iterator<Item = &'k str> + Clone) -> Option<&'k str> {
    // `requestTimeout` and `request-timeout` are habits, not slips.
    let fold = |path: &str| path.replace(['_', '-'], "").to_ascii_lowercase();
    let folded = fold(path);
    let slips = (leaf(&folded).len() / 3).max(1);
    let nearest = known
        .clone()
        .map(|other| (strsim::damerau_levenshtein(&folded, &fold(other)), other))
        .min();
    if let Some((_, other)) = nearest.filter(|(distance, _)| *distance <= slips) {
        return Some(other);
    }
    let mut moved = known.filter(|other| leaf(&fold(other)) == leaf(&folded));
    moved.next().filter(|_| moved.next().is_none())
}

fn leaf(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints() {
        let known: BTreeSet<String> = [
            "server",
            "server.listen",
            "server.max_in_flight",
            "management.listen",
            "entra.tenants[].name",
            "cache.max_bytes",
        ]
        .map(str::to_owned)
        .into();
        for (path, reason) in [
            ("server.listn", "unknown key; did you mean server.listen?"),
            ("server.maxInFlight", "unknown key; did you mean server.max_in_flight?"),
            ("sever", "unknown key; did you mean server?"),
            (
                "entra.tenants[2].nme",
                "unknown key; did you mean entra.tenants[].name?",
            ),
            ("server.max_bytes", "unknown key; did you mean cache.max_bytes?"),
            // Two have that name, so neither is guessed.
            ("listen", "unknown key"),
            ("server.zzz", "unknown key"),
        ] {
            assert_eq!(key(path, &known), reason, "{path}");
        }
        for (path, reason) in [
            (
                "server.listn",
                "unknown variable; did you mean ACS_TOKEN_BROKER__SERVER__LISTEN?",
            ),
            ("entra.tenants.0.name", "unknown variable"),
            ("", "unknown variable"),
        ] {
            assert_eq!(variable(path, &known), reason, "{path}");
        }
    }
}
