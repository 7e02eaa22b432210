//! A report, as programs read it.

use serde_json::Value;

use crate::support::process::Ended;

/// What `doctor` wrote.
pub(super) struct Report {
    pub(super) code: Option<i32>,
    pub(super) json: Value,
}

impl Report {
    pub(super) fn read(ended: &Ended) -> Self {
        Self {
            code: ended.code,
            json: serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}")),
        }
    }

    pub(super) fn checks(&self) -> &Vec<Value> {
        self.json["checks"].as_array().unwrap()
    }

    /// The ids with this status, each once.
    pub(super) fn with(&self, status: &str) -> Vec<&str> {
        let found = self.checks().iter().filter(|check| check["status"] == status);
        let mut ids: Vec<&str> = found.map(|check| check["id"].as_str().unwrap()).collect();
        ids.dedup();
        ids
    }

    /// The worst check of that id.
    pub(super) fn check(&self, id: &str) -> &Value {
        let rank = |check: &&Value| {
            ["pass", "skip", "warn", "fail"]
                .iter()
                .position(|status| check["status"] == *status)
        };
        let of_id = self.checks().iter().filter(|check| check["id"] == id);
        of_id
            .max_by_key(rank)
            .unwrap_or_else(|| panic!("{id}: {:#}", self.json))
    }

    /// That these ids failed and no others, that each has a fix, and that the exit code says so.
    pub(super) fn failed(&self, ids: &[&str]) {
        assert_eq!(self.with("fail"), ids, "{:#}", self.json);
        assert_eq!(self.code, Some(i32::from(!ids.is_empty())), "{:#}", self.json);
        let failed = self.checks().iter().filter(|check| check["status"] == "fail");
        assert!(failed.clone().all(|check| check["fix"].is_string()), "{:#}", self.json);
        assert_eq!(self.json["failed"], failed.count(), "{:#}", self.json);
    }
}
