//! Reading Prometheus's text format.

use std::collections::BTreeMap;

use super::http::Call;

/// What one scrape brought.
#[derive(Debug)]
pub(crate) struct Scrape {
    pub(crate) text: String,
    series: Vec<Series>,
}

#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

impl Scrape {
    /// Scrapes the management listener at `address`.
    pub(crate) async fn of(address: impl std::fmt::Display) -> Self {
        let answer = Call::new("GET", format!("http://{address}/metrics")).send().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let content_type = answer.header("content-type");
        assert_eq!(content_type, Some("text/plain; version=0.0.4; charset=utf-8"));
        Self::read(std::str::from_utf8(&answer.body).unwrap())
    }

    fn read(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        Self {
            series: lines.map(series).collect(),
            text: text.to_owned(),
        }
    }

    pub(crate) fn series(&self) -> &[Series] {
        &self.series
    }

    /// The sum of the series of `name` that have all these labels; `NaN` if there is none.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let found = self.series.iter().filter(|series| {
            series.name == name
                && labels
                    .iter()
                    .all(|(label, value)| series.labels.get(*label).is_some_and(|own| own == value))
        });
        found
            .map(|series| series.value)
            .reduce(|sum, value| sum + value)
            .unwrap_or(f64::NAN)
    }
}

/// `name{label="value",…} 1`; values hold no quote and no comma beside one.
fn series(line: &str) -> Series {
    let (head, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = head.split_once('{').unwrap_or((head, ""));
    let labels = labels.trim_end_matches('}');
    let labels = labels.split("\",").filter(|pair| !pair.is_empty()).map(|pair| {
        let (label, value) = pair.split_once("=\"").unwrap();
        (label.to_owned(), value.trim_end_matches('"').to_owned())
    });
    Series {
        name: name.to_owned(),
        labels: labels.collect(),
        value: value.parse().unwrap(),
    }
}
