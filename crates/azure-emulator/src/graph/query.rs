//! What a list's query asks for: `$filter`, `$select`, `$top`, and the page after another one.
//!
//! <https://learn.microsoft.com/graph/query-parameters>, <https://learn.microsoft.com/graph/paging>

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::error::GraphError;

/// No page may be asked to hold more.
const MAX_TOP: usize = 999;
/// Where a page begins.
const SKIP_TOKEN: &str = "$skiptoken";

/// A kind of list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listing {
    /// Its name in `@odata.context`.
    pub(super) context: &'static str,
    /// The type of its objects, for errors.
    pub(super) of: &'static str,
    /// What can be filtered by.
    pub(super) filters: &'static [&'static str],
}

/// A list's address with its query, decoded.
pub(super) struct ListCall<'a> {
    /// The address without the query, as the caller reaches it.
    pub(super) address: String,
    pub(super) query: &'a str,
    /// How many objects a page holds if the caller does not say.
    pub(super) usual_page: usize,
}

impl ListCall<'_> {
    fn pairs(&self) -> impl Iterator<Item = (String, String)> + '_ {
        form_urlencoded::parse(self.query.as_bytes()).into_owned()
    }

    fn parameter(&self, name: &str) -> Option<String> {
        self.pairs()
            .find(|(found, _)| found == name || name.strip_prefix('$') == Some(found))
            .map(|(_, value)| value)
    }
}

/// The page of a list that a call asks for.
pub(super) fn page(call: &ListCall<'_>, listing: Listing, objects: Vec<Value>) -> Result<Value, GraphError> {
    check_names(call)?;
    let filter = match call.parameter("$filter") {
        Some(text) => filter(&text, listing, objects.first())?,
        None => Vec::new(),
    };
    let top = match call.parameter("$top") {
        None => call.usual_page,
        Some(text) => match text.parse::<usize>() {
            Ok(top) if (1..=MAX_TOP).contains(&top) => top,
            Ok(_) => {
                let message =
                    format!("Invalid page size specified: '{text}'. Must be between 1 and {MAX_TOP} inclusive.");
                return Err(GraphError::new(
                    StatusCode::BAD_REQUEST,
                    "Request_UnsupportedQuery",
                    message,
                ));
            }
            Err(_) => {
                return Err(bad_query(&format!(
                    "Invalid value '{}' for $top query option found.",
                    short(&text)
                )));
            }
        },
    };
    let matching: Vec<Value> = objects
        .into_iter()
        .filter(|object| filter.iter().all(|clause| clause.matches(object)))
        .collect();
    let start = match call.parameter(SKIP_TOKEN) {
        None => 0,
        Some(text) => text
            .parse::<usize>()
            .ok()
            .filter(|start| *start <= matching.len())
            .ok_or_else(|| {
                let message = "Skip token is null or invalid.";
                GraphError::new(StatusCode::BAD_REQUEST, "Directory_ExpiredPageToken", message)
            })?,
    };
    let mut answer = json!({
        "@odata.context": format!("https://graph.microsoft.com/v1.0/$metadata#{}", listing.context),
    });
    if call.parameter("$count").as_deref() == Some("true") {
        answer["@odata.count"] = json!(matching.len());
    }
    let end = start.saturating_add(top);
    if end < matching.len() {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(call.pairs().filter(|(name, _)| name != SKIP_TOKEN));
        query.append_pair(SKIP_TOKEN, &end.to_string());
        answer["@odata.nextLink"] = json!(format!("{}?{}", call.address, query.finish()));
    }
    let select = call.parameter("$select");
    let shown = matching.into_iter().skip(start).take(top);
    answer["value"] = shown.map(|object| selected(object, select.as_deref())).collect();
    Ok(answer)
}

/// One object, with what `$select` leaves of it.
pub(super) fn entity(call: &ListCall<'_>, context: &str, object: Value) -> Value {
    let select = call.parameter("$select");
    let mut answer = selected(object, select.as_deref());
    answer["@odata.context"] = json!(format!("https://graph.microsoft.com/v1.0/$metadata#{context}/$entity"));
    answer
}

fn check_names(call: &ListCall<'_>) -> Result<(), GraphError> {
    let known = ["$filter", "$select", "$top", "$count", SKIP_TOKEN];
    let unknown = |name: &String| name.starts_with('$') && !known.contains(&name.as_str());
    match call.pairs().map(|(name, _)| name).find(unknown) {
        None => Ok(()),
        Some(name) => {
            let message = format!("The emulator does not have the query option '{}' here.", short(&name));
            Err(GraphError::new(
                StatusCode::BAD_REQUEST,
                "Request_UnsupportedQuery",
                message,
            ))
        }
    }
}

fn selected(object: Value, select: Option<&str>) -> Value {
    let (Value::Object(members), Some(select)) = (&object, select) else {
        return object;
    };
    let names: Vec<&str> = select.split(',').map(str::trim).collect();
    let kept = members
        .iter()
        .filter(|(name, _)| name.starts_with('@') || names.contains(&name.as_str()));
    Value::Object(
        kept.map(|(name, value)| (name.clone(), value.clone()))
            .collect::<Map<_, _>>(),
    )
}

/// One condition of a filter.
#[derive(Debug, PartialEq, Eq)]
struct Clause {
    property: String,
    value: String,
    begins: bool,
}

impl Clause {
    /// Text and ids are compared without regard to letter case, as Graph does.
    fn matches(&self, object: &Value) -> bool {
        let found = match object.get(&self.property) {
            Some(Value::String(text)) => text.to_lowercase(),
            Some(Value::Null) | None => "null".to_owned(),
            Some(other) => other.to_string(),
        };
        let wanted = self.value.to_lowercase();
        if self.begins {
            found.starts_with(&wanted)
        } else {
            found == wanted
        }
    }
}

/// Reads conditions joined by `and`: `property eq 'text'`, and `startswith(property,'text')`.
fn filter(text: &str, listing: Listing, example: Option<&Value>) -> Result<Vec<Clause>, GraphError> {
    let syntax = || bad_query(&format!("Invalid filter clause: Syntax error in '{}'.", short(text)));
    let mut clauses = Vec::new();
    let mut rest = text.trim();
    loop {
        let (clause, after) = clause(rest).ok_or_else(syntax)??;
        if !listing.filters.contains(&clause.property.as_str()) {
            let (property, of) = (short(&clause.property), listing.of);
            let exists = example.is_some_and(|object| object.get(&clause.property).is_some());
            return Err(if exists {
                let message = format!(
                    "Unsupported or invalid query filter clause specified for property '{property}' of resource '{of}'."
                );
                GraphError::new(StatusCode::BAD_REQUEST, "Request_UnsupportedQuery", message)
            } else {
                bad_query(&format!(
                    "Invalid filter clause: Could not find a property named '{property}' on type 'microsoft.graph.{of}'."
                ))
            });
        }
        clauses.push(clause);
        rest = after.trim_start();
        if rest.is_empty() {
            return Ok(clauses);
        }
        rest = rest.strip_prefix("and ").ok_or_else(syntax)?.trim_start();
    }
}

type Parsed<'a> = Result<(Clause, &'a str), GraphError>;

/// One condition, and what follows it; nothing, if it is none.
fn clause(text: &str) -> Option<Parsed<'_>> {
    if let Some(inner) = text.strip_prefix("startswith(") {
        let (property, rest) = inner.split_once(',')?;
        let (value, rest) = literal(rest.trim_start())?;
        let clause = Clause {
            property: property.trim().to_owned(),
            value,
            begins: true,
        };
        return Some(Ok((clause, rest.trim_start().strip_prefix(')')?)));
    }
    let (property, rest) = text.split_once(' ')?;
    if !property.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let (operator, rest) = rest.trim_start().split_once(' ')?;
    if operator != "eq" {
        let known = ["ne", "gt", "ge", "lt", "le", "in"].contains(&operator);
        let message = "Unsupported Query.";
        return known.then(|| {
            Err(GraphError::new(
                StatusCode::BAD_REQUEST,
                "Request_UnsupportedQuery",
                message,
            ))
        });
    }
    let (value, rest) = literal(rest.trim_start())?;
    let clause = Clause {
        property: property.to_owned(),
        value,
        begins: false,
    };
    Some(Ok((clause, rest)))
}

/// A text in quotes, in which two quotes stand for one, or an id or a word without.
fn literal(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('\'') else {
        let end = text.find([' ', ')']).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        let plain = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        return plain.then(|| (word.to_owned(), rest));
    };
    let mut value = String::new();
    let mut rest = quoted;
    loop {
        let (before, after) = rest.split_once('\'')?;
        value.push_str(before);
        match after.strip_prefix('\'') {
            Some(more) => {
                value.push('\'');
                rest = more;
            }
            None => return Some((value, after)),
        }
    }
}

fn bad_query(message: &str) -> GraphError {
    GraphError::new(StatusCode::BAD_REQUEST, "BadRequest", message)
}

fn short(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: Listing = Listing {
        context: "things",
        of: "thing",
        filters: &["id", "name"],
    };

    fn ask(query: &str) -> Result<Value, String> {
        let objects = ["a", "b", "b", "it's"].iter().enumerate();
        let objects = objects
            .map(|(id, name)| json!({"id": id.to_string(), "name": name, "tags": []}))
            .collect();
        let call = ListCall {
            address: "http://h/v1.0/things".to_owned(),
            query,
            usual_page: 3,
        };
        page(&call, LISTING, objects).map_err(|error| error.code().to_owned())
    }

    fn ids(query: &str) -> Vec<String> {
        let page = ask(query).unwrap();
        let ids = page["value"].as_array().unwrap().iter();
        ids.map(|object| object["id"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn filters_choose() {
        assert_eq!(ids("$filter=name eq 'b'"), ["1", "2"]);
        assert_eq!(ids("$filter=name%20eq%20'B'%20and%20id%20eq%202"), ["2"]);
        assert_eq!(ids("$filter=name+eq+'it''s'"), ["3"]);
        assert_eq!(ids("$filter=startswith(name,'i')"), ["3"]);
        assert_eq!(ids("$filter=name eq 'c'"), [""; 0]);
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for (query, code) in [
            ("$filter=name", "BadRequest"),
            ("$filter=name eq", "BadRequest"),
            ("$filter=name eq 'b", "BadRequest"),
            ("$filter=name eq 'b' or id eq '1'", "BadRequest"),
            ("$filter=other eq 'b'", "BadRequest"),
            ("$filter=tags eq 'b'", "Request_UnsupportedQuery"),
            ("$filter=name ne 'b'", "Request_UnsupportedQuery"),
            ("$top=0", "Request_UnsupportedQuery"),
            ("$top=1000", "Request_UnsupportedQuery"),
            ("$top=x", "BadRequest"),
            ("$skiptoken=x", "Directory_ExpiredPageToken"),
            ("$orderby=name", "Request_UnsupportedQuery"),
        ] {
            assert_eq!(ask(query).unwrap_err(), code, "{query}");
        }
    }

    #[test]
    fn pages_follow_each_other() {
        let first = ask("$select=id&$count=true").unwrap();
        assert_eq!(first["value"], json!([{"id": "0"}, {"id": "1"}, {"id": "2"}]));
        assert_eq!(first["@odata.count"], 4);
        let next = first["@odata.nextLink"].as_str().unwrap();
        let (address, query) = next.split_once('?').unwrap();
        assert_eq!(address, "http://h/v1.0/things");
        let last = ask(query).unwrap();
        assert_eq!(last["value"], json!([{"id": "3"}]));
        assert!(last.get("@odata.nextLink").is_none());
    }
}
