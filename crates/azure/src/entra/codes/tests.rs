use super::*;

#[test]
fn each_row_is_complete_and_no_code_stands_twice() {
    for pair in ROWS.windows(2) {
        assert!(pair[0].code < pair[1].code, "{} and {}", pair[0].code, pair[1].code);
    }
    for row in ROWS {
        let code = row.code;
        assert!(!row.name.is_empty() && row.to_do.len() > 10, "{code}");
        assert!((10_000..10_000_000).contains(&code), "{code} is no number of Entra's");
        let source = match row.source {
            List => "the list",
            Page(text) | Seen(text) => text,
        };
        assert!(source.len() > 5, "{code}");
        assert_eq!(super::row(code).map(|found| found.code), Some(code));
    }
    assert!(row(1).is_none() && row(90_020).is_none());
}

/// The table for people says the same.
#[test]
fn the_troubleshooting_guide_agrees() {
    let guide = include_str!("../../../../../docs/troubleshooting.md");
    let (_, section) = guide.split_once("\n## Entra's codes").unwrap();
    let section = section.split("\n#").next().unwrap();
    let mut seen = 0;
    for line in section.lines().filter(|line| line.starts_with("| ")).skip(1) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        for code in cells[1]
            .split(|c: char| !c.is_ascii_digit())
            .filter(|text| text.len() >= 5)
        {
            let row = row(code.parse().unwrap()).unwrap_or_else(|| panic!("{code} has no row"));
            let expected = match row.class {
                ErrorClass::SignIn => "401 `InsufficientClaims`",
                ErrorClass::Rejected => "401 `InvalidToken`/`RejectedUpstream`",
                ErrorClass::Consent | ErrorClass::Forbidden(_) => "403 `ExchangeForbidden`",
                ErrorClass::Broker => "502 [`UpstreamRejectedBroker`](#upstreamrejectedbroker)",
                ErrorClass::Limited => "429 [`UpstreamLimit`](#upstreamlimit)",
                ErrorClass::Unavailable => "503 [`UpstreamUnavailable`](#upstreamunavailable)",
            };
            assert_eq!(cells[2], expected, "{code}");
            seen += 1;
        }
    }
    assert!(seen > 70, "only {seen} codes were found");
}

#[test]
fn who_is_to_act_fits_what_it_means() {
    for row in ROWS {
        let of_the_user = [SIGN_IN, NEW_TOKEN].contains(&row.to_do);
        let meant = matches!(row.class, ErrorClass::SignIn | ErrorClass::Rejected);
        assert_eq!(of_the_user, meant, "{}", row.code);
        let of_the_operator = [
            SECRET,
            CERTIFICATE,
            FEDERATION,
            REGISTRATION,
            SCOPE,
            AUTHORITY,
            EGRESS,
            BUG,
        ]
        .contains(&row.to_do);
        assert_eq!(of_the_operator, row.class == ErrorClass::Broker, "{}", row.code);
    }
}
